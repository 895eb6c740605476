#include "checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/strings.h"
#include "checkpoint/strict_json.h"

namespace choir {
namespace {

using ::testing::HasSubstr;

// A [4, 6] tensor in four pieces over two shards, a scalar, an empty one, two blobs.
Manifest Sample() {
  Manifest m;
  m.step = 12;
  m.code_version = "v";
  m.config = "a: 1\n";
  m.state = {{"x", 1}};
  m.files = {{"shard-00000.h5", 4096, {1, 2}},
             {"shard-00001.h5", 4096, {3, 4}},
             {"model.h5", 100, {5, 6}}};
  TensorRecord w{"model/w", DType::kF32, {4, 6}, {}};
  w.pieces = {{{0, 0}, {2, 6}, {0, "a", 512, 48, {1}}},
              {{2, 0}, {1, 6}, {1, "a", 512, 24, {2}}},
              {{3, 0}, {1, 2}, {1, "b", 600, 8, {3}}},
              {{3, 2}, {1, 4}, {1, "c", 700, 16, {4}}}};
  TensorRecord scalar{"model/s", DType::kF64, {}, {{{}, {}, {0, "s", 800, 8, {5}}}}};
  m.tensors = {w, scalar, {"model/e", DType::kI32, {0, 3}, {}}};
  m.blobs = {{"lanes", {1, "blobs/lanes", 2000, 7, {6}}}, {"empty", {}}};
  return m;
}

TEST(Manifest, RoundTrip) {
  const std::string text = SerializeManifest(Sample());
  const auto parsed = ParseManifest(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(SerializeManifest(*parsed), text);
  EXPECT_TRUE(nlohmann::json::accept(text));
}

TEST(Manifest, EveryFlippedBitAndEveryTruncationBreaksTheSeal) {
  const std::string text = SerializeManifest(Sample());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] ^= static_cast<char>(1 << (i % 8));
    EXPECT_TRUE(absl::IsDataLoss(ParseManifest(bad).status())) << i;
    EXPECT_TRUE(absl::IsDataLoss(ParseManifest(text.substr(0, i)).status())) << i;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest(text + "\n").status()));
}

