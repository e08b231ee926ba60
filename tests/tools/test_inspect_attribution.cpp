// Attribution: held against captum's (tests/golden/make_attributions.py), and against the engine's own gradients.
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>

#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/small_model.h"
#include "tools/inspect/attribution.h"
#include "tools/inspect/quadrature.h"

namespace crisp::test {
namespace {

using namespace inspect;

TEST_CASE("quadrature: exact for polynomials of degree 2n - 1") {
  for (const int64_t n : {1, 2, 3, 8, 33, 128, 1024}) {
    CAPTURE(n);
    const Quadrature rule = gauss_legendre(n);
    REQUIRE(std::ssize(rule.points) == n);
    for (const int64_t degree : {int64_t{0}, int64_t{1}, n, 2 * n - 1}) {
      double sum = 0;
      for (size_t i = 0; i < rule.points.size(); ++i)
        sum += rule.weights[i] * std::pow(rule.points[i], static_cast<double>(degree));
      CHECK(std::abs(sum * static_cast<double>(degree + 1) - 1) < 1e-11);
    }
    for (size_t i = 1; i < rule.points.size(); ++i) CHECK(rule.points[i] > rule.points[i - 1]);
    CHECK(rule.points.front() + rule.points.back() == Approx(1).margin(1e-15));
  }
  // Degree 2n is not.
  const Quadrature two = gauss_legendre(2);
  CHECK(two.points[0] == Approx(0.5 - std::sqrt(1.0 / 12)).epsilon(1e-15));
  CHECK(std::abs(two.weights[0] * std::pow(two.points[0], 4) + two.weights[1] * std::pow(two.points[1], 4) - 0.2) >
        1e-3);
  CHECK_THROWS_WITH(gauss_legendre(0), Catch::Contains("0 points"));
}

TEST_CASE("attribution: equal to captum's at equal steps, dense and sparse, of logits and of losses") {
  const SafetensorsFile golden = SafetensorsFile::open(CRISP_SOURCE_DIR "/tests/golden/attributions.safetensors");
  const auto values = [&](const std::string& name) {
    const TensorEntry* entry = golden.find(name);
    REQUIRE(entry);
    std::vector<double> out(entry->numel());
    golden.read(*entry, out);
    return out;
  };
  const auto integers = [&](const std::string& name) {
    const TensorEntry* entry = golden.find(name);
    REQUIRE(entry);
    std::vector<int32_t> out;
    for (size_t i = 0; i < entry->numel(); ++i) out.push_back(int32_at(golden.bytes(*entry), i));
    return out;
  };
  std::istringstream names(golden.metadata().at("cases"));
  int cases = 0;
  for (std::string name; std::getline(names, name, ','); ++cases) {
    CAPTURE(name);
    const Golden fixture(golden.metadata().at(name + ".fixture"));
    const DistilBert model = fixture.model(golden.metadata().at(name + ".run"));
    std::istringstream objective_text(golden.metadata().at(name + ".objective"));
    std::string kind;
    int32_t index = -1;
    objective_text >> kind >> index;
    const Objective objective = kind == "label" ? Objective{.label = index} : Objective{.logit = index};
    const AttributionInput input{integers(name + ".ids"), integers(name + ".baseline")};
    const std::vector<double> f = values(name + ".f");
    for (const int64_t rows : {1, 256}) {  // one point of the path at a time, or many together
      CAPTURE(rows);
      const Attribution a = attribute(Context::standard(), model, input, objective,
                                      {.steps = std::stoll(golden.metadata().at("steps")), .batch_rows = rows});
      CHECK(a.value == Approx(f[0]).epsilon(1e-12));
      CHECK(a.baseline_value == Approx(f[1]).epsilon(1e-12));
      CHECK(relative_l2(a.integrated_gradients, values(name + ".integrated_gradients")) < 1e-9);
      CHECK(relative_l2(a.gradient_x_input, values(name + ".input_x_gradient")) < 1e-9);
      CHECK(a.trials.size() == 1);
    }
  }
  CHECK(cases == 5);
}

// The gradient of a logit by the word embeddings of the model itself, [vocab, dim].
std::vector<double> word_gradient(const DistilBert& model, const Batch& batch, int64_t logit,
                                  const ForwardMode& mode = {}) {
  model.word_embeddings().clear_grad();
  Tape tape;
  tape.backward(Objective{.logit = logit}.of(tape, model.forward(tape, batch, mode)));
  return model.word_embeddings().grad().to_vector();
}

double value_of(const DistilBert& model, const std::vector<int32_t>& ids, int64_t logit, const ForwardMode& mode = {}) {
  Tape tape(Tape::Mode::inference);
  return model.forward(tape, pack({ids}), mode).to_vector()[static_cast<size_t>(logit)];
}

const std::vector<int32_t> ids{1, 7, 3, 9, 7, 12, 2}, baseline{1, 0, 0, 0, 0, 0, 2};

TEST_CASE("attribution: each token has a gradient of its own and those of equal words add up to the model's") {
  const DistilBert model = random_model(small_config(), DType::f64);
  const Attribution a = attribute(Context::standard(), model, {ids, baseline}, {.logit = 1}, {.steps = 1});
  const std::vector<double> expected = word_gradient(model, pack({ids}), 1);
  std::vector<double> sums(expected.size());
  const auto dim = static_cast<size_t>(a.dim);
  for (size_t i = 0; i < ids.size(); ++i)
    for (size_t d = 0; d < dim; ++d) sums[static_cast<size_t>(ids[i]) * dim + d] += a.gradient[i * dim + d];
  CHECK(relative_l2(sums, expected) < 1e-12);
  const std::vector<double> by_token = a.by_token(a.gradient_x_input);
  REQUIRE(by_token.size() == ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    double sum = 0;
    for (size_t d = 0; d < dim; ++d) sum += a.gradient[i * dim + d] * a.embeddings[i * dim + d];
    CHECK(by_token[i] == Approx(sum).epsilon(1e-12));
  }
}

TEST_CASE("attribution: steps are doubled until integrated gradients are complete") {
  DistilBert model = random_model(small_config(), DType::f64);
  for (const double tolerance : {0.01, 1e-4}) {
    CAPTURE(tolerance);
    const Attribution a =
        attribute(Context::standard(), model, {ids, baseline}, {.logit = 1}, {.tolerance = tolerance});
    REQUIRE(a.reached());
    CHECK(a.error() <= tolerance);
    CHECK(a.value == Approx(value_of(model, ids, 1)).epsilon(1e-12));
    CHECK(a.baseline_value == Approx(value_of(model, baseline, 1)).epsilon(1e-12));
    CHECK(std::abs(a.trials.back().sum - a.difference()) <= tolerance * std::abs(a.difference()));
    const std::vector<double> by_token = a.by_token(a.integrated_gradients);
    CHECK(std::accumulate(by_token.begin(), by_token.end(), 0.0) == Approx(a.trials.back().sum).epsilon(1e-12));
    for (size_t i = 0; i < a.trials.size(); ++i) {
      CHECK(a.trials[i].steps == int64_t{8} << i);
      CHECK((a.error(a.trials[i]) <= tolerance) == (i + 1 == a.trials.size()));
    }
    // What stays the same contributes nothing.
    CHECK(by_token.front() == 0);
    CHECK(by_token.back() == 0);
  }
}

TEST_CASE("attribution: sparse attention jumps on the way, which is told and not hidden") {
  SparsityConfig sparsity = parse_sparsity("0.8", small_config().layers);
  DistilBert model = random_model(small_config(), DType::f64);
  model.set_sparsity(sparsity);
  const Attribution a =
      attribute(Context::standard(), model, {ids, baseline}, {.logit = 0}, {.most_steps = 128, .tolerance = 1e-9});
  CHECK(!a.reached());
  CHECK(a.trials.size() == 5);
  CHECK(a.trials.back().steps == 128);
  CHECK(a.value == Approx(value_of(model, ids, 0)).epsilon(1e-12));
  // Of lists by the words' similarity, too, the model of the path's points makes the same ones.
  sparsity.method = SparseMethod::lexical;
  model.set_sparsity(sparsity);
  const Attribution lexical = attribute(Context::standard(), model, {ids, baseline}, {.logit = 0}, {.steps = 2});
  CHECK(lexical.value == Approx(value_of(model, ids, 0)).epsilon(1e-12));
  CHECK(lexical.baseline_value == Approx(value_of(model, baseline, 0)).epsilon(1e-12));
}

TEST_CASE("attribution: from zeros, with dropout, of losses, in f32") {
  DistilBertConfig config = small_config();
  const DistilBert model = random_model(config, DType::f64);
  const std::vector<int32_t> zeros{1, -1, -1, -1, -1, -1, 2};
  const Attribution from_zeros = attribute(Context::standard(), model, {ids, zeros}, {.logit = 2}, {});
  CHECK(from_zeros.reached());
  for (int64_t e = from_zeros.dim; e < 6 * from_zeros.dim; ++e) CHECK(from_zeros.baseline[static_cast<size_t>(e)] == 0);

  const Attribution loss = attribute(Context::standard(), model, {ids, zeros}, {.label = 2}, {});
  double sum = 0;
  for (int64_t i = 0; i < 3; ++i) sum += std::exp(value_of(model, ids, i));
  CHECK(loss.value == Approx(std::log(sum) - value_of(model, ids, 2)).epsilon(1e-12));
  CHECK(loss.reached());

  config.dropout = config.attention_dropout = 0.3;
  DistilBert dropping = random_model(config, DType::f64);
  const ForwardMode training{.training = true, .seed = 3};
  const Attribution a = attribute(Context::standard(), dropping, {ids, baseline}, {.logit = 0}, {.mode = training});
  CHECK(a.value == Approx(value_of(dropping, ids, 0, training)).epsilon(1e-12));
  CHECK(a.value != Approx(value_of(dropping, ids, 0)));
  CHECK(a.reached());  // the same dropout at each point: one function

  const DistilBert single = random_model(small_config(), DType::f32);
  const Attribution f32 = attribute(Context::standard(), single, {ids, baseline}, {.logit = 1}, {.steps = 16});
  const Attribution f64 = attribute(Context::standard(), model, {ids, baseline}, {.logit = 1}, {.steps = 16});
  CHECK(relative_l2(f32.integrated_gradients, f64.integrated_gradients) < 1e-4);
}

TEST_CASE("attribution: the model stays as it is and what does not fit is refused") {
  DistilBert model = random_model(small_config(), DType::f64);
  const double before = value_of(model, ids, 0);
  int64_t calls = 0, last = 0;
  attribute(Context::standard(), model, {ids, baseline}, {.logit = 0},
            {.steps = 100, .batch_rows = 70, .progress = [&](int64_t done, int64_t steps) {
               CHECK(steps == 100);
               CHECK(done > last);
               last = done;
               ++calls;
             }});
  CHECK(calls == 10);
  CHECK(last == 100);
  CHECK(value_of(model, ids, 0) == before);
  for (const Parameter& p : model.parameters()) {
    CHECK(p.tensor.requires_grad());
    CHECK(!p.tensor.gradient());
  }
  CHECK_THROWS_WITH(attribute(Context::standard(), model, {ids, {1, 2}}, {}, {}), Catch::Contains("7 tokens"));
  CHECK_THROWS_WITH(attribute(Context::standard(), model, {{1, 30}, {1, 0}}, {}, {}), Catch::Contains("no word 30"));
  model.parameters()[4].tensor.copy_from(
      Tensor::full(model.parameters()[4].tensor.shape(), DType::f64, std::numeric_limits<double>::quiet_NaN()));
  CHECK_THROWS_AS(attribute(Context::standard(), model, {ids, baseline}, {}, {}), Diverged);
}

}  // namespace
}  // namespace crisp::test
