// What crisp-train refuses: with which exit code, in which words, and without leaving anything behind.
#include <unistd.h>

#include "tests/tools/programs.h"

namespace crisp::test {
namespace {

// Nothing but the complaint after "crisp-train: ", which comes last.
std::string complaint(const Outcome& outcome) {
  const std::string mark = "crisp-train: ";
  const size_t at = outcome.err.rfind("\n" + mark);
  if (at != std::string::npos) return outcome.err.substr(at + 1 + mark.size());
  return outcome.err.starts_with(mark) ? outcome.err.substr(mark.size()) : "(none)";
}

void check_refused(const Outcome& outcome, int exit_code, const std::string& message) {
  CAPTURE(message, outcome.err);
  CHECK(outcome.exit_code == exit_code);
  CHECK_FALSE(outcome.killed);
  CHECK(contains(complaint(outcome), message));
}

TEST_CASE("inputs that are not there or make no sense together") {
  const Workshop at;
  const auto refused = [&](const Words& words, int exit_code, const std::string& message) {
    check_refused(at.train("out", words), exit_code, message);
    CHECK_FALSE(at.has("out"));
  };
  const auto bare = [&](const Words& words, int exit_code, const std::string& message) {
    check_refused(at.start(Words{CRISP_TRAIN, "--output", "out"} + words), exit_code, message);
    CHECK_FALSE(at.has("out"));
  };
  bare({"--data", "."}, 2, "no weights: give --weights FILE|DIR");
  bare({"--init", "config.json"}, 2, "no data: give --data DIR, or --train FILE and --dev FILE");
  bare({"--init", "config.json", "--train", "train.tsv"}, 2, "no evaluation set: give --dev FILE");
  bare({"--init", "config.json", "--weights", "config.json"}, 2, "--weights: excludes --init");
  bare({"--weights", "./nowhere", "--data", "."}, 3, "./nowhere: no such file or directory");
  bare({"--weights", ".", "--data", "."}, 3, ".: has no model.safetensors");
  refused({"--data", "nowhere"}, 3, "nowhere: no such folder");
  refused({"--train", "nowhere.tsv"}, 3, "nowhere.tsv: cannot be opened: No such file or directory");
  refused({"--vocab", "nowhere.txt"}, 3, "nowhere.txt: cannot be opened: No such file or directory");
  refused({"--init", "nowhere.json"}, 3, "nowhere.json: cannot be opened: No such file or directory");
  refused({"--sparsity", "1.5"}, 2, "--sparsity: must be numbers from 0 to below 1");
  refused({"--sparsity", "0.1,0.2,0.3"}, 2, "3 numbers for a model of 2 layers");
  refused({"--max-length", "65"}, 2, "--max-length 65 is more than the model's 64 positions; give --max-length 64");
  refused({"--learning-rat", "1"}, 2, "there is no option --learning-rat; did you mean --learning-rate?");
}

TEST_CASE("files with mistakes in them are named with the line") {
  const Workshop at;
  const auto refused = [&](const std::string& file, const std::string& content, const std::string& message) {
    at.write(file, content);
    const std::string option = contains(file, "dev") ? "--dev" : "--train";
    check_refused(at.train("out", {option, file}), 3, message);
    CHECK_FALSE(at.has("out"));
  };
  refused("bad.tsv", "sentence\tlabel\nfine\t1\nno label\n", "bad.tsv:3: 1 tab-separated column where 2 are expected");
  refused("bad.tsv", "sentence\tlabel\nfine\t1\nfine\tone\n",
          "bad.tsv:3: the label is the word \"one\", but bad.tsv:2");
  refused("bad.tsv", "sentence\tlabel\nfine\t-1\n", "bad.tsv: a training set needs labels");
  refused("bad.tsv", "sentence\tlabel\nb\xc3\t1\n", "bad.tsv:2: byte 2 of the line (0xC3) is not valid UTF-8");
  refused("bad.tsv", "", "bad.tsv: holds no examples");
  refused("bad.tsv", "sentence\nwithout labels\n", "bad.tsv: a training set needs labels");
  refused("dev2.tsv", "sentence\tlabel\nfine\t1\nfine\t2\n",
          "dev2.tsv:3: the label 2 is out of range; 2 classes are numbered 0..1");
  refused("dev2.tsv", "sentence\nwithout labels\n", "dev2.tsv: an evaluation set needs labels");
}

TEST_CASE("weights that are damaged, or do not fit the vocabulary or the labels") {
  const Workshop at;
  REQUIRE(at.train("model", {"--epochs", "0"}).exit_code == 0);
  const auto refused = [&](const Words& words, const std::string& message) {
    check_refused(at.start(Words{CRISP_TRAIN, "--data", ".", "--max-length", "64", "--output", "out"} + words), 3,
                  message);
    CHECK_FALSE(at.has("out"));
  };
  const std::string bytes = at.read("model/model.safetensors");
  at.write("model/cut.safetensors", bytes.substr(0, bytes.size() - 100));
  refused({"--weights", "model/cut.safetensors"}, "model/cut.safetensors: ");
  at.write("model/lfs.safetensors", "version https://git-lfs.github.com/spec/v1\n");
  refused({"--weights", "model/lfs.safetensors"}, "a Git LFS pointer");
  at.write("large.txt", at.read("vocab.txt") + "onemore\n");
  refused({"--weights", "model", "--vocab", "large.txt"}, "this is not its vocabulary");
  at.write("three.tsv", "sentence\tlabel\ngood\t0\nbad\t1\nfair\t2\n");
  refused({"--weights", "model", "--train", "three.tsv"}, "its classification head has 2 labels, but the data has 3");
  refused({"--weights", "model", "--num-labels", "3"}, "its classification head has 2 labels, but --num-labels is 3");
  refused({"--weights", "model", "--label-names", "a,b,c"},
          "its classification head has 2 labels, but --label-names has 3");
  json config = at.read_json("model/config.json");
  config["dim"] = 48;
  at.write("model/config.json", config.dump());
  refused({"--weights", "model"}, "model.safetensors");
  at.write("model/config.json", "{");
  refused({"--weights", "model"}, "model/config.json:1:2: the JSON ends before it is complete");
}

TEST_CASE("a directory that holds a run, or something else") {
  const Workshop at;
  const Words words{"--epochs", "1"};
  REQUIRE(at.train("out", words).exit_code == 0);
  const std::string model = at.read("out/model.safetensors");
  check_refused(at.train("out", words), 2,
                "out: holds a run; --resume continues it, --overwrite deletes it, or choose another --output");
  check_refused(at.train("out", words + Words{"--resume", "--overwrite"}), 2, "--resume: excludes --overwrite");
  const Outcome other = at.train("out", {"--epochs", "2", "--resume", "--sparsity", "0.5", "--seed", "7"});
  check_refused(other, 2, "out/checkpoint-12 belongs to a run with other settings:\n");
  CHECK(contains(other.err, "\n  layer_sparsity: [0.0, 0.0] then, [0.5, 0.5] now\n"));
  CHECK(contains(other.err, "\n  seed: 42 then, 7 now\n"));
  CHECK(contains(other.err, "\n  total_steps: 12 then, 24 now (by --epochs or --max-steps, "));
  CHECK(std::count(other.err.begin(), other.err.end(), '\n') == 3 + 5);
  CHECK(at.read("out/model.safetensors") == model);

  // The same number of sentences and tokens, and another label: still other data.
  std::string data = at.read("train.tsv");
  const size_t end = data.rfind('\n', data.size() - 2);
  data[data.size() - 2] = data[data.size() - 2] == '0' ? '1' : '0';
  REQUIRE(end < data.size());
  at.write("relabelled.tsv", data);
  check_refused(at.train("out", words + Words{"--resume", "--train", "relabelled.tsv"}), 2, "training_data_sha256");
  check_refused(at.train("out", words + Words{"--resume", "--dev", "relabelled.tsv"}), 2, "dev_data_sha256");

  CHECK(at.train("out", words + Words{"--overwrite", "--seed", "7"}).exit_code == 0);
  CHECK(at.read("out/model.safetensors") != model);

  // Files of a run's names that no run wrote are nobody's to replace.
  std::filesystem::create_directory(at / "mine");
  at.write("mine/config.json", "precious");
  for (const Words& more : {Words{}, Words{"--overwrite"}, Words{"--resume"}})
    check_refused(at.train("mine", words + more), 2, "mine: holds files that the run would have to replace");
  CHECK(at.read("mine/config.json") == "precious");
}

TEST_CASE("an output directory that cannot be written is found before the training") {
  const Workshop at;
  check_refused(at.train("config.json"), 2, "config.json: is not a directory; choose another --output");
  check_refused(at.train("config.json/out"), 1, "config.json/out: cannot be created: Not a directory");
  if (::geteuid() == 0) return;  // root may write everywhere
  std::filesystem::create_directory(at / "locked");
  std::filesystem::permissions(at / "locked", std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  check_refused(at.train("locked"), 1, "locked: cannot be written: Permission denied");
  check_refused(at.train("locked/out"), 1, "locked/out: cannot be created: Permission denied");
  std::filesystem::permissions(at / "locked", std::filesystem::perms::owner_all);
}

TEST_CASE("a run cannot start from the files that it would delete") {
  const Workshop at;
  REQUIRE(at.train("out", {"--epochs", "1"}).exit_code == 0);
  REQUIRE(at.train("other", {"--epochs", "1"}).exit_code == 0);
  const auto names = names_in(at / "out");
  const std::string model = at.read("out/model.safetensors");
  const auto refused = [&](const Words& words, const std::string& file) {
    const Words options{"--data", ".", "--max-length", "64", "--epochs", "1", "--output", "out"};
    for (const char* way : {"--overwrite", "--resume"}) {
      check_refused(at.start(Words{CRISP_TRAIN} + options + words + Words{way}), 2,
                    file + ": this run reads it, but in out it is among the files that a run deletes or replaces");
      CHECK(names_in(at / "out") == names);
      CHECK(at.read("out/model.safetensors") == model);
    }
  };
  refused({"--weights", "out"}, "out/model.safetensors");
  refused({"--weights", "out/checkpoint-12/model.safetensors"}, "out/checkpoint-12/model.safetensors");
  refused({"--weights", "other", "--vocab", "out/vocab.txt"}, "out/tokenizer_config.json");
  refused({"--init", "out/config.json", "--vocab", "vocab.txt"}, "out/config.json");
  at.write("out/dev.tsv", at.read("dev.tsv"));  // the run's folder, but no file of its
  CHECK(at.train("out", {"--epochs", "0", "--dev", "out/dev.tsv", "--overwrite"}).exit_code == 0);
  CHECK(at.has("out/dev.tsv"));
}

TEST_CASE("two runs do not write to one directory") {
  const Workshop at;
  Process first(at.train_command("out", {"--epochs", "25", "--logging-steps", "1"}), at.here());
  REQUIRE(first.wait_for_error("step 3/300"));
  check_refused(at.train("out", {"--resume"}), 2, "out: another run is writing here");
}

TEST_CASE("a training that diverges says where") {
  const Workshop at;
  const Words words{"--learning-rate", "1e30", "--warmup-ratio", "0"};
  const Outcome outcome = at.train("out", words);
  check_refused(outcome, 4, "the loss is nan at step 2; the first tensor that is not finite: ");
  CHECK(
      contains(outcome.err,
               "\nTry a lower --learning-rate or a longer warmup; no checkpoint had been written, so start again with "
               "--overwrite or another --output\n"
               "crisp-inspect nan out finds the operation and the sentence that broke it\n"));
  check_refused(at.train("out", words), 2,
                "out: holds the records of a run that left neither a model nor a checkpoint; --overwrite deletes them");
  check_refused(at.train("saved", words + Words{"--save-steps", "1"}), 4,
                "; the state of step 1 is intact in saved/checkpoint-1\n");
  // After the only step no training loss can tell; the evaluation does.
  check_refused(at.train("last", words + Words{"--max-steps", "1"}), 4, "a logit of sentence 1 is nan after step 1\n");
  CHECK_FALSE(at.has("last/model.safetensors"));
}

}  // namespace
}  // namespace crisp::test
