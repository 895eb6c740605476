#include "data/shard/shard_reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

absl::StatusOr<std::unique_ptr<ShardReader>> ShardReader::Open(const std::string& directory,
                                                               const ShardInfo& info) {
  std::unique_ptr<ShardReader> reader(new ShardReader);
  reader->path_ = StrCat(directory, "/", info.file);
  reader->documents_ = info.documents;
  reader->tokens_ = info.tokens;
  ASSIGN_OR_RETURN(reader->layout_, ShardLayout::Of(info));
  RETURN_IF_ERROR(reader->Map(info));
  RETURN_IF_ERROR(reader->CheckSeal(info));
  const auto words = static_cast<size_t>(reader->layout_.num_chunks() / 64 + 1);
  reader->sound_ = std::make_unique<std::atomic<uint64_t>[]>(words);
  reader->unverified_ = reader->layout_.num_chunks();
  return reader;
}

ShardReader::~ShardReader() {
  if (map_ != nullptr) munmap(const_cast<char*>(map_), map_bytes_);
}

absl::Status ShardReader::Map(const ShardInfo& info) {
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path_, "open", errno);
  struct stat stat {};
  absl::Status status;
  if (fstat(fd, &stat) != 0) {
    status = FileError(path_, "stat", errno);
  } else if (stat.st_size != info.file_bytes) {
    status =
        absl::DataLossError(StrCat(path_, ": damaged: has ", stat.st_size, " bytes, must have ",
                                   info.file_bytes, "; run `choir data build` again"));
  } else {
    map_bytes_ = static_cast<size_t>(stat.st_size);
    void* const map = mmap(nullptr, map_bytes_, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
      status = FileError(path_, "map", errno);
    } else {
      map_ = static_cast<const char*>(map);
    }
  }
  close(fd);
  return status;
}

absl::Status ShardReader::CheckSeal(const ShardInfo& info) const {
  Hasher128 hasher;
  for (const ShardLayout::Range& range : layout_.outside()) {
    hasher.Update(std::string_view(map_ + range.begin, range.end - range.begin));
  }
  const std::string seal = ToHex(hasher.Digest());
  if (seal == info.seal) return absl::OkStatus();
  return absl::DataLossError(StrCat(
      path_, ": damaged: header, metadata or table of checksums (the XXH3-128 of what is outside ",
      "the arrays is ", seal, ", must be ", info.seal, "); run `choir data build` again"));
}

absl::Status ShardReader::CheckChunk(ShardArray array, int64_t chunk) const {
  const ShardLayout::Place& place = layout_.array(array);
  const int64_t begin = place.ChunkBegin(chunk), end = place.ChunkEnd(chunk);
  const int64_t bit = place.first_chunk + chunk;
  const uint64_t is = HashOf64(std::string_view(map_ + begin, end - begin));
  const uint64_t must_be = reinterpret_cast<const uint64_t*>(map_ + layout_.checksums_begin())[bit];
  if (is == must_be) {
    const uint64_t mask = uint64_t{1} << (bit % 64);
    const uint64_t before = sound_[bit / 64].fetch_or(mask, std::memory_order_release);
    if ((before & mask) == 0) unverified_.fetch_sub(1, std::memory_order_release);
    return absl::OkStatus();
  }
  return absl::DataLossError(StrCat(
      path_, ": damaged: dataset '", ShardArrayName(array), "', chunk ", chunk, ", bytes ", begin,
      " to ", end, " of the file: XXH3-64 is ", ToHex(is), ", must be ", ToHex(must_be),
      "; `choir data verify` lists all damage, `choir data build` makes the shards again"));
}

}  // namespace choir
