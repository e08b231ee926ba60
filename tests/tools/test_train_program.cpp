// crisp-train from start to end, and crisp-predict on what it wrote.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// crisp-predict on a saved directory says exactly what training said at that step.
void check_predictions(const Workshop& at, const std::string& directory, const json& evaluation, const Words& more) {
  CAPTURE(directory, more);
  const Outcome outcome = at.predict(Words{"--model", directory, "--json", "dev.tsv"} + more);
  REQUIRE(outcome.exit_code == 0);
  const std::string accuracy =
      fmt::format("accuracy {}/{} = {:.2f} %, loss {:.4f}\n", evaluation["eval_correct"].get<int>(),
                  evaluation["eval_total"].get<int>(), 100 * evaluation["eval_accuracy"].get<double>(),
                  evaluation["eval_loss"].get<double>());
  CHECK(outcome.err == accuracy);
}

void check_all_predictions(const Workshop& at, const std::string& output, const Words& more = {}) {
  const json results = at.read_json(output + "/all_results.json");
  check_predictions(at, output, results, more);

  const std::vector<json> saved = json_lines(at.read(output + "/dev_predictions.jsonl"));
  const Outcome outcome = at.predict(Words{"--model", output, "--json", "dev.tsv"} + more);
  const std::vector<json> now = json_lines(outcome.out);
  REQUIRE(saved.size() == 50);
  REQUIRE(now.size() == saved.size());
  int correct = 0;
  for (size_t i = 0; i < saved.size(); ++i) {
    CHECK(now[i]["logits"] == saved[i]["logits"]);  // the same bits: JSON keeps every double
    CHECK(now[i]["probabilities"] == saved[i]["probabilities"]);
    CHECK(now[i]["label"] == saved[i]["prediction"]);
    correct += saved[i]["prediction"] == saved[i]["label"];
  }
  CHECK(correct == results["eval_correct"]);

  for (const std::string& name : at.checkpoints(output)) {
    const int step = std::stoi(name.substr(name.find('-') + 1));
    for (const json& line : at.metrics(output))
      if (line["step"] == step && line.contains("eval_loss")) check_predictions(at, output + "/" + name, line, more);
  }
}

std::vector<json> evaluations(const Workshop& at, const std::string& output) {
  std::vector<json> lines = at.metrics(output);
  std::erase_if(lines, [](const json& line) { return !line.contains("eval_loss"); });
  return lines;
}

