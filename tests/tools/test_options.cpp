#include "tools/options.h"

#include <fstream>
#include <new>

#include "engine/fail.h"
#include "model/config.h"
#include "tests/support/catch.h"
#include "tests/tools/options_run.h"
#include "tests/train/support.h"

namespace crisp {
namespace {

using test::contains;
using test::Outcome;
using test::run_with;

TEST_CASE("without options the defaults are those of the literature") {
  const Outcome outcome = run_with({});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  const TrainOptions& o = outcome.options;
  // Unset, so that a run knows what the user has asked for.
  CHECK_FALSE(o.learning_rate.has_value());
  CHECK(o.learning_rate_or_default() == 2e-5);
  CHECK_FALSE(o.epochs.has_value());
  CHECK(o.epochs_or_default() == 3);
  CHECK(o.batch_size == 32);
  CHECK(o.warmup_ratio == 0.1);
  CHECK(o.weight_decay == 0.01);
  CHECK(o.max_grad_norm == 1.0);
  CHECK(o.max_length == 0);  // as many as the model can
  CHECK(o.schedule == ScheduleType::linear);
  CHECK(o.precision == Precision::f32);
  CHECK(o.sparse.sparsity == "dense");
  CHECK(o.sparse.at_evaluation);
  CHECK_FALSE(o.dropout.has_value());
  CHECK_FALSE(o.resume);
}

TEST_CASE("every option reaches its variable") {
  const TrainOptions o = run_with({"--weights",
                                   "w",
                                   "--data",
                                   "d",
                                   "--train",
                                   "t",
                                   "--dev",
                                   "v",
                                   "--vocab",
                                   "x",
                                   "--output",
                                   "o",
                                   "--epochs",
                                   "0.5",
                                   "--max-steps",
                                   "7",
                                   "--learning-rate",
                                   "5e-5",
                                   "--batch-size",
                                   "16",
                                   "--gradient-accumulation-steps",
                                   "2",
                                   "--schedule",
                                   "cosine",
                                   "--warmup-ratio",
                                   "1",
                                   "--warmup-steps",
                                   "3",
                                   "--weight-decay",
                                   "0",
                                   "--beta1",
                                   "0.8",
                                   "--beta2",
                                   "0.99",
                                   "--epsilon",
                                   "1e-6",
                                   "--max-grad-norm",
                                   "0",
                                   "--max-length",
                                   "64",
                                   "--dropout",
                                   "0",
                                   "--num-labels",
                                   "3",
                                   "--sparsity",
                                   "aggressive",
                                   "--sparsity-scope",
                                   "head",
                                   "--sparse-eval",
                                   "off",
                                   "--eval-steps",
                                   "11",
                                   "--eval-batch-size",
                                   "12",
                                   "--logging-steps",
                                   "13",
                                   "--save-steps",
                                   "14",
                                   "--early-stopping-patience",
                                   "15",
                                   "--resume",
                                   "--seed",
                                   "18446744073709551615",
                                   "--threads",
                                   "2",
                                   "--precision",
                                   "f64"})
                             .options;
  CHECK(o.weights == "w");
  CHECK(o.data == "d");
  CHECK(o.train == "t");
  CHECK(o.dev == "v");
  CHECK(o.vocab == "x");
  CHECK(o.output == "o");
  CHECK(o.epochs == 0.5);
  CHECK(o.max_steps == 7);
  CHECK(o.learning_rate == 5e-5);
  CHECK(o.batch_size == 16);
  CHECK(o.gradient_accumulation_steps == 2);
  CHECK(o.schedule == ScheduleType::cosine);
  CHECK(o.warmup_ratio == 1);
  CHECK(o.warmup_steps == 3);
  CHECK(o.weight_decay == 0);
  CHECK(o.beta1 == 0.8);
  CHECK(o.beta2 == 0.99);
  CHECK(o.epsilon == 1e-6);
  CHECK(o.max_grad_norm == 0);
  CHECK(o.max_length == 64);
  CHECK(o.dropout == 0.0);
  CHECK(o.num_labels == 3);
  CHECK(o.sparse.sparsity == "aggressive");
  CHECK(o.sparse.method == SparseMethod::percentile);
  CHECK_FALSE(o.sparse.at_evaluation);
  CHECK(o.eval_steps == 11);
  CHECK(o.eval_batch_size == 12);
  CHECK(o.logging_steps == 13);
  CHECK(o.save_steps == 14);
  CHECK(o.early_stopping_patience == 15);
  CHECK(o.resume);
  CHECK_FALSE(o.overwrite);
  CHECK(o.seed == 18446744073709551615u);
  CHECK(o.threads == 2);
  CHECK(o.precision == Precision::f64);
  CHECK(run_with({"--init", "distilbert-base", "--overwrite"}).options.init == "distilbert-base");
}

TEST_CASE("Hugging Face's spellings mean the same") {
  const Outcome outcome = run_with({"--model_name_or_path",
                                    "w",
                                    "--learning_rate=1e-4",
                                    "--num_train_epochs=2.0",
                                    "--per_device_train_batch_size=8",
                                    "--per_device_eval_batch_size=9",
                                    "--output_dir=o",
                                    "--max_seq_length=99",
                                    "--lr_scheduler_type",
                                    "constant_with_warmup",
                                    "--warmup_ratio=0.2",
                                    "--weight_decay=0.1",
                                    "--gradient_accumulation_steps=4",
                                    "--max_grad_norm=2",
                                    "--save_steps=5",
                                    "--eval_steps=6",
                                    "--logging_steps=7",
                                    "--overwrite_output_dir",
                                    "--adam_beta1=0.5",
                                    "--adam_beta2=0.6",
                                    "--adam_epsilon=1e-3",
                                    "--train_file=t",
                                    "--validation_file=v"});
  CHECK(outcome.err.empty());
  const TrainOptions& o = outcome.options;
  CHECK(o.weights == "w");
  CHECK(o.learning_rate == 1e-4);
  CHECK(o.epochs == 2);
  CHECK(o.batch_size == 8);
  CHECK(o.eval_batch_size == 9);
  CHECK(o.output == "o");
  CHECK(o.max_length == 99);
  CHECK(o.schedule == ScheduleType::constant);
  CHECK(o.warmup_ratio == 0.2);
  CHECK(o.weight_decay == 0.1);
  CHECK(o.gradient_accumulation_steps == 4);
  CHECK(o.max_grad_norm == 2);
  CHECK(o.save_steps == 5);
  CHECK(o.eval_steps == 6);
  CHECK(o.logging_steps == 7);
  CHECK(o.overwrite);
  CHECK(o.beta1 == 0.5);
  CHECK(o.beta2 == 0.6);
  CHECK(o.epsilon == 1e-3);
  CHECK(o.train == "t");
  CHECK(o.dev == "v");
}

TEST_CASE("the last of an option given twice counts") {
  CHECK(run_with({"--epochs", "1", "--num_train_epochs", "2"}).options.epochs == 2);
  CHECK(run_with({"--sparsity", "0.1", "--sparsity", "0.2"}).options.sparse.sparsity == "0.2");
}

TEST_CASE("a value that makes no sense is refused in one line that says what does") {
  struct Case {
    std::vector<std::string> arguments;
    std::string complaint;
  };
  const Case cases[] = {
      {{"--learning-rate", "0"}, "--learning-rate: must be a number above 0, not '0'"},
      {{"--learning-rate", "nan"}, "--learning-rate: must be a number above 0, not 'nan'"},
      {{"--lr", "inf"}, "--lr: must be a number above 0, not 'inf'"},
      {{"--learning-rate", "2e-5x"}, "--learning-rate: must be a number above 0, not '2e-5x'"},
      {{"--weight-decay=-1"}, "--weight-decay: must be a number at least 0, not '-1'"},
      {{"--warmup-ratio", "1.5"}, "--warmup-ratio: must be a number from 0 to 1, not '1.5'"},
      {{"--dropout", "1"}, "--dropout: must be a number from 0 to 1 (exclusive), not '1'"},
      {{"--batch-size", "0"}, "--batch-size: must be a whole number from 1 to 1000000, not '0'"},
      {{"--batch-size", "3.5"}, "--batch-size: must be a whole number from 1 to 1000000, not '3.5'"},
      {{"--batch-size", "99999999999999999999"}, "--batch-size: must be a whole number from 1 to 1000000"},
      {{"--batch-size", "4294967328"}, "--batch-size: must be a whole number from 1 to 1000000, not '4294967328'"},
      {{"--eval-batch-size", "4294967328"}, "--eval-batch-size: must be a whole number from 1 to 1000000"},
      {{"--threads", "1025"}, "--threads: must be a whole number from 0 to 1024, not '1025'"},
      {{"--epochs", "1e300"}, "--epochs: must be a number from 0 to 1000000, not '1e300'"},
      {{"--max-steps", "1000000001"}, "--max-steps: must be a whole number from 0 to 1000000000"},
      {{"--num-labels", "10001"}, "--num-labels: must be a whole number from 0 to 10000"},
      {{"--seed=-1"}, "--seed: must be a whole number, at least 0 and below 2^64, not '-1'"},
      {{"--schedule", "linaer"}, "--schedule: must be one of linear|cosine|constant, not 'linaer'"},
      {{"--precision", "f16"}, "--precision: must be one of f32|strict-f32|tf32|bf16|bf16x3|bf16x6|f64, not 'f16'"},
      {{"--sparsity", "1"}, "--sparsity: must be numbers from 0 to below 1"},
      {{"--sparsity", "0.5,,0.6"}, "not '0.5,,0.6'"},
      {{"--sparsity", "0.5,nan"}, "not '0.5,nan'"},
      {{"--sparse-method", "topk"}, "--sparse-method: must be one of top-k|top-k-ties|percentile|"},
      {{"--sparsity-scope", "column"}, "--sparsity-scope: must be one of row|head, not 'column'"},
      {{"--sparse-layers", "first"}, "--sparse-layers: must be all, early, late, or layers' numbers from 0"},
      {{"--sparse-layers", "0,-1"}, "not '0,-1'"},
      {{"--sparsity-ramp", "1.5"}, "--sparsity-ramp: must be a number from 0 to 1, not '1.5'"},
      {{"--keep", "cls,pad"}, "--keep: must be some of cls,sep,diagonal, or none, not 'cls,pad'"},
      {{"--window=-1"}, "--window: must be a whole number from 0 to 1000000, not '-1'"},
      {{"--bigbird", "3,1"}, "--bigbird: must be three whole numbers NEAREST,RANDOM,GLOBAL"},
      {{"--bigbird", "0,1,0"}, "the first or the last above 0, not '0,1,0'"},
      {{"--attention-threshold", "high"}, "--attention-threshold: must be a number from -1e+30 to 1e+30, not 'high'"},
      {{"--lexical-threshold", "2"}, "--lexical-threshold: must be a number"},
      {{"--drop-key", "1"}, "--drop-key: must be a number from 0 to 1 (exclusive), not '1'"},
      {{"--span-ramp", "0"}, "--span-ramp: must be a number from 0.001 to 1000000, not '0'"},
      {{"--sparse-method", "neighbour"}, "--sparse-method neighbour needs --sparsity S or --window"},
      {{"--sparse-method", "bigbird"}, "--sparse-method bigbird needs --bigbird"},
      {{"--window", "3"}, "--window belongs to --sparse-method neighbour, not top-k"},
      {{"--drop-key", "0.1", "--drop-attention", "0.1"}, "two names of one thing"},
      {{"--output", ""}, "--output: must not be empty"},
      {{"--resume", "--overwrite"}, "--resume: excludes --overwrite"},
      {{"--weights", "w", "--init", "distilbert-base"}, "--weights: excludes --init"},
      {{"--selection-part", "0.1", "--select", "last"}, "--selection-part: is to choose the best evaluation on"},
      {{"--epoch", "3"}, "there is no option --epoch; did you mean --epochs?"},
      {{"--lerning_rate=1"}, "there is no option --lerning_rate; did you mean --learning-rate?"},
      {{"--quantum"}, "there is no option --quantum\n"},
      {{"stray"}, "stray"},
      {{"--epochs"}, "--epochs"},
      {{"--config", "/none"}, "/none"},
  };
  for (const Case& c : cases) {
    INFO(fmt::format("{}", fmt::join(c.arguments, " ")));
    const Outcome outcome = run_with(c.arguments, [] { return 99; });
    INFO(outcome.err);
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.err.starts_with("crisp-train: "));
    CHECK(contains(outcome.err, c.complaint));
    CHECK(contains(outcome.err, "\nRun crisp-train --help for the options.\n"));
    CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 2);
    CHECK(outcome.out.empty());
  }
}

