// crisp::FineTuner beside Trainer, and what its observer and its files do.
#include <cmath>
#include <optional>

#include "tests/train/door/door.h"
#include "train/core/trainer.h"
#include "train/inference/model_files.h"
#include "train/inference/precision.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// Tells the tuner to stop after a step or an evaluation, once.
struct Watcher : FineTuner::Observer {
  std::vector<FineTuner::Step> steps;
  std::vector<FineTuner::Evaluation> evaluations;
  int64_t stop_after_step = -1, stop_at_evaluation = -1, throw_at_step = -1;
  bool on_step(const FineTuner::Step& s) override {
    steps.push_back(s);
    if (s.step == throw_at_step) throw std::string("mine");
    return s.step != stop_after_step;
  }
  bool on_evaluation(const FineTuner::Evaluation& e) override {
    evaluations.push_back(e);
    return e.step != stop_at_evaluation;
  }
};

FineTuner make_tuner(const FineTuner::Options& options) {
  return {sample_weights(), sample_examples(40), sample_examples(20, "dev"), options};
}

std::vector<int64_t> steps_of(const std::vector<FineTuner::Evaluation>& evaluations) {
  std::vector<int64_t> steps;
  for (const FineTuner::Evaluation& e : evaluations) steps.push_back(e.step);
  return steps;
}

std::string refusal(const std::function<void(FineTuner::Options&)>& change) {
  FineTuner::Options options = short_training();
  change(options);
  return message_of<UsageError>([&] { make_tuner(options); });
}

}  // namespace

TEST_CASE("a fine-tuner takes the steps of Trainer, bit for bit") {
  const bool accumulating = GENERATE(false, true);
  FineTuner::Options options = short_training();
  options.max_steps = 6;
  options.gradient_accumulation_steps = accumulating ? 2 : 1;
  options.sparsity = accumulating ? "0.5" : "dense";
  FineTuner tuner = make_tuner(options);

  const Context context({.threads = 3, .products = products_for(Precision::f32, Device::cpu)});
  LoadedModel loaded =
      load_model(sample_weights(), {.dtype = DType::f32, .num_labels = 2, .seed = 42, .to_train = true});
  SparsityOptions sparse;
  sparse.sparsity = options.sparsity;
  loaded.model.set_sparsity(make_sparsity(sparse, 4, 42));
  Dataset data{.path = "train", .examples = {}, .num_labels = 2};
  for (const FineTuner::Example& e : sample_examples(40)) data.examples.push_back({e.text, e.label});
  const TokenizedDataset tokens(data, load_tokenizer(loaded, 0), 128);
  TrainerOptions of_trainer;
  of_trainer.max_steps = 6;
  of_trainer.batch_size = 8;
  of_trainer.learning_rate = 5e-4;
  of_trainer.gradient_accumulation_steps = options.gradient_accumulation_steps;
  Trainer trainer(loaded.model, tokens, of_trainer, context);

  REQUIRE(tuner.total_steps() == 6);
  StepReport report;
  while (!tuner.finished()) {
    const FineTuner::Step step = tuner.step();
    while (!trainer.micro_step(report)) {
    }
    CHECK(step.step == trainer.state().step);
    CHECK(step.epoch == trainer.epoch());
    CHECK(step.loss == report.loss);
    CHECK(step.grad_norm == report.grad_norm);
    CHECK(step.learning_rate == report.learning_rate);
    CHECK(tuner.steps_done() == step.step);
  }
  CHECK(trainer.finished());
  const Classifier tuned = tuner.classifier();
  for (const Parameter& p : trainer.model().parameters())
    CHECK(tuned.parameter(p.name).values == p.tensor.detach().to_vector());
  CHECK(contains(message_of<UsageError>([&] { tuner.step(); }), "finished: all 6 steps are done"));
}

TEST_CASE("an observer sees every step and the evaluations that are due") {
  FineTuner::Options options = short_training();
  options.max_steps = 0;
  options.epochs = 1.5;  // 8 steps, of 5 an epoch
  Watcher by_epoch, by_steps;
  FineTuner tuner = make_tuner(options);
  CHECK(tuner.run(by_epoch));
  CHECK(steps_of(by_epoch.evaluations) == std::vector<int64_t>{5, 8});
  REQUIRE(by_epoch.steps.size() == 8);
  CHECK(by_epoch.steps[7].total_steps == 8);
  CHECK(by_epoch.steps[4].epoch == 1);
  const FineTuner::Evaluation last = by_epoch.evaluations[1], again = tuner.evaluate(sample_examples(20, "dev"));
  CHECK(last.total == 20);
  CHECK(last.loss == again.loss);
  CHECK(last.correct == again.correct);
  CHECK(last.accuracy() == static_cast<double>(last.correct) / 20);

  options.eval_steps = 3;
  make_tuner(options).run(by_steps);
  CHECK(steps_of(by_steps.evaluations) == std::vector<int64_t>{3, 6, 8});
  CHECK(by_steps.evaluations[2].loss == last.loss);

  // By hand: the mean of -log of the label's probability.
  const std::vector<FineTuner::Example> dev = sample_examples(20, "dev");
  const Classifier model = tuner.classifier();
  double sum = 0;
  int64_t correct = 0;
  for (const FineTuner::Example& e : dev) {
    const Classifier::Prediction p = model.predict_one(e.text);
    sum -= std::log(p.scores[static_cast<size_t>(e.label)]);
    correct += p.label == e.label;
  }
  CHECK(last.loss == Approx(sum / 20).epsilon(1e-5));
  CHECK(last.correct == correct);
}

