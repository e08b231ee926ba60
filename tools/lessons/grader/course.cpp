#include "tools/lessons/grader/course.h"

#include <algorithm>

#include "engine/fail.h"
#include "engine/ops.h"
#include "engine/random.h"

namespace crisp::lessons {
namespace {

// Of the course's own numbers.
constexpr uint64_t seed = 20170612;

const Array& find(const Case& c, std::string_view name, bool written) {
  for (const Array& array : c.arrays)
    if (array.name == name && is_written(array.role) == written) return array;
  fail("the exercise has no array {}", name);
}

double find(const std::vector<Quantity>& all, std::string_view name) {
  for (const Quantity& quantity : all)
    if (quantity.name == name) return quantity.value;
  fail("the exercise has no number {}", name);
}

}  // namespace

const Array& Case::read(std::string_view name) const { return find(*this, name, false); }
const Array& Case::written(std::string_view name) const { return find(*this, name, true); }
int64_t Case::size(std::string_view name) const { return static_cast<int64_t>(find(sizes, name)); }
double Case::number(std::string_view name) const { return find(numbers, name); }

std::string Case::str() const {
  std::string text;
  for (const Quantity& size : sizes) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", size.name, size.value);
  return text;
}

bool Exercise::is_given(std::string_view tensor) const {
  return std::find(given.begin(), given.end(), tensor) != given.end();
}

const std::vector<Exercise>& course() {
  static const std::vector<Exercise> all = {
      gelu_exercise(),       linear_exercise(),    softmax_cross_entropy_exercise(),
      layer_norm_exercise(), attention_exercise(), top_k_attention_exercise()};
  return all;
}

const Exercise* find_exercise(std::string_view name) {
  std::string wanted(name);
  std::replace(wanted.begin(), wanted.end(), '-', '_');
  for (const Exercise& exercise : course())
    if (exercise.name == wanted) return &exercise;
  return nullptr;
}

CaseMaker::CaseMaker(uint32_t number, std::vector<Quantity> sizes) : number_(number) { case_.sizes = std::move(sizes); }

const Context& CaseMaker::context() const {
  static const Context one_thread({.threads = 1});
  return one_thread;
}

Values CaseMaker::random(const Shape& shape, double spread) {
  const RandomKey key = {.seed = seed, .step = number_, .site = site_++};
  Values values(static_cast<size_t>(shape.numel()));
  // The odd multiples of 2^-24 in (-1, 1): none is 0.
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = spread * (2 * static_cast<double>(uniform01(random_word(key, i))) - 1 + 0x1p-24);
  return values;
}

Tensor CaseMaker::input(const std::string& name, const Shape& shape, double spread) {
  return input(name, shape, random(shape, spread));
}

Tensor CaseMaker::input(const std::string& name, const Shape& shape, Values values) {
  leaves_.push_back(Tensor::from(values, shape, DType::f64));
  leaves_.back().set_name(name);
  case_.arrays.push_back({name, Role::input, shape, std::move(values), {}, {}});
  return leaves_.back();
}

std::vector<int32_t> CaseMaker::labels(const std::string& name, int64_t n, int64_t count) {
  std::vector<int32_t> labels;
  Values values = random({n}, 0.5);
  for (double& value : values) {
    labels.push_back(static_cast<int32_t>((value + 0.5) * static_cast<double>(count)));
    value = labels.back();
  }
  case_.arrays.push_back({name, Role::labels, {n}, std::move(values), {}, {}});
  return labels;
}

void CaseMaker::output(const std::string& name, const Tensor& value, bool saved) {
  const Values values = value.to_vector();
  case_.arrays.push_back({name, Role::output, value.shape(), {}, values, values});
  if (saved) case_.arrays.push_back({name, Role::input, value.shape(), values, {}, {}});
}

void CaseMaker::gradients(const std::vector<std::string>& names, const std::string& objective, const Values& upstream,
                          const std::function<Tensor(Tape&)>& f) {
  std::vector<Tensor> wanted;
  for (const Tensor& leaf : leaves_)
    if (std::find(names.begin(), names.end(), leaf.name()) != names.end()) wanted.push_back(leaf.set_requires_grad());
  const auto backward = [&] {
    Tape tape(context());
    const Tensor result = f(tape);
    tape.backward(sum(tape, mul(tape, result, Tensor::from(upstream, result.shape(), DType::f64))));
  };
  backward();
  std::vector<Array> made;
  for (const Tensor& leaf : wanted) {
    made.push_back({"d" + leaf.name(), Role::gradient, leaf.shape(), random(leaf.shape(), 1), {}, {}});
    made.back().part = leaf.grad().to_vector();
    leaf.set_grad(Tensor::from(made.back().before, leaf.shape(), DType::f64));
  }
  backward();
  for (size_t i = 0; i < wanted.size(); ++i) {
    made[i].truth = wanted[i].grad().to_vector();
    wanted[i].clear_grad();
    case_.arrays.push_back(std::move(made[i]));
  }
  case_.objective = objective;
  case_.upstream = upstream;
}

}  // namespace crisp::lessons
