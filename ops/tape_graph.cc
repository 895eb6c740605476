#include "ops/tape_graph.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "ops/tape_value.h"

namespace choir {
namespace {

struct Recording {
  std::deque<TapeGraph>* graphs;
  Device device;
};
thread_local Recording recording_of_thread{nullptr, Device::kCpu};
thread_local std::vector<internal::TapeRecorder*> recorders_of_thread;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ScopedTapeRecording::ScopedTapeRecording(std::deque<TapeGraph>& graphs, Device device) {
  CHECK(recording_of_thread.graphs == nullptr) << "one recording at a time";
  recording_of_thread = {&graphs, device};
}

ScopedTapeRecording::~ScopedTapeRecording() { recording_of_thread.graphs = nullptr; }

namespace internal {

std::shared_ptr<TapeRecorder> MakeTapeRecorder() {
  const Recording& recording = recording_of_thread;
  if (recording.graphs == nullptr) return nullptr;
  return std::make_shared<TapeRecorder>(recording.graphs->emplace_back(), recording.device);
}

struct TapeRecorder::Span {
  std::vector<Work> work;
  WorkListener add = [this](const Work& w) { work.push_back(w); };
  ScopedWorkListener listening{add};
  int64_t bytes = 0;   // when it began
  int64_t others = 0;  // of them, what is neither gradients nor workspace of this tape
  double start = Now();
};

TapeRecorder::TapeRecorder(TapeGraph& graph, Device device)
    : graph_(graph), ledger_(CurrentLedger(device)) {
  seen_ = ledger_.CurrentTotal();
  base_ = seen_ - Others();
  recorders_of_thread.push_back(this);
}

TapeRecorder::~TapeRecorder() {
  AddDeaths();
  std::erase(recorders_of_thread, this);
}

// Bytes of the graphs' tensors.
int64_t TapeRecorder::Alive() const {
  int64_t bytes = 0;
  for (size_t i = 0; i < held_.size(); ++i) {
    if (!held_[i].dead && !held_[i].storage.expired()) bytes += graph_.tensors[i].bytes;
  }
  return bytes;
}

// Bytes that come and go, but are no node's own: tensors of all graphs, parameters' gradients.
int64_t TapeRecorder::Others() const {
  int64_t bytes = ledger_.Current(MemoryCategory::kGradients);
  for (const TapeRecorder* recorder : recorders_of_thread) bytes += recorder->Alive();
  return bytes;
}

void TapeRecorder::Begin() {
  CHECK(span_ == nullptr) << "a kernel inside of another: record a tape that drops nothing";
  ledger_.ResetPeak();
  span_ = std::make_unique<Span>();
  span_->bytes = ledger_.CurrentTotal();
  span_->others = base_ + Others();
}

void TapeRecorder::Add(Value& value, TapeTensor tensor) {
  value.recorded = static_cast<int>(graph_.tensors.size());
  held_.push_back({value.tensor.WeakStorage(), tensor.view_of >= 0});
  graph_.tensors.push_back(std::move(tensor));
}

// The tensor that owns the storage.
int TapeRecorder::Root(const Value& value) const {
  CHECK(value.recorded >= 0);
  const int source = graph_.tensors[static_cast<size_t>(value.recorded)].view_of;
  return source >= 0 ? source : value.recorded;
}

void TapeRecorder::AddInput(Value& value) {
  const int64_t bytes = RoundedBytes(value.tensor.bytes());
  const int64_t now = ledger_.CurrentTotal();
  if (graph_.kernels.empty() && now - seen_ < bytes) base_ -= bytes;  // there before the tape
  seen_ = now;
  Add(value, {.bytes = bytes});
}

void TapeRecorder::BeginKernel() { Begin(); }

void TapeRecorder::EndKernel(const std::vector<Value*>& reads) {
  TapeKernel& kernel = graph_.kernels.emplace_back();
  kernel.seconds = Now() - span_->start;
  kernel.work = std::move(span_->work);
  kernel.inputs = Indices(reads);
  kernel.workspace = ledger_.PeakTotal() - span_->bytes;  // AddResult takes the results away
  span_ = nullptr;
}

void TapeRecorder::AddResult(const Tag& tag, int layer, Value& value, const Value* source) {
  TapeKernel& kernel = graph_.kernels.back();
  const int index = static_cast<int>(graph_.kernels.size()) - 1;
  TapeTensor tensor{
      .tag = std::string(tag.name), .layer = layer, .kernel = index, .decision = tag.decision};
  if (source != nullptr) {
    tensor.view_of = Root(*source);
  } else {
    tensor.bytes = RoundedBytes(value.tensor.bytes());
    kernel.workspace = std::max<int64_t>(0, kernel.workspace - tensor.bytes);
  }
  Add(value, std::move(tensor));
  kernel.outputs.push_back(value.recorded);
}

void TapeRecorder::AddView(Value& value, const Value& source) {
  Add(value, {.view_of = Root(source)});
}

void TapeRecorder::Release(const Value& value) {
  if (!forward_) return;
  graph_.tensors[static_cast<size_t>(value.recorded)].released =
      static_cast<int>(graph_.kernels.size()) - 1;
}

void TapeRecorder::EndForward() {
  if (!forward_) return;
  forward_ = false;
  for (TapeTensor& tensor : graph_.tensors) {
    const bool outside = tensor.kernel < 0 && tensor.view_of < 0;
    if (tensor.released < 0 || outside) tensor.released = static_cast<int>(graph_.kernels.size());
  }
}

std::vector<int> TapeRecorder::Indices(const std::vector<Value*>& reads) {
  std::vector<int> indices;
  for (const Value* value : reads) {
    CHECK(value->recorded >= 0) << "a value of a tape that is not recorded";
    if (std::find(indices.begin(), indices.end(), value->recorded) == indices.end()) {
      indices.push_back(value->recorded);
    }
  }
  return indices;
}

void TapeRecorder::BeginNode() {
  EndForward();
  AddDeaths();
  Begin();
}

void TapeRecorder::End(TapeNode& node) {
  node.seconds = Now() - span_->start;
  node.work = std::move(span_->work);
  node.read_bytes = std::max<int64_t>(0, span_->bytes - span_->others);
  node.peak_bytes = std::max(node.read_bytes, ledger_.PeakTotal() - span_->others);
  span_ = nullptr;
}

void TapeRecorder::EndNode(const std::vector<Value*>& reads) {
  TapeNode& node = graph_.backward.emplace_back();
  End(node);
  node.reads = Indices(reads);
}

void TapeRecorder::BeginDeferred() {
  AddDeaths();
  Begin();
  deferred_ = true;
}

void TapeRecorder::EndDeferred() { End(graph_.backward.emplace_back()); }

// What has gone since the last node began went with that node's closure. Closures hold decisions,
// and where they were put off all tensors, without a Saved: that counts as reading.
void TapeRecorder::AddDeaths() {
  for (size_t i = 0; i < held_.size(); ++i) {
    if (held_[i].dead || !held_[i].storage.expired()) continue;
    held_[i].dead = true;
    if (graph_.backward.empty() || !(deferred_ || graph_.tensors[i].decision)) continue;
    std::vector<int>& reads = graph_.backward.back().reads;
    const int index = static_cast<int>(i);
    if (std::find(reads.begin(), reads.end(), index) == reads.end()) reads.push_back(index);
  }
}

}  // namespace internal
}  // namespace choir
