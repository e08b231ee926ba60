// What Hugging Face's training scripts are given, given to crisp-train.
#include <fmt/format.h>

#include "tools/hf_options.h"

#include <sstream>

#include "data/input/parse_text.h"
#include "tests/support/catch.h"
#include "tests/tools/options_run.h"
#include "tests/train/support.h"

namespace crisp {
namespace {

using test::contains;
using test::Outcome;
using test::run_with;
using Words = std::vector<std::string>;

std::string typed(std::string_view name) {
  std::string result = "--" + std::string(name);
  std::replace(result.begin() + 2, result.end(), '-', '_');
  return result;
}

// Accepted, with nothing said.
TrainOptions silently(const Words& words) {
  CAPTURE(words);
  const Outcome outcome = run_with(words);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  return outcome.options;
}

// Accepted, with the note.
TrainOptions noting(const Words& words, const std::string& note) {
  CAPTURE(words);
  const Outcome outcome = run_with(words);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err == "note: without effect here: " + note + "\n");
  return outcome.options;
}

void refused(const Words& words, const std::string& message) {
  CAPTURE(words);
  const Outcome outcome = run_with(words, [] { return 99; });
  CHECK(outcome.exit_code == 2);
  CHECK(outcome.err == "crisp-train: " + message + "\nRun crisp-train --help for the options.\n");
}

TEST_CASE("every field of TrainingArguments is an option of ours or in the table") {
  std::istringstream names(test::read_file(CRISP_SOURCE_DIR "/tests/tools/training_arguments.txt"));
  CLI::App app("", "crisp-train");
  TrainOptions options;
  add_train_options(app, options);
  int count = 0;
  for (std::string name; std::getline(names, name);) {
    if (name.starts_with("#")) continue;
    ++count;
    INFO(name);
    std::string dashed = name;
    std::replace(dashed.begin(), dashed.end(), '_', '-');
    if (name == "label_names") {  // names of columns: nothing that a command line of theirs has
      CHECK(find_hf_option(dashed) == nullptr);
      continue;
    }
    CHECK((find_hf_option(dashed) != nullptr || find_option(app, name) != nullptr));
  }
  CHECK(count == 146);
}

TEST_CASE("what the table says about an option happens") {
  for (const HfOption& option : hf_options()) {
    const std::string name = typed(option.name);
    INFO(name);
    const std::vector<std::string> fine = split(option.fine, '|');
    const auto is_fine = [&](const char* word) { return std::find(fine.begin(), fine.end(), word) != fine.end(); };
    std::string other = "odd";
    if (option.kind == ArgumentKind::flag) other = !is_fine("true") ? "true" : !is_fine("false") ? "false" : "";
    if (option.outcome != HfOutcome::mapped) {
      for (const std::string& value : fine)
        if (!value.empty()) silently({name + "=" + value});
      if (option.kind == ArgumentKind::value) silently({name, "none"});
    }
    if (other.empty()) continue;
    if (option.outcome == HfOutcome::ignored) noting({name, other}, fmt::format("{} ({})", name, option.text));
    if (option.outcome == HfOutcome::refused)
      refused({name, other}, fmt::format("{} {}: {}", name, other, option.text));
  }
  CHECK(find_hf_option("quantum") == nullptr);
}

TEST_CASE("a flag stands alone, has a value, or is negated") {
  for (const Words& words : {Words{"--bf16"}, {"--bf16", "True"}, {"--bf16=true"}, {"--bf16", "1"}})
    CHECK(silently(words).precision == Precision::bf16);
  for (const Words& words : {Words{"--bf16", "False"}, {"--bf16=0"}, {"--no_bf16"}, {"--bf16", "--bf16", "no"}})
    CHECK(silently(words).precision == Precision::f32);
  CHECK(silently({"--overwrite_output_dir", "True"}).overwrite);
  CHECK_FALSE(silently({"--overwrite_output_dir", "False"}).overwrite);
  CHECK_FALSE(silently({"--resume", "--resume=false"}).resume);
  silently({"--no_remove_unused_columns", "--no-dataloader-pin-memory"});
  refused({"--bf16=maybe"}, "--bf16: must be true or false, not 'maybe'");
}

TEST_CASE("a run_glue command line runs, with one note about all that changes nothing") {
  const TrainOptions o = noting(
      {"--model_name_or_path",
       "w",
       "--task_name",
       "SST2",
       "--data",
       "d",
       "--do_train",
       "--do_eval",
       "--fp16",
       "--max_seq_length",
       "128",
       "--per_device_train_batch_size",
       "32",
       "--learning_rate",
       "3e-5",
       "--num_train_epochs",
       "3",
       "--max_steps",
       "-1",
       "--output_dir",
       "o",
       "--overwrite_output_dir",
       "--optim",
       "adamw_torch",
       "--eval_strategy",
       "epoch",
       "--save_strategy",
       "epoch",
       "--save_total_limit",
       "3",
       "--seed",
       "1",
       "--load_best_model_at_end",
       "--metric_for_best_model",
       "accuracy",
       "--dataloader_num_workers",
       "4",
       "--gradient_checkpointing",
       "--torch_compile",
       "False",
       "--report_to",
       "none",
       "--ddp_timeout",
       "1800",
       "--dataloader_prefetch_factor",
       "2"},
      "--fp16 (f32 is computed instead; --bf16 is the fast one where the CPU has it); --save_total_limit (the last and "
      "the best checkpoint are kept); --dataloader_num_workers, --dataloader_prefetch_factor (the sentences are in "
      "memory as token ids); --gradient_checkpointing (a matter of memory, not of numbers); --ddp_timeout (one process "
      "trains, on --threads cores)");
  CHECK(o.weights == "w");
  CHECK(o.max_length == 128);
  CHECK(o.max_steps == 0);
  CHECK(o.epochs == 3);
  CHECK(o.learning_rate == 3e-5);
  CHECK(o.precision == Precision::f32);
  CHECK(o.overwrite);
  CHECK_FALSE(o.select_last);
  CHECK(o.eval_steps == 0);
}

TEST_CASE("strategies say when to evaluate and to save") {
  const auto evaluates_and_saves = [](const Words& words, int64_t eval_steps, int64_t save_steps) {
    const TrainOptions o = silently(words);
    CHECK(o.eval_steps == eval_steps);
    CHECK(o.save_steps == save_steps);
    return o;
  };
  evaluates_and_saves({"--eval_strategy", "steps", "--eval_steps", "50"}, 50, 0);
  evaluates_and_saves({"--evaluation_strategy", "steps"}, 500, 0);
  evaluates_and_saves({"--eval_strategy", "steps", "--logging_steps", "20"}, 20, 0);
  evaluates_and_saves({"--eval_strategy", "no"}, most_steps, 500);
  evaluates_and_saves({"--eval_strategy", "no", "--save_strategy", "steps", "--save_steps", "7"}, most_steps, 7);
  evaluates_and_saves({"--save_strategy", "steps"}, 0, 500);
  CHECK_FALSE(evaluates_and_saves({"--save_strategy", "no"}, 0, 0).keep_checkpoints);
  evaluates_and_saves({"--save_strategy", "best"}, 0, 0);
  CHECK(noting({"--eval_strategy", "epoch", "--eval_steps", "50"}, "--eval_steps (an evaluation after each epoch)")
            .eval_steps == 0);
  CHECK(noting({"--save_strategy", "epoch", "--save_steps", "50"}, "--save_steps (a checkpoint at each evaluation)")
            .save_steps == 0);
  refused({"--eval_strategy", "often"}, "--eval_strategy: must be one of no|steps|epoch, not 'often'");
}

TEST_CASE("steps, schedules and the best model in their words") {
  CHECK(silently({"--max_steps", "10", "--max_steps", "-1"}).max_steps == 0);
  CHECK(silently({"--max_steps", "10"}).max_steps == 10);
  CHECK(silently({"--warmup_steps", "0.06"}).warmup_ratio == 0.06);  // transformers 5
  CHECK(silently({"--warmup_steps", "100.0"}).warmup_steps == 100);
  CHECK(silently({"--lr_scheduler_type", "constant"}).warmup_ratio == 0);
  const TrainOptions constant =
      noting({"--warmup_ratio", "0.2", "--lr_scheduler_type", "constant"},
             "--warmup_ratio (--lr_scheduler_type constant has no warmup; constant_with_warmup has one)");
  CHECK(constant.schedule == ScheduleType::constant);
  CHECK(constant.warmup_ratio == 0);
  CHECK(silently({"--lr_scheduler_type", "constant_with_warmup"}).warmup_ratio == 0.1);
  refused({"--lr_scheduler_type", "polynomial"},
          "--lr_scheduler_type: must be one of linear|cosine|constant, not 'polynomial'");
  CHECK(silently({"--load_best_model_at_end", "False"}).select_last);
  noting({"--load_best_model_at_end"}, "--load_best_model_at_end (the best is chosen by accuracy, not by loss)");
  refused({"--metric_for_best_model", "eval_loss"},
          "--metric_for_best_model eval_loss: the best evaluation is chosen by accuracy");
  CHECK(silently({"--max_train_samples", "5", "--max_eval_samples", "6"}).max_train_samples == 5);
}

TEST_CASE("what crisp-train does not do is refused before it trains") {
  const std::string evaluate =
      ": crisp-train always trains (--do_train); crisp-predict --model DIR --metrics FILE evaluates a model";
  refused({"--do_eval"}, "--do_eval" + evaluate);
  refused({"--do_train", "False", "--do_eval"}, "--do_train False" + evaluate);
  noting({"--do_train", "--do_eval", "False"}, "--do_eval (the dev set is always evaluated)");
  const std::string data =
      ": no data set is downloaded: give --data DIR (data/fetch gets SST-2), or --train FILE and --dev FILE";
  refused({"--task_name", "sst2", "--weights", "w"}, "--task_name sst2" + data);
  refused({"--task_name", "mrpc", "--data", "d"},
          "--task_name mrpc: only SST-2's task is known: single sentences, measured by accuracy; leave it out");
  silently({"--weights", "w", "--tokenizer_name", "w", "--config_name", "w"});
  refused({"--weights", "w", "--tokenizer_name", "v"},
          "--tokenizer_name v: the vocabulary is taken from beside the weights, or --vocab FILE");
}

TEST_CASE("a run goes on from its newest checkpoint only") {
  CHECK(silently({"--resume_from_checkpoint"}).resume);
  CHECK(silently({"--resume_from_checkpoint", "True"}).resume);
  CHECK_FALSE(silently({"--resume_from_checkpoint", "False"}).resume);
  const test::TempDir out;
  const auto resume = [&](const std::string& path) {
    return Words{"--resume_from_checkpoint", path, "--output_dir", out.path()};
  };
  CHECK(silently(resume(out.path())).resume);
  refused(resume(out / "checkpoint-3"),
          fmt::format("--resume_from_checkpoint {0}/checkpoint-3: a run goes on from the newest checkpoint of its "
                      "--output_dir, {0}, which has none: give True, and the --output_dir that it had",
                      out.path()));
  for (const char* name : {"checkpoint-3", "checkpoint-12"}) std::filesystem::create_directory(out / name);
  CHECK(silently(resume(out / "checkpoint-12/")).resume);
  refused(resume(out / "checkpoint-3"),
          fmt::format("--resume_from_checkpoint {0}/checkpoint-3: a run goes on from the newest checkpoint of its "
                      "--output_dir, {0}/checkpoint-12: give True, and the --output_dir that it had",
                      out.path()));
}

TEST_CASE("an option file may be a JSON object, with the same names") {
  const test::TempDir dir;
  test::write_file(dir / "run.json", R"({"model_name_or_path": "w", "do_train": true, "bf16": true, "max_steps": -1,
      "learning_rate": 3e-05, "warmup_steps": 10, "eval_steps": null, "sparsity": [0.1, 0.2], "logging_steps": 5,
      "fsdp": [], "run_name": "first"})");
  const std::string note = "--run_name (a run has the name of its --output)";
  const TrainOptions o = noting({"--logging_steps", "6", "--config", dir / "run.json"}, note);
  CHECK(o.weights == "w");
  CHECK(o.precision == Precision::bf16);
  CHECK(o.learning_rate == 3e-5);
  CHECK(o.warmup_steps == 10);
  CHECK(o.sparse.sparsity == "0.1,0.2");
  CHECK(o.logging_steps == 6);
  CHECK(noting({dir / "run.json"}, note).logging_steps == 5);
  test::write_file(dir / "run.toml", "bf16 = true\neval_strategy = steps\n");
  CHECK(silently({"--config", dir / "run.toml", "--eval_steps", "9"}).eval_steps == 9);
  test::write_file(dir / "run.toml",
                   "\xEF\xBB\xBF"
                   "seed = 3\n# a\n\nsparsity = [0.5, 0]\n");
  CHECK(silently({"--config", dir / "run.toml"}).seed == 3);
  test::write_file(dir / "bad.json", R"({"learning_rat": 1})");
  refused({"--config", dir / "bad.json"}, "--config: " + (dir / "bad.json") + ": there is no option \"learning_rat\"");
  test::write_file(dir / "bad.json", R"({"epochs": [1, 2]})");
  refused({"--config", dir / "bad.json"}, "--config: " + (dir / "bad.json") + ": \"epochs\" has several values");
  refused({"--eval_steps", "0.5"}, "--eval_steps 0.5: a part of all steps is not known here; give a number of steps");
  test::write_file(dir / "bad.json", "{\"epochs\": }");
  CHECK(contains(run_with({"--config", dir / "bad.json"}).err, "bad.json:1:12"));
}

