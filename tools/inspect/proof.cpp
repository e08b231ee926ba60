#include "tools/inspect/proof.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/input/parse_text.h"
#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/nearest.h"

namespace crisp::inspect {
namespace {

std::vector<std::string> names_of(const DistilBert& model) {
  std::vector<std::string> names;
  for (const Parameter& p : model.parameters()) names.push_back(short_name(p.name));
  return names;
}

int64_t flat_index(const Parameter& parameter, const std::string& inside) {
  const Shape& shape = parameter.tensor.shape();
  const std::vector<std::string> parts = split(inside, ',');
  int64_t index = 0;
  bool good = parts.size() == static_cast<size_t>(shape.rank());
  for (size_t d = 0; good && d < parts.size(); ++d) {
    const size_t first = std::min(parts[d].find_first_not_of(' '), parts[d].size());
    const std::optional<int64_t> i = parse_number<int64_t>(parts[d].substr(first));
    const int64_t size = shape[static_cast<int>(d)];
    good = i && *i >= 0 && *i < size;
    if (good) index = index * size + *i;
  }
  if (!good)
    fail<UsageError>("{} has no element [{}]: its shape is {}", parameter.name, printable(inside), shape.str());
  return index;
}

// The rows of a table of embeddings that the text uses; empty for other parameters.
std::vector<int32_t> used_rows(const Subject& subject, const std::string& name) {
  const auto rows_of = [](const Rows& rows) {
    return std::vector<int32_t>(rows.distinct().host.begin(), rows.distinct().host.end());
  };
  if (name.ends_with("word_embeddings.weight")) return rows_of(subject.batch().words());
  if (name.ends_with("position_embeddings.weight")) return rows_of(subject.batch().positions());
  return {};
}

Element random_element(const Subject& subject, const Parameter& p, const RandomKey& key, uint64_t& word) {
  const auto draw = [&](int64_t n) { return static_cast<int64_t>(random_word(key, word++)) % n; };
  const std::vector<int32_t> rows = used_rows(subject, p.name);
  if (rows.empty()) return {p.tensor, p.name, draw(p.tensor.numel())};
  const int64_t row = rows[static_cast<size_t>(draw(static_cast<int64_t>(rows.size())))], dim = p.tensor.dim(1);
  return {p.tensor, p.name, row * dim + draw(dim)};
}

// Values along a line, each computed once.
class Values {
 public:
  Values(const Subject& subject, Line& line) : subject_(subject), line_(line) {}
  const Point& at(double t) {
    const auto found = points_.find(t);
    if (found != points_.end()) return found->second;
    line_.move(t);
    return points_.emplace(t, evaluate(subject_)).first->second;
  }

