#include "data/text/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <vector>

#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

constexpr size_t kInputBytes = size_t{1} << 17;

// An error of the system; never InvalidArgument, which stands for a malformed record.
absl::Status SystemError(const std::string& path, const char* action, int error) {
  const absl::Status status = FileError(path, action, error);
  return absl::IsInvalidArgument(status) ? absl::InternalError(status.message()) : status;
}

class PlainSource : public ByteSource {
 public:
  PlainSource(std::string path, int fd, int64_t begin, int64_t end)
      : path_(std::move(path)), fd_(fd), at_(begin), end_(end) {}
  ~PlainSource() override { close(fd_); }

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (end_ >= 0) size = std::min(size, static_cast<size_t>(end_ - at_));
    if (size == 0) return size_t{0};
    ssize_t got = 0;
    do {
      got = pread(fd_, buffer, size, at_);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return SystemError(path_, "read", errno);
    if (got == 0 && end_ >= 0) {
      return absl::DataLossError(
          StrCat(path_, ": ends at byte ", at_, ", had ", end_,
                 " when it was first read; leave it as it is and start again"));
    }
    at_ += got;
    return static_cast<size_t>(got);
  }

 private:
  const std::string path_;
  const int fd_;
  int64_t at_;
  const int64_t end_;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    // copy() takes nothing from an empty view, whose data() may be null; memcpy must not see it.
    size = bytes_.copy(buffer, size);
    bytes_.remove_prefix(size);
    return size;
  }

 private:
  std::string_view bytes_;
};

// Packed bytes that wait for the decoder, and how far both sides are.
class PackedInput {
 public:
  PackedInput(std::string name, const char* kind, std::unique_ptr<ByteSource> source)
      : name_(std::move(name)), kind_(kind), source_(std::move(source)), buffer_(kInputBytes) {}

  // True if there is a byte to take.
  absl::StatusOr<bool> Fill() {
    if (at_ < filled_) return true;
    ASSIGN_OR_RETURN(filled_, source_->Read(buffer_.data(), buffer_.size()));
    at_ = 0;
    return filled_ > 0;
  }
  const char* data() const { return buffer_.data() + at_; }
  size_t size() const { return filled_ - at_; }
  void Take(size_t bytes) {
    at_ += bytes;
    in_ += static_cast<int64_t>(bytes);
  }
  void CountOut(size_t bytes) { out_ += static_cast<int64_t>(bytes); }

  absl::Status CutOff() const {
    return absl::DataLossError(StrCat(name_, ": cut off: the ", kind_, " data goes on after byte ",
                                      in_, ", where the file ends (", out_,
                                      " bytes of text came out); write or fetch it again"));
  }
  absl::Status Damaged(const char* why) const {
    return absl::DataLossError(
        StrCat(name_, ": damaged ", kind_, " data at byte ", in_, " (", why, "; ", out_,
               " bytes of text came out before it); write or fetch it again"));
  }

 private:
  const std::string name_;
  const char* const kind_;
  std::unique_ptr<ByteSource> source_;
  std::vector<char> buffer_;
  size_t at_ = 0;
  size_t filled_ = 0;
  int64_t in_ = 0;
  int64_t out_ = 0;
};

class GzipSource : public ByteSource {
 public:
  GzipSource(std::string name, std::unique_ptr<ByteSource> source)
      : input_(std::move(name), "gzip", std::move(source)) {
    CHECK(inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK);
  }
  ~GzipSource() override { inflateEnd(&stream_); }

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    size = std::min<size_t>(size, std::numeric_limits<uInt>::max());
    while (!done_) {
      ASSIGN_OR_RETURN(const bool more, input_.Fill());
      if (!more) {
        if (inside_) return input_.CutOff();
        break;
      }
      // Some writers fill up the last block of a tape or disk with zeros.
      if (!inside_ && members_ > 0 && input_.data()[0] == 0) {
        input_.Take(1);
        continue;
      }
      inside_ = true;
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input_.data()));
      stream_.avail_in = static_cast<uInt>(input_.size());
      stream_.next_out = reinterpret_cast<Bytef*>(buffer);
      stream_.avail_out = static_cast<uInt>(size);
      const int result = inflate(&stream_, Z_NO_FLUSH);
      input_.Take(input_.size() - stream_.avail_in);
      const size_t got = size - stream_.avail_out;
      input_.CountOut(got);
      if (result == Z_STREAM_END) {
        inside_ = false;
        ++members_;
        CHECK(inflateReset(&stream_) == Z_OK);
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        return input_.Damaged(stream_.msg == nullptr ? "zlib gives no reason" : stream_.msg);
      }
      if (got > 0) return got;
    }
    done_ = true;
    if (members_ == 0) return input_.CutOff();
    return size_t{0};
  }

 private:
  PackedInput input_;
  z_stream stream_{};
  bool inside_ = false;
  bool done_ = false;
  int64_t members_ = 0;
};

