// Running a model over a dataset: predictions, accuracy, and what its attention kept.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/batch.h"
#include "engine/error.h"
#include "model/distilbert.h"
#include "train/inference/flops.h"

namespace crisp {

struct Prediction {
  int32_t label = 0;  // the largest logit; the first of equal ones
  std::vector<double> logits;
  std::vector<double> scores;  // what the head's function makes of them: probabilities, or for a regression the logits
};

/// A logit, or the loss, is NaN or infinite. Whoever knows where the weights are from says what that means.
class NotFinite : public Diverged {
 public:
  explicit NotFinite(const std::string& what) : Diverged(what) {}
  /// A logit of an example, counted from 0, is "nan" or "infinite".
  NotFinite(int64_t example, const char* value)
      : Diverged("a logit of sentence " + std::to_string(example + 1) + " is " + value),
        example_(example),
        value_(value) {}
  /// The same for a part of the data that `before` examples came before.
  NotFinite behind(int64_t before) const { return value_ ? NotFinite(example_ + before, value_) : *this; }

 private:
  int64_t example_ = 0;
  const char* value_ = nullptr;
};

/// What the attention of one layer did, over all queries and keys of the dataset.
struct LayerSparsity {
  double requested = 0;                     // as configured, 0 where dense, NaN where a measure decides instead
  double effective = 0;                     // 1 - kept / valid (query, key) pairs
  std::vector<double> head_effective = {};  // the same of each head
  std::vector<double> head_entropy = {};    // mean over queries of the weights' entropy in nats, one per head
  // Its part of the mean over queries of log(allowed keys), the most that is possible; NaN where each has one key only.
  std::vector<double> head_normalised_entropy = {};
};

struct Evaluation {
  int64_t correct = 0;  // over labelled examples
  int64_t total = 0;    // examples
  double loss = 0;      // mean cross-entropy over all examples; NaN without labels
  double accuracy() const { return total == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(total); }
  std::vector<Prediction> predictions;  // in the dataset's order
  std::vector<LayerSparsity> layers;    // where statistics were asked for
  ForwardFlops flops;                   // the same
  /// The model's learned degrees and the windows that they are rounded to, [layer][head]; empty where there are none.
  std::vector<std::vector<double>> spans;
  std::vector<std::vector<int64_t>> span_windows;
};

enum class Statistics : uint8_t { none, attention };

/// What is called while an evaluation runs; either may throw to give it up.
struct EvaluationHooks {
  std::function<void()> before_each_operation = {};
  std::function<void(int64_t)> after_batch = {};  // with the number of examples that are done
};

/// Every example, in batches of `batch_size` in the dataset's order, without dropout. Asking for statistics changes no
/// bit of the predictions. Labels count where the head's function is softmax; loss is NaN for another. Throws NotFinite
/// when a logit is not finite.
Evaluation evaluate(const DistilBert& model, const TokenizedDataset& data, int batch_size, Statistics statistics,
                    const EvaluationHooks& hooks = {}, const Context& context = Context::standard());

}  // namespace crisp