TEST_CASE("every dropout rate and number of labels that the options accept, config.json gives back") {
  for (const char* rate : {"0", "5e-324", "0.9995", "0.9999999999999999"}) {
    INFO(rate);
    const Outcome outcome = run_with({"--dropout", rate});
    REQUIRE(outcome.err == "");
    DistilBertConfig config;
    config.dropout = config.attention_dropout = config.classifier_dropout = outcome.options.dropout.value();
    const DistilBertConfig read = parse_config(config_json(config), "config.json");
    CHECK(read.dropout == config.dropout);
    CHECK(read.attention_dropout == config.dropout);
    CHECK(read.classifier_dropout == config.dropout);
  }
  for (const char* labels : {"1", "10000"}) {
    DistilBertConfig config;
    config.num_labels = run_with({"--num-labels", labels}).options.num_labels;
    CHECK(fmt::format("{}", parse_config(config_json(config), "config.json").num_labels) == labels);
  }
  for (const char* rate : {"1", "1.5", "-0.1", "nan", "inf"})
    CHECK(contains(run_with({std::string("--dropout=") + rate}).err, "must be a number from 0 to 1 (exclusive)"));
}

TEST_CASE("a sparsity is a number, a list, or a preset") {
  for (const char* good : {"0", "0.8", "0.999", "0.1,0.2,0.3", "dense", "uniform", "light", "aggressive"}) {
    CHECK(sparsity_complaint(good).empty());
  }
  for (const char* bad : {"", "1", "-0.1", "0.8,", "heavy", "dense,0.5", "0.8 ", "inf"}) {
    INFO(bad);
    CHECK_FALSE(sparsity_complaint(bad).empty());
  }
}

