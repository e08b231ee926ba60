// forward() computes the last layer for the [CLS] rows alone; encode() computes it for all rows.
#include "tests/model/methods.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/small_model.h"

using namespace crisp;
using namespace crisp::test;

namespace {

Tensor parameter(const DistilBert& model, const std::string& name) {
  for (const Parameter& p : model.parameters())
    if (p.name == name) return p.tensor;
  FAIL("no parameter " << name);
  return {};
}

// The head of DistilBertForSequenceClassification on the [CLS] rows of the full last layer.
Tensor logits_of_all_rows(Tape& tape, const DistilBert& model, const BatchTensors& batch, const ForwardMode& mode) {
  const Tensor first = batch.offsets.view_rows(0, batch.batch_size());
  const Tensor cls = embedding(tape, model.encode(tape, batch, mode), first);
  const Tensor hidden =
      linear(tape, cls, parameter(model, "pre_classifier.weight"), parameter(model, "pre_classifier.bias"));
  return linear(tape, relu(tape, hidden), parameter(model, "classifier.weight"), parameter(model, "classifier.bias"));
}

struct Result {
  std::vector<double> logits;
  std::vector<std::vector<double>> gradients;
};

template <class F>
Result run(const DistilBert& model, F&& forward) {
  Tape tape;
  const Tensor logits = forward(tape);
  tape.backward(cross_entropy(tape, logits, labels_for(logits.dim(0), logits.dim(1))));
  Result result{logits.to_vector(), {}};
  for (const Parameter& p : model.parameters()) {
    // A window at evaluation has no gradient.
    const bool none = is_key_bias(p.name) || !p.tensor.grad();
    result.gradients.push_back(none ? std::vector<double>{} : p.tensor.grad().to_vector());
    p.tensor.clear_grad();
  }
  return result;
}

}  // namespace

TEST_CASE("the short last layer has the logits and gradients of the full one") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const char* sparsity : {"dense", "0.7"}) {
      for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile}) {
        DistilBertConfig config = small_config();
        config.sparsity = parse_sparsity(sparsity, config.layers);
        config.sparsity.method = method;
        const DistilBert model = random_model(config, dtype);
        const BatchTensors batch = pack(random_sequences({4, 1, 9, 23, 2}, config.vocab_size));
        const ForwardMode mode{.training = true};
        const Result brief = run(model, [&](Tape& tape) { return model.forward(tape, batch, mode); });
        const Result full = run(model, [&](Tape& tape) { return logits_of_all_rows(tape, model, batch, mode); });
        INFO(name_of(dtype) << ", sparsity " << sparsity << " by " << method_name(method));
        CHECK(relative_l2(brief.logits, full.logits) <= (dtype == DType::f64 ? 1e-13 : 1e-6));
        for (size_t i = 0; i < brief.gradients.size(); ++i) {
          INFO(model.parameters()[i].name);
          CHECK(relative_l2(brief.gradients[i], full.gradients[i]) <= (dtype == DType::f64 ? 1e-12 : 1e-5));
        }
      }
    }
  }
}

TEST_CASE("the short last layer is the full one for every method") {
  for (const MethodCase& c : method_cases()) {
    const DistilBert model = method_model(c.options, DType::f64);
    const BatchTensors batch = pack_parsed(random_sequences({4, 1, 9, 23, 2}, model.config().vocab_size));
    for (const bool training : {false, true}) {
      if (training && c.chancy()) continue;  // chance numbers its draws by the shape of the weights
      const ForwardMode mode{.training = training};
      const Result brief = run(model, [&](Tape& tape) { return model.forward(tape, batch, mode); });
      const Result full = run(model, [&](Tape& tape) { return logits_of_all_rows(tape, model, batch, mode); });
      INFO(c.name << (training ? ", training" : ", evaluation"));
      CHECK(relative_l2(brief.logits, full.logits) <= 1e-13);
      for (size_t i = 0; i < brief.gradients.size(); ++i) {
        INFO(model.parameters()[i].name);
        CHECK(relative_l2(brief.gradients[i], full.gradients[i]) <= 1e-12);
      }
    }
  }
}

