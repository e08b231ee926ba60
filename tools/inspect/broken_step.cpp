#include "tools/inspect/broken_step.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/adamw.h"
#include "engine/ops.h"
#include "train/inference/to_batch.h"

namespace crisp::inspect {
namespace {

using Kind = BrokenTensor::Kind;

// f(index, value) for each element.
template <class F>
void for_elements(const Tensor& values, F f) {
  const Tensor host = values.detach().to(Device::cpu);
  with_type(host, [&]<class T>() {
    const T* const x = host.data<T>();
    for (int64_t i = 0; i < host.numel(); ++i) f(i, static_cast<double>(x[i]));
  });
}

PackedBatch batch_of(const Replay& replay, const std::vector<int32_t>& examples) {
  PackedBatch batch;
  fill_batch(replay.data(), examples, batch);
  return batch;
}

// Whether the loss of the sentence, and with `backward` its gradients, are not finite.
bool breaks_alone(Replay& replay, int32_t example, const ForwardMode& mode, bool backward) {
  const DistilBert& model = replay.model();
  const PackedBatch packed = batch_of(replay, {example});
  const Batch inputs = to_batch(packed, model, Labels::with);
  Tape tape(replay.context());
  const Tensor loss = cross_entropy(tape, model.forward(tape, inputs, mode), inputs.labels());
  if (!std::isfinite(loss.item())) return true;
  if (!backward) return false;
  const Tensor penalty = model.span_penalty(tape);
  tape.backward(penalty ? add(tape, loss, penalty) : loss);
  bool broken = false;
  for (const Parameter& p : model.parameters()) {
    const Gradient& gradient = p.tensor.gradient();
    broken |= gradient && !all_finite(gradient.values(), replay.context());
    p.tensor.clear_grad();
  }
  return broken;
}

// Which sentence of the batch a row of a result belongs to, and which token of the batch it is (-1: none).
struct Owner {
  int64_t sentence = -1, token = -1;
};
Owner owner_of(int64_t row, int64_t rows, const PackedBatch& batch, int64_t heads) {
  const int64_t size = batch.batch_size();
  if (rows == batch.total() && rows == size * heads) return {};  // of tokens or of heads
  if (rows == batch.total()) {
    const auto after = std::upper_bound(batch.offsets.begin(), batch.offsets.end(), static_cast<int32_t>(row));
    return {after - batch.offsets.begin() - 1, row};
  }
  if (rows == size) return {row, -1};
  if (rows == size * heads) return {row / heads, -1};  // a query of each head
  return {};
}

void find_owners(const Replay& replay, const BrokenTensor& tensor, const PackedBatch& batch, BrokenStep& step) {
  const auto note = [&](const Owner& owner) {
    if (owner.sentence < 0) return;
    SentenceInBatch& sentence = step.sentences[static_cast<size_t>(owner.sentence)];
    if (sentence.broken_rows++ == 0 && owner.token >= 0)
      sentence.word = replay.tokenizer().token(batch.ids[static_cast<size_t>(owner.token)]);
  };
  const int64_t rows = tensor.values.rank() > 0 ? tensor.values.dim(0) : 0;
  if (tensor.kind == Kind::result || tensor.kind == Kind::result_gradient) {
    for (const int64_t row : step.elements.in_rows) note(owner_of(row, rows, batch, replay.model().config().heads));
    return;
  }
  // Of the word embeddings, rows are tokens.
  const bool words = tensor.name == replay.model().word_embeddings().label();
  if (!words || tensor.kind == Kind::sum) return;
  std::set<int32_t> broken;
  for (const int64_t row : step.elements.in_rows)
    broken.insert(tensor.rows.empty() ? static_cast<int32_t>(row) : tensor.rows[static_cast<size_t>(row)]);
  for (int64_t token = 0; token < batch.total(); ++token)
    if (broken.contains(batch.ids[static_cast<size_t>(token)])) note(owner_of(token, batch.total(), batch, 1));
}

}  // namespace

BrokenElements broken_elements(const Tensor& values) {
  BrokenElements broken;
  if (!values) return broken;
  const Shape& shape = values.shape();
  const int64_t rows = shape.rank() > 0 ? shape[0] : 1, width = shape.numel() / std::max<int64_t>(1, rows);
  for_elements(values, [&](int64_t i, double x) {
    if (std::isfinite(x)) return;
    if (broken.count++ == 0) {
      broken.value = std::isnan(x) ? std::abs(x) : x;
      broken.first.resize(static_cast<size_t>(shape.rank()));
      int64_t rest = i;
      for (int d = shape.rank(); d-- > 0; rest /= shape[d]) broken.first[static_cast<size_t>(d)] = rest % shape[d];
    }
    if (broken.in_rows.empty() || broken.in_rows.back() != i / width) broken.in_rows.push_back(i / width);
  });
  broken.rows = std::ssize(broken.in_rows);
  return broken;
}

double largest_of(const Tensor& values) {
  double largest = 0;
  for_elements(values, [&](int64_t, double x) {
    if (!(std::abs(x) <= largest)) largest = std::abs(x);  // a NaN stays
  });
  return largest;
}

std::string BrokenStep::verdict() const {
  const auto n = std::ssize(sentences);
  if (n == 1) return "The batch is this sentence alone: nothing tells it from the weights.";
  if (alone == n) return "Each sentence of the batch breaks alone: the weights are at fault, no sentence.";
  if (alone == 0) return "No sentence breaks alone: it takes the batch, or the dropout that it draws.";
  return fmt::format("{} of {} sentences break{} alone: it is in what {}, not in the batch.", alone, n,
                     alone == 1 ? "s" : "", alone == 1 ? "it holds" : "they hold");
}

BrokenStep examine(Replay& replay, const StepDiverged& divergence) {
  Trainer& trainer = replay.trainer();
  const BrokenTensor& tensor = divergence.first_broken();
  BrokenStep step{.elements = broken_elements(tensor.values), .sentences = {}};
  const std::vector<int32_t> examples = trainer.examples(divergence.micro_step());
  for (const int32_t example : examples) step.sentences.push_back({example});
  find_owners(replay, tensor, batch_of(replay, examples), step);
  trainer.optimizer().catch_up();
  for (const Parameter& p : replay.model().parameters()) p.tensor.clear_grad();
  const bool on_the_way_back =
      tensor.kind == Kind::result_gradient || tensor.kind == Kind::parameter_gradient || tensor.kind == Kind::sum;
  for (SentenceInBatch& sentence : step.sentences) {
    sentence.breaks_alone =
        breaks_alone(replay, sentence.example, trainer.mode(divergence.micro_step()), on_the_way_back);
    step.alone += sentence.breaks_alone;
  }
  return step;
}

}  // namespace crisp::inspect
