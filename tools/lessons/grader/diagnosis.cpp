// Explanations of a wrong tensor: the truth, or what a typical mistake makes, perhaps transposed, times a factor, or in
// the place of what was to be kept.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <optional>

#include "engine/fail.h"
#include "tools/lessons/grader/compare.h"
#include "tools/lessons/grader/exchange.h"

namespace crisp::lessons {
namespace {

// What a student's tensor may be made of, in each case.
struct Base {
  std::string id, text;  // "" for the truth
  std::vector<Values> parts;
  int cost;
};

// A number that may be a factor too much or too few, in each case.
struct Factor {
  std::string id, text;
  std::vector<double> values;
  int cost = 1;
};

class Patient {
 public:
  Patient(const Exercise& exercise, const std::string& tensor, std::span<const Values> got)
      : exercise_(exercise), tensor_(tensor), got_(got) {
    for (size_t c = 0; c < got.size(); ++c) {
      const bool finite = std::all_of(got[c].begin(), got[c].end(), [](double x) { return std::isfinite(x); });
      if (finite) finite_.push_back(c);
    }
  }

  std::vector<Finding> findings() const {
    std::vector<Finding> all;
    if (wrong_somewhere() && !add_untouched(all)) {
      if (const auto explained = explain()) {
        all = *explained;
      } else {
        add_constant_factor(all);
        add_places(all);
      }
    }
    add_not_numbers(all);
    return all;
  }

 private:
  const Array& array(size_t c) const { return exercise_.cases[c].written(tensor_); }
  bool is_gradient() const { return array(0).role == Role::gradient; }
  bool wrong_somewhere() const {
    return std::any_of(finite_.begin(), finite_.end(),
                       [&](size_t c) { return !compare(got_[c], array(c).truth).right; });
  }

  // Whether f(case, element) is what stands there, in all cases that are finite.
  template <class F>
  bool everywhere(F f) const {
    return std::all_of(finite_.begin(), finite_.end(), [&](size_t c) {
      double scale = 0;
      for (const double x : array(c).truth) scale = std::max(scale, std::abs(x));
      for (size_t i = 0; i < got_[c].size(); ++i)
        if (!(std::abs(got_[c][i] - f(c, i)) <= tolerance * scale)) return false;
      return true;
    });
  }

  void add_not_numbers(std::vector<Finding>& all) const {
    size_t unwritten = 0, broken = 0, elements = 0;
    for (size_t c = 0; c < got_.size(); ++c)
      for (const double x : got_[c]) {
        ++elements;
        if (std::bit_cast<uint64_t>(x) == Exchange::unwritten)
          ++unwritten;
        else if (!std::isfinite(x))
          ++broken;
      }
    if (unwritten == elements)
      all.push_back({"unwritten", "nothing has been written to it yet, or it is made of what nothing was written to"});
    else if (unwritten > 0)
      all.push_back({"partly-unwritten",
                     fmt::format("{} of {} elements were never written, or are made of such", unwritten, elements)});
    if (broken > 0)
      all.push_back({"not-a-number",
                     fmt::format("{} elements are no finite numbers: a variable that was never set, 0/0, the logarithm "
                                 "of 0, or e^x of a large x",
                                 broken)});
  }

  // A gradient to which nothing has been added.
  bool add_untouched(std::vector<Finding>& all) const {
    if (!is_gradient()) return false;
    if (everywhere([&](size_t c, size_t i) { return array(c).before[i]; })) {
      all.push_back({"untouched", "it is what it was before: nothing has been added to it yet"});
      return true;
    }
    if (everywhere([](size_t, size_t) { return 0.0; })) {
      all.push_back({"zero", "it is 0 everywhere; what was there before must stay in the sum"});
      return true;
    }
    return false;
  }

