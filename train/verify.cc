#include "train/verify.h"

#include <cmath>
#include <cstring>
#include <map>
#include <memory>

#include "base/status.h"
#include "base/strings.h"
#include "parallel/comm/local_world.h"
#include "tensor/tolerance.h"
#include "train/copies.h"
#include "train/model_precision.h"
#include "train/trainer.h"
#include "train/update_bound.h"

namespace choir {
namespace {

using Tensors = std::map<std::string, Tensor>;

struct StepRecord {
  double loss = 0, grad_norm = 0, lr = 0;
  std::vector<int64_t> dropped;
  Tensors gradients;
};

// K steps on one rank: state[k] is what step k starts from.
struct Reference {
  RunConfig config;
  std::map<std::string, ParameterSettings> settings;  // by parameter
  std::vector<Tensors> state;
  std::vector<StepRecord> steps;
};

Tensors Clones(const std::vector<Trainer::StateTensor>& parts) {
  Tensors tensors;
  for (const auto& t : parts) {
    tensors[t.name] = t.mine.Reshape(t.spreading.placement.shape).Clone(MemoryCategory::kWorkspace);
  }
  return tensors;
}

RunConfig ConfigFor(const RunConfig& config, const ParallelConfig& parallel, Numerics numerics) {
  RunConfig changed = config;
  changed.parallel = parallel;
  changed.numerics = numerics;
  changed.train.threads = 1;
  // One slot for each sequence: the more data ranks can share a step.
  changed.train.microbatch_sequences = config.train.microbatch_sequences.value_or(1);
  return changed;
}

absl::StatusOr<Reference> MakeReference(const RunConfig& config, const ParallelConfig& parallel,
                                        const VerifyOptions& options) {
  Reference reference;
  ASSIGN_OR_RETURN(auto trainer, Trainer::Make(ConfigFor(config, parallel, options.numerics)));
  reference.config = trainer->config();
  for (size_t i = 0; i < trainer->optimizer().size(); ++i) {
    reference.settings[trainer->optimizer().target(i).parameter->name] =
        trainer->optimizer().settings(i);
  }
  for (int k = 0; k < options.steps; ++k) {
    reference.state.push_back(Clones(trainer->State()));
    ASSIGN_OR_RETURN(StepReport report, trainer->ComputeGradients());
    StepRecord step{report.loss, report.grad_norm, 0, report.language_dropped,
                    Clones(trainer->Gradients())};
    RETURN_IF_ERROR(trainer->Update(report));
    step.lr = report.lr;
    reference.steps.push_back(std::move(step));
  }
  reference.state.push_back(Clones(trainer->State()));
  return reference;
}

// One for each capacity factor that layouts have, made when the first of them comes; the config's
// own even if there is no layout.
class References {
 public:
  References(const RunConfig& config, const VerifyOptions& options)
      : config_(config), options_(options) {}

  absl::StatusOr<const Reference*> For(const ParallelConfig& parallel) {
    ParallelConfig alone;
    alone.capacity_factor = parallel.capacity_factor;
    auto known = made_.find(alone.capacity_factor);
    if (known == made_.end()) {
      ASSIGN_OR_RETURN(Reference reference, MakeReference(config_, alone, options_));
      known = made_.emplace(alone.capacity_factor, std::move(reference)).first;
    }
    return &known->second;
  }

