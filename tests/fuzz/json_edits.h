// Mutations of JSON that keep it JSON: what a fuzzer of bytes hardly ever does.
#pragma once

#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

namespace choir {

// Reads numbers off the front of a fuzz input; zeros when it is used up.
class FuzzNumbers {
 public:
  FuzzNumbers(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  template <class T>
  T Take() {
    T value = 0;
    const size_t n = std::min(sizeof(T), size_ - std::min(at_, size_));
    if (n > 0) std::memcpy(&value, data_ + at_, n);
    at_ += sizeof(T);
    return value;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

// Every number in a value, in the order of the text.
inline void CollectNumbers(nlohmann::json& json, std::vector<nlohmann::json*>& numbers) {
  if (json.is_number()) numbers.push_back(&json);
  if (!json.is_structured()) return;
  for (nlohmann::json& child : json) CollectNumbers(child, numbers);
}

// One edit: a number gets another value (also a small one, or one relative to what it was), or is
// no number any more.
inline void EditNumber(FuzzNumbers& input, nlohmann::json& json) {
  std::vector<nlohmann::json*> numbers;
  CollectNumbers(json, numbers);
  const auto kind = input.Take<uint8_t>();
  const auto place = input.Take<uint16_t>();
  const auto value = input.Take<int64_t>();
  if (numbers.empty()) return;
  nlohmann::json& number = *numbers[place % numbers.size()];
  switch (kind % 5) {
    case 0:
      number = value;
      break;
    case 1:
      number = static_cast<int8_t>(value);
      break;
    case 2:
      if (number.is_number_integer()) {
        number = static_cast<int64_t>(number.get<uint64_t>() +
                                      static_cast<uint64_t>(static_cast<int8_t>(value)));
      }
      break;
    case 3:
      number = static_cast<double>(value) * 1e10;
      break;
    default:
      number = nullptr;
  }
}

}  // namespace choir
