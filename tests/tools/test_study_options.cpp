// What crisp-study's options and files mean, what it refuses, and what it says without doing a run.
#include <fmt/format.h>

#include "tests/tools/studio.h"

namespace crisp::test {
namespace {

json options_of(const json& study, const std::string& arm) {
  for (const json& a : study["arms"])
    if (a["name"] == arm) return a["options"];
  FAIL("no arm " + arm);
  return {};
}

TEST_CASE("the four configurations take any method by sparsity, but for the dense one") {
  const Studio at;
  for (const char* method : {"random-k", "bottom-k", "top-k-ties", "attention-drop", "neighbour"}) {
    const Outcome outcome = resolve(at, "crisp", {"--sparse-method", method, "--output", method});
    CAPTURE(method, outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(contains(outcome.err,
                   fmt::format("note: --sparse-method {} is left out for dense: a dense run has no method\n", method)));
    const json study = at.read_json(std::string(method) + "/study.json");
    CHECK(options_of(study, "dense") == json{{"sparsity", "dense"}});
    CHECK(options_of(study, "light") == json{{"sparse-method", method}, {"sparsity", "light"}});
  }
}

TEST_CASE("an option that holds for all arms is checked with each arm's own, not alone") {
  const Studio at;
  at.write("by.json",
           R"({"arms": [{"name": "a", "options": {"sparsity": 0.5}}, {"name": "b", "options": {"sparsity": 0.8}}]})");
  at.write("all.json", R"({"name": "by", "options": {"sparse-method": "random-k"},
    "arms": [{"name": "a", "options": {"sparsity": 0.5}}, {"name": "b", "options": {"sparsity": 0.8}}]})");
  REQUIRE(resolve(at, "by.json", {"--sparse-method", "random-k", "--output", "by"}).exit_code == 0);
  REQUIRE(resolve(at, "all.json", {"--output", "all"}).exit_code == 0);
  CHECK(at.read("by/study.json") == at.read("all/study.json"));
  at.write("spans.json", R"({"arms": [{"name": "a", "options": {"sparse-method": "learned-span"}},
                                      {"name": "b", "options": {"sparse-method": "learned-span", "span-init": 3}}]})");
  REQUIRE(resolve(at, "spans.json", {"--span-penalty", "0.1", "--output", "spans"}).exit_code == 0);
  CHECK(at.read_json("spans/study.json")["options"]["span-penalty"] == "0.1");
  // What an arm lacks may come from the command line.
  at.write("methods.json", R"({"arms": [{"name": "a", "options": {"sparse-method": "random-k"}}]})");
  CHECK(resolve(at, "methods.json", {"--sparsity", "0.5", "--output", "methods"}).exit_code == 0);
}

TEST_CASE("an option for all is left out for the arms that it does not fit") {
  const Studio at;
  const std::string learned = "learned-0.001, learned-0.01, learned-0.1: ",
                    bigbird = "degrees-6-0-0, degrees-0-3-3, degrees-3-0-3, degrees-3-3-0, degrees-2-2-2, ";
  struct Case {
    Words words;
    std::string name, value, arms, without;
  };
  const std::vector<Case> cases{
      {{"--sparse-train", "off"}, "sparse-train", "off", learned, "learned-0.1"},
      {{"--sparsity-ramp", "0.5"}, "sparsity-ramp", "0.5", bigbird + learned, "degrees-2-2-2"},
      {{"--sparsity-reverse"}, "sparsity-reverse", "true", bigbird + learned, "degrees-6-0-0"},
      {{"--keep", "cls"}, "keep", "cls", learned, "learned-0.01"}};
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const Words words = c.words + Words{"--output", c.name};
    const Outcome outcome = resolve(at, "breaking-bert", words);
    CAPTURE(outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(contains(outcome.err, fmt::format("note: --{} {} is left out for {}", c.name, c.value, c.arms)));
    const json study = at.read_json(c.name + "/study.json");
    CHECK_FALSE(study["options"].contains(c.name));
    CHECK_FALSE(options_of(study, c.without).contains(c.name));
    CHECK(options_of(study, "topk-all")[c.name] == c.value);
    // The same again, and from its own file.
    const auto before = identity(at / (c.name + "/study.json"));
    CHECK(resolve(at, "breaking-bert", words).exit_code == 0);
    CHECK(resolve(at, c.name + "/study.json", {"--output", c.name}).exit_code == 0);
    CHECK(resolve(at, c.name + "/study.json", words).exit_code == 0);
    CHECK(identity(at / (c.name + "/study.json")) == before);
  }
  // The same in a file's options; a method of an arm's own is not meant by --sparsity dense for all.
  at.write("file.json", R"({"options": {"keep": "cls", "sparsity": "dense"}, "arms": [{"name": "plain"},
    {"name": "half", "options": {"sparsity": 0.5}}, {"name": "learned", "options": {"sparse-method": "learned-span"}}]})");
  const Outcome outcome = resolve(at, "file.json", {"--output", "file"});
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err, "note: --keep cls is left out for learned: --keep has no meaning for"));
  CHECK(contains(outcome.err, "note: --sparsity dense is left out for learned: --sparse-method is the arm's own\n"));
  const json study = at.read_json("file/study.json");
  CHECK(options_of(study, "learned") == json{{"sparse-method", "learned-span"}});
  CHECK(options_of(study, "half") == json{{"keep", "cls"}, {"sparsity", "0.5"}});
}