TEST_CASE("an observer stops a training, which goes on to the same bits") {
  FineTuner::Options options = short_training();
  options.max_steps = 6;
  options.eval_steps = 2;
  Watcher whole;
  FineTuner uncut = make_tuner(options);
  REQUIRE(uncut.run(whole));

  FineTuner cut = make_tuner(options);
  Watcher watcher;
  watcher.stop_after_step = 2;
  CHECK_FALSE(cut.run(watcher));
  CHECK(cut.steps_done() == 2);
  CHECK(watcher.evaluations.empty());  // that of step 2 is due still
  watcher.stop_at_evaluation = 4;
  CHECK_FALSE(cut.run(watcher));
  CHECK(cut.steps_done() == 4);
  CHECK(steps_of(watcher.evaluations) == std::vector<int64_t>{2, 4});
  watcher.throw_at_step = 5;
  CHECK_THROWS_AS(cut.run(watcher), std::string);
  CHECK(cut.steps_done() == 5);
  CHECK((cut.save_to_memory() != uncut.save_to_memory()));
  CHECK(cut.run(watcher));
  CHECK(cut.finished());
  CHECK(cut.run(watcher));  // nothing is left to do
  CHECK((cut.save_to_memory() == uncut.save_to_memory()));
  for (size_t i = 0; i < 6; ++i) CHECK(watcher.steps[i].loss == whole.steps[i].loss);
  REQUIRE(watcher.evaluations.size() == 3);
  for (size_t i = 0; i < 3; ++i) CHECK(watcher.evaluations[i].loss == whole.evaluations[i].loss);
}

TEST_CASE("what is saved in memory is what is saved in a directory, and loads") {
  const TempDir dir;
  FineTuner::Options options = short_training();
  options.label_names = {"bad", "good"};
  options.max_length = 20;
  options.sparsity = "0.5";
  FineTuner tuner = make_tuner(options);
  tuner.run();
  const ModelFiles files = tuner.save_to_memory();
  tuner.save(dir / "a/model");
  CHECK(names_in(dir / "a/model").size() == files.size());
  for (const auto& [name, content] : files) CHECK((read_file(dir / std::string("a/model/").append(name)) == content));

  const std::vector<std::string> texts = sample_texts(30);
  const Classifier now = tuner.classifier(), from_memory(ModelSource::memory(files)), from_files(dir / "a/model");
  CHECK(logits_of(now, texts) == logits_of(from_memory, texts));
  CHECK(logits_of(now, texts) == logits_of(from_files, texts));
  for (const Classifier* model : {&now, &from_memory, &from_files}) {
    CHECK(model->label_name(1) == "good");
    CHECK(model->max_length() == 20);
  }

  // A copy: it does not follow the tuner, nor the tuner it.
  Classifier copy = tuner.classifier();
  copy.set_parameter("classifier.bias", std::vector<double>{100, -100});
  CHECK((tuner.save_to_memory() == files));

  CHECK(contains(message_of<UsageError>([&] { tuner.save(dir / "a"); }), "is not empty"));
  CHECK(contains(message_of<UsageError>([&] { tuner.save(dir / "a/model"); }), "is not empty"));
  CHECK(names_in(dir / "a") == std::vector<std::string>{"model"});
  write_file(dir / "a/model/tokenizer.json", "{}");  // of a former model: it would be taken for the new one's
  write_file(dir / "a/model/mine.txt", "mine");
  tuner.save(dir / "a/model", true);
  CHECK(names_in(dir / "a/model").size() == files.size() + 1);
  CHECK(read_file(dir / "a/model/mine.txt") == "mine");
  CHECK(logits_of(Classifier(dir / "a/model"), texts) == logits_of(now, texts));
  write_file(dir / "a/model/crisp_run.json", "{}");
  CHECK(contains(message_of<UsageError>([&] { tuner.save(dir / "a/model", true); }), "of a training run"));
  write_file(dir / "file", "");
  CHECK(message_of<Error>([&] { tuner.save(dir / "file/model"); }) != "(none)");
  CHECK(message_of<UsageError>([&] { tuner.save(""); }) ==
        "the directory to save to has no name; give one, as \"tuned\" or \".\"");
}

