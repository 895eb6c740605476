// Only files with a right checksum reach HDF5; what is in them is still not trusted.
#include "checkpoint/hdf5_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>

#include <functional>

#include "tests/checkpoint/fixture.h"

namespace choir::checkpoint_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr hsize_t kDims[] = {4};
const float kValues[] = {1, 2, 3, 4};

// Makes dataset "a" of four floats with the given creation settings.
void MakeDataset(hid_t file, const std::function<void(hid_t creation)>& set,
                 hid_t type = H5T_IEEE_F32LE, bool write = true) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  set(creation);
  const hid_t space = H5Screate_simple(1, kDims, nullptr);
  const hid_t dataset = H5Dcreate2(file, "a", type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  ASSERT_GE(dataset, 0);
  if (write) {
    ASSERT_GE(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, kValues), 0);
  }
  H5Dclose(dataset);
  H5Sclose(space);
  H5Pclose(creation);
}

// What reading "a" (f32 [4]) says about a file made by `make`.
std::string MessageFor(const std::function<void(hid_t file)>& make, const char* name = "a") {
  RunFolder folder;
  const std::string path = folder.path() + "/x.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  make(file);
  H5Fclose(file);
  const auto reader = Hdf5Reader::Open(path);
  EXPECT_TRUE(reader.ok()) << reader.status();
  float out[4];
  const absl::Status status = (*reader)->Read({name, DType::kF32, {4}}, 2048, out);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  return std::string(status.message());
}

TEST(Hdf5File, WritesWhatItReads) {
  RunFolder folder;
  const std::string path = folder.path() + "/x.h5";
  auto writer = Hdf5Writer::Create(path);
  ASSERT_TRUE(writer.ok());
  const auto offset = (*writer)->Write({"g/h/a", DType::kF32, {2, 2}}, kValues);
  ASSERT_TRUE(offset.ok());
  ASSERT_TRUE((*writer)->Close().ok());
  EXPECT_EQ(std::memcmp(Read(path).data() + *offset, kValues, sizeof(kValues)), 0);
  const auto reader = Hdf5Reader::Open(path);
  ASSERT_TRUE(reader.ok());
  float out[4] = {};
  EXPECT_TRUE((*reader)->Read({"g/h/a", DType::kF32, {2, 2}}, *offset, out).ok());
  EXPECT_EQ(std::memcmp(out, kValues, sizeof(out)), 0);
  const auto message = [&](const Hdf5Dataset& dataset, int64_t at) {
    return std::string((*reader)->Read(dataset, at, out).message());
  };
  EXPECT_THAT(message({"g/h/a", DType::kI32, {2, 2}}, *offset), HasSubstr("element type"));
  EXPECT_THAT(message({"g/h/a", DType::kF32, {4}}, *offset), HasSubstr("other dims"));
  EXPECT_THAT(message({"g/h/a", DType::kF32, {2, 2}}, *offset + 4), HasSubstr("another place"));
  EXPECT_THAT(message({"g/x/a", DType::kF32, {2, 2}}, *offset), HasSubstr("is not there"));
  EXPECT_THAT(message({"g/h", DType::kF32, {2, 2}}, *offset), HasSubstr("cannot be opened"));
  EXPECT_FALSE(Hdf5Writer::Create(path).ok()) << "an existing file was replaced";
}

TEST(Hdf5File, RefusesStorageTricks) {
  EXPECT_THAT(MessageFor([](hid_t file) {
                MakeDataset(
                    file, [](hid_t c) { H5Pset_external(c, "/etc/hostname", 0, sizeof(kValues)); },
                    H5T_IEEE_F32LE, /*write=*/false);
              }),
              HasSubstr("external storage is refused"));
  EXPECT_THAT(MessageFor([](hid_t file) {
                MakeDataset(file, [](hid_t c) {
                  H5Pset_chunk(c, 1, kDims);
                  H5Pset_fletcher32(c);
                });
              }),
              HasSubstr("not contiguous"));
  EXPECT_THAT(MessageFor([](hid_t file) {
                MakeDataset(file, [](hid_t c) { H5Pset_layout(c, H5D_COMPACT); });
              }),
              HasSubstr("not contiguous"));
  EXPECT_THAT(MessageFor([](hid_t file) {
                MakeDataset(
                    file,
                    [](hid_t c) {
                      const hid_t space = H5Screate_simple(1, kDims, nullptr);
                      H5Pset_virtual(c, space, "other.h5", "/a", space);
                      H5Sclose(space);
                    },
                    H5T_IEEE_F32LE, /*write=*/false);
              }),
              HasSubstr("virtual"));
  EXPECT_THAT(MessageFor([](hid_t file) {
                MakeDataset(
                    file, [](hid_t) {}, H5T_IEEE_F32BE);
              }),
              HasSubstr("element type"));
}

TEST(Hdf5File, RefusesLinks) {
  const auto external = [](hid_t file) {
    H5Lcreate_external("other.h5", "/a", file, "a", H5P_DEFAULT, H5P_DEFAULT);
  };
  EXPECT_THAT(MessageFor(external), HasSubstr("links are refused"));
  const auto soft = [](hid_t file) { H5Lcreate_soft("/b", file, "a", H5P_DEFAULT, H5P_DEFAULT); };
  EXPECT_THAT(MessageFor(soft), HasSubstr("links are refused"));
  const auto group = [](hid_t file) {
    H5Lcreate_external("other.h5", "/", file, "g", H5P_DEFAULT, H5P_DEFAULT);
  };
  EXPECT_THAT(MessageFor(group, "g/a"), HasSubstr("links are refused"));
}

TEST(Hdf5File, ErrorsNamePathAndReason) {
  RunFolder folder;
  const std::string path = folder.path() + "/no/x.h5";
  EXPECT_THAT(std::string(Hdf5Writer::Create(path).status().message()),
              AllOf(HasSubstr(path), HasSubstr("No such file")));
  Write(folder.path() + "/x.h5", "not HDF5");
  EXPECT_TRUE(absl::IsDataLoss(Hdf5Reader::Open(folder.path() + "/x.h5").status()));
}

}  // namespace
}  // namespace choir::checkpoint_test
