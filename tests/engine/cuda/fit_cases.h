// Calls that between them run every kernel of engine/cuda, at widths as DistilBERT's or fractions of them.
#pragma once

namespace crisp::test {

/// In T = float and double, in the context in use, on the emulated GPU.
template <class T>
void run_every_kernel();

}  // namespace crisp::test
