// What crisp-study finds out about the files of its arms, and about its directory, before anything is written.
#include <fmt/format.h>

#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

const Words own{"--init", "config.json", "--vocab", "vocab.txt", "--data", "."};

TEST_CASE("parses that are missing and layers that there are not are found before anything is written") {
  const Studio at;
  const std::string weights = CRISP_SOURCE_DIR "/weights/sample";
  const auto refused = [&](const Words& words, const std::string& options, const std::string& message) {
    at.write("arms.json", R"({"arms": [{"name": "plain"}, {"name": "a", "options": )" + options + "}]}");
    const Outcome outcome = resolve(at, "arms.json", words);
    CAPTURE(words, options, outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(contains(outcome.err, "crisp-study: arm 'a': " + message));
    CHECK_FALSE(at.has("study"));
  };
  const std::string syntax = R"({"sparse-method": "syntax", "sparsity": 0.5})";
  const std::string train_parses = "--sparse-method syntax needs the training sentences' dependency parses: give ",
                    dev_parses = "--sparse-method syntax needs the evaluation sentences' dependency parses: give ";
  refused(own, syntax, train_parses + "--parses FILE\n");
  refused({}, syntax, train_parses);  // the sample
  refused(own, R"({"sparsity": [0.1, 0.2, 0.3]})", "--sparsity 0.1,0.2,0.3: 3 numbers for a model of 2 layers");
  refused(own, R"({"sparsity": 0.5, "sparse-layers": "0,9"})", "--sparse-layers 0,9: there is no layer 9");
  const Words sample{"--weights", weights, "--data", "."};
  refused(sample, R"({"sparsity": 0.5, "sparse-layers": "0,9"})", "--sparse-layers 0,9: there is no layer 9");
  refused({}, R"({"sparsity": 0.5, "sparse-layers": "0,9"})", "--sparse-layers 0,9: there is no layer 9");
  // Weights alone: their shapes tell.
  std::filesystem::copy_file(weights + "/model.safetensors", at / "alone.safetensors");
  std::filesystem::rename(at / "config.json", at / "other.json");
  refused({"--weights", "alone.safetensors", "--data", "."}, R"({"sparsity": 0.5, "sparse-layers": "9"})",
          "--sparse-layers 9: there is no layer 9");
  std::filesystem::rename(at / "other.json", at / "config.json");

  at.write("train.conllu", "");  // read by the runs
  refused(own, syntax, dev_parses + "--dev-parses FILE\n");
  at.write("dev.conllu", "");
  CHECK(resolve(at, "arms.json", own).exit_code == 0);
  // Those beside the data are not of another file's sentences.
  std::filesystem::remove_all(at / "study");
  refused(own + Words{"--train", "dev.tsv"}, syntax, train_parses);
}

TEST_CASE("files that an arm's options name must be there, needed or not") {
  const Studio at;
  std::filesystem::create_directory(at / "folder");
  const auto refused = [&](const Words& words, const std::string& option, const std::string& path,
                           const std::string& message) {
    at.write("arms.json",
             R"({"arms": [{"name": "plain"}, {"name": "a", "options": {")" + option + R"(": ")" + path + R"("}}]})");
    for (const Words& dry : {Words{}, Words{"--dry-run"}}) {
      const Outcome outcome = resolve(at, "arms.json", words + dry);
      CAPTURE(words, option, outcome.err);
      CHECK(outcome.exit_code == 3);
      CHECK(contains(outcome.err, fmt::format("crisp-study: arm 'a': --{} {}\n", option, message)));
      CHECK_FALSE(at.has("study"));
    }
  };
  for (const char* option : {"train", "dev", "vocab", "parses", "dev-parses"}) {
    refused(own, option, "nowhere", at / "nowhere" + ": cannot be opened: No such file or directory");
    refused(own, option, "folder", at / "folder" + ": is a directory, expected a file");
  }
  refused(own, "data", "nowhere", at / "nowhere" + ": no such folder");
  refused(own, "init", "nowhere", "nowhere: cannot be opened: No such file or directory");
  refused({"--data", ".", "--weights", CRISP_SOURCE_DIR "/weights/sample"}, "weights", "./nowhere",
          at / "nowhere" + ": no such file or directory");
  // Of an arm that reads them, as well, and of a preset.
  const Words parses{"--parses", "nowhere", "--dev-parses", "nowhere"};
  const Outcome preset = resolve(at, "breaking-bert", parses + Words{"--dry-run"});
  CAPTURE(preset.err);
  CHECK(preset.exit_code == 3);
  CHECK(contains(preset.err, "crisp-study: arm 'dense': --parses " + at / "nowhere" + ": cannot be opened: "));
  CHECK(preset.out.empty());
}

TEST_CASE("the arms by syntax of a preset need the parses of both sets, or are left out with a note") {
  const Studio at;
  const std::string note =
      "note: the arms by syntax are left out: they need --parses FILE and --dev-parses FILE, or train.conllu and "
      "dev.conllu in --data DIR\n";
  const auto has_syntax = [&](const Words& words) {
    const Outcome outcome = resolve(at, "breaking-bert", own + words);
    CAPTURE(words, outcome.err);
    REQUIRE(outcome.exit_code == 0);
    const bool there = contains(at.read("study/study.json"), "\"syntax-all\"");
    CHECK(contains(outcome.err, note) != there);
    std::filesystem::remove_all(at / "study");
    return there;
  };
  CHECK_FALSE(has_syntax({}));
  at.write("a.conllu", "");  // read by the runs
  at.write("b.conllu", "");
  CHECK(has_syntax({"--parses", "a.conllu", "--dev-parses", "b.conllu"}));
  for (const char* option : {"--parses", "--dev-parses"}) {
    const Outcome one = resolve(at, "breaking-bert", own + Words{option, "a.conllu"});
    CAPTURE(option, one.err);
    CHECK(one.exit_code == 2);
    CHECK(contains(one.err,
                   "crisp-study: breaking-bert: its arms by syntax need the parses of both sets, --parses FILE "
                   "and --dev-parses FILE: give "));
    CHECK_FALSE(at.has("study"));
  }
  // Beside the data, or one of each.
  at.write("dev.conllu", "");
  CHECK_FALSE(has_syntax({}));
  CHECK(has_syntax({"--parses", "a.conllu"}));
  at.write("train.conllu", "");
  CHECK(has_syntax({}));
  // No other preset asks for them.
  const Outcome crisp = resolve(at, "crisp", own + Words{"--train", "train.tsv", "--dev-parses", "b.conllu"});
  CAPTURE(crisp.err);
  CHECK(crisp.exit_code == 0);
  CHECK_FALSE(contains(crisp.err, "syntax"));
  const Outcome shown = at.start({CRISP_STUDY, "breaking-bert", "--show"});
  CHECK(shown.out.starts_with("{"));
  CHECK_FALSE(contains(shown.out, "left out"));
}

TEST_CASE("a dry run refuses an output that cannot be a directory, as the study itself does") {
  const Studio at;
  for (const char* output : {"dev.tsv", "dev.tsv/out"}) {
    const Outcome dry = at.study(output, {"--dry-run"}), real = at.study(output);
    CAPTURE(dry.err, real.err);
    CHECK(dry.exit_code == 1);
    CHECK(real.exit_code == 1);
    CHECK(dry.err == fmt::format("crisp-study: {}: cannot be created: Not a directory\n", output));
    CHECK(dry.err == real.err);
    CHECK(dry.out.empty());
  }
}

TEST_CASE("a run with results that cannot be is a failed one, in the table and in a dry run") {
  const Studio at;
  const Words words{"--seeds", "1", "--epochs", "1"};
  REQUIRE(at.study("out", words).exit_code == 0);
  const std::string path = "out/runs/sparse/seed-0/all_results.json";
  auto results = nlohmann::ordered_json::parse(at.read(path));
  results["eval_correct"] = 51;  // of 50
  at.write(path, results.dump());
  const Outcome report = at.start({CRISP_STUDY, "--report", "--output", "out"});
  CAPTURE(report.out, report.err);
  CHECK(report.exit_code == 0);
  const std::vector<std::string> lines = lines_of(report.out);
  REQUIRE(lines.size() == 3);
  CHECK(contains(lines[0], " % of 1"));
  CHECK(contains(lines[1], "failed  mean -"));
  CHECK(contains(at.read("out/runs.csv"), "sparse,0,failed,"));
  const Outcome dry = at.study("out", words + Words{"--dry-run"});
  CHECK(contains(dry.out, "2 runs, 1 to do: about "));
  // crisp-train takes the run for complete, and leaves its results alone.
  const Outcome again = at.study("out", words);
  CAPTURE(again.err);
  CHECK(again.exit_code == 1);
  CHECK(contains(again.err,
                 "sparse, seed 0: FAILED (exit code 0): it ended well, but all_results.json says 51 of 50 right "
                 "(eval_correct, eval_total), which is no count; delete out/runs/sparse/seed-0 to train it anew"));
  // Of no use at all, they are made again.
  at.write(path, "{");
  CHECK(at.study("out", words).exit_code == 0);
  CHECK(at.read_json(path)["eval_total"] == 50);
  CHECK(at.status("out/runs/sparse/seed-0") == "complete");
}

TEST_CASE("a report of a study that cannot be used prints no table") {
  const Studio at;
  std::filesystem::create_directory(at / "out");
  at.write("out/study.json", R"({"arms": [{"name": "dense"}]})");
  const Outcome outcome = at.start({CRISP_STUDY, "--report", "--output", "out"});
  CHECK(outcome.exit_code == 3);
  CHECK(contains(outcome.err, "crisp-study: out/study.json: no seeds"));
  CHECK(outcome.out.empty());
}

}  // namespace
}  // namespace crisp::test
