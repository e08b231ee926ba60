// What crisp-inspect diff makes of two models' answers.
#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "tools/inspect/diff.h"

namespace crisp::inspect {
namespace {

using test::contains;
using test::message_of;

DistilBertConfig labels(int64_t n, const std::vector<std::string>& names = {}) {
  DistilBertConfig config;
  config.num_labels = n;
  config.label_names = names;
  return config;
}

std::string refusal(const DistilBertConfig& a, const DistilBertConfig& b) {
  return message_of<BadInput>([&] { share_labels(a, b); });
}

TEST_CASE("diff: labels are paired by name, or by number where one model has no names") {
  const SharedLabels by_name = share_labels(labels(3, {"a", "b", "c"}), labels(3, {"c", "a", "b"}));
  CHECK(by_name.names == std::vector<std::string>{"a", "b", "c"});
  CHECK(by_name.of_second == std::vector<int32_t>{2, 0, 1});
  CHECK(by_name.note.empty());

  const SharedLabels neither = share_labels(labels(2), labels(2, {"LABEL_0", "LABEL_1"}));
  CHECK(neither.of_second == std::vector<int32_t>{0, 1});
  CHECK(neither.note.empty());

  for (const SharedLabels& one :
       {share_labels(labels(2), labels(2, {"no", "yes"})), share_labels(labels(2, {"no", "yes"}), labels(2))}) {
    CHECK(one.names == std::vector<std::string>{"no", "yes"});
    CHECK(one.of_second == std::vector<int32_t>{0, 1});
    CHECK(contains(one.note, "paired by number"));
  }
}

TEST_CASE("diff: models of other labels are refused with the reason") {
  CHECK(contains(refusal(labels(2, {"no", "yes"}), labels(2, {"no", "maybe"})),
                 "A has the labels \"no\", \"yes\", B \"no\", \"maybe\""));
  CHECK(contains(refusal(labels(2), labels(3)), "A has 2 labels"));
  DistilBertConfig several = labels(2);
  several.problem_type = ProblemType::multi_label;
  CHECK(contains(refusal(labels(2), several), "model B: its head does not decide"));
  CHECK(contains(refusal(several, labels(2)), "model A: its head does not decide"));
  CHECK(contains(refusal(labels(1), labels(1)), "model A: its head does not decide"));
}

TEST_CASE("diff: answers are renamed, probabilities with them") {
  const std::vector<Prediction> predictions{{.label = 2, .logits = {}, .scores = {0.1, 0.2, 0.7}}};
  const Answers answers = answers_of(predictions, std::vector<int32_t>{2, 0, 1});
  CHECK(answers.labels == std::vector<int32_t>{1});
  CHECK(answers.probabilities.at(0) == std::vector<double>{0.2, 0.7, 0.1});
}

TEST_CASE("diff: right and wrong are counted, disagreements sorted by the difference") {
  const auto answers = [](const std::vector<double>& of_one) {
    Answers a;
    for (const double p : of_one) {
      a.labels.push_back(p > 0.5 ? 1 : 0);
      a.probabilities.push_back({1 - p, p});
    }
    return a;
  };
  const Answers a = answers({0.9, 0.6, 0.2, 0.1, 0.7, 0.05}), b = answers({0.8, 0.4, 0.9, 0.3, 0.1, 0.05});
  const AnswerComparison c = compare_answers(a, b, std::vector<int32_t>{1, 1, 1, 0, 1, 1});
  CHECK(c.both == 2);     // 0, 3
  CHECK(c.neither == 1);  // 5
  REQUIRE(c.right_alone);
  CHECK(c.right_alone->only_first == 2);   // 1, 4
  CHECK(c.right_alone->only_second == 1);  // 2
  CHECK(c.right_alone->p_value == 1);
  REQUIRE(c.disagreements.size() == 3);
  CHECK(c.disagreements[0].example == 2);
  CHECK(c.disagreements[0].difference == Approx(0.7));
  CHECK(c.disagreements[1].example == 4);
  CHECK(c.disagreements[2].example == 1);
  REQUIRE(c.largest);
  CHECK(c.largest->example == 2);
  CHECK(c.mean_difference == Approx((0.1 + 0.2 + 0.7 + 0.2 + 0.6) / 6));

  const AnswerComparison unlabelled = compare_answers(a, b, {});
  CHECK_FALSE(unlabelled.right_alone);
  CHECK(unlabelled.disagreements.size() == 3);
  CHECK_FALSE(compare_answers({}, {}, {}).largest);
}

}  // namespace
}  // namespace crisp::inspect
