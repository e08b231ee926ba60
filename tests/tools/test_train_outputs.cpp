// What a run leaves when it is one of many: --select, --eval-train, --keep-checkpoints, FLOPs.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

const Words resume{"--resume"};

std::vector<json> evaluations(const Workshop& at, const std::string& output) {
  std::vector<json> lines = at.metrics(output);
  std::erase_if(lines, [](const json& line) { return !line.contains("eval_loss"); });
  return lines;
}

// A rate this small changes no prediction: the first of several evaluations stays the best.
const Words best_first{"--learning-rate", "1e-9", "--eval-steps", "12"};

TEST_CASE("option --select last keeps the model and the predictions of the last evaluation") {
  const Workshop at;
  REQUIRE(at.train("best", best_first).exit_code == 0);
  const Outcome outcome = at.train("last", best_first + Words{"--select", "last"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "model, metrics and predictions of the last evaluation are in last\n"));

  const json best = at.read_json("best/all_results.json"), last = at.read_json("last/all_results.json");
  CHECK(best["best_step"] == 12);
  CHECK(last["best_step"] == 12);
  CHECK(last["best_accuracy"] == best["eval_accuracy"]);
  CHECK(best["settings"]["select"] == "best");
  CHECK(last["settings"]["select"] == "last");
  CHECK(best["eval_loss"] == evaluations(at, "best").front()["eval_loss"]);
  CHECK(last["eval_loss"] == evaluations(at, "last").back()["eval_loss"]);
  CHECK(last["last_eval_loss"] == last["eval_loss"]);
  CHECK(at.timeless_metrics("best") == at.timeless_metrics("last"));

  CHECK(at.checkpoints("best") == Words{"checkpoint-12", "checkpoint-36"});
  CHECK(at.checkpoints("last") == Words{"checkpoint-36"});
  CHECK((at.read("last/model.safetensors") == at.read("best/checkpoint-36/model.safetensors")));
  CHECK((at.read("best/model.safetensors") == at.read("best/checkpoint-12/model.safetensors")));
  const std::vector<json> saved = json_lines(at.read("last/dev_predictions.jsonl"));
  const std::vector<json> now = json_lines(at.predict({"--model", "last", "--json", "dev.tsv"}).out);
  REQUIRE(saved.size() == now.size());
  for (size_t i = 0; i < saved.size(); ++i) CHECK(saved[i]["logits"] == now[i]["logits"]);

  const Outcome other = at.train("last", best_first + resume);
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "select: \"last\" then, \"best\" now"));
}

TEST_CASE("a run with --select last that is cut off ends as an uninterrupted one") {
  const Workshop at;
  const Words words{"--epochs", "20", "--logging-steps", "1", "--save-steps", "7", "--select", "last"};
  REQUIRE(at.train("whole", words).exit_code == 0);
  {
    Process process(at.train_command("cut", words), at.here());
    REQUIRE(process.wait_for_error("tokens/s", 40));
    process.signal(SIGINT);
    CHECK(process.wait().exit_code == 130);
  }
  CHECK_FALSE(at.has("cut/model.safetensors"));  // of an evaluation that may not be the last
  REQUIRE(at.train("cut", words + resume).exit_code == 0);
  check_same_run(at, "whole", "cut");
  // And one that died between its last checkpoint and the model.
  for (const char* name : {"cut/model.safetensors", "cut/dev_predictions.jsonl", "cut/all_results.json"})
    std::filesystem::remove(at / name);
  REQUIRE(at.train("cut", words + resume).exit_code == 0);
  check_same_run(at, "whole", "cut");
}

