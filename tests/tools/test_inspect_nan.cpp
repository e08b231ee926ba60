// crisp-inspect nan: the step, the tensor and the sentence of a run that is not finite any more, and a run's directory
// that stays as it is.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>

#include "data/batch.h"
#include "tests/tools/changed_weights.h"
#include "tests/tools/programs.h"

using namespace crisp::test;

namespace {

constexpr const char *planted_word = "soundtrack", *words = "distilbert.embeddings.word_embeddings.weight";
constexpr int64_t batch = 2;

// A folder with weights for a run of batches of 2 over 192 sentences.
struct Planted : Workshop {
  Planted() {
    std::vector<std::string> lines{"sentence\tlabel"};
    for (int i = 0; i < 192; ++i)
      lines.push_back("the film is " + std::string(i % 3 ? "good" : "bad") +
                      std::string(static_cast<size_t>(i % 7), '!') + "\t" + std::to_string(i % 2));
    write_lines(lines);
    const Outcome made = train("weights", {"--epochs", "0"});
    INFO(made.err);
    REQUIRE(made.exit_code == 0);
  }

  void write_lines(const std::vector<std::string>& lines) const {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    write("train.tsv", text);
  }

  int64_t id_of(const std::string& word) const {
    const std::vector<std::string> vocabulary = lines_of(read("vocab.txt"));
    return std::find(vocabulary.begin(), vocabulary.end(), word) - vocabulary.begin();
  }

  // The sentence that a step meets first gets a word that no other has, whose embedding is finite, but not its
  // LayerNorm. Returns its line.
  int plant(int64_t step) const {
    std::vector<std::string> lines = lines_of(read("train.tsv"));
    const int32_t example = crisp::epoch_order(42, 0, 192)[static_cast<size_t>(batch * (step - 1) + 1)];
    std::string& line = lines[static_cast<size_t>(example) + 1];
    line.insert(line.find('\t'), std::string(" ") + planted_word);
    write_lines(lines);
    change_weights(*this / "weights/model.safetensors",
                   [&](const std::string& name, const std::vector<int64_t>& shape, std::vector<float>& values) {
                     if (name != words) return;
                     float* const row = values.data() + id_of(planted_word) * shape[1];
                     std::fill(row, row + shape[1], 3e38F);
                     row[shape[1] - 1] = -3e38F;
                   });
    return example + 2;
  }

  Outcome train_planted(const std::string& output, const Words& more = {}) const {
    return start(Words{CRISP_TRAIN, "--weights", "weights", "--data", ".", "--max-length", "64", "--batch-size", "2",
                       "--threads", "1", "--learning-rate", "0.003", "--output", output} +
                 more);
  }
  Outcome inspect(const Words& more) const {
    return start(Words{CRISP_INSPECT, "nan"} + more, {.environment = {"COLUMNS=80"}});
  }

  // Every file below a directory, and what it holds.
  std::map<std::string, std::string> files(const std::string& directory) const {
    std::map<std::string, std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(*this / directory))
      all[entry.path().string()] = entry.is_directory() ? "" : read_file(entry.path().string());
    return all;
  }
};

}  // namespace

