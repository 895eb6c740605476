#include "checkpoint/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/strings.h"
#include "checkpoint/load.h"
#include "checkpoint/names.h"
#include "tensor/float16.h"

namespace choir {
namespace {

using Json = nlohmann::json;

std::string KindAndShape(const TensorRecord& record) {
  return StrCat(Name(record.dtype), " ", record.shape.ToString());
}

double AsDouble(double value) { return value; }
double AsDouble(float value) { return value; }
double AsDouble(int32_t value) { return value; }
double AsDouble(BFloat16 value) { return ToFloat(value); }
double AsDouble(Float16 value) { return ToFloat(value); }

template <class T>
TensorDifference CompareElements(const Tensor& a, const Tensor& b) {
  const T* const x = a.data<T>();
  const T* const y = b.data<T>();
  TensorDifference difference;
  difference.elements = a.shape().NumElements();
  double of_a = 0, of_b = 0, between = 0;  // sums of squares
  for (int64_t i = 0; i < difference.elements; ++i) {
    const double p = AsDouble(x[i]), q = AsDouble(y[i]);
    if (std::memcmp(x + i, y + i, sizeof(T)) != 0) ++difference.differing;
    if (!std::isfinite(p) || !std::isfinite(q)) {
      ++difference.not_finite;
      continue;
    }
    of_a += p * p;
    of_b += q * q;
    between += (p - q) * (p - q);
    difference.largest = std::max(difference.largest, std::abs(p - q));
  }
  const double norm = std::sqrt(std::max(of_a, of_b));
  difference.relative = norm > 0 ? std::sqrt(between) / norm : 0;
  if (difference.not_finite > 0 && difference.differing > 0) {
    difference.relative = std::numeric_limits<double>::infinity();
  }
  return difference;
}

TensorDifference CompareTensors(const Tensor& a, const Tensor& b) {
  switch (a.dtype()) {
    case DType::kF64:
      return CompareElements<double>(a, b);
    case DType::kF32:
      return CompareElements<float>(a, b);
    case DType::kBF16:
      return CompareElements<BFloat16>(a, b);
    case DType::kF16:
      return CompareElements<Float16>(a, b);
    case DType::kI32:
      return CompareElements<int32_t>(a, b);
  }
  return {};
}

absl::Status CompareAllTensors(const Checkpoint& a, const Checkpoint& b,
                               CheckpointDifference& difference) {
  ASSIGN_OR_RETURN(TensorReader read_a, TensorReader::Open(a));
  ASSIGN_OR_RETURN(TensorReader read_b, TensorReader::Open(b));
  std::map<std::string_view, const TensorRecord*> in_b;
  for (const TensorRecord& record : b.manifest.tensors) in_b[record.name] = &record;
  for (const TensorRecord& record : a.manifest.tensors) {
    const auto found = in_b.find(record.name);
    if (found == in_b.end()) {
      difference.only_a.push_back(record.name);
      continue;
    }
    const TensorRecord& other = *found->second;
    in_b.erase(found);
    if (record.dtype != other.dtype || record.shape != other.shape) {
      difference.mismatched.push_back(
          StrCat(record.name, ": ", KindAndShape(record), " and ", KindAndShape(other)));
      continue;
    }
    ASSIGN_OR_RETURN(const Tensor x, read_a.Read(record));
    ASSIGN_OR_RETURN(const Tensor y, read_b.Read(other));
    if (x.bytes() == 0 || std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())) == 0) {
      ++difference.equal_tensors;
      continue;
    }
    difference.tensors.push_back(CompareTensors(x, y));
    difference.tensors.back().name = record.name;
  }
  for (const auto& [name, record] : in_b) difference.only_b.emplace_back(name);
  std::sort(difference.tensors.begin(), difference.tensors.end(),
            [](const TensorDifference& x, const TensorDifference& y) {
              return x.relative != y.relative ? x.relative > y.relative : x.name < y.name;
            });
  return absl::OkStatus();
}