TEST_CASE("option --keep-checkpoints off deletes them at the end, and the run stays complete") {
  const Workshop at;
  const Words words =
      GENERATE(Words{"--epochs", "2"}, Words{"--epochs", "2", "--select", "last"},
               Words{"--learning-rate", "1e-12", "--eval-steps", "2", "--early-stopping-patience", "3"});
  CAPTURE(words);
  const Words off{"--keep-checkpoints", "off"};
  REQUIRE(at.train("kept", words).exit_code == 0);
  REQUIRE(at.train("out", words + off).exit_code == 0);
  CHECK(at.checkpoints("out").empty());
  CHECK((at.read("out/model.safetensors") == at.read("kept/model.safetensors")));

  const auto check_complete = [&](const std::string& output) {
    const std::string results = at.read(output + "/all_results.json"), metrics = at.read(output + "/metrics.jsonl");
    const Outcome again = at.train(output, words + off + resume);
    CAPTURE(again.err);
    CHECK(again.exit_code == 0);
    CHECK(contains(again.err, "the run is complete: nothing is left to do\n"));
    CHECK(at.read(output + "/all_results.json") == results);
    CHECK(at.read(output + "/metrics.jsonl") == metrics);
    CHECK(at.checkpoints(output).empty());
  };
  check_complete("out");
  std::filesystem::remove(at / "out/model.safetensors");  // whoever runs many keeps the results alone
  check_complete("out");
  check_complete("kept");  // a run that died while it was deleting them

  const Outcome other = at.train("out", words + resume + Words{"--seed", "7"});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "out belongs to a run with other settings:\n  seed: 42 then, 7 now\n"));
  const Outcome longer = at.train("out", {"--epochs", "9", "--resume"});
  CHECK(longer.exit_code == 2);
  CHECK(contains(longer.err, "out: holds results, but no whole checkpoint to resume from; --overwrite deletes"));
  CHECK(at.has("out/all_results.json"));
}

TEST_CASE("an interrupted run keeps its checkpoints, whatever --keep-checkpoints says") {
  const Workshop at;
  const Words words{"--epochs", "20", "--logging-steps", "1", "--keep-checkpoints", "off"};
  Process process(at.train_command("out", words), at.here());
  REQUIRE(process.wait_for_error("tokens/s", 15));
  process.signal(SIGTERM);
  CHECK(process.wait().exit_code == 143);
  CHECK_FALSE(at.checkpoints("out").empty());
}

TEST_CASE("option --eval-train evaluates the first training sentences with the last weights") {
  const Workshop at;
  REQUIRE(at.train("out", {"--eval-train", "10", "--select", "last", "--sparsity", "0.5"}).exit_code == 0);
  const json results = at.read_json("out/all_results.json");
  std::string head;
  const std::vector<std::string> lines = lines_of(at.read("train.tsv"));
  for (size_t i = 0; i < 11; ++i) head += lines[i] + "\n";
  at.write("head.tsv", head);
  const Outcome outcome = at.predict({"--model", "out", "head.tsv"});
  CHECK(results["train_eval_total"] == 10);
  const double accuracy = results["train_eval_accuracy"];
  CHECK(contains(outcome.err, fmt::format("accuracy {:.0f}/10 = {:.2f} %, loss {:.4f}\n", 10 * accuracy, 100 * accuracy,
                                          results["train_eval_loss"].get<double>())));

  // More than there are; and nothing where it is not asked for.
  REQUIRE(at.train("all", {"--eval-train", "1000", "--epochs", "1"}).exit_code == 0);
  CHECK(at.read_json("all/all_results.json")["train_eval_total"] == 96);
  REQUIRE(at.train("none", {"--epochs", "1"}).exit_code == 0);
  CHECK_FALSE(at.read_json("none/all_results.json").contains("train_eval_total"));
  CHECK((at.read("all/model.safetensors") == at.read("none/model.safetensors")));
}