TEST_CASE("crisp-inspect nan finds what a sentence breaks at step 57, and the sentence") {
  const Planted at;
  const int line = at.plant(57);
  const Outcome trained = at.train_planted("out", {"--save-steps", "20"});
  INFO(trained.err);
  REQUIRE(trained.exit_code == 4);
  REQUIRE(contains(trained.err, "the loss is nan at step 57"));
  const auto before = at.files("out");
  REQUIRE(before.contains(at / "out/checkpoint-40"));

  const Outcome found = at.inspect({"out"});
  INFO(found.out << found.err);
  CHECK(found.exit_code == 4);
  CHECK(contains(found.out, "the loss is nan at step 57, replayed from out/checkpoint-40\n"));
  CHECK(contains(found.out, "operation     embeddings_layer_norm, on the way forward\n"));
  CHECK(contains(found.out, "module        DistilBert > embeddings\n"));
  CHECK(contains(found.out, "\"distilbert.embeddings.word_embeddings.weight\""));
  CHECK(contains(found.out, "3e+38"));
  CHECK(contains(found.out, "\nline " + std::to_string(line) + ": \""));
  CHECK(contains(found.out, "1 of 2 sentences breaks alone"));
  for (const std::string& shown : lines_of(found.out)) CHECK(shown.size() <= 80);

  const json told = json::parse(at.inspect({"out", "--step", "57", "--json"}).out);
  CAPTURE(told.dump(1));
  CHECK(told.at("step") == 57);
  CHECK(told.at("micro_step") == 57);
  CHECK(told.at("direction") == "forward");
  CHECK(told.at("broken").at("rows") == 1);
  REQUIRE(told.at("sentences").size() == 2);
  const json& planted = told.at("sentences")[1];
  CHECK(contains(planted.at("place").get<std::string>(), "train.tsv:" + std::to_string(line)));
  CHECK(contains(planted.at("text").get<std::string>(), planted_word));
  CHECK(planted.at("word") == planted_word);
  CHECK(planted.at("breaks_alone") == true);
  CHECK(planted.at("broken_rows") == 1);
  CHECK(told.at("sentences")[0].at("breaks_alone") == false);

  // From a checkpoint by name, and before the step.
  CHECK(json::parse(at.inspect({"out/checkpoint-40/", "--json"}).out).at("step") == 57);
  const Outcome early = at.inspect({"out", "--step", "43"});
  INFO(early.out << early.err);
  CHECK(early.exit_code == 0);
  CHECK(early.out == "nothing breaks: steps 41 to 43, replayed from out/checkpoint-40, are finite\n");
  const Outcome too_late = at.inspect({"out/checkpoint-40", "--step", "30"});
  CHECK(too_late.exit_code == 2);
  CHECK(contains(too_late.err, "is of step 40, and a step before step 30 is wanted"));
  CHECK(at.files("out") == before);
}

TEST_CASE("crisp-inspect nan begins where the run did when it left no checkpoint, and goes by files that moved") {
  const Planted at;
  at.plant(3);
  REQUIRE(at.train_planted("out", {"--gradient-accumulation-steps", "1"}).exit_code == 4);
  REQUIRE(at.checkpoints("out").empty());
  CHECK(at.read_json("out/crisp_run.json").at("settings").at("batch_size") == 2);
  const auto before = at.files("out");
  const json told = json::parse(at.inspect({"out", "--json"}).out);
  CHECK(told.at("step") == 3);
  CHECK(contains(told.at("from").get<std::string>(), "weights"));

  std::filesystem::rename(at / "train.tsv", at / "moved.tsv");
  const Outcome lost = at.inspect({"out"});
  CHECK(lost.exit_code == 2);
  CHECK(contains(lost.err, "the run's training sentences are not there any more; give --data FILE"));
  CHECK(json::parse(at.inspect({"out", "--data", "moved.tsv", "--json"}).out).at("step") == 3);
  const Outcome others = at.inspect({"out", "--data", "dev.tsv"});
  CHECK(others.exit_code == 3);
  CHECK(contains(others.err, "these are not the sentences that the run was trained on"));
  std::filesystem::rename(at / "weights", at / "elsewhere");
  const Outcome without = at.inspect({"out", "--data", "moved.tsv"});
  CHECK(contains(without.err, "the run's weights are not there any more; give --weights FILE"));
  CHECK(json::parse(at.inspect({"out", "--data", "moved.tsv", "--weights", "elsewhere", "--json"}).out).at("step") ==
        3);
  CHECK(at.files("out") == before);
}

TEST_CASE("crisp-inspect nan tells weights that blew up from a sentence") {
  const Planted at;
  REQUIRE(at.train_planted("out", {"--learning-rate", "1e30", "--save-steps", "1"}).exit_code == 4);
  const Outcome found = at.inspect({"out"});
  INFO(found.out << found.err);
  CHECK(found.exit_code == 4);
  CHECK(contains(found.out, "Each sentence of the batch breaks alone: the weights are at fault"));
}

