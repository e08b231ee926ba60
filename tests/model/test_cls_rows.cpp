// forward() computes the last layer for the [CLS] rows alone; encode() computes it for all rows.
#include <cmath>
#include <numeric>

#include "model/random_sites.h"
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

Tensor apply(Tape& tape, const DistilBert& model, const std::string& name, const Tensor& x) {
  return linear(tape, x, parameter(model, name + ".weight"), parameter(model, name + ".bias"));
}

// The head of DistilBertForSequenceClassification.
Tensor logits_of(Tape& tape, const DistilBert& model, const Tensor& cls) {
  return apply(tape, model, "classifier", relu(tape, apply(tape, model, "pre_classifier", cls)));
}

Tensor logits_of_all_rows(Tape& tape, const DistilBert& model, const Batch& batch, const ForwardMode& mode) {
  return logits_of(tape, model, embedding(tape, model.encode(tape, batch, mode), batch.first()));
}

// What a training step of the first layer draws: attention's dropout, DropKey or DropAttention, AttentionDrop or top-k.
AttentionRule first_layer_rule(const DistilBertConfig& config, const ForwardMode& mode) {
  const SparsityConfig& c = config.sparsity;
  const auto key = [&](Stream stream, uint32_t site) { return RandomKey{mode.seed, stream, mode.step, site}; };
  return {.heads = config.heads,
          .scale = 1 / std::sqrt(static_cast<double>(config.head_dim())),
          .selection = c.method == SparseMethod::attention_drop ? Selection::drop_top : Selection::top_k_row,
          .sparsity = c.sparsity(0),
          .drop_p = c.attention_drop.value_or(0),
          .drop_key = key(Stream::masks, attention_drop_site(0)),
          .keep_first = c.keep_first,
          .keep_last = c.keep_last,
          .keep_diagonal = c.keep_diagonal,
          .key_dropout = {c.key_dropout, key(Stream::masks, key_dropout_site(0)), c.key_dropout_columns},
          .dropout = {config.attention_dropout, key(Stream::dropout, attention_site(0))}};
}

// Of a model of one layer: its attention on keys and values of their own, with the [CLS] rows as queries of all heads.
Tensor logits_by_keys_and_values(Tape& tape, const DistilBert& model, const Batch& batch, const ForwardMode& mode) {
  const DistilBertConfig& config = model.config();
  const std::string embeddings = "distilbert.embeddings.", layer = "distilbert.transformer.layer.0.";
  const auto norm = [&](const std::string& name, const Tensor& x, const Tensor& residual) {
    return layer_norm(tape, add(tape, x, residual), parameter(model, name + ".weight"),
                      parameter(model, name + ".bias"), config.layer_norm_epsilon);
  };
  const Tensor x =
      embeddings_layer_norm(tape, parameter(model, embeddings + "word_embeddings.weight"),
                            parameter(model, embeddings + "position_embeddings.weight"), batch.words(),
                            batch.positions(), parameter(model, embeddings + "LayerNorm.weight"),
                            parameter(model, embeddings + "LayerNorm.bias"), config.layer_norm_epsilon, {});
  const Tensor cls = embedding(tape, x, batch.first());
  const Tensor q = apply(tape, model, layer + "attention.q_lin", cls),
               k = apply(tape, model, layer + "attention.k_lin", x),
               v = apply(tape, model, layer + "attention.v_lin", x);
  const Tensor context = attention(tape, q, k, v, batch.first_queries(1), first_layer_rule(config, mode));
  const Tensor normed = norm(layer + "sa_layer_norm", cls, apply(tape, model, layer + "attention.out_lin", context));
  const Tensor up = gelu(tape, apply(tape, model, layer + "ffn.lin1", normed));
  return logits_of(tape, model, norm(layer + "output_layer_norm", normed, apply(tape, model, layer + "ffn.lin2", up)));
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
        const Batch batch = pack(random_sequences({4, 1, 9, 23, 2}, config.vocab_size));
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
    const Batch batch = pack_parsed(random_sequences({4, 1, 9, 23, 2}, model.config().vocab_size));
    for (const bool training : {false, true}) {
      // Chance numbers its draws by the shape of the weights, which is another one here: see the next test.
      if (training && c.chancy()) continue;
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

TEST_CASE("the short last layer draws what attention on keys and values draws") {
  struct Case {
    std::string name;
    SparsityOptions options;
  };
  std::vector<Case> cases{{"dropout alone", {}}};
  for (const MethodCase& c : method_cases())
    if (c.chancy()) cases.push_back({c.name, c.options});
  SparsityOptions drop_key;
  drop_key.sparsity = "0.4";
  drop_key.drop_key = 0.5;
  drop_key.keep_diagonal = true;  // [CLS], to a [CLS] query
  cases.push_back({"DropKey of top-k, the diagonal protected", drop_key});
  SparsityOptions attention_drop;
  attention_drop.method = SparseMethod::attention_drop;
  attention_drop.sparsity = "0.7";
  cases.push_back({"attention-drop, unprotected", attention_drop});
  for (const Case& c : cases) {
    for (const double dropout : {0.0, 0.3}) {
      if (dropout == 0 && c.name == "dropout alone") continue;
      INFO(c.name << ", dropout " << dropout);
      DistilBertConfig config = small_config();
      config.layers = 1;
      config.attention_dropout = dropout;
      const DistilBert model = method_model(c.options, DType::f64, config);
      const Batch batch = pack(random_sequences({4, 1, 9, 23, 2}, config.vocab_size));
      const ForwardMode mode{.training = true, .seed = 11, .step = 3}, other{.training = true, .seed = 11, .step = 4};
      // All of them run the heads as queries of one head on the layer's inputs, but for DropAttention by columns: it
      // has a mask for each head and hence runs on keys and values here, too.
      const Result brief = run(model, [&](Tape& tape) { return model.forward(tape, batch, mode); });
      const Result full = run(model, [&](Tape& tape) { return logits_by_keys_and_values(tape, model, batch, mode); });
      const Result next = run(model, [&](Tape& tape) { return model.forward(tape, batch, other); });
      CHECK(relative_l2(brief.logits, full.logits) <= 1e-13);
      for (size_t i = 0; i < brief.gradients.size(); ++i) {
        INFO(model.parameters()[i].name);
        CHECK(relative_l2(brief.gradients[i], full.gradients[i]) <= 1e-12);
      }
      CHECK(relative_l2(brief.logits, next.logits) > 1e-3);  // chance it is
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
      const Batch batch = pack(random_sequences(lengths, config.vocab_size));
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
        for (const AttentionStats& layer : stats) CHECK(static_cast<double>(layer.pairs) == pairs);
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
  const Batch batch = pack(random_sequences({12, 20}, config.vocab_size));
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