TEST_CASE("messages spell an option as the user has") {
  refused({"--learning_rate", "0"}, "--learning_rate: must be a number above 0, not '0'");
  refused({"--lr=0"}, "--lr: must be a number above 0, not '0'");
  refused({"--learning-rate", "0"}, "--learning-rate: must be a number above 0, not '0'");
  const Outcome at_work = run_with({"--max_seq_length", "600"}, []() -> int {
    fail<UsageError>("--max-length 600 is more than --max-lengthy; see --batch-size");
  });
  CHECK(at_work.err == "crisp-train: --max_seq_length 600 is more than --max-lengthy; see --batch-size\n");
  refused({"--evaluation_stratgy", "no"},
          "there is no option --evaluation_stratgy; did you mean --evaluation_strategy?");
}

TEST_CASE("no warmup can be asked for by steps, too") {
  CHECK(silently({"--warmup-steps", "0"}).warmup_ratio == 0);
  CHECK(silently({"--warmup-steps", "0", "--warmup-ratio", "0"}).warmup_ratio == 0);
  CHECK(silently({"--warmup-steps", "3"}).warmup_ratio == 0.1);  // of no account beside steps
  refused({"--warmup_steps", "0", "--warmup_ratio", "0.1"},
          "--warmup_steps: 0 is no warmup, but --warmup_ratio 0.1 is one");
}

TEST_CASE("option --version names program and version") {
  const Outcome outcome = run_with({"--version"}, [] { return 99; });
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.out.starts_with("crisp-train 0."));
  CHECK(outcome.err.empty());
}

}  // namespace
}  // namespace crisp
