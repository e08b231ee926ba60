#include <algorithm>
#include <cmath>

#include "engine/ops.h"
#include "tools/lessons/grader/course.h"

namespace crisp::lessons {
namespace {

Case make_case(uint32_t number, int64_t rows, int64_t classes, double spread, double dloss) {
  CaseMaker make(300 + number, {{"rows", static_cast<double>(rows)}, {"classes", static_cast<double>(classes)}});
  make.number("dloss", dloss);
  const Tensor logits = make.input("logits", {rows, classes}, spread);
  const Rows labels = on(Device::cpu, Rows(make.labels("labels", rows, classes)));
  const auto forward = [&](Tape& tape) { return cross_entropy(tape, logits, labels); };
  Tape tape(make.context());
  make.output("probabilities", softmax(tape, logits), true);
  make.output("loss", forward(tape).view({1}));
  make.gradients({"logits"}, "loss", {dloss}, forward);
  return make.finish();
}

// f(p, whether it is the label's, dloss, rows) of each logit.
template <class F>
std::function<Values(const Case&)> each(F f) {
  return [f](const Case& c) {
    const auto classes = static_cast<size_t>(c.size("classes"));
    Values values(c["probabilities"].size());
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = f(c["probabilities"][i], static_cast<double>(i % classes) == c["labels"][i / classes],
                    c.number("dloss"), static_cast<double>(c.size("rows")));
    return values;
  };
}

// The softmax along the columns.
Values softmax_of_columns(const Case& c) {
  const auto classes = static_cast<size_t>(c.size("classes"));
  const Values& logits = c["logits"];
  Values p(logits.size());
  for (size_t column = 0; column < classes; ++column) {
    double largest = -INFINITY, sum = 0;
    for (size_t i = column; i < p.size(); i += classes) largest = std::max(largest, logits[i]);
    for (size_t i = column; i < p.size(); i += classes) sum += p[i] = std::exp(logits[i] - largest);
    for (size_t i = column; i < p.size(); i += classes) p[i] /= sum;
  }
  return p;
}

// e^(logits - m), with m the row's maximum or 0.
Values exponentials(const Case& c, bool without_maximum) {
  const auto classes = static_cast<size_t>(c.size("classes"));
  Values p = c["logits"];
  for (size_t i = 0; i < p.size(); i += classes) {
    const auto row = p.begin() + static_cast<std::ptrdiff_t>(i);
    const double largest = without_maximum ? *std::max_element(row, row + static_cast<std::ptrdiff_t>(classes)) : 0;
    std::for_each(row, row + static_cast<std::ptrdiff_t>(classes), [&](double& x) { x = std::exp(x - largest); });
  }
  return p;
}

Values loss_of_columns(const Case& c) {
  const auto rows = static_cast<size_t>(c.size("rows")), classes = static_cast<size_t>(c.size("classes"));
  const Values& logits = c["logits"];
  double loss = 0;
  for (size_t i = 0; i < rows; ++i) {
    const auto column = static_cast<size_t>(c["labels"][i]);
    double largest = -INFINITY, sum = 0;
    for (size_t r = 0; r < rows; ++r) largest = std::max(largest, logits[r * classes + column]);
    for (size_t r = 0; r < rows; ++r) sum += std::exp(logits[r * classes + column] - largest);
    loss += std::log(sum) - (logits[i * classes + column] - largest);
  }
  return {loss / static_cast<double>(rows)};
}

}  // namespace

Exercise softmax_cross_entropy_exercise() {
  Exercise e;
  e.name = "softmax_cross_entropy";
  e.title = "softmax and cross-entropy, a loss";
  e.tensors = {"probabilities", "loss", "dlogits"};
  e.read = {"tools/lessons/README.md, lesson 4: softmax and cross-entropy",
            "engine/ops.h, cross_entropy(): the shapes"};
  e.compare = {"engine/formulas.h, structs Softmax and CrossEntropy",
               "engine/ops/cross_entropy.cpp: what is saved, and dloss"};
  e.hints = {
      "Forward: subtract the row's largest logit before anything is exponentiated. And -ln p = ln(sum) - (logit - "
      "largest), "
      "which never takes the logarithm of 0.",
      "Backward: ln p[label] = logits[label] - ln(sum over d of e^logits[d]). The derivative of the second part with "
      "respect to "
      "logits[c] is something that you have computed already.",
      "What is left is p[c], less 1 where c is the label; the loss is a mean over rows, and dloss arrives.",
  };
  e.cases = {make_case(1, 4, 3, 2, 1.75), make_case(2, 1, 5, 2, -0.625), make_case(3, 3, 7, 900, 0.375)};
  const std::string columns =
      "the softmax runs along the wrong axis: the classes of one row must add up to 1, not the rows of one class";
  e.mistakes = {
      {"wrong-axis", "probabilities", columns, softmax_of_columns},
      {"wrong-axis", "loss", columns, loss_of_columns},
      {"not-normalised", "probabilities", "these are exponentials; a row of probabilities adds up to 1",
       [](const Case& c) { return exponentials(c, false); }},
      {"not-normalised", "probabilities", "these are exponentials; a row of probabilities adds up to 1",
       [](const Case& c) { return exponentials(c, true); }},
      {"missing-label", "dlogits",
       "the term of the label is missing: this is the gradient of the logarithm of the sum alone, and the loss has the "
       "label's "
       "logit in it, too",
       each([](double p, bool, double dloss, double rows) { return dloss / rows * p; })},
      {"missing-others", "dlogits",
       "only the label's logit has a gradient; the others stand in the sum below every probability, too",
       each([](double p, bool label, double dloss, double rows) { return label ? dloss / rows * (p - 1) : 0; })},
      {"missing-probability", "dlogits",
       "the probabilities are missing: the logarithm of the sum depends on every logit",
       each([](double, bool label, double dloss, double rows) { return label ? -dloss / rows : 0; })},
      {"wrong-sign-of-label", "dlogits",
       "the term of the label has the wrong sign: a larger logit there makes the loss smaller",
       each([](double p, bool label, double dloss, double rows) { return dloss / rows * (p + (label ? 1 : 0)); })},
      {"unscaled-label", "dlogits", "dloss and 1/rows are factors of the whole; here the term of the label lacks them",
       each([](double p, bool label, double dloss, double rows) { return dloss / rows * p - (label ? 1 : 0); })},
      {"softmax-only", "dlogits",
       "this is the derivative of a probability with respect to its own logit, p (1 - p), instead of the loss's",
       each([](double p, bool, double dloss, double rows) { return dloss / rows * p * (1 - p); })},
  };
  return e;
}

}  // namespace crisp::lessons
