#!/usr/bin/env python3
"""Prints the reference numbers that tests/train/study/test_statistics.cpp holds.

    pip install scipy==1.17.1 statsmodels==0.15.0 mpmath==1.4.1
    python make_statistics_golden.py

Distributions come from mpmath in 40 digits, and SciPy has to agree with it; tests and bootstraps from SciPy and
statsmodels, the two-level bootstrap from a plain numpy version of its definition.
"""
import math

import mpmath
import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

mpmath.mp.dps = 40


def close(got, want, relative):
    assert abs(float(got) - float(want)) <= relative * abs(float(want)), (float(got), float(want))
    return float(want)


def row(*values):
    print("    {" + ", ".join(map(str, values)) + "},")


def t_cdf(t, df):
    tail = mpmath.betainc(mpmath.mpf(df) / 2, mpmath.mpf(1) / 2, 0, df / (df + mpmath.mpf(t) ** 2), regularized=True) / 2
    return 1 - tail if t > 0 else tail


def t_quantile(p, df):
    start = float(stats.t.ppf(float(p), df))
    return mpmath.findroot(lambda t: t_cdf(t, df) - mpmath.mpf(p), (start, start * (1 + 1e-6)))


print("Student t: t, df, cdf")
for t, df in [(0.0, 3.0), (-1.0, 1.0), (-1.0, 2.0), (-2.5, 4.0), (-12.0, 2.0), (-40.0, 9.0), (-2.0, 100.0), (-5.0, 1000.0)]:
    row(t, df, close(stats.t.cdf(t, df), t_cdf(t, df) if t else mpmath.mpf(0.5), 1e-9))

print("Student t: p, df, quantile")
for p, df in [(0.975, 1.0), (0.975, 2.0), (0.975, 4.0), (0.975, 9.0), (0.975, 1000.0)]:
    row(p, df, float(t_quantile(p, df)))



def power_of_t(n, effect, level=0.05):
    """P(|T| > c) by integrating over the chi of the denominator: another formula than the one under test."""
    df, critical, delta = n - 1, t_quantile(1 - mpmath.mpf(level) / 2, n - 1), mpmath.sqrt(n) * effect
    half, root = mpmath.mpf(df) / 2, mpmath.sqrt(df)
    chi = lambda v: 2 * mpmath.exp((df - 1) * mpmath.log(v) - v * v / 2 - mpmath.loggamma(half) - half * mpmath.log(2))
    inside = lambda v: (mpmath.ncdf(critical * v / root - delta) - mpmath.ncdf(-critical * v / root - delta)) * chi(v)
    return 1 - mpmath.quad(inside, [0, root / 4, root / 2, root, root + 1, root + 3, root + 6, root + 12, root + 30])


print("power: seeds, effect (difference / sd), power")
for n, effect in [(2, 0.0), (2, 1.0), (2, 11.0), (3, 1.5), (5, 0.5), (5, -1.5), (10, 1.0), (20, 0.66), (100, 0.28), (5, 3.0),
                  (3, 20.0)]:
    row(n, effect, close(TTestPower().power(effect, n, 0.05), power_of_t(n, mpmath.mpf(effect)), 1e-8))

print("detectable effect: seeds, power, effect")
for n, power in [(2, 0.8), (3, 0.8), (5, 0.8), (10, 0.8), (30, 0.8), (100, 0.9), (5, 0.5), (10, 0.99)]:
    found = TTestPower().solve_power(effect_size=None, nobs=n, alpha=0.05, power=power)  # stops at about 6 digits
    root = mpmath.findroot(lambda e: power_of_t(n, e) - power, (found, found * (1 + 1e-6)), tol=1e-25)
    row(n, power, close(found, root, 1e-5))

print("detectable effect at 0.05 / comparisons: seeds, power, comparisons, effect")
for n, power, m in [(2, 0.8, 3), (4, 0.8, 3), (5, 0.8, 19), (10, 0.9, 3)]:
    level, low, high = mpmath.mpf(0.05) / m, mpmath.mpf(0.1), mpmath.mpf(200)
    for _ in range(18):
        middle = (low + high) / 2
        low, high = (middle, high) if power_of_t(n, middle, level) < power else (low, middle)
    row(n, power, m, float(mpmath.findroot(lambda e: power_of_t(n, e, level) - power, (low, high), solver="anderson", tol=1e-25)))

