#include "data/loader/loader_state.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

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
  std::vector<std::pair<std::string, std::string>> identity = {
      {"tokenizer (fingerprint)", context.corpus->tokenizer().fingerprint},
      {"corpus in data.path (fingerprint)", context.corpus->fingerprint()},
      {"data.sequence_length", StrCat(config.sequence_length)},
      {"data.lanes", StrCat(config.lanes)},
      {"data.seed", StrCat(config.seed)},
      {"data.packing.look_ahead", StrCat(config.packing.look_ahead)},
      {"data.packing.document_masks", ScalarText(config.packing.document_masks)},
      {"data.packing.split_punctuation", ScalarText(config.packing.split_punctuation)},
      {"data.packing.fim_rate", ScalarText(config.packing.fim_rate)},
      {"data.mixture.by_source", ScalarText(config.mixture.by_source)}};
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
  constexpr int64_t kMost = int64_t{1} << 56;  // leaves room to count on
  LoaderState state;
  state.counters.steps = json.at("steps");
  state.counters.rows = json.at("rows");
  state.counters.positions = json.at("positions");
  state.counters.labels = json.at("labels");
  state.counters.batches = json.at("batches");
  for (const Json& item : json.at("stream_labels")) {
    const auto [language, source, labels] = item.get<std::tuple<int32_t, int32_t, int64_t>>();
    if (language < 0 || language >= std::ssize(context.corpus->languages()) || source < 0 ||
        source >= std::ssize(context.corpus->sources()) || labels < 0 || labels > kMost) {
      return Damaged("counters");
    }
    state.counters.stream_labels[{language, source}] = labels;
  }
  for (const int64_t count : {state.counters.steps, state.counters.batches, state.counters.rows,
                              state.counters.positions, state.counters.labels}) {
    if (count < 0 || count > kMost) return Damaged("counters");
  }
  if (state.counters.batches < state.counters.steps) return Damaged("counters");
  ASSIGN_OR_RETURN(state.ledger, LedgerFromJson(json.at("ledger"), context.streams));
  const LaneContext saved(context.corpus, context.config, context.streams, state.ledger.back().plan,
                          context.augmenter);
  if (!ParseHash(json.at("digest"), state.digest)) return Damaged("digest");
  const auto lanes = json.at("lanes").get<std::vector<std::vector<int64_t>>>();
  if (static_cast<int64_t>(lanes.size()) != context.config.lanes) return Damaged("lanes");
  for (size_t l = 0; l < lanes.size(); ++l) {
    const absl::Status status = ParseLaneState(lanes[l], saved, state.lanes.emplace_back());
    if (!status.ok()) return Damaged(StrCat("lane ", l, ": ", std::string(status.message())));
  }
  return state;
}

}  // namespace

std::string FormatLoaderState(const LoaderState& state, const LaneContext& context) {
  Json stream_labels = Json::array();
  for (const auto& [of, labels] : state.counters.stream_labels) {
    stream_labels.push_back({of.first, of.second, labels});
  }
  Json json = {{"format", kLoaderStateFormat},
               {"steps", state.counters.steps},
               {"batches", state.counters.batches},
               {"rows", state.counters.rows},
               {"positions", state.counters.positions},
               {"labels", state.counters.labels},
               {"stream_labels", stream_labels},
               {"ledger", LedgerToJson(state.ledger, context.streams)},
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
