// The programs of README.md and train/door/README.md, compiled as they stand there and run; and crisp-predict itself.
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "tests/tools/process.h"
#include "tests/train/door/door.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// A folder as the examples find it: `out`, a classifier; `base`, a model without a head.
class Folder {
 public:
  Folder() {
    write_files(dir_ / "out", small_classifier());
    std::filesystem::create_directory_symlink(sample_weights(), dir_ / "base");
  }
  Outcome start(const char* program, const std::vector<std::string>& arguments = {}) const {
    std::vector<std::string> command{program};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return run(command, {.working_directory = dir_.path()});
  }
  std::string operator/(const std::string& name) const { return dir_ / name; }

 private:
  TempDir dir_;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// What the examples of fine-tuning on five say: an answer, and the derivative of label 1's loss for its own logit.
std::pair<Classifier::Prediction, double> tuned_on_five(const std::string& directory) {
  FineTuner tuner(directory, {{"a gem", 1}, {"a mess", 0}, {"so tender", 1}, {"so dull", 0}, {"a joy", 1}}, {});
  tuner.run();
  const Classifier model = tuner.classifier();
  const auto gradients = model.gradients("a moving film", Classifier::Objective::loss(1), {"classifier.bias"});
  const auto p = model.predict_one("a moving film");
  const double gradient = gradients.parameters.at("classifier.bias").values[1];
  CHECK(gradient == Approx(p.scores[1] - 1).epsilon(1e-5));
  return {p, gradient};
}

}  // namespace

TEST_CASE("README.md's examples compile and do what they say") {
  const Folder at;
  REQUIRE(EXAMPLES_readme == 2);
  const Outcome answers = at.start(EXAMPLE_readme_1);
  CHECK(answers.err == "");
  REQUIRE(answers.exit_code == 0);
  const auto [p, derivative] = tuned_on_five(at / "out");
  std::ostringstream expected;
  expected << p.label_name << ' ' << p.score() << ' ' << derivative << '\n';
  CHECK(answers.out == expected.str());

  const Outcome gradient = at.start(EXAMPLE_readme_2);
  CHECK(gradient.exit_code == 0);
  CHECK(contains(gradient.out, "loss "));
  CHECK(contains(gradient.out, "gradient "));
}

TEST_CASE("the front door's examples compile and do what they say") {
  const Folder at;
  REQUIRE(EXAMPLES_door_readme == 4);
  const Outcome inside = at.start(EXAMPLE_door_readme_1);
  REQUIRE(inside.exit_code == 0);
  const Classifier exact(at / "out", with_precision(Precision::f64));
  const auto tokens = exact.tokenize("a moving film");
  const NumberArray gradients = exact.gradients("a moving film", Classifier::Objective::loss(1)).tokens;
  const std::vector<std::string> lines = lines_of(inside.out);
  REQUIRE(lines.size() == tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    double squares = 0;
    for (size_t e = 0; e < 128; ++e) squares += gradients.values[i * 128 + e] * gradients.values[i * 128 + e];
    std::ostringstream start;
    start << tokens[i].piece << " gradient " << std::sqrt(squares) << ", attention";
    CHECK(lines[i].starts_with(start.str()));
  }

  const Outcome tuned = at.start(EXAMPLE_door_readme_2);
  REQUIRE(tuned.exit_code == 0);
  CHECK(contains(tuned.out, "step 6 of 6"));
  CHECK(Classifier(at / "tuned").label_name(1) == "good");

  const Outcome c = at.start(EXAMPLE_door_readme_3);
  REQUIRE(c.exit_code == 0);
  CHECK(c.err == "");
  const auto [p, derivative] = tuned_on_five(at / "out");
  std::ostringstream expected;
  expected << "label 1: " << p.scores[1] << ", gradient of its loss: " << derivative << '\n';
  CHECK(c.out == expected.str());

  const Outcome c_tuned = at.start(EXAMPLE_door_readme_4);
  REQUIRE(c_tuned.exit_code == 0);
  CHECK(contains(c_tuned.out, "step 6 of 6"));
  CHECK(std::filesystem::exists(at / "tuned-by-c/model.safetensors"));
}

TEST_CASE("crisp-predict prints the classifier's logits and probabilities") {
#ifndef CRISP_PREDICT
  CRISP_SKIP("built without the programs");
#else
  const Folder at;
  std::string texts;
  const std::vector<std::string> all = sample_texts(40);
  for (const std::string& text : all) texts += text + "\n";
  write_file(at / "texts", texts);
  const Outcome program =
      at.start(CRISP_PREDICT, {"--model", "out", "--json", "--format", "text", "--threads", "1", "texts"});
  REQUIRE(program.exit_code == 0);
  const std::vector<std::string> lines = lines_of(program.out);
  const auto answers = Classifier(at / "out").predict(all);
  REQUIRE(lines.size() == answers.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto line = nlohmann::json::parse(lines[i]);
    CHECK(line.at("label") == answers[i].label);
    CHECK(line.at("label_name") == answers[i].label_name);
    CHECK(line.at("logits").get<std::vector<double> >() == answers[i].logits);
    CHECK(line.at("probabilities").get<std::vector<double> >() == answers[i].scores);
  }
#endif
}
