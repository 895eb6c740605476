// Names on disk, and which names are allowed. Nothing that comes from a manifest is used as a path
// before it has passed one of these.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace choir {

inline constexpr std::string_view kManifestFile = "manifest.json";
inline constexpr std::string_view kModelView = "model.h5";
// Tensors with this prefix are the parameters that model.h5 shows.
inline constexpr std::string_view kModelPrefix = "model/";
// HDF5 group of the blobs; no tensor may be named so.
inline constexpr std::string_view kBlobPrefix = "blobs/";
inline constexpr int64_t kMaxStep = 9'999'999'999;
inline constexpr size_t kMaxNameLength = 512;

// `<run>/checkpoints`.
std::string CheckpointsFolder(std::string_view run_dir);
// "step-0000001000", and back; nullopt for any other name.
std::string StepName(int64_t step);
std::optional<int64_t> ParseStepName(std::string_view name);
// ".tmp-<step>-<nonce>": being written or being removed. The nonce is fresh at every call.
std::string TemporaryName(int64_t step);
bool IsTemporaryName(std::string_view name);
// A fresh random number in hexadecimal.
std::string Nonce();
// "shard-00000.h5".
std::string ShardName(int writer);
bool IsShardName(std::string_view name);

// Names of tensors and blobs: letters, digits and `_-.` in parts divided by single slashes, no part
// "." or "..", at most kMaxNameLength characters.
absl::Status CheckName(std::string_view name);

}  // namespace choir
