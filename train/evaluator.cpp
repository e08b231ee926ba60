#include "train/evaluator.h"

#include "train/interrupt.h"
#include "train/results.h"

namespace crisp {

Evaluation Evaluator::evaluate_on(Trainer& trainer, const TokenizedDataset& data, const std::string& what,
                                  Statistics statistics) const {
  const EvaluationHooks hooks{.before_each_operation = leave_if_interrupted, .after_batch = [&](int64_t done) {
                                progress_.evaluating({.what = what, .done = done, .total = data.size()});
                                between_batches_();
                              }};
  return evaluate(trainer.model(), data, batch_size_, statistics, hooks, trainer.context());
}

RunEvaluation Evaluator::evaluate_run(Trainer& trainer) const {
  RunEvaluation result{.evaluation = evaluate_on(trainer, dev_, "dev", Statistics::attention)};
  result.line = evaluation_json(result.evaluation, trainer);
  result.accuracy = result.evaluation.accuracy();
  if (selection_ == nullptr) return result;
  const Evaluation e = evaluate_on(trainer, *selection_, "the part for choosing");
  result.accuracy = e.accuracy();
  result.line.update(nlohmann::ordered_json{{"selection_loss", e.loss},
                                            {"selection_accuracy", e.accuracy()},
                                            {"selection_correct", e.correct},
                                            {"selection_total", e.total}});
  return result;
}

}  // namespace crisp