TEST_CASE("crisp-inspect nan says when the state is broken already") {
  const Planted at;
  REQUIRE(at.train_planted("out", {"--max-steps", "2", "--save-steps", "1"}).exit_code == 0);
  const std::string checkpoint = "out/checkpoint-2";
  change_weights(at / (checkpoint + "/model.safetensors"),
                 [&](const std::string& name, const std::vector<int64_t>& shape, std::vector<float>& values) {
                   if (name == "classifier.weight") values[static_cast<size_t>(shape[1]) + 3] = INFINITY;
                 });
  const Outcome damaged = at.inspect({checkpoint});
  CHECK(damaged.exit_code == 3);
  CHECK(contains(damaged.err, "damaged: model.safetensors"));

  // As if the run had written it so.
  const Outcome hash = at.start({"sha256sum", checkpoint + "/model.safetensors"});
  json manifest = at.read_json(checkpoint + "/manifest.json");
  manifest["files"]["model.safetensors"]["sha256"] = hash.out.substr(0, 64);
  at.write(checkpoint + "/manifest.json", manifest.dump());
  const Outcome found = at.inspect({checkpoint});
  INFO(found.out << found.err);
  CHECK(found.exit_code == 4);
  CHECK(contains(found.out, checkpoint + ": classifier.weight is not finite already\n"));
  CHECK(contains(found.out, "[1, 3] is inf; 1 of them"));
  CHECK(json::parse(at.inspect({checkpoint, "--json"}).out).at("found") == "state");
}

TEST_CASE("crisp-inspect nan finds a gradient that overflows, and its place") {
  const Planted at;
  // Zeros everywhere: the last LayerNorm divides by sqrt(epsilon), and its gradient grows by 1e6 on the way back.
  change_weights(at / "weights/model.safetensors",
                 [&](const std::string& name, const std::vector<int64_t>&, std::vector<float>& values) {
                   const bool head = name.find("classifier.weight") != std::string::npos;
                   const bool zero = name.ends_with("embeddings.weight") || name.ends_with("lin.weight") ||
                                     name.ends_with("lin1.weight") || name.ends_with("lin2.weight");
                   for (size_t i = 0; i < values.size(); ++i) {
                     if (zero) values[i] = 0;
                     const auto wave = static_cast<float>(std::sin(1.0 + static_cast<double>(i)));
                     if (name.ends_with("layer.1.output_layer_norm.bias")) values[i] = wave;
                     if (head) values[i] = wave * (name[0] == 'p' ? 1e5F : 1e30F);
                   }
                 });
  REQUIRE(at.train_planted("out", {"--dropout", "0"}).exit_code == 4);
  const Outcome found = at.inspect({"out", "--json"});
  INFO(found.err);
  CHECK(found.exit_code == 4);
  const json told = json::parse(found.out);
  CAPTURE(told.dump(1));
  CHECK(contains(told.at("cause").get<std::string>(), "the gradient norm is "));
  CHECK(told.at("direction") == "backward");
  CHECK(told.at("step") == 1);
  CHECK(contains(told.at("module").get<std::string>(), "DistilBert > layer.1 > ffn"));
  CHECK(told.at("operation") == "feed_forward");
  int64_t broken = 0;
  for (const json& sentence : told.at("sentences")) {  // rows are those of [CLS]
    CHECK(sentence.at("broken_rows").get<int64_t>() == sentence.at("breaks_alone").get<bool>());
    broken += sentence.at("broken_rows").get<int64_t>();
  }
  CHECK(broken == told.at("broken").at("rows"));
}

TEST_CASE("crisp-inspect nan replays accumulated and sparse steps to the same end, and names what it cannot find") {
  const Planted at;
  at.plant(40);
  const Words options{
      "--gradient-accumulation-steps", "3", "--sparsity", "0.5", "--save-steps", "5", "--selection-part", "0.1"};
  const Outcome trained = at.train_planted("out", options);
  REQUIRE(trained.exit_code == 4);
  const json told = json::parse(at.inspect({"out", "--json"}).out);
  CAPTURE(told.dump(1), trained.err);
  CHECK(contains(trained.err, "at step " + std::to_string(told.at("step").get<int>()) + ";"));
  int breaking = 0;
  for (const json& sentence : told.at("sentences")) {
    breaking += sentence.at("breaks_alone").get<bool>();
    if (sentence.at("breaks_alone")) CHECK(contains(sentence.at("text").get<std::string>(), planted_word));
  }
  CHECK(breaking == 1);

  const Outcome missing = at.inspect({"ot"});
  CHECK(missing.exit_code == 3);
  CHECK(contains(missing.err, "ot: there is no such directory; did you mean out?"));
  const Outcome nothing = at.inspect({"."});
  CHECK(nothing.exit_code == 3);
  CHECK(contains(nothing.err, "holds no checkpoint, and no record of what its run was asked for"));
  CHECK(at.inspect({"out", "--step", "1", "--steps", "1"}).exit_code == 2);
}