TEST(Manifest, RefusesRecordsThatBreakARule) {
  const struct {
    const char* message;
    std::function<void(Manifest&)> change;
  } cases[] = {
      {"file name", [](Manifest& m) { m.files[0].name = "../shard-00000.h5"; }},
      {"file name", [](Manifest& m) { m.files[0].name = "shard-000000.h5"; }},
      {"listed twice", [](Manifest& m) { m.files[0].name = "shard-00001.h5"; }},
      {"listed twice", [](Manifest& m) { m.tensors[1].name = "model/w"; }},
      {"listed twice", [](Manifest& m) { m.blobs[1].name = "lanes"; }},
      {"\"..\"", [](Manifest& m) { m.tensors[0].name = "model/../w"; }},
      {"letters", [](Manifest& m) { m.blobs[0].name = "a b"; }},
      {"letters", [](Manifest& m) { m.tensors[0].pieces[0].data.dataset = "a%b"; }},
      {"not a shard", [](Manifest& m) { m.tensors[1].pieces[0].data.file = 2; }},
      {"lies outside shard", [](Manifest& m) { m.tensors[1].pieces[0].data.offset = 4090; }},
      {"lies outside shard", [](Manifest& m) { m.tensors[1].pieces[0].data.offset = INT64_MAX; }},
      {"overlap in their file", [](Manifest& m) { m.tensors[1].pieces[0].data.offset = 515; }},
      {"used twice", [](Manifest& m) { m.tensors[1].pieces[0].data.dataset = "a"; }},
      {"bytes are stored", [](Manifest& m) { m.tensors[0].pieces[0].data.bytes = 44; }},
      {"checksums for", [](Manifest& m) { m.tensors[0].pieces[0].data.checksums.push_back(1); }},
      {"checksums for", [](Manifest& m) { m.chunk_bytes = 16; }},
      {"chunk_bytes", [](Manifest& m) { m.chunk_bytes = 0; }},
      {"step", [](Manifest& m) { m.step = 10'000'000'000; }},
      {"of 24 elements", [](Manifest& m) { m.tensors[0].pieces.pop_back(); }},
      {"of 1 elements", [](Manifest& m) { m.tensors[1].pieces.clear(); }},
      {"outside [4, 6]",
       [](Manifest& m) {
         m.tensors[0].pieces[3].start = {3, 3};
       }},
      {"outside [4, 6]",
       [](Manifest& m) {
         m.tensors[0].pieces[3].start = {INT64_MAX, 2};
       }},
      {"number of dims", [](Manifest& m) { m.tensors[0].pieces[3].start = {3}; }},
      {"overlap",
       [](Manifest& m) {  // the sum is right, one element is there twice and one not at all
         m.tensors[0].pieces[3].start = {3, 1};
       }},
      {"overlap",
       [](Manifest& m) {
         m.tensors[0].pieces[1].start = {1, 0};
       }},
      {"outside [0, 3]",
       [](Manifest& m) {
         m.tensors[2].pieces = {{{0, 0}, {0, 3}, {0, "z", 900, 4, {7}}}};
       }},
  };
  for (const auto& c : cases) {
    Manifest m = Sample();
    c.change(m);
    const absl::Status status = ParseManifest(SerializeManifest(m)).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << c.message << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

// `text` with the right seal.
std::string Sealed(const std::string& body) {
  return StrCat(body, "\n\"seal\": \"", ToHex(HashOf128(body)), "\"\n}\n");
}

TEST(Manifest, RefusesHostileTextWithARightSeal) {
  const std::string text = SerializeManifest(Sample());
  const std::string good = text.substr(0, text.rfind("\n\"seal\""));
  ASSERT_TRUE(ParseManifest(Sealed(good)).ok());
  const auto replaced = [&](std::string_view from, std::string_view to) {
    std::string bad = good;
    const size_t at = bad.find(from);
    EXPECT_NE(at, bad.npos) << from;
    return Sealed(bad.replace(at, from.size(), to));
  };
  const auto message = [](const std::string& bad) {
    const absl::Status status = ParseManifest(bad).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message(replaced("\"step\": 12", "\"step\": 12,\"step\": 13")),
              HasSubstr("duplicate key \"step\""));
  EXPECT_THAT(message(replaced("\"step\": 12", "\"step\": 18446744073709551616")),
              HasSubstr("does not fit"));
  EXPECT_THAT(message(replaced("\"step\": 12", "\"step\": 18446744073709551615")),
              HasSubstr("too large"));
  EXPECT_THAT(message(replaced("\"step\": 12", "\"step\": -1")), HasSubstr("wrong type"));
  EXPECT_THAT(message(replaced("\"step\": 12", "\"step\": 1.5")), HasSubstr("wrong type"));
  EXPECT_THAT(message(replaced("\"step\": 12", "\"stop\": 12")), HasSubstr("has no \"step\""));
  EXPECT_THAT(message(replaced("\"step\": 12", "\"step\": 12, \"more\": 1")),
              HasSubstr("unknown members"));
  EXPECT_THAT(message(replaced("[4,6]", "[9223372036854775807,9223372036854775807]")),
              HasSubstr("shape is too large"));
  EXPECT_THAT(message(replaced("[4,6]", "[1,1,1,1,1,1,1]")), HasSubstr("more than 6 dims"));
  EXPECT_THAT(message(replaced("[4,6]", "[4,-6]")), HasSubstr("not a size"));
  EXPECT_THAT(message(replaced("\"f32\"", "\"f128\"")), HasSubstr("unknown dtype"));
  EXPECT_THAT(message(replaced("\"file\":\"shard-00000.h5\"", "\"file\":\"/etc/passwd\"")),
              HasSubstr("unlisted file"));
  EXPECT_THAT(message(replaced("0000000000000001\"", "000000000000000g\"")),
              HasSubstr("hexadecimal"));
  EXPECT_THAT(message(replaced("choir-checkpoint", "other")), HasSubstr("not a manifest"));
  const std::string deep(100'000, '[');
  EXPECT_THAT(message(replaced("{\"x\":1}", deep)), HasSubstr("nested deeper"));
  EXPECT_THAT(message(Sealed("\xff\xfe")), HasSubstr("not JSON"));
  EXPECT_TRUE(absl::IsFailedPrecondition(
      ParseManifest(replaced("\"version\": 1", "\"version\": 2")).status()));
}

TEST(Manifest, ManyPiecesAreCheckedFast) {
  // 256 x 256 boxes of one element, all in one file.
  Manifest m;
  m.files = {{"shard-00000.h5", 1 << 20, {}}};
  m.state = nlohmann::json::object();
  TensorRecord t{"model/w", DType::kF32, {256, 256}, {}};
  for (int64_t i = 0; i < 256 * 256; ++i) {
    t.pieces.push_back({{i / 256, i % 256}, {1, 1}, {0, StrCat("p", i), i * 4, 4, {0}}});
  }
  m.tensors = {t};
  EXPECT_TRUE(ValidateManifest(m).ok()) << ValidateManifest(m);
  std::swap(m.tensors[0].pieces[7].start, m.tensors[0].pieces[9].start);
  EXPECT_TRUE(ValidateManifest(m).ok());
  m.tensors[0].pieces[7].start = m.tensors[0].pieces[900].start;
  EXPECT_THAT(std::string(ValidateManifest(m).message()), HasSubstr("overlap"));
}

TEST(StrictJson, BoundsValues) {
  EXPECT_TRUE(ParseStrictJson("[1,2,3]", {.max_values = 4}).ok());
  EXPECT_FALSE(ParseStrictJson("[1,2,3]", {.max_values = 3}).ok());
  EXPECT_FALSE(ParseStrictJson("[1] x").ok());
  EXPECT_FALSE(ParseStrictJson("{\"a\":{\"b\":1,\"b\":1}}").ok());
  EXPECT_FALSE(ParseStrictJson("[1e999]").ok());
}

}  // namespace
}  // namespace choir
