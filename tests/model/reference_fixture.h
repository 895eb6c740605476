// Tensors recorded by tests/reference/ in safetensors files: eight bytes of header length, a JSON
// header that names dtype, shape and place of every tensor, and the raw little-endian values.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/config.h"
#include "tensor/tensor.h"

namespace choir {

class ReferenceFixture {
 public:
  // tests/fixtures/reference/<name>.safetensors; a test that cannot read it ends the program.
  explicit ReferenceFixture(const std::string& name)
      : path_(std::string(CHOIR_SOURCE_DIR) + "/tests/fixtures/reference/" + name +
              ".safetensors") {
    std::ifstream file(path_, std::ios::binary);
    CHECK(file.good()) << path_ << " cannot be read";
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    uint64_t header = 0;
    CHECK(bytes_.size() > sizeof header);
    std::memcpy(&header, bytes_.data(), sizeof header);
    start_ = sizeof header + header;
    CHECK(start_ <= bytes_.size());
    header_ = nlohmann::json::parse(bytes_.substr(sizeof header, header));
  }

  // A config section, stored as JSON (which is YAML).
  template <class Config>
  Config Section(const std::string& name) const {
    const auto tree = ConfigTree::ParseString(Metadata(name), path_ + ":" + name);
    CHECK(tree.ok()) << tree.status().ToString();
    const auto config = LoadConfig<Config>(*tree);
    CHECK(config.ok()) << config.status().ToString();
    return *config;
  }
  // A number of a JSON object in the metadata.
  int64_t Number(const std::string& object, const std::string& key) const {
    return nlohmann::json::parse(Metadata(object)).at(key).get<int64_t>();
  }

  std::string Metadata(const std::string& name) const {
    return header_.at("__metadata__").at(name);
  }
  // A JSON list in the metadata.
  std::vector<std::string> List(const std::string& name) const {
    return nlohmann::json::parse(Metadata(name)).get<std::vector<std::string>>();
  }

  bool Has(const std::string& name) const { return header_.contains(name); }
  Shape ShapeOf(const std::string& name) const {
    return Shape(header_.at(name).at("shape").get<std::vector<int64_t>>());
  }
  // Converts exactly: F64 only to double.
  template <class T>
  std::vector<T> Values(const std::string& name) const {
    CHECK(Has(name)) << path_ << " has no " << name;
    const std::string dtype = header_.at(name).at("dtype");
    if (dtype == "F64") {
      CHECK(std::is_same_v<T, double>) << name << " would be rounded";
      return Read<double, T>(name);
    }
    CHECK(dtype == "F32" || dtype == "I32") << name << " is " << dtype;
    return dtype == "F32" ? Read<float, T>(name) : Read<int32_t, T>(name);
  }

 private:
  template <class From, class To>
  std::vector<To> Read(const std::string& name) const {
    const auto place = header_.at(name).at("data_offsets").get<std::vector<size_t>>();
    const auto count = static_cast<size_t>(ShapeOf(name).NumElements());
    CHECK(place[1] - place[0] == count * sizeof(From));
    CHECK(start_ + place[1] <= bytes_.size()) << path_ << " is cut short";
    std::vector<From> values(count);
    std::memcpy(values.data(), bytes_.data() + start_ + place[0], count * sizeof(From));
    return std::vector<To>(values.begin(), values.end());
  }

  std::string path_;
  std::string bytes_;
  size_t start_ = 0;
  nlohmann::json header_;
};

}  // namespace choir
