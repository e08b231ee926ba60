// The error of a derivative by differences over the step, drawn: a V whose left arm is rounding.
#pragma once

#include <string>

#include "tools/inspect/proof.h"

namespace crisp::inspect {

/// In characters, at most 76 columns wide, both axes logarithmic.
std::string curve_text(const LineProof& proof);
/// The same as a file of its own, with the remainder of Taylor's first order beside it; light and dark.
std::string curve_svg(const DerivativeProof& proof, const std::string& objective);

}  // namespace crisp::inspect