  std::vector<Base> bases() const {
    std::vector<Base> all = {{"", "", each_case([&](const Case& c) { return c.written(tensor_).part; }), 0}};
    for (const Mistake& mistake : exercise_.mistakes)
      if (mistake.tensor == tensor_) all.push_back({mistake.id, mistake.hint, each_case(mistake.part), 1});
    if (array(0).shape.rank() >= 2)
      all.push_back({"transposed", "it is the truth transposed: the last two indices have changed places",
                     each_case([&](const Case& c) { return transposed(c.written(tensor_)); }), 1});
    for (const std::string& other : exercise_.tensors) {
      const bool same = std::all_of(exercise_.cases.begin(), exercise_.cases.end(), [&](const Case& c) {
        return c.written(other).role == c.written(tensor_).role && c.written(other).shape == c.written(tensor_).shape;
      });
      if (same && other != tensor_)
        all.push_back({"swapped", fmt::format("it holds what belongs into {}", other),
                       each_case([&](const Case& c) { return c.written(other).part; }), 1});
    }
    return all;
  }

  std::vector<Factor> factors() const {
    const auto constant = [&](double x) { return std::vector<double>(exercise_.cases.size(), x); };
    std::vector<Factor> all = {{"", "", constant(1), 0},
                               {"wrong-sign", "it has the wrong sign", constant(-1)},
                               {"twice", "it is twice as large as it should be", constant(2)},
                               {"half", "it is half as large as it should be", constant(0.5)}};
    const auto add = [&](const std::string& id, const std::string& text, const auto& f) {
      all.push_back({id, text, {}});
      for (const Case& c : exercise_.cases) all.back().values.push_back(f(c));
    };
    for (const Quantity& size : exercise_.cases[0].sizes) {
      const std::string n = size.name, root = "sqrt(" + n + ")";
      const auto value = [n](const Case& c) { return static_cast<double>(c.size(n)); };
      add("missing-1/" + n, fmt::format("it is {} times as large as it should be: where is the 1/{}?", n, n), value);
      add("too-many-1/" + n,
          fmt::format("it is too small by the factor 1/{}: has something been divided by {} that is a "
                      "sum, or divided twice?",
                      n, n),
          [value](const Case& c) { return 1 / value(c); });
      add("missing-1/" + root, fmt::format("it is {} times as large as it should be: where is the 1/{}?", root, root),
          [value](const Case& c) { return std::sqrt(value(c)); });
      add("too-many-1/" + root, fmt::format("it is too small by the factor 1/{}: it is in there twice", root),
          [value](const Case& c) { return 1 / std::sqrt(value(c)); });
    }
    for (const Quantity& number : exercise_.cases[0].numbers) {
      const std::string n = number.name;
      add("missing-" + n, fmt::format("the factor {} is missing: the gradient that arrives belongs into it", n),
          [n](const Case& c) { return 1 / c.number(n); });
      add("twice-" + n, fmt::format("the factor {} is in there twice", n), [n](const Case& c) { return c.number(n); });
    }
    return all;
  }

  template <class F>
  std::vector<Values> each_case(const F& f) const {
    std::vector<Values> all;
    for (const Case& c : exercise_.cases) all.push_back(f(c));
    return all;
  }

  // What memory holds where [.., r, c] was written as [.., c, r].
  static Values transposed(const Array& array) {
    const auto columns = static_cast<size_t>(array.shape[-1]), rows = static_cast<size_t>(array.shape[-2]);
    Values result(array.part.size());
    for (size_t i = 0; i < result.size(); ++i) {
      const size_t block = i / (rows * columns) * rows * columns, r = (i - block) / columns, c = (i - block) % columns;
      result[block + c * rows + r] = array.part[i];
    }
    return result;
  }

  // The fewest mistakes that make what is there, all at once.
  std::optional<std::vector<Finding>> explain() const {
    const std::vector<Base> all_bases = bases();
    const std::vector<Factor> all_factors = factors();
    std::optional<std::vector<Finding>> best;
    int best_cost = 4;
    for (const Base& base : all_bases)
      for (const Factor& factor : all_factors)
        for (const bool kept : {true, false}) {
          const int cost = base.cost + factor.cost + (kept ? 0 : 1);
          if ((!kept && !is_gradient()) || cost >= best_cost) continue;
          const bool fits = everywhere([&](size_t c, size_t i) {
            return (kept && is_gradient() ? array(c).before[i] : 0) + factor.values[c] * base.parts[c][i];
          });
          if (!fits) continue;
          best_cost = cost;
          best.emplace();
          if (!base.id.empty()) best->push_back({base.id, base.text});
          if (!factor.id.empty()) best->push_back({factor.id, factor.text});
          if (!kept)
            best->push_back({"not-accumulated",
                             "what was there before is gone: the gradient must be added (+=), since other "
                             "uses of the same tensor have added theirs"});
        }
    return best;
  }

