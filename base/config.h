// Configs, described once by the Visit of each section (base/config_field.h).
#pragma once

#include "base/config_docs.h"    // IWYU pragma: export
#include "base/config_dump.h"    // IWYU pragma: export
#include "base/config_field.h"   // IWYU pragma: export
#include "base/config_fields.h"  // IWYU pragma: export
#include "base/config_limits.h"  // IWYU pragma: export
#include "base/config_load.h"    // IWYU pragma: export
#include "base/config_tree.h"    // IWYU pragma: export
