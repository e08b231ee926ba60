// What crisp::Classifier shows of a model, against the formulas, and its gradients against differences of its answers.
#include <atomic>
#include <cmath>
#include <numeric>
#include <thread>

#include "tests/train/door/door.h"

using namespace crisp;
using namespace crisp::test;

namespace {

constexpr const char* words = "distilbert.embeddings.word_embeddings.weight";
const std::string text = "the ending is beautiful and the film is slow";  // "the" and "is" twice

Classifier exact_model() { return {ModelSource::memory(small_classifier()), with_precision(Precision::f64)}; }

// x [n, in] times weight [out, in] transposed, plus bias.
NumberArray linear_of(const Classifier& model, const std::string& name, const NumberArray& x) {
  const NumberArray w = model.parameter(name + ".weight"), b = model.parameter(name + ".bias");
  const auto n = static_cast<size_t>(x.shape[0]), out = static_cast<size_t>(w.shape[0]),
             in = static_cast<size_t>(w.shape[1]);
  NumberArray y{{x.shape[0], w.shape[0]}, std::vector<double>(n * out)};
  for (size_t i = 0; i < n; ++i)
    for (size_t o = 0; o < out; ++o)
      y.values[i * out + o] = std::inner_product(x.values.begin() + static_cast<std::ptrdiff_t>(i * in),
                                                 x.values.begin() + static_cast<std::ptrdiff_t>((i + 1) * in),
                                                 w.values.begin() + static_cast<std::ptrdiff_t>(o * in), b.values[o]);
  return y;
}

double loss_of(const Classifier& model, int32_t label) {
  const std::vector<double> z = model.predict_one(text).logits;
  return std::log(std::exp(z[0]) + std::exp(z[1])) - z[static_cast<size_t>(label)];
}

// The derivative of f with respect to one element of a parameter, by central differences.
double difference(Classifier& model, const std::string& name, size_t element,
                  const std::function<double(const Classifier&)>& f) {
  const NumberArray before = model.parameter(name);
  const double h = 1e-5;
  const auto at = [&](double x) {
    std::vector<double> values = before.values;
    values[element] += x;
    model.set_parameter(name, values);
    return f(model);
  };
  const double d = (at(h) - at(-h)) / (2 * h);
  model.set_parameter(name, before.values);
  return d;
}

}  // namespace

TEST_CASE("gradients are the differences of the model's own answers") {
  Classifier model = exact_model();
  const std::string layer = "distilbert.transformer.layer.";
  const std::vector<std::string> names{"distilbert.embeddings.LayerNorm.weight",
                                       layer + "0.attention.q_lin.weight",
                                       layer + "1.attention.v_lin.bias",
                                       layer + "2.ffn.lin1.weight",
                                       layer + "3.attention.out_lin.weight",
                                       layer + "3.output_layer_norm.bias",
                                       "pre_classifier.weight",
                                       "classifier.weight",
                                       "classifier.bias"};
  for (const bool of_loss : {true, false}) {
    const Classifier::Objective objective = of_loss ? Classifier::Objective::loss(1) : Classifier::Objective::logit(0);
    const auto f = [of_loss](const Classifier& m) { return of_loss ? loss_of(m, 1) : m.predict_one(text).logits[0]; };
    const Classifier::Gradients all = model.gradients(text, objective, names);
    CHECK(all.value == Approx(f(model)).epsilon(1e-12));
    REQUIRE(all.parameters.size() == names.size());
    int not_zero = 0;
    for (const std::string& name : names) {
      const NumberArray& gradient = all.parameters.at(name);
      REQUIRE(gradient.shape == model.parameter_shape(name));
      for (const size_t element : {size_t{0}, gradient.values.size() / 2, gradient.values.size() - 1}) {
        INFO(name << "[" << element << "]");
        CHECK(gradient.values[element] == Approx(difference(model, name, element, f)).epsilon(1e-5).margin(1e-9));
        not_zero += std::abs(gradient.values[element]) > 1e-6;
      }
    }
    CHECK(not_zero > 12);
  }
}

TEST_CASE("a token's gradient is that of its own word embedding, and those of a word add up") {
  Classifier model = exact_model();
  const std::vector<Classifier::Token> tokens = model.tokenize(text);
  const auto f = [](const Classifier& m) { return loss_of(m, 0); };
  const Classifier::Gradients all = model.gradients(text, Classifier::Objective::loss(0), {words});
  const size_t dim = 128;
  REQUIRE(all.tokens.shape == std::vector<int64_t>{static_cast<int64_t>(tokens.size()), 128});
  const NumberArray& table = all.parameters.at(words);
  std::map<int32_t, int> count;
  for (const Classifier::Token& t : tokens) ++count[t.id];
  int once = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto row = static_cast<size_t>(tokens[i].id) * dim;
    for (size_t e = 0; e < dim; ++e) {
      double sum = 0;
      for (size_t j = 0; j < tokens.size(); ++j)
        if (tokens[j].id == tokens[i].id) sum += all.tokens.values[j * dim + e];
      REQUIRE(sum == Approx(table.values[row + e]).epsilon(1e-10).margin(1e-13));
    }
    if (count[tokens[i].id] > 1) continue;
    ++once;
    const double expected = difference(model, words, row + 7, f);
    CHECK(all.tokens.values[i * dim + 7] == Approx(expected).epsilon(1e-5).margin(1e-9));
  }
  CHECK(once >= 6);
  CHECK(count.size() < tokens.size());
  // A word that is not in the text has none.
  int32_t absent = 0;
  while (count.contains(absent)) ++absent;
  for (size_t e = 0; e < dim; ++e) REQUIRE(table.values[static_cast<size_t>(absent) * dim + e] == 0);
}