  // The same direction as the truth, another length.
  void add_constant_factor(std::vector<Finding>& all) const {
    std::map<size_t, double> of_case;
    std::vector<double> ratios;
    for (const size_t c : finite_) {
      double dot = 0, square = 0;
      for (size_t i = 0; i < got_[c].size(); ++i) {
        const double change = got_[c][i] - (is_gradient() ? array(c).before[i] : 0);
        dot += change * array(c).part[i];
        square += array(c).part[i] * array(c).part[i];
      }
      of_case[c] = square > 0 ? dot / square : 1;  // of nothing there is no multiple
      if (square > 0) ratios.push_back(dot / square);
    }
    if (ratios.empty()) return;
    if (!everywhere([&](size_t c, size_t i) {
          return (is_gradient() ? array(c).before[i] : 0) + of_case.at(c) * array(c).part[i];
        }))
      return;
    const bool same = std::all_of(ratios.begin(), ratios.end(),
                                  [&](double r) { return std::abs(r - ratios[0]) <= tolerance * std::abs(ratios[0]); });
    all.push_back(
        {"factor", same ? fmt::format("it is the truth times {:.6g}", ratios[0])
                        : fmt::format("it is the truth times a number that differs from case to case ({:.4g}): a "
                                      "factor that depends on the sizes",
                                      fmt::join(ratios, ", "))});
  }

  // Where the wrong elements lie, if that says something.
  void add_places(std::vector<Finding>& all) const {
    if (is_gradient()) {
      size_t untouched = 0, elements = 0;
      bool others_right = true;
      for (const size_t c : finite_)
        for (size_t i = 0; i < got_[c].size(); ++i) {
          const double truth[] = {array(c).truth[i]}, got[] = {got_[c][i]};
          const bool is_right = compare(got, truth).right;
          ++elements;
          untouched += !is_right && got_[c][i] == array(c).before[i];
          others_right = others_right && (is_right || got_[c][i] == array(c).before[i]);
        }
      if (untouched > 0 && others_right) {
        all.push_back(
            {"partly-untouched", fmt::format("nothing was added to {} of {} elements, the others are right: does "
                                             "a loop end too early, or begin too late?",
                                             untouched, elements)});
        return;
      }
    }
    for (const size_t c : finite_) {
      if (array(c).shape.rank() < 2 || compare(got_[c], array(c).truth).right) continue;
      const auto columns = static_cast<size_t>(array(c).shape.last());
      std::map<size_t, bool> wrong_rows, wrong_columns;
      for (size_t i = 0; i < got_[c].size(); ++i)
        if (!(std::abs(got_[c][i] - array(c).truth[i]) <= tolerance)) {
          wrong_rows[i / columns] = true;
          wrong_columns[i % columns] = true;
        }
      if (wrong_rows.size() == 1 && got_[c].size() > columns)
        all.push_back({"one-row", fmt::format("only row {} is wrong (case {})", wrong_rows.begin()->first, c + 1)});
      else if (wrong_columns.size() == 1 && columns > 1)
        all.push_back(
            {"one-column", fmt::format("only column {} is wrong (case {})", wrong_columns.begin()->first, c + 1)});
      return;
    }
  }

  const Exercise& exercise_;
  const std::string& tensor_;
  std::span<const Values> got_;
  std::vector<size_t> finite_;  // the cases in which all of it is
};

}  // namespace

std::vector<Finding> diagnose(const Exercise& exercise, const std::string& tensor, std::span<const Values> got) {
  return Patient(exercise, tensor, got).findings();
}

}  // namespace crisp::lessons