TEST_CASE("options come from a file, too, and the command line wins") {
  const test::TempDir dir;
  test::write_file(dir / "run.toml",
                   "# an experiment\n"
                   "learning_rate = 5e-5\n"
                   "epochs=1   # short\n"
                   "sparsity = [0.5, 0.6]\n"
                   "output = \"my runs/first\"\n"
                   "overwrite = true\n"
                   "resume = false\n"
                   "sparse-eval = off\n"
                   "seed = 7\n");
  const Outcome outcome = run_with({"--seed", "8", "--config", dir / "run.toml"});
  CHECK(outcome.err.empty());
  const TrainOptions& o = outcome.options;
  CHECK(o.learning_rate == 5e-5);
  CHECK(o.epochs == 1);
  CHECK(o.sparse.sparsity == "0.5,0.6");
  CHECK(o.output == "my runs/first");
  CHECK(o.overwrite);
  CHECK_FALSE(o.resume);
  CHECK_FALSE(o.sparse.at_evaluation);
  CHECK(o.seed == 8);
}

TEST_CASE("mistakes in an option file are named") {
  struct Case {
    std::string text, complaint;
  };
  const Case cases[] = {
      {"lerning-rate = 1\n", "run.toml: there is no option \"lerning-rate\""},
      {"[train]\nepochs = 3\n", "run.toml: sections are not known, but there is [train]"},
      {"output = my runs\n", "run.toml: \"output\" has several values"},
      {"seed = 1\nseed = 2\n", "run.toml: \"seed\" has several values; it is there twice"},
      {"sparse-layers = late\nsparse_layers = early\n",
       R"(run.toml: "sparse-layers" and "sparse_layers" are the same option; give it once)"},
      {R"({"sparse_layers": "late", "sparse-layers": "early"})",
       R"(run.toml: "sparse-layers" and "sparse_layers" are the same option; give it once)"},
      {"epochs = 1\nx\n", "run.toml:2: expected NAME = VALUE on one line, not \"x\""},
      {"learning-rate = 0\n", "--learning-rate: must be a number above 0, not '0'"},
      {"resume = true\noverwrite = true\n", "excludes"},
      {"resume = perhaps\n", "perhaps"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    const test::TempDir dir;
    test::write_file(dir / "run.toml", c.text);
    const Outcome outcome = run_with({"--config", dir / "run.toml"});
    CHECK(outcome.exit_code == 2);
    CHECK(outcome.err.starts_with("crisp-train: "));
    INFO(outcome.err);
    CHECK(contains(outcome.err, c.complaint));
  }
}

TEST_CASE("the option --help names each option once, with its default, in groups") {
  const Outcome outcome = run_with({"--help"}, [] { return 99; });
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  for (const char* text :
       {"--learning-rate X=2e-05", "--epochs X=3", "--batch-size N=32", "--schedule linear|cosine|constant=linear",
        "--sparse-eval on|off=on", "--precision f32|strict-f32|tf32|bf16|bf16x3|bf16x6|f64=f32",
        "--sparsity-scope row|head=row Excludes: --sparse-method", "Sparse attention:", "Files:", "--config FILE",
        "--resume", "--weights FILE|DIR|NAME"}) {
    INFO(text);
    CHECK(contains(outcome.out, text));
  }
  CHECK_FALSE(contains(outcome.out, "--learning_rate"));
}

TEST_CASE("each kind of error has its exit code and goes to stderr") {
  struct Case {
    std::function<int()> body;
    int exit_code;
    std::string err;
  };
  const Case cases[] = {
      {[] { return 130; }, 130, ""},
      {[]() -> int { fail("disk full"); }, 1, "crisp-train: disk full\n"},
      {[]() -> int { fail<UsageError>("no such preset"); }, 2, "crisp-train: no such preset\n"},
      {[]() -> int { fail<BadInput>("a.tsv:7: two columns"); }, 3, "crisp-train: a.tsv:7: two columns\n"},
      {[]() -> int { fail<Diverged>("loss is nan at step 3"); }, 4, "crisp-train: loss is nan at step 3\n"},
      {[]() -> int { throw std::bad_alloc(); }, 1,
       "crisp-train: out of memory; a smaller --batch-size or --max-length needs less\n"},
      {[]() -> int { throw std::runtime_error("other"); }, 1, "crisp-train: other\n"},
  };
  for (const Case& c : cases) {
    const Outcome outcome = run_with({}, c.body);
    CHECK(outcome.exit_code == c.exit_code);
    CHECK(outcome.err == c.err);
    CHECK(outcome.out.empty());
  }
}

}  // namespace
}  // namespace crisp