 private:
  const Subject& subject_;
  Line& line_;
  std::map<double, Point> points_;
};

// Between `same`, on 0's side, and `other`: halved until neighbouring numbers, or the distance is 1e-12 of it.
Crossing find_crossing(const Subject& subject, Line& line, Values& values, double same, double other) {
  const Pattern here = values.at(0).pattern;
  for (int i = 0; i < 60 && std::abs(other - same) > 1e-12 * std::abs(other); ++i) {
    const double middle = same + (other - same) / 2;
    if (middle == same || middle == other) break;
    (values.at(middle).pattern == here ? same : other) = middle;
  }
  Crossing crossing{.at = other,
                    .width = std::abs(other - same),
                    .flips = flips(here, values.at(other).pattern),
                    .jump = values.at(other).value - values.at(same).value};
  line.move(same);
  crossing.before = analytic_derivative(subject, line);
  line.move(other);
  crossing.after = analytic_derivative(subject, line);
  return crossing;
}

}  // namespace

std::string Element::str() const {
  std::vector<int64_t> indices;
  int64_t rest = index;
  for (int d = tensor.shape().rank() - 1; d >= 0; --d) {
    indices.insert(indices.begin(), rest % tensor.dim(d));
    rest /= tensor.dim(d);
  }
  return fmt::format("{}[{}]", short_name(name), fmt::join(indices, ","));
}

const Parameter& find_parameter(const DistilBert& model, const std::string& name) {
  std::vector<const Parameter*> found;
  for (const Parameter& p : model.parameters()) {
    if (p.name == name) return p;
    if (p.name.ends_with("." + name)) found.push_back(&p);
  }
  if (found.size() == 1) return *found[0];
  if (found.size() > 1)
    fail<UsageError>("{} is the end of {} parameters' names, {} for one; give more of the name", printable(name),
                     found.size(), found[0]->name);
  const std::vector<std::string> names = names_of(model);
  fail<UsageError>("the model has no parameter {}{}", printable(name), did_you_mean(name, names));
}

Element find_element(const DistilBert& model, const std::string& text) {
  const size_t open = text.find('[');
  const std::string name = text.substr(0, open);
  const Parameter& p = find_parameter(model, name);
  if (open == std::string::npos) return {p.tensor, p.name, -1};
  if (text.back() != ']') fail<UsageError>("{}: an element is written NAME[i,j]", printable(text));
  return {p.tensor, p.name, flat_index(p, text.substr(open + 1, text.size() - open - 2))};
}

std::vector<Element> random_elements(const Subject& subject, int64_t count, uint64_t seed) {
  const std::vector<Parameter>& parameters = subject.model().parameters();
  const RandomKey key{seed, Stream::init, 1};
  uint64_t word = 0;
  std::vector<Element> elements;
  for (int64_t i = 0; i < count; ++i) {
    const Parameter& p = parameters[random_word(key, word++) % parameters.size()];
    elements.push_back(random_element(subject, p, key, word));
  }
  return elements;
}

std::vector<Element> random_elements_of(const Subject& subject, const Parameter& parameter, int64_t count,
                                        uint64_t seed) {
  const RandomKey key{seed, Stream::init, 2};
  uint64_t word = 0;
  std::vector<Element> elements;
  for (int64_t i = 0; i < count; ++i) elements.push_back(random_element(subject, parameter, key, word));
  return elements;
}

Line::Line(const Element& element) : name_(element.str()) {
  const Tensor place = element.tensor.detach().view({element.tensor.numel()}).view_rows(element.index, 1);
  parts_.push_back({element.tensor, element.index, place, place.to_vector(), {1}});
}

Line::Line(std::string name, const std::vector<Parameter>& parameters, uint64_t seed) : name_(std::move(name)) {
  double squares = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Tensor& all = parameters[i].tensor;
    Part part{all, 0, all.detach().view({all.numel()}), all.to_vector(), {}};
    for (size_t e = 0; e < part.base.size(); ++e) {
      part.direction.push_back(normal({seed, Stream::init, 3, static_cast<uint32_t>(i)}, e));
      squares += part.direction.back() * part.direction.back();
    }
    parts_.push_back(std::move(part));
  }
  const double length = std::sqrt(squares);
  for (Part& part : parts_)
    for (double& d : part.direction) d /= length;
}

void Line::move(double t) {
  for (const Part& part : parts_) {
    std::vector<double> values = part.base;
    for (size_t e = 0; e < values.size(); ++e) values[e] += t * part.direction[e];
    part.moved.copy_from(Tensor::from(values, part.moved.shape(), DType::f64).to(part.moved.device()));
  }
}

double Line::derivative() const {
  double sum = 0;
  for (const Part& part : parts_) {
    const Tensor grad = part.tensor.grad();
    if (!grad) continue;
    const auto count = static_cast<int64_t>(part.base.size());
    const std::vector<double> values = grad.view({grad.numel()}).view_rows(part.first, count).to_vector();
    for (size_t e = 0; e < values.size(); ++e) sum += values[e] * part.direction[e];
  }
  return sum;
}

double analytic_derivative(const Subject& subject, const Line& line) {
  for (const Parameter& p : subject.model().parameters()) p.tensor.clear_grad();
  Tape tape(subject.context());
  tape.backward(subject.objective(tape));
  const double derivative = line.derivative();
  for (const Parameter& p : subject.model().parameters()) p.tensor.clear_grad();
  return derivative;
}

bool DerivativeProof::passes(double tolerance) const {
  return proof.passes(tolerance) && (!proof.slope || *proof.slope >= 1.95);
}

DerivativeProof prove(const Subject& subject, Line& line, const ProofOptions& options) {
  DerivativeProof result;
  result.name = line.name();
  const double analytic = analytic_derivative(subject, line);
  Values values(subject, line);
  const Pattern here = values.at(0).pattern;
  // The largest step from which on down both ends are on this side, and the first on each side that is not.
  result.limit = std::numeric_limits<double>::infinity();
  double first_other[2] = {0, 0};
  for (double h = std::exp2(std::floor(std::log2(options.largest))); h >= options.smallest; h /= 2)
    for (const int side : {0, 1}) {
      const double t = side == 0 ? -h : h;
      if (values.at(t).pattern == here) continue;
      first_other[side] = t;
      result.limit = h / 2;
    }
  result.proof = prove_along([&](double t) { return values.at(t).value; }, analytic,
                             {.largest = options.largest, .smallest = options.smallest, .limit = result.limit});
  if (options.crossings)
    for (const double t : first_other)
      if (t != 0) result.crossings.push_back(find_crossing(subject, line, values, t / 2, t));
  line.move(0);
  return result;
}

}  // namespace crisp::inspect