TEST_CASE("the log tells of sentences that are cut and of a sparsity that is lost") {
  FineTuner::Options options = short_training();
  options.sparsity = "0.5";
  const ModelFiles sparse = make_tuner(options).save_to_memory();
  options.sparsity = "dense";
  options.max_length = 5;
  std::vector<std::string> lines;
  options.log = [&lines](const std::string& line) { lines.push_back(line); };
  const FineTuner tuner(ModelSource::memory(sparse), {{"a film", 0}, {"the ending is beautiful", 1}}, options);
  REQUIRE(lines.size() == 2);
  CHECK(contains(lines[0], "trained with sparsity 0.5"));
  CHECK(lines[1] == "1 of 2 training examples are longer than 5 tokens and were cut");
}

TEST_CASE("the log tells of classes without an example, which names or a head may have") {
  FineTuner::Options options = short_training();
  std::vector<std::string> lines;
  options.log = [&lines](const std::string& line) { lines.push_back(line); };
  options.label_names = {"a", "b", "c", "d", "e"};
  const FineTuner named(sample_weights(), {{"a film", 0}, {"a plot", 4}}, options);
  REQUIRE_FALSE(lines.empty());
  CHECK(lines.back() == "training has no example of classes 1, 2, 3: the model cannot learn it");
  lines.clear();
  options.label_names.clear();
  const FineTuner gap(sample_weights(), {{"a film", 0}, {"a plot", 2}}, options);
  REQUIRE_FALSE(lines.empty());
  CHECK(lines.back() == "training has no example of class 1: the model cannot learn it");
  lines.clear();
  const FineTuner going_on(ModelSource::memory(small_classifier()), {{"a film", 1}}, options);
  REQUIRE_FALSE(lines.empty());
  CHECK(lines.back() == "training has no example of class 0: the model cannot learn it");
}

TEST_CASE("a training without steps saves the model as it is") {
  FineTuner::Options options = short_training();
  options.max_steps = 0;
  options.epochs = 0;
  Watcher watcher;
  FineTuner tuner = make_tuner(options);
  CHECK(tuner.finished());
  CHECK(tuner.run(watcher));
  CHECK(watcher.steps.empty());
  CHECK(steps_of(watcher.evaluations) == std::vector<int64_t>{0});
  const NumberArray words = tuner.classifier().parameter("distilbert.embeddings.word_embeddings.weight");
  const LoadedModel sample = load_model(sample_weights(), {});
  CHECK(words.values == sample.model.word_embeddings().detach().to_vector());
}

TEST_CASE("a tuner takes every option of sparse attention by its name") {
  FineTuner::Options options = short_training();
  options.sparse_method = "neighbour";
  options.sparse = {{"window", "2"}, {"sparse-layers", "late"}, {"keep", "cls,sep"}};
  const ModelFiles files = FineTuner(sample_weights(), sample_examples(4), options).save_to_memory();
  const SparsityConfig saved = parse_config(files.at("config.json"), "config.json").sparsity;
  CHECK(saved.describe() == "neighbour: at most 2 away, in layers 2,3");
  CHECK((saved.keep_first && saved.keep_last && !saved.keep_diagonal));

  using O = FineTuner::Options;
  CHECK(contains(refusal([](O& o) { o.sparse = {{"window", "-1"}}; }), "window must be a whole number from 0 to"));
  CHECK(contains(refusal([](O& o) {
                   o.sparse = {{"windows", "1"}};
                 }),
                 "sparse attention has no other setting \"windows\""));
  CHECK(contains(refusal([](O& o) {
                   o.sparse = {{"window", "1"}};
                 }),
                 "window belongs to sparse_method neighbour, not top-k"));
}