class ZstdSource : public ByteSource {
 public:
  ZstdSource(std::string name, std::unique_ptr<ByteSource> source)
      : input_(std::move(name), "zstd", std::move(source)), stream_(ZSTD_createDStream()) {
    CHECK(stream_ != nullptr);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    while (true) {
      ASSIGN_OR_RETURN(const bool more, input_.Fill());
      // At the end of the input the decoder may still hold text.
      if (!more && (wanted_ == 0 || !full_)) break;
      ZSTD_inBuffer in = {input_.data(), input_.size(), 0};
      ZSTD_outBuffer out = {buffer, size, 0};
      wanted_ = ZSTD_decompressStream(stream_, &out, &in);
      if (ZSTD_isError(wanted_) != 0) return input_.Damaged(ZSTD_getErrorName(wanted_));
      started_ = true;
      full_ = out.pos == size;
      input_.Take(in.pos);
      input_.CountOut(out.pos);
      if (out.pos > 0) return out.pos;
      if (!more) full_ = false;
    }
    if (wanted_ != 0 || !started_) return input_.CutOff();
    return size_t{0};
  }

 private:
  PackedInput input_;
  ZSTD_DStream* const stream_;
  size_t wanted_ = 0;     // 0: between frames
  bool full_ = false;     // the last call filled its buffer
  bool started_ = false;  // a file of no frame at all is cut off
};

std::unique_ptr<ByteSource> Unpack(const std::string& name, Compression compression,
                                   std::unique_ptr<ByteSource> source) {
  if (compression == Compression::kGzip) {
    return std::make_unique<GzipSource>(name, std::move(source));
  }
  if (compression == Compression::kZstd) {
    return std::make_unique<ZstdSource>(name, std::move(source));
  }
  return source;
}

}  // namespace

absl::StatusOr<Compression> CompressionOf(const std::string& path) {
  if (path.ends_with(".gz")) return Compression::kGzip;
  if (path.ends_with(".zst")) return Compression::kZstd;
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> source, OpenPlainBytes(path, 0, -1));
  char magic[4] = {};
  ASSIGN_OR_RETURN(const size_t got, source->Read(magic, sizeof(magic)));
  const std::string_view start(magic, got);
  if (start.starts_with("\x1f\x8b")) return Compression::kGzip;
  if (start.starts_with("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  return Compression::kNone;
}

absl::StatusOr<std::unique_ptr<ByteSource>> OpenPlainBytes(const std::string& path, int64_t begin,
                                                           int64_t end) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return SystemError(path, "open", errno);
  auto source = std::make_unique<PlainSource>(path, fd, begin, end);
  struct stat info;
  if (fstat(fd, &info) != 0) return SystemError(path, "examine", errno);
  if (S_ISDIR(info.st_mode)) return SystemError(path, "read", EISDIR);
  return source;
}

absl::StatusOr<std::unique_ptr<ByteSource>> OpenBytes(const std::string& path) {
  ASSIGN_OR_RETURN(const Compression compression, CompressionOf(path));
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> plain, OpenPlainBytes(path, 0, -1));
  return Unpack(path, compression, std::move(plain));
}

std::unique_ptr<ByteSource> UnpackMemory(const std::string& name, Compression compression,
                                         std::string_view bytes) {
  return Unpack(name, compression, std::make_unique<MemorySource>(bytes));
}

}  // namespace choir
