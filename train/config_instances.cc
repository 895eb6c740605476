#include "train/config.h"

namespace choir {

template absl::StatusOr<RunConfig> LoadConfig<RunConfig>(const ConfigTree& tree,
                                                         ConfigLoadOptions options);
template std::string ConfigDump<RunConfig>(const RunConfig& config);
template std::vector<std::pair<std::string, std::string>> ConfigFlatten<RunConfig>(
    const RunConfig& config);

}  // namespace choir
