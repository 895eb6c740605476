#include "data/build/build_config.h"

namespace choir {

template absl::StatusOr<DataBuildConfig> LoadConfig<DataBuildConfig>(const ConfigTree& tree,
                                                                     ConfigLoadOptions options);

}  // namespace choir
