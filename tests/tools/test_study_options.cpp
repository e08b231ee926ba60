// What crisp-study's options and files mean, what it refuses, and what it says without doing a run.
#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

TEST_CASE("where sentences are set aside, the best evaluation on them is chosen") {
  const Studio at;
  at.write("study.json",
           R"({"seeds": 1, "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64, "epochs": 1},
    "arms": [{"name": "dense"}, {"name": "chosen", "options": {"selection-part": 0.25}}]})");
  REQUIRE(at.study("out").exit_code == 0);
  CHECK(at.read_json("out/runs/dense/seed-0/all_results.json")["settings"]["select"] == "last");
  CHECK(at.read_json("out/runs/chosen/seed-0/all_results.json")["settings"]["select"] == "best");
  CHECK(contains(at.read("out/runs/chosen/seed-0.log"), "best accuracy on the part of the training set for choosing "));
  const Outcome outcome = at.study("other", {"--selection-part", "0.5", "--dry-run"});
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  const Outcome both = at.study("out", {"--select", "last", "--dry-run"});
  CHECK(both.exit_code == 3);
  CHECK(contains(both.err, "arm 'chosen': --selection-part: is to choose the best evaluation on"));
}

TEST_CASE("the older name of a method is the same option") {
  const Studio at;
  at.write("study.json",
           R"({"seeds": 1, "options": {"init": "config.json", "vocab": "vocab.txt", "max-length": 64, "epochs": 0},
    "arms": [{"name": "plain"}, {"name": "lexical", "options": {"sparse-method": "lexical", "sparsity": 0.5}}]})");
  const Outcome outcome = at.study("out", {"--sparsity", "0.5", "--sparsity-scope", "head"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "note: the arm lexical keeps its own --sparse-method lexical\n"));
  const json study = at.read_json("out/study.json");
  CHECK(study["options"]["sparse-method"] == "percentile");
  CHECK_FALSE(study["options"].contains("sparsity-scope"));
  CHECK(study["arms"][1]["options"]["sparse-method"] == "lexical");
}

TEST_CASE("a dry run lists the runs with an estimate, and does none") {
  const Studio at;
  const Outcome dry = at.study("out", {"--dry-run", "--jobs", "5", "--threads", "2"});
  CAPTURE(dry.err);
  REQUIRE(dry.exit_code == 0);
  CHECK(contains(dry.err, "no run is finished: measuring a few steps\n"));
  CHECK(contains(dry.err, "note: 2 runs at a time, not 5: there are 2 threads\n"));
  const std::vector<std::string> lines = lines_of(dry.out);
  REQUIRE(lines.size() == 5);
  CHECK(contains(lines[1], "sparse"));
  CHECK(contains(lines[1], "missing"));
  CHECK(contains(lines[4], "4 runs, 4 to do: about "));
  CHECK(contains(lines[4], "with 2 at a time (from 20 steps of the arm dense, measured now)"));
  CHECK_FALSE(at.has("out"));

  REQUIRE(at.study("out", {"--seeds", "1"}).exit_code == 0);
  const Outcome after = at.study("out", {"--dry-run"});
  CHECK(after.err.empty());
  CHECK(contains(after.out, "complete"));
  CHECK(contains(after.out, "4 runs, 2 to do: about "));
  CHECK(contains(after.out, "(from 2 finished runs)"));
  for (const std::string& name : names_in(at / ".")) CHECK_FALSE(name.starts_with('.'));
  // It says what would be refused, and changes nothing.
  const auto before = identity(at / "out/study.json");
  const Outcome other = at.study("out", {"--dry-run", "--epochs", "7"});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "out: holds this study with other options:\n  --epochs: not set there, 7 now\n"));
  CHECK(at.study("out", {"--dry-run", "--seeds", "5"}).exit_code == 0);
  CHECK(identity(at / "out/study.json") == before);
}

TEST_CASE("a report needs the study's directory alone, and records nothing") {
  const Studio at;
  const Outcome none = at.start({CRISP_STUDY, "--report", "--output", "out"});
  CHECK(none.exit_code == 2);
  CHECK(contains(none.err, "out/study.json: is not there; --output names the directory of a study"));
  CHECK_FALSE(at.has("out"));
  REQUIRE(at.study("out", {"--seeds", "1", "--epochs", "1"}).exit_code == 0);
  const auto before = identity(at / "out/study.json");
  std::filesystem::remove(at / "out/report.html");
  std::filesystem::remove(at / "study.json");
  const Outcome report = at.start({CRISP_STUDY, "--report", "--output", "out"});
  CAPTURE(report.err);
  CHECK(report.exit_code == 0);
  CHECK(report.out.starts_with("dense "));
  CHECK(at.has("out/report.html"));
  CHECK(identity(at / "out/study.json") == before);
}

