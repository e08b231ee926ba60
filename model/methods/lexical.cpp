// By the cosine of the words' embeddings (Breaking BERT, arXiv 2210.03841), a query's own position first.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "engine/cpu/threads/team.h"
#include "model/key_lists.h"
#include "model/methods/method.h"

namespace crisp {
namespace {

Kept rank(const ListedQuery& query, double* numbers) {
  const double* cosines = query.similarities + query.position * query.length;
  for (int64_t j = 0; j < query.length; ++j) numbers[j] = -cosines[j];
  numbers[query.position] = -std::numeric_limits<double>::infinity();
  return {.within = -query.config.lexical_threshold.value_or(0)};
}

}  // namespace

std::vector<double> word_similarities(const Tensor& words, std::span<const int32_t> offsets, int threads) {
  const auto dim = static_cast<size_t>(words.dim(1));
  const std::vector<size_t> starts = matrix_starts(offsets);
  std::vector<double> cosines(starts.back()), unit(static_cast<size_t>(words.numel()));
  with_type(words, [&]<class T>() {
    const T* rows = words.data<T>();
    parallel_for(words.dim(0), threads, [&](int64_t i) {
      const auto t = static_cast<size_t>(i);
      const T* row = rows + t * dim;
      double squares = 0;
      for (size_t d = 0; d < dim; ++d) squares += static_cast<double>(row[d]) * static_cast<double>(row[d]);
      const double norm = squares > 0 ? std::sqrt(squares) : 1;
      for (size_t d = 0; d < dim; ++d) unit[t * dim + d] = static_cast<double>(row[d]) / norm;
    });
  });
  parallel_tasks(std::ssize(offsets) - 1, 1, threads, [&](int64_t task) {
    const auto s = static_cast<size_t>(task), first = static_cast<size_t>(offsets[s]);
    const size_t n = static_cast<size_t>(offsets[s + 1]) - first;
    double* matrix = cosines.data() + starts[s];
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i; j < n; ++j) {
        const double *a = unit.data() + (first + i) * dim, *b = unit.data() + (first + j) * dim;
        double dot = 0;
#pragma omp simd reduction(+ : dot)
        for (size_t d = 0; d < dim; ++d) dot += a[d] * b[d];
        matrix[i * n + j] = matrix[j * n + i] = std::isfinite(dot) ? dot : -2;
      }
    }
  });
  return cosines;
}

const Method lexical_method{
    .word = "lexical",
    .keeps = "the k keys with the largest cosine of the word embeddings",
    .instead = "`--lexical-threshold C`",
    .declare =
        [] {
          return one_measure(setting::number("lexical-threshold", &MethodNumbers::lexical_threshold,
                                             Interval{.low = -1, .high = 1},
                                             "keep cosines from X on, instead of a --sparsity"));
        },
    .measure = [](const SparseSettings& s) { return fmt::format("cosines from {:g} on", s.lexical_threshold.value()); },
    .rank = rank,
    .needs_words = true};

}  // namespace crisp