TEST_CASE("gradients of one call leave nothing for the next") {
  const Classifier model = exact_model();
  const auto once = model.gradients(text, Classifier::Objective::loss(1), {words, "classifier.bias"});
  model.gradients("another text", Classifier::Objective::logit(1));
  const auto again = model.gradients(text, Classifier::Objective::loss(1), {words, "classifier.bias"});
  CHECK(once.tokens.values == again.tokens.values);
  CHECK(once.parameters.at(words).values == again.parameters.at(words).values);
  CHECK(once.parameters.at("classifier.bias").values == again.parameters.at("classifier.bias").values);
}

TEST_CASE("a gradient has the same bits alone, among all others, and while other threads ask for theirs") {
  const Classifier model(ModelSource::memory(small_classifier()), with_precision(Precision::f32));
  const Classifier::Objective objective = Classifier::Objective::loss(1);
  const Classifier::Gradients all = model.gradients(text, objective, model.parameter_names());
  std::atomic<int> different = 0;
  const auto ask = [&] {
    for (const std::string& name : model.parameter_names()) {
      const Classifier::Gradients one = model.gradients(text, objective, {name});
      different += one.value != all.value || one.tokens.values != all.tokens.values;
      different += one.parameters.at(name).values != all.parameters.at(name).values;
    }
  };
  std::vector<std::thread> threads(3);
  for (std::thread& t : threads) t = std::thread(ask);
  for (std::thread& t : threads) t.join();
  CHECK(different == 0);
}

TEST_CASE("the first token's last hidden state makes the logits") {
  const Classifier model = exact_model();
  const std::vector<NumberArray> states = model.hidden_states(text);
  REQUIRE(states.size() == 5);
  const auto tokens = static_cast<int64_t>(model.tokenize(text).size());
  for (const NumberArray& s : states) REQUIRE(s.shape == std::vector<int64_t>{tokens, 128});
  const NumberArray cls{{1, 128}, {states[4].values.begin(), states[4].values.begin() + 128}};
  NumberArray hidden = linear_of(model, "pre_classifier", cls);
  for (double& x : hidden.values) x = std::max(x, 0.0);
  const NumberArray logits = linear_of(model, "classifier", hidden);
  const std::vector<double> expected = model.predict_one(text).logits;
  for (size_t i = 0; i < 2; ++i) CHECK(logits.values[i] == Approx(expected[i]).epsilon(1e-10));
}

TEST_CASE("attention weights are the softmax of the scaled scores of the hidden states") {
  const Classifier model = exact_model();
  const std::vector<NumberArray> states = model.hidden_states(text), attention = model.attention(text);
  REQUIRE(attention.size() == 4);
  const size_t n = model.tokenize(text).size(), heads = 4, width = 32, dim = 128;
  for (size_t l = 0; l < 4; ++l) {
    REQUIRE(attention[l].shape == std::vector<int64_t>{4, static_cast<int64_t>(n), static_cast<int64_t>(n)});
    const std::string name = "distilbert.transformer.layer." + std::to_string(l) + ".attention.";
    const NumberArray q = linear_of(model, name + "q_lin", states[l]), k = linear_of(model, name + "k_lin", states[l]);
    for (size_t h = 0; h < heads; ++h)
      for (size_t i = 0; i < n; ++i) {
        std::vector<double> weights;
        for (size_t j = 0; j < n; ++j) {
          double score = 0;
          for (size_t e = 0; e < width; ++e)
            score += q.values[i * dim + h * width + e] * k.values[j * dim + h * width + e];
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(width))));
        }
        const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
        for (size_t j = 0; j < n; ++j)
          REQUIRE(attention[l].values[(h * n + i) * n + j] == Approx(weights[j] / sum).epsilon(1e-9));
      }
  }
}

TEST_CASE("a sparse model's attention has zeros, and its gradients are differences, too") {
  FineTuner::Options options = short_training();
  options.sparsity = "0.5";
  FineTuner tuner(sample_weights(), sample_examples(32), options);
  tuner.run();
  Classifier model(ModelSource::memory(tuner.save_to_memory()), with_precision(Precision::f64));
  const size_t n = model.tokenize(text).size();
  for (const NumberArray& layer : model.attention(text))
    for (size_t row = 0; row < 4 * n; ++row) {
      size_t kept = 0;
      for (size_t j = 0; j < n; ++j) kept += layer.values[row * n + j] > 0;
      REQUIRE(kept == (n + 1) / 2);
    }
  const std::string name = "distilbert.transformer.layer.1.attention.k_lin.weight";
  const auto all = model.gradients(text, Classifier::Objective::loss(1), {name});
  for (const size_t element : {size_t{3}, size_t{5000}, size_t{16000}})
    CHECK(all.parameters.at(name).values[element] ==
          Approx(difference(model, name, element, [](const Classifier& m) { return loss_of(m, 1); }))
              .epsilon(1e-5)
              .margin(1e-9));
}