 private:
  const RunConfig& config_;
  const VerifyOptions& options_;
  std::map<std::optional<double>, Reference> made_;
};

bool SameBits(double a, double b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

void CompareScalar(Deviation& deviation, const std::string& what, double got, double want) {
  deviation.compared = true;
  if (SameBits(got, want)) return;
  const double difference = std::abs(got - want) / std::abs(want);
  deviation.equal = false;
  if (!(difference <= deviation.difference)) {
    deviation.difference = std::isnan(difference) ? INFINITY : difference;
    deviation.where = StrCat(what, ": ", got, " instead of ", want);
  }
}

// allowed(i): how far element i may be off, in units of `scale`.
template <class Allowed>
void CompareTensor(Deviation& deviation, const std::string& what, const Tensor& got,
                   const Tensor& want, const Allowed& allowed) {
  deviation.compared = true;
  if (std::memcmp(got.raw(), want.raw(), static_cast<size_t>(want.bytes())) == 0) return;
  deviation.equal = false;
  const float *a = got.data<float>(), *b = want.data<float>();
  for (int64_t i = 0; i < want.NumElements(); ++i) {
    const double off = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    double difference = off == 0 ? 0 : off / allowed(i);
    if (std::isnan(difference)) difference = INFINITY;
    if (difference <= deviation.difference && !deviation.where.empty()) continue;
    if (off == 0) continue;
    deviation.difference = std::max(difference, deviation.difference);
    deviation.where = StrCat(what, "[", i, "]: ", a[i], " instead of ", b[i]);
  }
}

double Largest(const Tensor& x) {
  double largest = 0;
  for (float v : x.span<float>()) largest = std::max(largest, std::abs(static_cast<double>(v)));
  return largest;
}

void CompareGradients(LayoutVerdict& verdict, const std::string& step, const Tensors& got,
                      const Tensors& want) {
  for (const auto& [name, tensor] : want) {
    const double scale = std::max(Largest(tensor), 1e-30);
    CompareTensor(verdict.gradients, step + name, got.at(name), tensor,
                  [scale](int64_t) { return scale; });
  }
}

void CompareWeights(LayoutVerdict& verdict, const Reference& reference, size_t k,
                    const Tensors& got) {
  const std::string step = StrCat("step ", k + 1, ", ");
  const Tensors& want = reference.state[k + 1];
  for (const auto& [name, tensor] : want) {
    if (verdict.promises_bits || !name.starts_with("model/") || name.ends_with("_bias")) {
      const double scale = std::max(Largest(tensor), 1e-30);
      if (!verdict.promises_bits && !name.ends_with("_bias")) continue;
      CompareTensor(verdict.weights, step + name, got.at(name), tensor,
                    [scale](int64_t) { return scale; });
      continue;
    }
    const std::string parameter = name.substr(6);
    const double largest = Largest(reference.steps[k].gradients.at("grad/" + parameter));
    const double error = verdict.gradients.bound * largest;
    const ParameterSettings& settings = reference.settings.at(parameter);
    if (NeedsWholeMatrices(settings.kind)) continue;
    const ParameterPrecision precision = PrecisionOf(reference.config, parameter, tensor.shape());
    const UpdateError off{settings, reference.steps[k].lr, error, largest,
                          UnitRoundoff(precision.master ? DType::kF32 : precision.storage)};
    const auto bound = UpdateBound(off, tensor, [&](const std::string& state) {
      return want.at(StrCat("optim/", parameter, "/", state));
    });
    CompareTensor(verdict.weights, step + name, got.at(name), tensor, bound);
  }
}

Tensors AssembleAll(const Trainer& trainer, const std::vector<Trainer::StateTensor>& parts) {
  Tensors tensors;
  for (const auto& t : parts) {
    const Tensor whole = Assemble(trainer.place(), t.spreading, t.mine, DType::kF32);
    if (whole.defined()) tensors[t.name] = whole;
  }
  return tensors;
}

// What the ranks drew, before anything is set.
absl::Status CompareInitial(Trainer& trainer, const Reference& reference, LayoutVerdict& verdict) {
  const Tensors initial = AssembleAll(trainer, trainer.State());
  for (const auto& [name, tensor] : initial) {  // none but on rank 0
    CompareTensor(verdict.initial, "at the start, " + name, tensor, reference.state[0].at(name),
                  [](int64_t) { return 1.0; });
  }
  return CheckCopies(trainer, initial);
}

std::string Joined(const std::vector<int64_t>& numbers) {
  std::string text;
  for (int64_t n : numbers) text += StrCat(text.empty() ? "" : " ", n);
  return text;
}

// On every rank; the verdict is rank 0's.
absl::Status CheckLayout(World& world, const Reference& reference, const RunConfig& config,
                         LayoutVerdict& verdict) {
  ASSIGN_OR_RETURN(auto trainer, Trainer::Make(config, &world));
  RETURN_IF_ERROR(CompareInitial(*trainer, reference, verdict));
  for (size_t k = 0; k < reference.steps.size(); ++k) {
    const std::string step = StrCat("step ", k + 1, ", ");
    trainer->SetState([&](const std::string& name) { return reference.state[k].at(name); });
    ASSIGN_OR_RETURN(StepReport report, trainer->ComputeGradients());
    const Tensors gradients = AssembleAll(*trainer, trainer->Gradients());
    RETURN_IF_ERROR(trainer->Update(report));
    const Tensors state = AssembleAll(*trainer, trainer->State());
    if (world.rank() == 0) {
      CompareScalar(verdict.loss, step + "loss", report.loss, reference.steps[k].loss);
      CompareScalar(verdict.grad_norm, step + "gradient norm", report.grad_norm,
                    reference.steps[k].grad_norm);
      CompareGradients(verdict, step, gradients, reference.steps[k].gradients);
      CompareWeights(verdict, reference, k, state);
    }
    RETURN_IF_ERROR(CheckCopies(*trainer, state));
    // Elsewhere a rounding may tip a choice of the router.
    if (!verdict.promises_bits || report.language_dropped == reference.steps[k].dropped) continue;
    return absl::DataLossError(
        StrCat(step, "choices dropped by language: ", Joined(report.language_dropped),
               " instead of ", Joined(reference.steps[k].dropped)));
  }
  return absl::OkStatus();
}

// Roundings of a layer that only a ring has: a row of attention is finished and taken up again
// between the up to 2 c parts of its document, each time by a reciprocal, a product, a logarithm
// and a sum, then a difference, an exponential and a product.
int64_t RingRoundings(const ParallelConfig& p) {
  const bool ring = p.context > 1 && p.context_method == ContextMethod::kRing;
  return ring ? 7 * (2 * int64_t{p.context} - 1) : 0;
}

LayoutVerdict Start(const VerifyLayout& layout, const Reference& reference, Numerics numerics) {
  LayoutVerdict verdict;
  verdict.layout = layout;
  verdict.promises_bits = PromisesBits(layout, numerics);
  const double bound = ErrorBound(DType::kF32, SumLength(reference.config, layout.parallel)) +
                       FormatBound(reference.config);
  for (Deviation* d : {&verdict.loss, &verdict.grad_norm, &verdict.gradients}) d->bound = bound;
  verdict.weights.bound = 1;  // CompareWeights counts in units of its own bound
  return verdict;
}

ParallelConfig WithOptions(const VerifyLayout& layout, const RunConfig& config,
                           const VerifyOptions& options) {
  ParallelConfig parallel = ParallelOf(layout, config);
  parallel.timeout_s = options.timeout_s;
  parallel.check_collectives = options.check_collectives;
  return parallel;
}

}  // namespace

int64_t SumLength(const RunConfig& config, const ParallelConfig& parallel) {
  const ModelConfig& m = config.model;
  const int64_t heads = int64_t{m.heads} * m.HeadDim();
  const int64_t ffn =
      std::max<int64_t>(m.ffn, int64_t{m.moe.width} * std::max(m.moe.top_k, m.moe.shared_experts));
  const int64_t block =
      2 * m.hidden + heads + config.data.sequence_length + ffn + RingRoundings(parallel);
  return 2 * (m.layers * block + *m.vocab_size) +
         config.data.batch_sequences * config.data.sequence_length;
}

double FormatBound(const RunConfig& config) {
  const PrecisionConfig& precision = config.precision;
  const bool fp8 = UsesFp8(precision);
  const bool sixteen =
      fp8 || ActivationFormat(precision) != DType::kF32 || WireFormat(precision) != DType::kF32 ||
      ResolvePrecision(precision, "layers.0.ffn.down", {1, 1}, false) != ParameterPrecision();
  if (!sixteen) return 0;
  // Of each layer: both operands of four products, and five results; forward and backward.
  const int64_t roundings = 2 * 13 * config.model.layers;
  return 8 * std::sqrt(static_cast<double>(roundings) + 16) *
         (fp8 ? std::ldexp(1, -4) : UnitRoundoff(DType::kBF16));
}

bool PromisesBits(const VerifyLayout& layout, Numerics numerics) {
  return numerics == Numerics::kInvariant && (layout.world & (layout.world - 1)) == 0;
}

bool LayoutVerdict::ok() const {
  if (!status.ok() || !initial.equal) return false;
  for (const Deviation* d : {&loss, &grad_norm, &gradients, &weights}) {
    if (promises_bits ? !d->equal : !d->within()) return false;
  }
  return true;
}

absl::Status VerifyLocal(const RunConfig& config, const std::vector<VerifyLayout>& layouts,
                         const VerifyOptions& options,
                         const std::function<void(const LayoutVerdict&)>& done) {
  References references(config, options);
  RETURN_IF_ERROR(references.For(config.parallel).status());
  for (const VerifyLayout& layout : layouts) {
    const RunConfig changed =
        ConfigFor(config, WithOptions(layout, config, options), options.numerics);
    ASSIGN_OR_RETURN(const Reference* reference, references.For(changed.parallel));
    LayoutVerdict verdict = Start(layout, *reference, options.numerics);
    std::vector<absl::Status> statuses(static_cast<size_t>(layout.world));
    const absl::Status job = RunLocal(layout.world, WorldOptionsOf(changed), [&](World& world) {
      statuses[static_cast<size_t>(world.rank())] =
          CheckLayout(world, *reference, changed, verdict);
    });
    verdict.status = job;
    for (const absl::Status& status : statuses) verdict.status.Update(status);
    done(verdict);
  }
  return absl::OkStatus();
}

absl::Status VerifyOnWorld(World& world, const RunConfig& config,
                           const std::vector<VerifyLayout>& layouts, const VerifyOptions& options,
                           const std::function<void(const LayoutVerdict&)>& done) {
  References references(config, options);
  RETURN_IF_ERROR(references.For(config.parallel).status());
  for (const VerifyLayout& layout : layouts) {
    const RunConfig changed =
        ConfigFor(config, WithOptions(layout, config, options), options.numerics);
    ASSIGN_OR_RETURN(const Reference* reference, references.For(changed.parallel));
    LayoutVerdict verdict = Start(layout, *reference, options.numerics);
    verdict.status = CheckLayout(world, *reference, changed, verdict);
    if (world.rank() == 0) done(verdict);
  }
  return absl::OkStatus();
}

}  // namespace choir
