#include "data/build/build_inputs.h"

#include <cerrno>
#include <fstream>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {

absl::Status HashTextFile(const TextFile& file, Hasher128& hasher) {
  hasher.Update(StrCat("\n", SplitName(file.split), " ", file.language, " ", file.bytes, "\n"));
  errno = 0;
  std::ifstream stream(file.path, std::ios::binary);
  if (!stream) return FileError(file.path, "open", errno);
  std::vector<char> block(size_t{1} << 20);
  while (stream) {
    stream.read(block.data(), static_cast<std::streamsize>(block.size()));
    hasher.Update(std::string_view(block.data(), static_cast<size_t>(stream.gcount())));
  }
  if (stream.bad()) return FileError(file.path, "read", errno);
  return absl::OkStatus();
}

absl::Status MalformedCounter::Add(const absl::Status& error) {
  if (!absl::IsInvalidArgument(error)) return error;
  ++count_;
  if (!limit_ || count_ <= *limit_) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(std::string(error.message()),
                                           "\n(malformed record number ", count_,
                                           "; corpus.max_malformed allows ", *limit_, ")"));
}

}  // namespace choir
