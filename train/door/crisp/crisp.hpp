// Crisp for a C++ program: answer, look inside, differentiate, fine-tune. ../README.md has a page for each.
//
// Errors are exceptions (engine/error.h): Error for a failure at run time, UsageError for settings and calls that make
// no sense, BadInput for files and texts that cannot be used, Diverged for numbers that are not finite. Whatever is
// thrown, the object can be used as before, unless its function says otherwise. Nothing is printed; the process's
// signals, streams, locale and environment are left alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "train/core/trainer_options.h"
#include "train/inference/choices.h"

namespace crisp {

class InputFiles;
namespace door {
class ClassifierState;
class FineTunerState;
}  // namespace door

/// "0.1.0", of the library; CRISP_VERSION_STRING in crisp.h is that of the header.
const char* version();

/// A model's files in memory: name (model.safetensors, config.json, vocab.txt, ...) and content.
using ModelFiles = std::map<std::string, std::string>;

/// Reads a model's files from wherever they are: fills `out` with the bytes of the file `name` from `offset` on and
/// returns how many bytes the file has, or nothing where there is no such file. An empty `out` asks for the size alone.
/// Called by one thread at a time, while a model is being loaded; may throw.
using ReadFile =
    std::function<std::optional<uint64_t>(const std::string& name, uint64_t offset, std::span<std::byte> out)>;

/// Takes lines for the user: what was assumed or left out when a model was loaded.
using Log = std::function<void(const std::string& line)>;

/// Where a model's files are.
class ModelSource {
 public:
  /// A directory as crisp-train writes and Hugging Face publishes it, a .safetensors file with the others beside it, or
  /// the name of a model in Hugging Face's cache. Throws UsageError for an empty text.
  ModelSource(std::string file_or_directory);
  ModelSource(const char* file_or_directory) : ModelSource(std::string(file_or_directory)) {}
  /// Memory of the caller's, which must stay until the model is loaded.
  static ModelSource memory(const ModelFiles& files);
  static ModelSource memory(const std::map<std::string, std::string_view>& files);
  static ModelSource reader(ReadFile read);

 private:
  friend class door::ClassifierState;
  friend class door::FineTunerState;
  explicit ModelSource(std::shared_ptr<const InputFiles> files);
  std::string path_;
  std::shared_ptr<const InputFiles> files_;  // instead of the path
};

/// Numbers with a shape, row-major. They are doubles whatever the model computes with, so nothing is rounded.
struct NumberArray {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

/// A DistilBERT or BERT classifier that answers for texts. Any number of threads may use the const functions of one
/// object at the same time. A moved-from object is good for assignment and destruction alone.
///
/// A child of fork() may use every object that no other thread was changing or making at that moment, as if the other
/// threads' calls had not been; memory that those had taken stays taken in the child. Not so before the process's first
/// load has ended, and not what is on a GPU.
class Classifier {
 public:
  struct Options {
    int threads = 0;  // of each call; 0: all that the process may use, 1: the caller's thread alone
    Precision precision = Precision::f32;  // f32: the numbers of the weights' file, f32 or f64
    DeviceChoice device = DeviceChoice::cpu;
    int max_length = 0;        // tokens of a text, [CLS] and [SEP] included; longer ones are cut; 0: as in training
    int eval_batch_size = 64;  // texts that are computed together; changes no answer by more than rounding
    /// A model from a path uses the weights where they lie in its file, on the CPU, as far as they are of the model's
    /// numbers: processes share them, and what set_parameter() changes is the object's alone. A file whose place
    /// another takes, as save() does it, stays whole on a local disk. But one that somebody else writes to or cuts
    /// short (cp, transformers' save_pretrained), or whose disk fails, while the object lives changes its answers or
    /// ends the process (SIGBUS): false copies the weights, as a FineTuner always does. The answers have the same bits.
    bool map_weights = true;
    Log log = {};  // empty: nobody wants the lines
  };

  /// What the head makes of its logits: probabilities that add up to 1, a probability of each label, or a number.
  enum class Head : uint8_t { softmax, sigmoid, regression };

  struct Prediction {
    int32_t label = 0;  // the largest logit; the first of equal ones
    std::string label_name;
    std::vector<double> logits;  // of each label
    std::vector<double> scores;  // what the head's function makes of them; of a regression the logits
    double score() const { return scores[static_cast<size_t>(label)]; }
  };

  struct Token {
    int32_t id = 0;
    std::string piece;          // "[CLS]", "un", "##believ", ...
    size_t begin = 0, end = 0;  // its bytes of the text; 0, 0 for [CLS] and [SEP]
  };

  /// What a gradient is the gradient of.
  struct Objective {
    static Objective loss(int32_t label) { return {label, -1}; }   // the cross-entropy of a label; of a softmax alone
    static Objective logit(int32_t label) { return {-1, label}; }  // the logit of a label
    int32_t loss_of = -1, logit_of = -1;
  };

  struct Gradients {
    double value = 0;                               // of the objective
    NumberArray tokens;                             // [tokens, dim]: of the word embedding that each token has
    std::map<std::string, NumberArray> parameters;  // those that were asked for, by name, in their shapes
  };

  /// Throws BadInput for files that make no classifier, UsageError for options out of range or that this machine lacks,
  /// Error where memory runs out. A model whose attention follows dependency parses is refused.
  Classifier(const ModelSource& source, const Options& options);
  explicit Classifier(const ModelSource& source);
  Classifier(Classifier&&) noexcept;
  Classifier& operator=(Classifier&&) noexcept;
  ~Classifier();

  int num_labels() const;
  /// LABEL_0, LABEL_1, ... where the model has no names.
  std::string label_name(int32_t label) const;
  Head head() const;
  /// Tokens of a text at most.
  int max_length() const;
  /// Threads that a call uses.
  int threads() const;