TEST_CASE("option --selection-part chooses the best evaluation on sentences that are not trained on") {
  const Workshop at;
  const Words words{"--selection-part", "0.25", "--eval-steps", "20", "--epochs", "15", "--logging-steps", "1"};
  const Outcome outcome = at.train("out", words);
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(
      contains(outcome.err, "24 training sentences are set aside to choose the best evaluation on, not trained on\n"));
  CHECK(contains(outcome.err, "72 training and 50 dev sentences"));
  const json results = at.read_json("out/all_results.json");
  CHECK(results["settings"]["training_examples"] == 72);
  CHECK(results["settings"]["selection_part"] == 0.25);
  CHECK(results["selection_total"] == 24);
  CHECK(results["eval_total"] == 50);
  // The first of the best.
  double best = -1;
  int best_step = -1;
  for (const json& line : evaluations(at, "out")) {
    CHECK(line["selection_accuracy"].get<double>() == line["selection_correct"].get<double>() / 24);
    if (line["selection_accuracy"].get<double>() <= best) continue;
    best = line["selection_accuracy"];
    best_step = line["step"];
  }
  CHECK(results["best_step"] == best_step);
  CHECK(results["best_accuracy"] == best);
  CHECK(results["selection_accuracy"] == best);
  CHECK((at.read(fmt::format("out/checkpoint-{}/model.safetensors", best_step)) == at.read("out/model.safetensors")));

  // As another arm of the same seed sees it, and after an interruption.
  REQUIRE(at.train("sparse", words + Words{"--sparsity", "0.8"}).exit_code == 0);
  CHECK(at.read_json("sparse/all_results.json")["settings"]["training_data_sha256"] ==
        results["settings"]["training_data_sha256"]);
  {
    Process process(at.train_command("cut", words), at.here());
    REQUIRE(process.wait_for_error("tokens/s", 5));
    process.signal(SIGINT);
    CHECK(process.wait().exit_code == 130);
  }
  REQUIRE(at.train("cut", words + resume).exit_code == 0);
  check_same_run(at, "out", "cut");

  const Outcome wrong = at.train("wrong", {"--selection-part", "0.6"});
  CHECK(wrong.exit_code == 2);
  CHECK(contains(wrong.err, "--selection-part: must be a number from 0 to 0.5, not '0.6'"));
}

TEST_CASE("the attention's entropy is normalised by the log of the allowed keys") {
  const Workshop at;
  // Attention of a new model is all but flat, so that the entropy is all but the log of the keys that are allowed.
  REQUIRE(at.train("dense", {"--epochs", "0"}).exit_code == 0);
  REQUIRE(at.train("sparse", {"--epochs", "0", "--sparsity", "0.5,0.99"}).exit_code == 0);
  const json dense = at.read_json("dense/all_results.json"), sparse = at.read_json("sparse/all_results.json");
  const char* const normalised = "eval_attention_normalised_entropy";
  REQUIRE(dense[normalised].size() == 2);
  for (const json& layer : dense[normalised]) {
    REQUIRE(layer.size() == 2);
    for (const json& head : layer) CHECK((head > 0.99 && head <= 1.0));
  }
  for (const json& head : sparse[normalised][0]) CHECK((head > 0.99 && head <= 1.0));
  CHECK(sparse["eval_attention_entropy"][0][0] < dense["eval_attention_entropy"][0][0]);
  CHECK(sparse[normalised][1] == json{nullptr, nullptr});  // one key a query
  CHECK(sparse["eval_attention_entropy"][1] == json{0.0, 0.0});
}

TEST_CASE("evaluations say how many FLOPs a sentence takes") {
  const Workshop at;
  REQUIRE(at.train("dense", {"--epochs", "0"}).exit_code == 0);
  REQUIRE(at.train("sparse", {"--epochs", "0", "--sparsity", "0,0.8"}).exit_code == 0);
  const json dense = at.read_json("dense/all_results.json")["eval_flops"];
  const json sparse_line = at.read_json("sparse/all_results.json"), sparse = sparse_line["eval_flops"];
  CHECK(dense["attention"] == dense["attention_dense"]);
  CHECK(sparse["attention_dense"] == dense["attention_dense"]);
  const double kept = 1 - sparse_line["eval_sparsity"].get<double>();  // both layers have the same pairs
  CHECK(sparse["attention"].get<double>() == Approx(kept * dense["attention"].get<double>()).epsilon(1e-12));
  CHECK(dense["total"].get<double>() - sparse["total"].get<double>() ==
        Approx(dense["attention"].get<double>() - sparse["attention"].get<double>()));
}

}  // namespace
}  // namespace crisp::test
