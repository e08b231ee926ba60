// Wrong ways through attention's backward pass, for both exercises on it.
#pragma once

#include "tools/lessons/grader/course.h"

namespace crisp::lessons {

/// Packed tensors of a case, and the truth of attention with a rule that keeps `kept` keys (0: all).
Case make_attention_case(CaseMaker& make, int64_t kept, const Tensor& q, const Tensor& k, const Tensor& v,
                         const Tensor& dy);

/// softmax(scale q k') over all keys: [batch, queries, keys].
Values all_weights(const Case& c);
Values scores(const Case& c);

/// How a row of dscores is made of its weights p and their gradients g.
using ScoreGradient = std::function<void(std::span<const double> p, std::span<const double> g, std::span<double> ds)>;
/// The gradient `name` (dq, dk or dv) with weights p [batch, queries, keys] and such dscores.
Values attention_gradient(const Case& c, const std::string& name, const Values& p, const ScoreGradient& ds);

/// What is right.
void softmax_gradient(std::span<const double> p, std::span<const double> g, std::span<double> ds);

/// Those of the weights that the case gives: for dq and dk.
std::vector<Mistake> softmax_mistakes();

}  // namespace crisp::lessons