TEST_CASE("what needs a sparsity is left out for the arms without one") {
  const Studio at;
  const Words own{"--data", ".", "--output"};
  const auto left_out = [&](const Words& words, const std::string& name, const std::string& value) {
    const Outcome outcome = resolve(at, "study.json", own + Words{name} + words);
    CAPTURE(words, outcome.err);
    REQUIRE(outcome.exit_code == 0);
    CHECK(contains(outcome.err, fmt::format("note: --{0} {1} is left out for dense: --{0} ", name, value)));
    const json study = at.read_json(name + "/study.json");
    CHECK(options_of(study, "dense").empty());
    CHECK(options_of(study, "sparse") == json{{name, value}, {"sparsity", "0.8"}});
  };
  left_out({"--sparse-layers", "late"}, "sparse-layers", "late");
  left_out({"--sparse-method", "percentile"}, "sparse-method", "percentile");
  left_out({"--sparse-eval", "off"}, "sparse-eval", "off");
}

TEST_CASE("an option is the same however its value is spelt") {
  const Studio at;
  at.write("file.json", R"({"name": "s", "arms": [
    {"name": "a", "options": {"sparse-train": false, "sparsity": "0.5,0.6", "sparsity-reverse": true}},
    {"name": "b", "options": {"sparse-train": "off", "sparsity": [0.50, 0.6], "sparsity-reverse": "yes"}}]})");
  const Words own{"--init", "config.json", "--vocab", "vocab.txt", "--data", ".", "--output", "out"};
  REQUIRE(resolve(at, "file.json", own).exit_code == 0);
  const auto before = identity(at / "out/study.json");
  // Of runs that have begun another value would be refused.
  for (const char* arm : {"a", "b"}) {
    std::filesystem::create_directories(at / fmt::format("out/runs/{}/seed-0", arm));
    at.write(fmt::format("out/runs/{}/seed-0/study_status.json", arm), R"({"status": "interrupted"})");
  }
  const Words other{"--sparse-train", "off", "--sparsity", "0.50,0.600", "--sparsity-reverse"};
  const Outcome given = resolve(at, "file.json", own + other);
  CAPTURE(given.err);
  CHECK(given.exit_code == 0);
  CHECK_FALSE(contains(given.err, "keeps its own"));
  CHECK(identity(at / "out/study.json") == before);
  at.write("file.json",
           R"({"name": "s", "options": {"sparse-train": "off", "sparsity": [0.5, 0.6], "sparsity-reverse": 1},
    "arms": [{"name": "a"}, {"name": "b"}]})");
  const Outcome common = resolve(at, "file.json", own);
  CAPTURE(common.err);
  CHECK(common.exit_code == 0);
  const Outcome refused = resolve(at, "file.json", own + Words{"--sparse-train", "on"});
  CHECK(refused.exit_code == 2);
  CHECK(contains(refused.err, "out: holds this study with other options:\n"));
}

