// The saved data position: text, or edits of a sound one. What is taken for a state must be one:
// saved again it is the same.
#include "data/loader/loader.h"
#include "tests/fuzz/fuzz_corpus.h"
#include "tests/fuzz/json_edits.h"

namespace choir {
namespace {

using Json = nlohmann::json;

DataConfig Config() {
  MakeFuzzCorpus();
  DataConfig config;
  config.path = FuzzFolder();
  config.sequence_length = 16;
  config.batch_sequences = 3;
  config.lanes = 2;
  config.prefetch_rows = 0;
  config.packing.look_ahead = 4;
  return config;
}

BatchLoader& Loader() {
  static const std::unique_ptr<BatchLoader> loader = [] {
    absl::StatusOr<std::unique_ptr<BatchLoader>> opened = BatchLoader::Open(Config());
    CHECK(opened.ok()) << opened.status().ToString();
    for (int step = 0; step < 9; ++step) CHECK((*opened)->Next().ok());
    return *std::move(opened);
  }();
  return *loader;
}

void Run(std::string_view text) {
  static const std::string sound = Loader().SaveState();
  std::string state(text);
  if (!text.starts_with('{')) {
    Json json = Json::parse(sound);
    FuzzNumbers input(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    while (!input.empty()) {
      EditNumber(input, input.Take<uint8_t>() % 4 == 0 ? json : json["lanes"]);
    }
    state = json.dump();
  }
  const absl::Status status = Loader().RestoreState(state);
  CHECK(status.ok() || !text.empty()) << status.ToString();
  if (!status.ok()) return;
  const std::string saved = Loader().SaveState();
  CHECK(Loader().RestoreState(saved).ok()) << saved;
  CHECK(Loader().SaveState() == saved) << saved;
  for (int step = 0; step < 4; ++step) CHECK(Loader().Next().ok()) << saved;
}

}  // namespace
}  // namespace choir

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  choir::Run(choir::FuzzBytes(data, size));
  return 0;
}
