// A loader that must open.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "data/loader/loader.h"

namespace choir::testing_data {

inline std::unique_ptr<BatchLoader> OpenLoader(const DataConfig& config) {
  auto loader = BatchLoader::Open(config);
  EXPECT_EQ(loader.status(), absl::OkStatus());
  return std::move(loader).value();
}

}  // namespace choir::testing_data