TEST_CASE("an arm that an option for all does not fit is trained without it") {
  const Studio at;
  const Words words{"--sparse-method", "random-k", "--seeds", "1", "--epochs", "1"};
  const Outcome outcome = at.study("out", words);
  CAPTURE(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(contains(outcome.err,
                 "note: --sparse-method random-k is left out for dense: --sparse-method random-k needs "
                 "--sparsity S\n"));
  const auto settings = [&](const std::string& arm) {
    return at.read_json("out/runs/" + arm + "/seed-0/all_results.json")["settings"];
  };
  CHECK(settings("dense")["sparse_method"] == "top-k");
  CHECK(settings("sparse")["sparse_method"] == "random-k");
  CHECK_FALSE(contains(at.read("out/runs/dense/seed-0.log"), "--sparse-method"));
  const auto before = identity(at / "out/study.json");
  const Outcome again = at.study("out", words);
  CHECK(again.exit_code == 0);
  CHECK(contains(again.err, "2 runs, 2 done already"));
  CHECK(identity(at / "out/study.json") == before);
}

TEST_CASE("an option that fits no arm, or an arm's own that does not fit, is an error") {
  const Studio at;
  const auto refused = [&](const std::string& study, const Words& words, int exit_code, const std::string& message) {
    const Outcome outcome = resolve(at, study, words);
    CAPTURE(words, outcome.err);
    CHECK(outcome.exit_code == exit_code);
    CHECK(contains(outcome.err, "crisp-study: " + message));
    CHECK_FALSE(at.has("study"));
  };
  refused("crisp", {"--window", "3"}, 2,
          "--window 3: no arm of crisp takes it: --window belongs to --sparse-method neighbour, not top-k\n");
  refused(
      "crisp", {"--sparse-method", "entmax15"}, 2,
      "--sparse-method entmax15: no arm of crisp takes it: a dense run has no method; --sparsity has no meaning where");
  refused("crisp", {"--drop-key", "0.1", "--drop-attention", "0.1"}, 2, "--drop-key 0.1: no arm of crisp takes it: ");
  refused("breaking-bert", {"--sparsity", "0.5"}, 2, "--sparsity 0.5: no arm of breaking-bert takes it: ");
  refused("crisp", {"--sparse-method", "randomk"}, 2, "--sparse-method: must be one of");
  refused("crisp", {"--sparse-train", "of"}, 2, "--sparse-train: must be one of on|off, not 'of'");
  const auto file = [&](const std::string& common, const std::string& own, const std::string& message) {
    at.write("bad.json", R"({"options": )" + common + R"(, "arms": [{"name": "a", "options": )" + own + "}]}");
    refused("bad.json", {}, 3, message);
  };
  file(R"({"window": 3})", R"({"sparsity": 0.5})", "--window 3: no arm of bad.json takes it: --window belongs to");
  file("{}", R"({"window": 3})", "bad.json: arm 'a': --window belongs to --sparse-method neighbour, not top-k\n");
  file("{}", R"({"sparse-method": "random-k"})", "bad.json: arm 'a': --sparse-method random-k needs --sparsity S\n");
  file(R"({"keep": "cls"})", R"({"sparse-train": "off", "sparsity-ramp": 0.5, "sparsity": 0.5})",
       "bad.json: arm 'a': --sparsity-ramp has no meaning with --sparse-train off\n");
}

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
  refused({"crisp", "--init", "config.json"}, 2, "arm 'dense': no data: give --data DIR");
  refused({"crisp", "--data", "nowhere", "--init", "config.json"}, 3,
          "arm 'dense': --data " + at / "nowhere" + ": no such folder\n");
  refused({"crisp", "--data", ".", "--weights", "./nowhere"}, 3,
          "arm 'dense': --weights " + at / "nowhere" + ": no such file or directory\n");
  for (const char* shard : {"0/2", "3/2", "x", "1", "1/2x", "/2", "1/"})
    refused({"crisp", "--shard", shard}, 2, fmt::format("--shard: must be I/N with I from 1 to N, not '{}'", shard));
  const auto file = [&](const std::string& options, const std::string& message) {
    at.write("bad.json", R"({"seeds": 1, "arms": [{"name": "a", "options": )" + options + "}]}");
    refused({"bad.json"}, 3, "bad.json: arm 'a': " + message);
  };
  file(R"({"sparsty": 0.8})", "there is no option --sparsty; did you mean --sparsity?");
  file(R"({"sparsity": 1.5})", "--sparsity: must be numbers from 0 to below 1");
  file(R"({"lr": 1, "learning_rate": 2})", "--learning-rate is there under two names");
  const std::string theirs = " is an option of Hugging Face's, and a study has crisp-train's own: ";
  file(R"({"bf16": true})", "\"bf16\"" + theirs + "--precision bf16 (--precision f32|strict-f32|tf32|bf16|bf16x3|");
  file(R"({"eval_strategy": "no"})", "\"eval_strategy\"" + theirs + "--eval-steps; no: after the last step only (");
  for (const std::string name : {"fp16", "data_seed", "disable_tqdm"})
    file("{\"" + name + "\": 1}", "\"" + name + "\" is an option of Hugging Face's; a study has crisp-train's own");
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
