// The options of sparse attention, declared once: of command lines, studies and the library.
#pragma once

#include "data/input/setting.h"
#include "model/sparsity.h"

namespace crisp {

/// Those of any method, then each method's own. Where a run has none of them it is dense.
const Settings<SparsityOptions>& sparse_settings();

}  // namespace crisp
