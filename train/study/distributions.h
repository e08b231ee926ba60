// Student's t distribution and the binomial with p = 1/2: what the tests and intervals of statistics.h rest on.
// Outside of a function's domain the result is NaN, and NaN gives NaN. Nothing here throws.
#pragma once

#include <cstdint>

namespace crisp {

/// The regularised incomplete beta function I_x(a, b) for a, b > 0 and 0 <= x <= 1, by Lentz's evaluation of its
/// continued fraction (DLMF 8.17.22). `y` is 1 - x, given by the caller because the subtraction would lose the digits
/// of a y close to 0. Relative error about 1e-12 for a, b up to a few thousand.
double incomplete_beta(double a, double b, double x, double y);

/// P(T <= t) for Student's t with df > 0 degrees of freedom (not only whole ones):
/// P(T > t) = I_{df / (df + t^2)}(df / 2, 1 / 2) / 2 for t >= 0 (Abramowitz & Stegun 26.7.1),
/// with the relative precision of a tail down to about 1e-150. df is finite, here and below.
double student_t_cdf(double t, double df);

/// The t with student_t_cdf(t, df) = p, 0 <= p <= 1, found by bisection; -inf for p = 0 and inf for p = 1.
double student_t_quantile(double p, double df);

/// P(|T| > critical) for the noncentral t distribution with df > 0 degrees of freedom and noncentrality `delta`, that
/// is T = (Z + delta) / sqrt(chi^2_df / df), for critical > 0. T^2 has the noncentral F distribution, hence
///   P(|T| <= critical) = sum over j of Poisson(j; delta^2 / 2) I_x(j + 1 / 2, df / 2)
/// with x = critical^2 / (df + critical^2)
/// (Johnson, Kotz & Balakrishnan, Continuous Univariate Distributions 2, chapters 30 and 31): positive terms only.
/// Absolute error about 1e-13.
double noncentral_t_two_tails(double critical, double df, double delta);

/// P(X <= k) for X binomial with n trials of probability 1 / 2. Exact up to rounding for any n: the probabilities are
/// formed as multiples of the largest one, from which each follows by a ratio, so that nothing overflows. Below 1e-300
/// of the largest one they count as 0. Time grows with sqrt(n).
double half_binomial_cdf(int64_t k, int64_t n);

}  // namespace crisp