absl::Status CompareBlobs(const Checkpoint& a, const Checkpoint& b,
                          CheckpointDifference& difference) {
  ASSIGN_OR_RETURN(const auto blobs_a, LoadBlobs(a));
  ASSIGN_OR_RETURN(const auto blobs_b, LoadBlobs(b));
  for (const auto& [name, bytes] : blobs_a) {
    const auto found = blobs_b.find(name);
    if (found == blobs_b.end()) difference.only_a.push_back(StrCat(kBlobPrefix, name));
    if (found != blobs_b.end() && found->second != bytes) difference.blobs.push_back(name);
  }
  for (const auto& [name, bytes] : blobs_b) {
    if (!blobs_a.contains(name)) difference.only_b.push_back(StrCat(kBlobPrefix, name));
  }
  return absl::OkStatus();
}

std::vector<std::string> KeysThatDiffer(const Json& a, const Json& b) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : a.items()) {
    if (!b.contains(key) || b.at(key) != value) keys.push_back(key);
  }
  for (const auto& [key, value] : b.items()) {
    if (!a.contains(key)) keys.push_back(key);
  }
  return keys;
}

std::string Lines(const char* what, const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += StrCat(what, name, "\n");
  return text;
}

}  // namespace

bool CheckpointDifference::empty() const {
  return only_a.empty() && only_b.empty() && mismatched.empty() && tensors.empty() &&
         blobs.empty() && state.empty() && !config;
}

absl::StatusOr<CheckpointDifference> CompareCheckpoints(const Checkpoint& a, const Checkpoint& b) {
  CheckpointDifference difference;
  difference.a = a.path;
  difference.b = b.path;
  difference.step_a = a.manifest.step;
  difference.step_b = b.manifest.step;
  RETURN_IF_ERROR(CompareAllTensors(a, b, difference));
  RETURN_IF_ERROR(CompareBlobs(a, b, difference));
  difference.state = KeysThatDiffer(a.manifest.state, b.manifest.state);
  difference.config = a.manifest.config != b.manifest.config;
  return difference;
}

std::string DifferenceText(const CheckpointDifference& difference, int64_t most) {
  std::string text = StrCat("a: ", difference.a, ", step ", difference.step_a,
                            "\nb: ", difference.b, ", step ", difference.step_b, "\n");
  if (difference.empty()) {
    return StrCat(text, "no difference: ", difference.equal_tensors, " tensors, blobs, state and ",
                  "config are the same\n");
  }
  text += Lines("only in a: ", difference.only_a);
  text += Lines("only in b: ", difference.only_b);
  text += Lines("not comparable: ", difference.mismatched);
  text += Lines("blob differs: ", difference.blobs);
  if (!difference.state.empty()) {
    text += StrCat("state differs: ", absl::StrJoin(difference.state, ", "), "\n");
  }
  if (difference.config) text += "the configs differ\n";
  text += StrCat(difference.equal_tensors, " tensors have the same bits, ",
                 difference.tensors.size(), " do not\n");
  const auto shown = std::min(most, static_cast<int64_t>(difference.tensors.size()));
  if (shown > 0) text += "relative    largest     elements that differ    tensor\n";
  for (int64_t i = 0; i < shown; ++i) {
    const TensorDifference& t = difference.tensors[static_cast<size_t>(i)];
    text += absl::StrFormat("%-11.3g %-11.3g %-23s %s%s\n", t.relative, t.largest,
                            StrCat(t.differing, " of ", t.elements), t.name,
                            t.not_finite > 0 ? StrCat("  (", t.not_finite, " not finite)") : "");
  }
  const int64_t left = static_cast<int64_t>(difference.tensors.size()) - shown;
  if (left > 0) text += StrCat("... and ", left, " more, which differ less (--most)\n");
  return text;
}

Json DifferenceJson(const CheckpointDifference& difference) {
  Json tensors = Json::array();
  for (const TensorDifference& t : difference.tensors) {
    // JSON has no infinity.
    const Json relative = std::isfinite(t.relative) ? Json(t.relative) : Json(nullptr);
    tensors.push_back({{"name", t.name},
                       {"elements", t.elements},
                       {"differing", t.differing},
                       {"relative", relative},
                       {"largest", t.largest},
                       {"not_finite", t.not_finite}});
  }
  return {{"same", difference.empty()},  {"a", difference.a},
          {"b", difference.b},           {"step_a", difference.step_a},
          {"step_b", difference.step_b}, {"only_a", difference.only_a},
          {"only_b", difference.only_b}, {"mismatched", difference.mismatched},
          {"tensors", tensors},          {"equal_tensors", difference.equal_tensors},
          {"blobs", difference.blobs},   {"state", difference.state},
          {"config", difference.config}};
}

}  // namespace choir