  /// An answer for each text, in their order, as crisp-predict gives them. Texts are UTF-8; bytes that are not are
  /// passed over. Throws Diverged, saying what is broken in the weights, when a logit is not finite.
  std::vector<Prediction> predict(const std::vector<std::string>& texts) const;
  Prediction predict_one(std::string_view text) const;

  /// The text as the model sees it, cut to max_length().
  std::vector<Token> tokenize(std::string_view text) const;
  /// Attention weights of each layer, [heads, tokens, tokens]: query i's of key j at [h, i, j]. Sparse attention has
  /// zeros at what it does not keep.
  std::vector<NumberArray> attention(std::string_view text) const;
  /// The embeddings' output and that of each layer, [tokens, dim].
  std::vector<NumberArray> hidden_states(std::string_view text) const;

  /// The model's parameters by their names in Hugging Face's files, in a fixed order.
  std::vector<std::string> parameter_names() const;
  std::vector<int64_t> parameter_shape(const std::string& name) const;
  NumberArray parameter(const std::string& name) const;
  /// Changes a parameter, rounded to the model's numbers. Not while other threads use the object. Throws UsageError
  /// for another number of values than the parameter has.
  void set_parameter(const std::string& name, std::span<const double> values);

  /// Of one text, without dropout. `parameters`: names of those whose gradients are wanted, besides the tokens'. Of
  /// what the objective does not depend on the gradient is 0.
  Gradients gradients(std::string_view text, const Objective& objective,
                      const std::vector<std::string>& parameters = {}) const;

 private:
  friend class FineTuner;
  explicit Classifier(std::unique_ptr<door::ClassifierState> state);
  std::unique_ptr<door::ClassifierState> state_;
};

/// Fine-tunes a model on the caller's examples: the numbers of crisp-train with the same options, bit for bit. One
/// thread at a time.
class FineTuner {
 public:
  struct Example {
    std::string text;
    int32_t label = 0;  // from 0, without gaps
  };

  /// With the defaults of crisp-train; `precision` f32 trains f32 weights whatever the file holds.
  struct Options : Classifier::Options, TrainerOptions {
    std::optional<double> dropout = {};  // every rate of the model; unset: config.json's
    std::string sparsity = "";  // of attention: "0.8", a number a layer "0,0,0.5,..", or a preset; "": dense, unless
                                // sparse_method goes by a measure of its own
    std::string sparse_method = "top-k";  // what is kept: crisp-train's --sparse-method
    /// Its other options of sparse attention: {{"sparse_layers", "late"}, {"sparse_train", "off"}}; crisp.h lists them.
    std::map<std::string, std::string> sparse = {};
    std::vector<std::string> label_names = {};  // of the labels 0, 1, ...; empty: the model's
    bool new_head = false;                      // a new classification head even where the model has one
    int64_t eval_steps = 0;  // optimizer steps between evaluations in run(); 0: at the end of each epoch
  };

  struct Step {
    int64_t step = 0, total_steps = 0;  // optimizer steps done, and in all
    double epoch = 0;                   // done, with its fraction
    double loss = 0;                    // mean over the step's examples
    double grad_norm = 0;               // before clipping
    double learning_rate = 0;
  };

  struct Evaluation {
    int64_t step = 0;  // after which
    int64_t correct = 0, total = 0;
    double loss = 0;  // mean cross-entropy
    double accuracy() const { return total == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(total); }
  };

  /// What run() tells as it goes. A function that returns false stops it; what it throws, run() throws. It may call
  /// evaluate(), classifier() and save().
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual bool on_step(const Step&) { return true; }
    virtual bool on_evaluation(const Evaluation&) { return true; }
  };

  /// Training examples, and others (maybe none) for the evaluations of run(). All that Classifier refuses is refused,
  /// and with UsageError, naming the example, a label out of range: below 0, that the model or label_names has not, or,
  /// where there are no label_names, above 9999 or one that leaves most classes of a new head without an example.
  FineTuner(const ModelSource& source, const std::vector<Example>& train, const std::vector<Example>& evaluation,
            const Options& options);
  FineTuner(const ModelSource& source, const std::vector<Example>& train, const Options& options)
      : FineTuner(source, train, {}, options) {}
  FineTuner(FineTuner&&) noexcept;
  FineTuner& operator=(FineTuner&&) noexcept;
  ~FineTuner();

  int64_t total_steps() const;
  int64_t steps_done() const;
  bool finished() const;

  /// One optimizer step. Throws UsageError when the training is finished, Diverged, naming the step and the tensor at
  /// fault, when its loss or gradient is not finite: no weight has changed then, but the training cannot go on. Neither
  /// can it after any other error of a step, of which the model may have a part then.
  Step step();
  /// Steps to the end, with evaluations. False: the observer has stopped it; another call goes on from there, to the
  /// same bits.
  bool run(Observer& observer);
  void run();

  /// With the weights as they are now. Throws Diverged, naming the step after which it is, when a logit or the loss is
  /// not finite, as run() does. That changes nothing: steps go on where the weights are numbers still, and else cannot.
  Evaluation evaluate(const std::vector<Example>& examples);
  /// A copy of the model as it is now, with these options of a classifier.
  Classifier classifier();
  /// Into a directory that is made where it is not there, as one: whatever happens, it holds what it held or this
  /// model, or is gone again. transformers' from_pretrained() takes it. Throws UsageError for a directory that is not
  /// empty, unless the model in it may be replaced, for one of a training run, and for one without a name.
  void save(const std::string& directory, bool replace = false);
  /// The same files, byte for byte.
  ModelFiles save_to_memory();

 private:
  std::unique_ptr<door::FineTunerState> state_;
};

}  // namespace crisp
