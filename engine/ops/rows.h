// What the operations that look up rows of tables share.
#pragma once

#include "engine/context.h"
#include "engine/plan.h"
#include "engine/tensor.h"

namespace crisp {

/// Adds dy [n, dim] to the gradient of the rows of `table` that were looked up, dense or as rows, whichever the table
/// takes. Nothing where nobody needs it.
void add_row_gradients(const Context& context, const Tensor& table, const Rows& rows, const Tensor& dy);

}  // namespace crisp