TEST_CASE("a sparse run leaves a whole directory") {
  const Workshop at;
  const Outcome outcome = at.train("out", {"--sparsity", "0.8", "--logging-steps", "5"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, "96 training and 50 dev sentences; sparsity 0.8 by top-k"));
  CHECK(contains(outcome.err, "model, metrics and predictions are in out\n"));

  std::vector<std::string> names = names_in(at / "out");
  CHECK(std::count_if(names.begin(), names.end(), [](const std::string& n) { return n.starts_with("events.out."); }) ==
        1);
  std::erase_if(names,
                [](const std::string& n) { return n.starts_with("events.out.") || n.starts_with("checkpoint"); });
  CHECK(names == Words{"all_results.json", "config.json", "crisp_run.json", "dev_predictions.jsonl", "metrics.jsonl",
                       "model.safetensors", "special_tokens_map.json", "tokenizer_config.json", "vocab.txt"});
  CHECK(at.read("out/vocab.txt") == at.read("vocab.txt"));

  const json config = at.read_json("out/config.json");
  CHECK(config["crisp"] == json{{"sparsity", "0.8"},
                                {"layer_sparsity", {0.8, 0.8}},
                                {"sparse_method", "top-k"},
                                {"sparse_train", true},
                                {"sparse_eval", true}});
  CHECK(config["architectures"] == json{"DistilBertForSequenceClassification"});

  std::vector<int> training_steps, evaluation_steps;
  for (const json& line : at.metrics("out")) {
    CAPTURE(line.dump());
    CHECK(line["epoch"].get<double>() == Approx(line["step"].get<int>() / 12.0));
    if (line.contains("loss")) {
      CHECK(line.size() == 6);
      for (const char* key : {"loss", "learning_rate", "grad_norm", "tokens_per_second"})
        CHECK(line.at(key).get<double>() > 0);
      training_steps.push_back(line["step"]);
      continue;
    }
    evaluation_steps.push_back(line["step"]);
    CHECK(line["eval_accuracy"].get<double>() == line["eval_correct"].get<double>() / 50);
    CHECK(line["eval_total"] == 50);
    REQUIRE(line["eval_layer_sparsity"].size() == 2);
    for (const json& effective : line["eval_layer_sparsity"]) {
      // Short sentences keep at least one key of a row, and floor(0.2 n) of n is less than 0.2 n.
      CHECK(effective.get<double>() > 0.75);
      CHECK(effective.get<double>() < 0.95);
    }
    for (size_t l = 0; l < 2; ++l) {
      // As many queries and keys in each head: the layer's is the mean.
      const auto heads = line["eval_head_sparsity"][l].get<std::vector<double>>();
      REQUIRE(heads.size() == 2);
      CHECK((heads[0] + heads[1]) / 2 == Approx(line["eval_layer_sparsity"][l].get<double>()));
    }
    CHECK(line["eval_layer_sparsity_requested"] == json{0.8, 0.8});
    REQUIRE(line["eval_attention_entropy"].size() == 2);
    for (const json& layer : line["eval_attention_entropy"]) {
      REQUIRE(layer.size() == 2);  // a number per head, in nats: at most the logarithm of the keys that are kept
      for (const json& head : layer) CHECK((head.get<double>() > 0 && head.get<double>() < std::log(64)));
    }
  }
  CHECK(training_steps == std::vector<int>{5, 10, 15, 20, 25, 30, 35, 36});
  CHECK(evaluation_steps == std::vector<int>{12, 24, 36});
  const json results = at.read_json("out/all_results.json");
  CHECK(results["step"] == 36);
  CHECK(results["epoch"] == 3.0);
  CHECK(results["best_epoch"] == results["best_step"].get<int>() / 12.0);
  const json& settings = results["settings"];
  CHECK(settings["init"] == "config.json");
  CHECK(settings["train"] == "./train.tsv");
  CHECK(settings["dev"] == "./dev.tsv");
  CHECK(settings["vocab"] == "vocab.txt");
  CHECK(settings["epochs"] == 3);
  CHECK(settings["logging_steps"] == 5);
  CHECK(results["settings"]["layer_sparsity"] == json{0.8, 0.8});
  check_all_predictions(at, "out");
  check_all_predictions(at, "out", {"--threads", "2"});
  CHECK(at.predict({"--model", "out", "--batch-size", "7", "dev.tsv"}).out ==
        at.predict({"--model", "out", "dev.tsv"}).out);
}

