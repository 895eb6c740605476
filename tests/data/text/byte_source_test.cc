#include "data/text/byte_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "base/status.h"
#include "base/strings.h"
#include "data/text/line_reader.h"
#include "tests/data/test_corpus.h"
#include "tests/data/text/packed_files.h"

namespace choir {
namespace {

using ::testing::HasSubstr;
using testing_data::Gzip;
using testing_data::TempFolder;
using testing_data::WriteText;
using testing_data::Zstd;

// Text that packs, but not to nothing.
std::string Text(size_t bytes) {
  const CounterRandom random(1, "text");
  std::string text;
  for (uint64_t i = 0; text.size() < bytes; ++i) {
    text += StrCat("word", random.Below(i, 5000), i % 11 == 0 ? "\n" : " ");
  }
  text.resize(bytes);
  return text;
}

absl::StatusOr<std::string> ReadAll(ByteSource& source, size_t piece) {
  std::string text;
  std::vector<char> buffer(piece);
  while (true) {
    ASSIGN_OR_RETURN(const size_t got, source.Read(buffer.data(), piece));
    if (got == 0) return text;
    text.append(buffer.data(), got);
  }
}

std::string ReadPath(const std::string& path, size_t piece) {
  return ReadAll(*OpenBytes(path).value(), piece).value();
}

TEST(ByteSource, GivesTheSameBytesHoweverTheyArePacked) {
  const std::string folder = TempFolder("bytes");
  const std::string text = Text(700'000);
  const std::string half = text.substr(0, 300'000), rest = text.substr(300'000);
  WriteText(folder + "/plain", text);
  WriteText(folder + "/a.gz", Gzip(text));
  WriteText(folder + "/b.zst", Zstd(text));
  WriteText(folder + "/by-content-gz", Gzip(text));
  WriteText(folder + "/by-content-zst", Zstd(text));
  WriteText(folder + "/members.gz", Gzip(half) + Gzip("") + Gzip(rest) + std::string(700, '\0'));
  WriteText(folder + "/frames.zst", Zstd(half) + Zstd("") + Zstd(rest));
  for (const char* name :
       {"plain", "a.gz", "b.zst", "by-content-gz", "by-content-zst", "members.gz", "frames.zst"}) {
    for (const size_t piece : {size_t{4093}, size_t{1} << 20}) {
      EXPECT_EQ(ReadPath(StrCat(folder, "/", name), piece), text) << name;
    }
  }
  WriteText(folder + "/empty.gz", Gzip(""));
  WriteText(folder + "/empty.zst", Zstd(""));
  EXPECT_EQ(ReadPath(folder + "/empty.gz", 10), "");
  EXPECT_EQ(ReadPath(folder + "/empty.zst", 10), "");
}

TEST(ByteSource, EveryCutIsFoundAndSaysHowFarItGot) {
  const std::string text = Text(3000);
  for (const auto& [compression, packed] :
       {std::pair(Compression::kGzip, Gzip(text)), std::pair(Compression::kZstd, Zstd(text))}) {
    for (size_t cut = 0; cut < packed.size(); ++cut) {
      const auto source = UnpackMemory("x", compression, std::string_view(packed).substr(0, cut));
      const absl::Status status = ReadAll(*source, 100).status();
      ASSERT_TRUE(absl::IsDataLoss(status)) << cut << ": " << status;
      ASSERT_THAT(std::string(status.message()), HasSubstr("x: cut off")) << cut;
    }
    // Behind a whole member or frame.
    const std::string two = packed + packed;
    const auto source =
        UnpackMemory("x", compression, std::string_view(two).substr(0, two.size() - 9));
    EXPECT_THAT(std::string(ReadAll(*source, 100).status().message()), HasSubstr("cut off"));
    EXPECT_EQ(ReadAll(*UnpackMemory("x", compression, two), 100).value(), text + text);
  }
}

TEST(ByteSource, DamageIsFound) {
  const std::string text = Text(3000);
  const CounterRandom random(2, "damage");
  const std::string gzip = Gzip(text);
  int64_t found = 0;
  for (uint64_t trial = 0; trial < 200; ++trial) {
    std::string damaged = gzip;
    // Behind the header, whose name and time no checksum covers.
    const uint64_t bit = 80 + random.Below(trial, 8 * (gzip.size() - 10));
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const absl::StatusOr<std::string> read =
        ReadAll(*UnpackMemory("x", Compression::kGzip, damaged), 1000);
    found += absl::IsDataLoss(read.status());
  }
  EXPECT_EQ(found, 200);
  for (const Compression compression : {Compression::kGzip, Compression::kZstd}) {
    EXPECT_THAT(
        std::string(
            ReadAll(*UnpackMemory("x", compression, "no such thing"), 9).status().message()),
        HasSubstr("x: damaged"));
  }
}

TEST(ByteSource, MissingFilesAndFolders) {
  const std::string folder = TempFolder("absent");
  EXPECT_TRUE(absl::IsNotFound(OpenBytes(folder + "/none.gz").status()));
  EXPECT_THAT(std::string(OpenBytes(folder).status().message()), HasSubstr(folder));
}

TEST(LineReader, LinesAreThoseOfTheTextWhateverTheBlocks) {
  const std::string folder = TempFolder("lines");
  std::string text = Text(50'000) + "\n\n\nlong " + std::string(3'000'000, 'x') + "\nno feed";
  WriteText(folder + "/t", text);
  std::vector<std::string> expected;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) expected.push_back(line);
  LineReader lines(OpenBytes(folder + "/t").value());
  std::string_view line;
  int64_t offset = 0;
  for (const std::string& want : expected) {
    ASSERT_TRUE(lines.Next(line).value());
    ASSERT_EQ(line, want);
    EXPECT_EQ(lines.offset(), offset);
    EXPECT_EQ(lines.bytes(), static_cast<int64_t>(want.size()));
    EXPECT_EQ(lines.has_feed(), want != "no feed");
    offset += static_cast<int64_t>(want.size()) + 1;
  }
  EXPECT_FALSE(lines.Next(line).value());
}

TEST(LineReader, LongLinesAreSkippedWherever) {
  const std::string folder = TempFolder("long-lines");
  for (const size_t length : {100u, 101u, 199u, 5000u}) {
    WriteText(folder + "/t", "a\n" + std::string(length, 'x') + "\nb\n" + std::string(length, 'y'));
    LineReader lines(OpenBytes(folder + "/t").value(), 100);
    std::string_view line;
    ASSERT_TRUE(lines.Next(line).value());
    EXPECT_EQ(line, "a");
    for (const bool last : {false, true}) {
      ASSERT_TRUE(lines.Next(line).value());
      EXPECT_EQ(lines.too_long(), length > 100) << length;
      EXPECT_EQ(line.size(), length > 100 ? 0 : length);
      EXPECT_EQ(lines.bytes(), static_cast<int64_t>(length));
      if (last) break;
      ASSERT_TRUE(lines.Next(line).value());
      EXPECT_EQ(line, "b");
      EXPECT_FALSE(lines.too_long());
    }
    EXPECT_FALSE(lines.Next(line).value());
  }
}

}  // namespace
}  // namespace choir