TEST_CASE("asking for statistics changes no bit of the logits") {
  for (const char* sparsity : {"dense", "0.7"}) {
    for (const SparseMethod method : {SparseMethod::top_k, SparseMethod::percentile}) {
      DistilBertConfig config = small_config();
      config.sparsity = parse_sparsity(sparsity, config.layers);
      config.sparsity.method = method;
      config.dropout = config.attention_dropout = config.classifier_dropout = 0.1;
      const DistilBert model = random_model(config, DType::f32);
      const std::vector<int> lengths{4, 1, 9, 23, 2};
      const BatchTensors batch = pack(random_sequences(lengths, config.vocab_size));
      for (const bool training : {false, true}) {
        std::vector<AttentionStats> stats;
        Tape tape(Tape::Mode::inference);
        const Tensor without = model.forward(tape, batch, {.training = training});
        const Tensor with = model.forward(tape, batch, {.training = training, .stats = &stats});
        CHECK(same_bits(without, with));
        // Over all queries of all sequences, in the last layer, too.
        double pairs = 0;
        for (const int n : lengths) pairs += n * n;
        REQUIRE(stats.size() == static_cast<size_t>(config.layers));
        for (const AttentionStats& layer : stats)
          CHECK(layer.pairs.to_vector() == std::vector<double>(static_cast<size_t>(config.heads), pairs));
      }
    }
  }
}

TEST_CASE("the order of a batch's sequences is the order of its logits and nothing else") {
  DistilBertConfig config = small_config();
  for (const char* sparsity : {"dense", "0.7"}) {
    config.sparsity = parse_sparsity(sparsity, config.layers);
    auto sequences = random_sequences({4, 1, 9, 23, 2}, config.vocab_size);
    for (const DType dtype : {DType::f32, DType::f64}) {
      const DistilBert model = random_model(config, dtype);
      Tape tape(Tape::Mode::inference);
      const std::vector<double> forwards = model.forward(tape, pack(sequences), {}).to_vector();
      std::reverse(sequences.begin(), sequences.end());
      const std::vector<double> backwards = model.forward(tape, pack(sequences), {}).to_vector();
      std::vector<double> turned;
      const auto classes = static_cast<size_t>(config.num_labels);
      for (size_t s = sequences.size(); s-- > 0;)
        turned.insert(turned.end(), backwards.begin() + static_cast<int64_t>(s * classes),
                      backwards.begin() + static_cast<int64_t>((s + 1) * classes));
      CHECK(relative_l2(turned, forwards) <= (dtype == DType::f64 ? 1e-13 : 1e-6));
      // A sequence on its own, too: three logits, whose rounding errors do not average out.
      const std::vector<double> alone = model.forward(tape, pack({sequences[0]}), {}).to_vector();
      const std::vector<double> among(backwards.begin(), backwards.begin() + static_cast<int64_t>(classes));
      CHECK(relative_l2(alone, among) <= (dtype == DType::f64 ? 1e-13 : 3e-6));
    }
  }
}

TEST_CASE("sparse_eval switches the selection off at evaluation only") {
  DistilBertConfig config = small_config();
  const BatchTensors batch = pack(random_sequences({12, 20}, config.vocab_size));
  DistilBert model = random_model(config, DType::f32);
  Tape tape(Tape::Mode::inference);
  const Tensor dense = model.forward(tape, batch, {});
  model.mutable_config().sparsity = parse_sparsity("0.8", config.layers);
  const Tensor sparse = model.forward(tape, batch, {});
  CHECK_FALSE(same_bits(sparse, dense));
  CHECK(same_bits(model.forward(tape, batch, {.training = true}), sparse));  // there is no dropout here
  model.mutable_config().sparsity.at_evaluation = false;
  CHECK(same_bits(model.forward(tape, batch, {}), dense));
  CHECK(same_bits(model.forward(tape, batch, {.training = true}), sparse));
}
