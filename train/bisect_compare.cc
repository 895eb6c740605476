// Which numbers of two steps differ.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/strings.h"
#include "tensor/tolerance.h"
#include "train/bisect.h"
#include "train/update_bound.h"

namespace choir {
namespace {

// How far element i may be off; null: every bit counts.
using Allowed = std::function<double(int64_t i)>;

double Value(const Tensor& x, int64_t i) {
  return x.dtype() == DType::kF64 ? x.data<double>()[i] : static_cast<double>(x.data<float>()[i]);
}

double Largest(const Tensor& x) {
  double largest = 0;
  for (int64_t i = 0; i < x.NumElements(); ++i) largest = std::max(largest, std::abs(Value(x, i)));
  return largest;
}

bool SameBits(const Tensor& a, const Tensor& b, int64_t i) {
  const int64_t size = SizeOf(a.dtype());
  return std::memcmp(static_cast<const std::byte*>(a.raw()) + i * size,
                     static_cast<const std::byte*>(b.raw()) + i * size,
                     static_cast<size_t>(size)) == 0;
}

std::vector<int64_t> IndexOf(const Shape& shape, int64_t element) {
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()));
  for (int i = shape.rank() - 1; i >= 0; --i) {
    index[static_cast<size_t>(i)] = element % shape.dim(i);
    element /= shape.dim(i);
  }
  return index;
}

// A weight after the update of a gradient that may be off; none for rules without a bound.
std::optional<Allowed> AllowedOfWeight(const StepRecord& a, const std::string& parameter,
                                       const Tensor& weight, const Comparison& how) {
  double largest = INFINITY;
  for (const auto& [key, entry] : a.tensors) {
    if (key.name == "grad/" + parameter) largest = Largest(entry.tensor);
  }
  CHECK(std::isfinite(largest)) << parameter << " has no gradient";
  // A table keeps to adamw beside muon; then it has a second moment.
  const bool second = a.state.contains(StrCat("optim/", parameter, "/v"));
  const ParameterForm form = weight.shape().rank() < 2 ? ParameterForm::kVector
                             : second                  ? ParameterForm::kTable
                                                       : ParameterForm::kMatrix;
  const ParameterSettings settings = SettingsOf(how.optim, parameter, form);
  if (NeedsWholeMatrices(settings.kind)) return std::nullopt;
  const UpdateError off{settings, a.lr, how.bound * largest, largest, how.roundoff};
  return UpdateBound(off, weight, [&](const std::string& state) {
    return a.state.at(StrCat("optim/", parameter, "/", state));
  });
}

// None: the tensor is not compared.
std::optional<Allowed> AllowedOf(const StepRecord& a, const RecordKey& key, const Tensor& tensor,
                                 const Comparison& how) {
  if (how.bits || key.part == StepPart::kInitialState) return Allowed();
  if (key.part == StepPart::kState) {
    if (!key.name.starts_with("model/") || key.name.ends_with("_bias")) return std::nullopt;
    return AllowedOfWeight(a, key.name.substr(6), tensor, how);
  }
  return [allowed = how.bound * std::max(Largest(tensor), 1e-30)](int64_t) { return allowed; };
}

// Counts what differs and remembers the first; none if all is within what is allowed.
std::optional<BisectDifference> Compare(const Tensor& a, const Tensor& b, const Allowed& allowed) {
  BisectDifference difference;
  difference.elements = a.NumElements();
  for (int64_t i = 0; i < a.NumElements(); ++i) {
    if (SameBits(a, b, i)) continue;
    const double limit = allowed ? allowed(i) : 0, x = Value(a, i), y = Value(b, i);
    if (allowed && std::abs(x - y) <= limit) continue;
    if (difference.differing++ > 0) continue;
    difference.index = IndexOf(a.shape(), i);
    difference.a = x;
    difference.b = y;
    difference.allowed = limit;
  }
  if (difference.differing == 0) return std::nullopt;
  return difference;
}

// All digits of a float, or of a double that is none; NaN and infinity too.
std::string Digits(double value) {
  char text[32];
  const bool is_float = !(static_cast<double>(static_cast<float>(value)) != value);
  std::snprintf(text, sizeof(text), is_float ? "%.9g" : "%.17g", value);
  return text;
}

std::string Joined(const std::vector<int64_t>& index) {
  std::string text;
  for (int64_t i : index) text += StrCat(text.empty() ? "" : ", ", i);
  return text;
}

}  // namespace

std::string Describe(const BisectDifference& d) {
  std::string text = StrCat("step ", d.step, ", ");
  if (d.where.part == StepPart::kInitialState) text = "before step 1, ";
  const bool of_tokens =
      d.where.microbatch != kBeforeMicrobatches && d.where.microbatch != kAfterMicrobatches;
  if (of_tokens) text += StrCat("microbatch ", d.where.microbatch, ", ");
  if (d.where.layer >= 0) text += StrCat("layer ", d.where.layer, ", ");
  text += d.where.name;
  if (of_tokens) {
    text += StrCat(", token ", d.index.front());
    if (d.index.size() > 1) text += StrCat(", channel ", d.index[1]);
  } else if (!d.index.empty()) {
    text += StrCat("[", Joined(d.index), "]");
  }
  text += StrCat(": A has ", Digits(d.a), ", B has ", Digits(d.b));
  if (d.allowed > 0) text += StrCat(" (", d.allowed, " apart would be allowed)");
  return text + StrCat("; ", d.differing, " of ", d.elements, " elements differ");
}

std::optional<BisectDifference> FirstDifference(const StepRecord& a, const StepRecord& b,
                                                const Comparison& comparison, int64_t& compared) {
  for (const auto& [key, of_a] : a.tensors) {
    const auto found = b.tensors.find(key);
    if (found == b.tensors.end()) {
      // The same step to here, so that both gradients were finite or neither was.
      CHECK(key.part == StepPart::kState && !b.status.ok()) << "B has no " << key.name;
      return std::nullopt;
    }
    const StepRecord::Entry& of_b = found->second;
    CHECK(of_a.tensor.shape() == of_b.tensor.shape() && of_a.tensor.dtype() == of_b.tensor.dtype())
        << key.name << ": " << of_a.tensor.shape() << " and " << of_b.tensor.shape();
    const auto allowed = AllowedOf(a, key, of_a.tensor, comparison);
    if (!allowed) continue;
    ++compared;
    if (of_a.hash == of_b.hash) continue;
    auto difference = Compare(of_a.tensor, of_b.tensor, *allowed);
    if (!difference) continue;
    difference->where = key;
    return difference;
  }
  return std::nullopt;
}

}  // namespace choir
