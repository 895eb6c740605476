// What `choir checkpoint list|show|verify` print: as text for people (ending in a line break) and
// as JSON for programs.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "checkpoint/checkpoint_list.h"
#include "checkpoint/integrity.h"

namespace choir {

// One line a checkpoint: step, size, tensors, state of health, path.
std::string ListText(std::span<const CheckpointEntry> entries);
nlohmann::json ListJson(std::span<const CheckpointEntry> entries);

// Summary, files, tensors by kind, every tensor and blob. JSON has config and state too.
std::string DescribeText(const Checkpoint& checkpoint);
nlohmann::json DescribeJson(const Checkpoint& checkpoint);

// A line a file, then the verdict; names everything damaged.
std::string VerifyText(const VerifyReport& report);
nlohmann::json VerifyJson(const VerifyReport& report);

}  // namespace choir
