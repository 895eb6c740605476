#include "data/loader/loader_state.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/config_field.h"
#include "base/status.h"
#include "base/strings.h"

namespace choir {
namespace {

using Json = nlohmann::json;

constexpr int kLoaderStateFormat = 2;

// All that the sequence of rows is a function of, by the names that users know.
std::vector<std::pair<std::string, std::string>> IdentityOf(const LaneContext& context) {
  const DataConfig& config = context.config;
  std::vector<std::string> weights;
  for (size_t l = 0; l < context.mixture.weights().size(); ++l) {
    const int64_t weight = context.mixture.weights()[l];
    if (weight > 0) weights.push_back(StrCat(context.corpus->languages()[l], ":", weight));
  }
  std::vector<std::pair<std::string, std::string>> identity = {
      {"tokenizer (fingerprint)", context.corpus->tokenizer().fingerprint},
      {"corpus in data.path (fingerprint)", context.corpus->index().fingerprint},
      {"data.sequence_length", StrCat(config.sequence_length)},
      {"data.lanes", StrCat(config.lanes)},
      {"data.seed", StrCat(config.seed)},
      {"data.packing.look_ahead", StrCat(config.packing.look_ahead)},
      {"data.packing.document_masks", ScalarText(config.packing.document_masks)},
      {"data.packing.split_punctuation", ScalarText(config.packing.split_punctuation)},
      {"data.packing.fim_rate", ScalarText(config.packing.fim_rate)},
      {"data.mixture (weights)", absl::StrJoin(weights, " ")}};
  if (config.packing.fim_rate > 0) {
    identity.emplace_back("data.packing.fim_spm_rate", ScalarText(config.packing.fim_spm_rate));
    identity.emplace_back("data.packing.fim_prefix", config.packing.fim_prefix);
    identity.emplace_back("data.packing.fim_middle", config.packing.fim_middle);
    identity.emplace_back("data.packing.fim_suffix", config.packing.fim_suffix);
  }
  return identity;
}

absl::Status CompareIdentity(const Json& saved, const LaneContext& context) {
  std::string differences;
  for (const auto& [name, value] : IdentityOf(context)) {
    const std::string was = saved.value(name, "not stated");
    if (was != value) {
      differences += StrCat("\n  ", name, ": was ", was, " when the state was saved, is ", value);
    }
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("the data position cannot be continued, because the order of documents would be "
             "another one:",
             differences, "\nSet it back, or start a new run."));
}

bool ParseHash(const std::string& hex, Hash128& hash) {
  if (hex.size() != 32) return false;
  const auto half = [&](size_t begin, uint64_t& out) {
    const char* const end = hex.data() + begin + 16;
    const auto result = std::from_chars(hex.data() + begin, end, out, 16);
    return result.ec == std::errc() && result.ptr == end;
  };
  return half(0, hash.high) && half(16, hash.low);
}

absl::Status Damaged(const std::string& why) {
  return absl::InvalidArgumentError("the saved data position is damaged: " + why);
}

absl::StatusOr<LoaderState> ParseSound(const Json& json, const LaneContext& context) {
  RETURN_IF_ERROR(CompareIdentity(json.at("identity"), context));
  LoaderState state;
  state.counters.steps = json.at("steps");
  state.counters.rows = json.at("rows");
  state.counters.positions = json.at("positions");
  state.counters.labels = json.at("labels");
  state.counters.language_labels = json.at("language_labels").get<std::vector<int64_t>>();
  if (state.counters.rows < 0 || state.counters.steps < 0 ||
      state.counters.language_labels.size() != context.corpus->languages().size()) {
    return Damaged("counters");
  }
  if (!ParseHash(json.at("digest"), state.digest)) return Damaged("digest");
  const auto lanes = json.at("lanes").get<std::vector<std::vector<int64_t>>>();
  if (static_cast<int64_t>(lanes.size()) != context.config.lanes) return Damaged("lanes");
  for (size_t l = 0; l < lanes.size(); ++l) {
    const absl::Status status = ParseLaneState(lanes[l], context, state.lanes.emplace_back());
    RETURN_IF_ERROR(context.corpus->damage());  // lengths that the state is compared with
    if (!status.ok()) return Damaged(StrCat("lane ", l, ": ", std::string(status.message())));
  }
  return state;
}

}  // namespace

std::string FormatLoaderState(const LoaderState& state, const LaneContext& context) {
  Json json = {
      {"format", kLoaderStateFormat},    {"steps", state.counters.steps},
      {"rows", state.counters.rows},     {"positions", state.counters.positions},
      {"labels", state.counters.labels}, {"language_labels", state.counters.language_labels},
      {"digest", ToHex(state.digest)}};
  for (const auto& [name, value] : IdentityOf(context)) json["identity"][name] = value;
  for (const LaneState& lane : state.lanes) json["lanes"].push_back(LaneStateToNumbers(lane));
  return json.dump();
}

absl::StatusOr<LoaderState> ParseLoaderState(std::string_view text, const LaneContext& context) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Damaged("not JSON");
  try {
    if (json.at("format") != kLoaderStateFormat) {
      return absl::FailedPreconditionError(
          StrCat("the saved data position has format ", json.at("format").dump(),
                 ", this program reads format ", kLoaderStateFormat));
    }
    return ParseSound(json, context);
  } catch (const Json::exception& error) {
    return Damaged(error.what());
  }
}

}  // namespace choir