TEST_CASE("trainings that make no sense are refused") {
  using O = FineTuner::Options;
  CHECK(contains(refusal([](O& o) { o.learning_rate = 0; }), "learning_rate must be a number above 0, not '0'"));
  CHECK(contains(refusal([](O& o) { o.learning_rate = NAN; }), "learning_rate must be a number above 0, not 'nan'"));
  CHECK(contains(refusal([](O& o) { o.epochs = -1; }), "epochs must be a number from 0 to 1000000, not '-1'"));
  CHECK(contains(refusal([](O& o) { o.max_steps = -1; }), "max_steps must be"));
  CHECK(contains(refusal([](O& o) { o.batch_size = 0; }), "batch_size must be a whole number from 1 to"));
  CHECK(contains(refusal([](O& o) { o.gradient_accumulation_steps = 0; }), "gradient_accumulation_steps must be"));
  CHECK(contains(refusal([](O& o) { o.warmup_ratio = 2; }), "warmup_ratio must be a number from 0 to 1, not '2'"));
  CHECK(contains(refusal([](O& o) { o.dropout = 1; }), "dropout must be"));
  CHECK(contains(refusal([](O& o) { o.sparsity = std::string("2"); }), "sparsity"));
  CHECK(contains(refusal([](O& o) { o.sparse_method = std::string("best"); }), "sparse_method must be one of top-k|"));
  CHECK(contains(refusal([](O& o) { o.sparse_method = std::string("syntax"), o.sparsity = std::string("0.5"); }),
                 "dependency parses"));
  CHECK(contains(refusal([](O& o) { o.label_names = {"one"}; }), "label_names has 1, but the examples have 2 labels"));
  CHECK(contains(refusal([](O& o) { o.threads = -2; }), "threads must be a whole number from 0 to 1024, not '-2'"));

  const FineTuner::Options options = short_training();
  const auto with = [&](std::vector<FineTuner::Example> train, std::vector<FineTuner::Example> dev) {
    return message_of<UsageError>([&] { FineTuner(sample_weights(), train, dev, options); });
  };
  CHECK(contains(with({}, {}), "nothing to train on"));
  CHECK(contains(with({{"a", 0}, {"b", -1}}, {}), "training example 2 has the label -1"));
  CHECK(contains(with({{"a", 0}, {"b", 1}}, {{"c", 2}}),
                 "evaluation example 1 has the label 2; there are labels from 0 to 1"));
  CHECK(with({{"a", 0}, {"b", 1000000}}, {}) ==
        "training example 2 has the label 1000000; without label_names there are labels from 0 to 9999");
  CHECK(with({{"a", 0}, {"b", 7}, {"c", 1}}, {}) ==
        "training, example 2: the label 7 makes 8 classes, of which 5 have no example: 2, 3, 4, 5, 6. Number them "
        "without gaps; if it is right, name all 8 in label_names");
  FineTuner tuner = make_tuner(options);
  CHECK(contains(message_of<UsageError>([&] { tuner.evaluate({}); }), "nothing to evaluate"));
  CHECK(contains(message_of<UsageError>([&] { tuner.evaluate({{"a", 7}}); }), "label 7"));
  CHECK(message_of<BadInput>([&] { FineTuner("no/such/model", sample_examples(4), options); }) != "(none)");
  CHECK(contains(message_of<UsageError>([&] { FineTuner("", sample_examples(4), options); }),
                 "a model's path is empty; give a directory, "));
}

TEST_CASE("a training that diverges ends with the step and cannot go on") {
  FineTuner::Options options = short_training();
  options.max_steps = 20;
  options.warmup_ratio = 0;
  options.learning_rate = 1e30;
  FineTuner tuner = make_tuner(options);
  const std::string message = message_of<Diverged>([&] { tuner.run(); });
  INFO(message);
  CHECK(contains(message, "step"));
  CHECK(contains(message, "Try a lower learning_rate"));
  CHECK(tuner.steps_done() < 20);
  CHECK(contains(message_of<UsageError>([&] { tuner.step(); }), std::string("cannot go on: ").append(message)));
}

TEST_CASE("an evaluation that is not finite names its step, and ends a training whose weights are no numbers") {
  // In f32 the first leaves no number of a weight, the second numbers of which the logits are none.
  const bool weights_break = GENERATE(true, false);
  FineTuner::Options options = short_training();
  options.warmup_ratio = 0;
  options.eval_steps = 1;
  options.learning_rate = weights_break ? 1e39 : 1e30;
  FineTuner tuner = make_tuner(options);
  const std::string message = message_of<Diverged>([&] { tuner.run(); });
  INFO(message);
  CHECK(message.starts_with("a logit of sentence 1 is "));
  CHECK(contains(message, " after step 1"));
  CHECK(contains(message, " after step 1: the weights' ") == weights_break);
  CHECK(message.ends_with("\nTry a lower learning_rate or a longer warmup"));
  CHECK(tuner.steps_done() == 1);
  CHECK(message_of<Diverged>([&] { tuner.evaluate(sample_examples(4)); }) == message);
  if (!weights_break) {  // goes on to the step, which breaks the training
    const std::string next = message_of<Error>([&] { tuner.run(); });
    CHECK(contains(next, " at step 2; the first tensor that is not finite: the result "));
    return;
  }
  CHECK(message_of<UsageError>([&] { tuner.step(); }) == "the training cannot go on: " + message);
  CHECK(tuner.steps_done() == 1);
}
