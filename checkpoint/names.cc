#include "checkpoint/names.h"

#include <algorithm>
#include <cctype>
#include <random>

#include "absl/strings/str_format.h"
#include "base/hash.h"
#include "base/strings.h"

namespace choir {
namespace {

bool AllDigits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool Between(std::string_view text, std::string_view prefix, std::string_view suffix) {
  return text.size() >= prefix.size() + suffix.size() && text.starts_with(prefix) &&
         text.ends_with(suffix);
}

bool AllowedCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '/';
}

}  // namespace

std::string CheckpointsFolder(std::string_view run_dir) { return StrCat(run_dir, "/checkpoints"); }

std::string StepName(int64_t step) { return absl::StrFormat("step-%010d", step); }

std::optional<int64_t> ParseStepName(std::string_view name) {
  if (!name.starts_with("step-")) return std::nullopt;
  const std::string_view digits = name.substr(5);
  if (digits.size() != 10 || !AllDigits(digits)) return std::nullopt;
  return std::stoll(std::string(digits));
}

std::string Nonce() {
  std::random_device device;
  return ToHex((uint64_t{device()} << 32) | device());
}

std::string TemporaryName(int64_t step) { return StrCat(".tmp-", step, "-", Nonce()); }

bool IsTemporaryName(std::string_view name) {
  if (!name.starts_with(".tmp-")) return false;
  name.remove_prefix(5);
  const size_t dash = name.find('-');
  return dash != name.npos && AllDigits(name.substr(0, dash)) && name.size() - dash - 1 == 16 &&
         name.find_first_not_of("0123456789abcdef", dash + 1) == name.npos;
}

std::string ShardName(int writer) { return absl::StrFormat("shard-%05d.h5", writer); }

bool IsShardName(std::string_view name) {
  return name.size() == 14 && Between(name, "shard-", ".h5") && AllDigits(name.substr(6, 5));
}

absl::Status CheckName(std::string_view name) {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        StrCat("name \"", name.substr(0, kMaxNameLength), "\": ", why));
  };
  if (name.empty()) return refuse("is empty");
  if (name.size() > kMaxNameLength) {
    return refuse(StrCat("is longer than ", kMaxNameLength, " characters"));
  }
  if (!std::all_of(name.begin(), name.end(), AllowedCharacter)) {
    return refuse("only letters, digits and _ - . / are allowed");
  }
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") {
      return refuse("has an empty part or a part \".\" or \"..\"");
    }
    begin = end + 1;
  }
  return absl::OkStatus();
}

}  // namespace choir
