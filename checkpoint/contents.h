// What one checkpoint holds, in memory. Tensors are named by kind, then owner: `model/<parameter>`,
// `optim/<parameter>/m`. Everything else that a run needs to continue is in `state` (small: it
// lives in the manifest) or in `blobs` (binary; it lives in the shard files).
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace choir {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

struct CheckpointContents {
  int64_t step = 0;
  std::string config;  // resolved YAML
  nlohmann::json state = nlohmann::json::object();
  std::map<std::string, std::string> blobs;
  std::vector<NamedTensor> tensors;
  std::string code_version;
};

}  // namespace choir