print("McNemar: only first, only second, p")
for b, c in [(0, 0), (0, 1), (0, 6), (3, 3), (4, 5), (5, 15), (15, 5), (12, 30), (250, 310), (1000, 1200), (100000, 101500),
             (0, 60), (20, 900), (1000000, 1000000), (5000000, 5003000)]:
    k, n = min(b, c), b + c
    if n == 0:
        row(b, c, 1.0)
        continue
    p = float(stats.binomtest(k, n, 0.5).pvalue)
    if n < 10000:  # in whole numbers
        p = float(min(mpmath.mpf(1), 2 * mpmath.mpf(sum(math.comb(n, i) for i in range(k + 1))) / mpmath.mpf(2) ** n))
        close(stats.binomtest(k, n, 0.5).pvalue, p, 1e-9)
    close(mcnemar([[0, b], [c, 0]], exact=True).pvalue, p, 1e-8)
    row(b, c, p)

print("paired t: n, mean, sd, low, high, p")
first, second = np.array([0.8922, 0.8830, 0.8911, 0.9002, 0.8865]), np.array([0.8899, 0.8773, 0.8922, 0.8911, 0.8819])
test = stats.ttest_rel(second, first)
interval = test.confidence_interval(0.95)
row(len(first), float(np.mean(second - first)), float(np.std(second - first, ddof=1)), float(interval.low), float(interval.high), float(test.pvalue))
# Student's sleep data (1908): the additional hours of sleep by two drugs, the classic paired example.
drug1, drug2 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
test = stats.ttest_rel(drug2, drug1)
interval = test.confidence_interval(0.95)
d = np.subtract(drug2, drug1)
row(10, float(np.mean(d)), float(np.std(d, ddof=1)), float(interval.low), float(interval.high), float(test.pvalue))

print("percentile bootstrap of the mean of the sleep differences, a million resamples: low, high, standard error")
result = stats.bootstrap((d,), np.mean, n_resamples=1_000_000, method="percentile", batch=10000, rng=np.random.default_rng(0))
row(float(result.confidence_interval.low), float(result.confidence_interval.high), float(result.standard_error))

print("two-level bootstrap, 200000 resamples: low, high, standard deviation; then of wrong variants")


def answers(arm, seeds, examples):
    """The test's own generator: some examples are hard for all seeds, and some seeds are worse in both arms."""
    state, out = 12345 + arm, np.zeros((seeds, examples), dtype=np.int64)
    for s in range(seeds):
        for e in range(examples):
            state = (state * 1103515245 + 12345) % 2**31
            chance = (20 if e % 5 == 0 else 95 if e % 5 < 3 else 80) - 15 * (s % 3)
            if arm == 1:
                chance += 25 if e % 5 == 0 else s % 2
            out[s, e] = state // 65536 % 100 < chance
    return out


seeds, examples = 6, 150
a, b = answers(0, seeds, examples), answers(1, seeds, examples)
gain = b - a
rng = np.random.default_rng(1)
right, per_seed, unpaired, no_seeds, no_examples = [], [], [], [], []
for _ in range(200000):
    s, e = rng.integers(0, seeds, seeds), rng.integers(0, examples, examples)
    right.append(gain[s][:, e].mean())
    no_seeds.append(gain[:, e].mean())
    no_examples.append(gain[s].mean())
    unpaired.append(b[rng.integers(0, seeds, seeds)][:, e].mean() - a[s][:, e].mean())
for _ in range(20000):
    s = rng.integers(0, seeds, seeds)
    per_seed.append(np.mean([gain[i, rng.integers(0, examples, examples)].mean() for i in s]))
print("    accuracies", a.mean(), b.mean(), "counts", a.sum(), b.sum())
for name, values in dict(right=right, no_seeds=no_seeds, no_examples=no_examples, unpaired_seeds=unpaired, examples_per_seed=per_seed).items():
    low, high = np.percentile(values, [2.5, 97.5])
    row(name, float(low), float(high), float(np.std(values)))
print("    pooled McNemar:", int((gain < 0).sum()), int((gain > 0).sum()), stats.binomtest(int((gain > 0).sum()), int((gain != 0).sum()), 0.5).pvalue)

print("Holm: p, adjusted")
p = [0.01, 0.04, 0.03, 0.005, 0.2, 0.03, 1.0, 0.0]
for raw, adjusted in zip(p, multipletests(p, method="holm")[1]):
    row(raw, float(adjusted))

print("calibration error, 15 bins, by its formula: confidences (7 i^2 + 3 i) mod 101 / 202 + 1/2, correct where (i * 37) mod 100 < 72")
i = np.arange(60)
confidence, correct = ((7 * i * i + 3 * i) % 101) / 202 + 0.5, (i * 37) % 100 < 72
for bins in (1, 10, 15):
    edges = np.linspace(0, 1, bins + 1)
    error = 0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    row(bins, float(error))