TEST_CASE("every kind of sparsity is kept in the directory and followed by crisp-predict") {
  const Workshop at;
  const auto [words, requested, effective] = GENERATE(table<Words, json, bool>({
      {{"--sparsity", "0.8", "--sparsity-scope", "head"}, {0.8, 0.8}, true},
      {{"--sparsity", "0.8", "--sparse-eval", "off"}, {0.0, 0.0}, false},
      {{"--sparsity", "0,0.9"}, {0.0, 0.9}, true},
      {{"--sparsity", "aggressive"}, {0.65, 0.95}, true},
      {{"--sparsity", "light", "--precision", "f64"}, {0.45, 0.75}, true},
  }));
  CAPTURE(words);
  const Outcome outcome = at.train("out", words + Words{"--epochs", "2"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  for (const json& line : evaluations(at, "out")) {
    CHECK(line["eval_layer_sparsity_requested"] == requested);
    CHECK((line["eval_sparsity"].get<double>() > 0.3) == effective);
  }
  check_all_predictions(at, "out");
}

TEST_CASE("the size of the evaluation's batches moves no logit by more than rounding") {
  const Workshop at;
  REQUIRE(at.train("out", {"--eval-batch-size", "7", "--sparsity", "0.8"}).exit_code == 0);
  check_all_predictions(at, "out", {"--batch-size", "7"});
  const std::vector<json> sevens = json_lines(at.read("out/dev_predictions.jsonl"));
  const std::vector<json> whole = json_lines(at.predict({"--model", "out", "--json", "dev.tsv"}).out);
  REQUIRE(whole.size() == sevens.size());
  for (size_t i = 0; i < whole.size(); ++i)
    for (size_t j = 0; j < 2; ++j)
      CHECK(std::abs(whole[i]["logits"][j].get<double>() - sevens[i]["logits"][j].get<double>()) < 1e-6);
}

TEST_CASE("the same seed gives the same bytes at any number of threads") {
  const Workshop at;
  const Words sparse{"--sparsity", "0.8", "--epochs", "1"};
  for (const auto& [output, more] : std::vector<std::pair<std::string, Words>>{{"one", {}},
                                                                               {"again", {}},
                                                                               {"two", {"--threads", "2"}},
                                                                               {"three", {"--threads", "3"}},
                                                                               {"other", {"--seed", "43"}}})
    REQUIRE(at.train(output, sparse + more).exit_code == 0);
  check_same_run(at, "one", "again");
  check_same_run(at, "one", "two");
  check_same_run(at, "one", "three");
  CHECK((at.read("one/model.safetensors") != at.read("other/model.safetensors")));
}

TEST_CASE("no training at all evaluates and saves the model as it is") {
  const Workshop at;
  REQUIRE(at.train("fresh", {"--epochs", "0"}).exit_code == 0);
  CHECK(at.metrics("fresh").size() == 1);
  CHECK(at.checkpoints("fresh").empty());
  check_all_predictions(at, "fresh");
  // The saved model serves as weights, and is unchanged by another such run.
  const Outcome outcome = at.start({CRISP_TRAIN, "--weights", "fresh", "--data", ".", "--max-length", "64", "--epochs",
                                    "0", "--threads", "1", "--output", "copy"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK((at.read("copy/model.safetensors") == at.read("fresh/model.safetensors")));
}

TEST_CASE("a finished model without a checkpoint is never cleared away by --resume") {
  const Workshop at;
  const Words words{"--epochs", "0"};
  REQUIRE(at.train("out", words).exit_code == 0);
  const std::vector<std::string> names = names_in(at / "out");
  const std::string model = at.read("out/model.safetensors"), metrics = at.read("out/metrics.jsonl");
  const auto unchanged = [&] {
    return names_in(at / "out") == names && at.read("out/model.safetensors") == model &&
           at.read("out/metrics.jsonl") == metrics;
  };
  const Outcome again = at.train("out", words + Words{"--resume"});
  CAPTURE(again.err);
  CHECK(again.exit_code == 0);
  CHECK(contains(again.err, "the run is complete: nothing is left to do\n"));
  CHECK(unchanged());
  const Outcome other = at.train("out", words + Words{"--resume", "--seed", "7"});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "out belongs to a run with other settings:\n  seed: 42 then, 7 now\n"));
  CHECK(unchanged());
  const Outcome longer = at.train("out", {"--epochs", "1", "--resume"});
  CHECK(longer.exit_code == 2);
  CHECK(contains(longer.err, "out: holds a model, but no whole checkpoint to resume from; --overwrite deletes"));
  CHECK(unchanged());
}

TEST_CASE("the sample has a learning rate of its own, which an explicit one replaces") {
  const Workshop at;
  for (const auto& [output, more, rate] : std::vector<std::tuple<std::string, Words, double>>{
           {"own", {}, 5e-4}, {"given", {"--learning-rate", "2e-5"}, 2e-5}}) {
    const Outcome outcome = at.start(
        Words{CRISP_TRAIN, "--max-steps", "1", "--batch-size", "2", "--warmup-ratio", "0", "--output", output} + more);
    CAPTURE(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(at.read_json(output + "/all_results.json")["settings"]["learning_rate"] == rate);
    CHECK(at.metrics(output).front()["learning_rate"] == rate);
  }
}

TEST_CASE("weights that will not behave as before are remarked upon") {
  const Workshop at;
  REQUIRE(at.train("sparse", {"--epochs", "0", "--sparsity", "0.8"}).exit_code == 0);
  const auto from = [&](const std::string& weights, const std::string& output, const Words& more = {}) {
    return at
        .start(Words{CRISP_TRAIN, "--weights", weights, "--data", ".", "--max-length", "64", "--epochs", "0",
                     "--output", output} +
               more)
        .err;
  };
  const std::string lost = "the weights are of a model trained with sparsity 0.8 by top-k, but this run is dense";
  CHECK(contains(from("sparse", "a"), lost));
  CHECK_FALSE(contains(from("sparse", "b", {"--sparsity", "0.5"}), lost));
  CHECK_FALSE(contains(from("a", "c"), lost));

  // A BERT with another epsilon becomes a DistilBERT that transformers evaluates otherwise.
  const std::string epsilon =
      "layer_norm_eps is 1e-05; it is kept here, but transformers computes every DistilBERT with";
  CHECK_FALSE(contains(from("a", "d"), "layer_norm_eps"));
  json config = at.read_json("a/config.json");
  config["layer_norm_eps"] = 1e-5;
  at.write("a/config.json", config.dump());
  CHECK(contains(from("a", "e"), "a/config.json: " + epsilon));
  CHECK(at.read_json("e/config.json")["layer_norm_eps"] == 1e-5);
}

TEST_CASE("the run is as long as --max-steps or --epochs say") {
  const Workshop at;
  REQUIRE(at.train("steps", {"--max-steps", "5"}).exit_code == 0);
  CHECK(at.metrics("steps").back()["step"] == 5);
  REQUIRE(at.train("part", {"--epochs", "0.5"}).exit_code == 0);
  CHECK(at.metrics("part").back()["step"] == 6);
  REQUIRE(at.train("accumulated", {"--epochs", "1", "--gradient-accumulation-steps", "5"}).exit_code == 0);
  CHECK(at.metrics("accumulated").back()["step"] == 3);  // 5 + 5 + 2 batches
  CHECK(at.metrics("accumulated").back()["epoch"] == 1.0);
}

TEST_CASE("evaluation every N steps, the last and the best checkpoint remain") {
  const Workshop at;
  REQUIRE(at.train("out", {"--eval-steps", "5", "--save-steps", "4"}).exit_code == 0);
  std::vector<int> steps;
  for (const json& line : evaluations(at, "out")) steps.push_back(line["step"]);
  CHECK(steps == std::vector<int>{5, 10, 15, 20, 25, 30, 35, 36});
  const int best = at.read_json("out/all_results.json")["best_step"];
  std::vector<std::string> expected{fmt::format("checkpoint-{}", best), "checkpoint-36"};
  std::sort(expected.begin(), expected.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  CHECK(at.checkpoints("out") == expected);
  // The directory itself holds the best model.
  CHECK((at.read(fmt::format("out/checkpoint-{}/model.safetensors", best)) == at.read("out/model.safetensors")));
}

TEST_CASE("early stopping ends a run that gains nothing") {
  const Workshop at;
  // A rate this small changes no prediction, so that no evaluation is better than the first.
  const Words words{"--learning-rate", "1e-12", "--eval-steps", "2", "--early-stopping-patience", "3"};
  const Outcome outcome = at.train("out", words);
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "stopped early: 3 evaluations without a better accuracy\n"));
  CHECK(evaluations(at, "out").size() == 4);
  CHECK(at.read_json("out/all_results.json")["step"] == 8);
  CHECK(at.checkpoints("out") == Words{"checkpoint-2", "checkpoint-8"});

  const std::string results = at.read("out/all_results.json");
  const Outcome again = at.train("out", words + Words{"--resume"});
  CHECK(again.exit_code == 0);
  CHECK(contains(again.err, "the run is complete: nothing is left to do\n"));
  CHECK(at.read("out/all_results.json") == results);
}

TEST_CASE("transformers computes the same logits from the directory") {
  const Workshop at;
  const char* python = std::getenv("CRISP_PYTHON");
  const Words script{python != nullptr ? python : "python3", CRISP_SOURCE_DIR "/tests/train/transformers_check.py"};
  REQUIRE(at.train("out", {"--epochs", "6"}).exit_code == 0);
  const Outcome theirs = at.start(script + Words{"out", "dev.tsv"});
  if (theirs.exit_code == 77) CRISP_SKIP("transformers or torch is not installed for " + script[0]);
  if (theirs.exit_code == 127) CRISP_SKIP("there is no python3");
  CAPTURE(theirs.err);
  REQUIRE(theirs.exit_code == 0);
  const std::vector<json> expected = json_lines(theirs.out);
  const std::vector<json> ours = json_lines(at.predict({"--model", "out", "--json", "dev.tsv"}).out);
  REQUIRE(expected.size() == 50);
  REQUIRE(ours.size() == 50);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    for (size_t j = 0; j < 2; ++j) {
      const double a = ours[i]["logits"][j], b = expected[i][j];
      difference += (a - b) * (a - b), norm += b * b;
    }
  }
  CHECK(std::sqrt(difference / norm) < 1e-5);
  CHECK(std::sqrt(norm) > 0.1);  // of something
}

}  // namespace
}  // namespace crisp::test