TEST_CASE("what crisp-study refuses, before anything runs") {
  const Studio at;
  const auto refused = [&](const Words& words, int exit_code, const std::string& message) {
    const Outcome outcome = at.start(Words{CRISP_STUDY} + words);
    CAPTURE(words, outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(contains(outcome.err, "crisp-study: " + message));
    CHECK_FALSE(at.has("study"));
  };
  refused({}, 2, "which study? One of crisp, breaking-bert, or a file");
  refused({"nope"}, 3, "nope: cannot be read; a study is a file or one of crisp, breaking-bert");
  refused({"crisp", "--sparsty", "0.8"}, 2, "there is no option --sparsty; did you mean --sparsity?");
  refused({"crisp", "--sparsity", "0.5"}, 2, "--sparsity: every arm of crisp sets it itself");
  refused({"crisp", "--seed", "5"}, 2, "--seed: a study has several; give --seeds");
  refused({"crisp", "--seeds", "0"}, 2, "--seeds: 0 seeds");
  refused({"crisp", "--overwrite"}, 2, "--overwrite: a study is never overwritten");
  refused({"crisp", "--crisp-train", "vocab.txt"}, 2, "vocab.txt: is no program");
  refused({"crisp", "--data", "."}, 2, "no weights for the arm dense: give --weights FILE|DIR, or --init");
  refused({"crisp", "--init", "config.json"}, 2, "no data for the arm dense: give --data DIR");
  refused({"crisp", "--data", "nowhere", "--init", "config.json"}, 3, "");
  refused({"crisp", "--data", ".", "--weights", "nowhere"}, 3, "");
  for (const char* shard : {"0/2", "3/2", "x", "1", "1/2x", "/2", "1/"})
    refused({"crisp", "--shard", shard}, 2, fmt::format("--shard: must be I/N with I from 1 to N, not '{}'", shard));
  const auto file = [&](const std::string& options, const std::string& message) {
    at.write("bad.json", R"({"seeds": 1, "arms": [{"name": "a", "options": )" + options + "}]}");
    refused({"bad.json"}, 3, "bad.json: arm 'a': " + message);
  };
  file(R"({"sparsty": 0.8})", "there is no option --sparsty; did you mean --sparsity?");
  file(R"({"sparsity": 1.5})", "--sparsity: must be numbers from 0 to below 1");
  file(R"({"lr": 1, "learning_rate": 2})", "--learning-rate is there under two names");
  file(R"({"seed": 1})", "--seed is not for a study's file to say; \"seeds\" is");
  file(R"({"output_dir": "x"})", "--output is not for a study's file to say");
  file(R"({"weights": "a", "init": "b"})", "--weights: excludes --init");

  REQUIRE(at.study("out", {"--epochs", "0"}).exit_code == 0);
  const Outcome other = at.study("out", {"--epochs", "1"});
  CHECK(other.exit_code == 2);
  CHECK(contains(other.err, "crisp-study: out: holds this study with other options:\n  --epochs: 0 there, 1 now\n"));
}

TEST_CASE("a study of the bundled sample says so") {
  const Studio at;
  const Words words{"--dry-run", "--max-steps", "1", "--eval-train", "0", "--threads", "2", "--seeds", "1"};
  const Outcome outcome = at.start(Words{CRISP_STUDY, "crisp"} + words);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "note: no --weights and no --data: the study is of the bundled sample"));
}

TEST_CASE("a preset can be shown and used as a file") {
  const Studio at;
  const Outcome shown = at.start({CRISP_STUDY, "crisp", "--show"});
  REQUIRE(shown.exit_code == 0);
  at.write("mine.json", shown.out);
  const Words more{"--init", "config.json", "--data", ".",        "--vocab", "vocab.txt", "--max-length",
                   "64",     "--seeds",     "1",      "--epochs", "1",       "--threads", "1"};
  const Outcome outcome = at.start(Words{CRISP_STUDY, "mine.json"} + more);
  CAPTURE(outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(at.status("study/runs/aggressive/seed-0") == "complete");
  const Outcome preset = at.start(Words{CRISP_STUDY, "crisp"} + more);
  CHECK(preset.exit_code == 0);
  CHECK(contains(preset.err, "4 runs, 4 done already"));
  CHECK(at.start({CRISP_STUDY, "breaking-bert", "--show"}).exit_code == 0);
}

}  // namespace
}  // namespace crisp::test
