// crisp-inspect weights --against: which tensors of two files differ, and where most.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/input/text.h"
#include "tools/inspect/output.h"
#include "tools/inspect/row_pairs.h"
#include "tools/inspect/tensor_numbers.h"
#include "tools/inspect/weights.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;
using Kind = TextTable::Kind;

struct Side {
  explicit Side(const std::string& path) : file(open_weights(path)), use(use_of_file(file)) {}
  SafetensorsFile file;
  FileUse use;
};

struct Pair {
  const TensorEntry *a, *b;
};
struct Difference {
  Pair pair;
  TensorDifference d;
};

struct Comparison {
  std::vector<Difference> different;     // the largest first
  std::vector<Pair> shapes, unreadable;  // of other shapes; of other bytes that are no numbers
  std::vector<std::string> only_a, only_b;
  std::map<std::string, size_t> dtypes;  // "F32 in A, BF16 in B" and how many
  size_t renamed = 0, equal = 0;

  bool beyond(double tolerance) const {
    if (!shapes.empty() || !unreadable.empty() || !only_a.empty() || !only_b.empty()) return true;
    return !different.empty() && different.front().d.largest > tolerance;
  }
};

// Tensors of one name, else of one parameter: files may have other prefixes.
std::vector<Pair> pairs_of(const Side& a, const Side& b, Comparison& result) {
  std::map<std::string_view, const TensorEntry*> parameters;  // of those in b that have no namesake
  for (size_t i = 0; i < b.use.tensors.size(); ++i) {
    const TensorEntry& t = b.file.tensors()[i];
    if (!b.use.tensors[i].parameter.empty() && !a.file.find(t.name)) parameters.emplace(b.use.tensors[i].parameter, &t);
  }
  std::vector<Pair> pairs;
  for (size_t i = 0; i < a.use.tensors.size(); ++i) {
    const TensorEntry& t = a.file.tensors()[i];
    const TensorEntry* other = b.file.find(t.name);
    if (const auto at = parameters.find(a.use.tensors[i].parameter); !other && at != parameters.end()) {
      other = at->second;
      ++result.renamed;
    }
    if (other)
      pairs.push_back({&t, other});
    else
      result.only_a.push_back(t.name);
  }
  std::set<const TensorEntry*> paired;
  for (const Pair& pair : pairs) paired.insert(pair.b);
  for (const TensorEntry& t : b.file.tensors())
    if (!paired.contains(&t)) result.only_b.push_back(t.name);
  return pairs;
}

void compare(const Side& a, const Side& b, const Pair& pair, Comparison& result) {
  if (pair.a->shape != pair.b->shape) {
    result.shapes.push_back(pair);
    return;
  }
  const bool numbers = has_numbers(pair.a->dtype) && has_numbers(pair.b->dtype);
  if (!numbers) {
    const bool same = pair.a->dtype == pair.b->dtype && same_bytes(a.file, *pair.a, b.file, *pair.b);
    if (same)
      ++result.equal;
    else
      result.unreadable.push_back(pair);
    return;
  }
  if (pair.a->dtype != pair.b->dtype)
    ++result.dtypes[fmt::format("{} in A, {} in B", name_of(pair.a->dtype), name_of(pair.b->dtype))];
  const TensorDifference d = difference_of(a.file, *pair.a, b.file, *pair.b);
  if (d.differing == 0)
    ++result.equal;
  else
    result.different.push_back({pair, d});
}

Comparison compare(const Side& a, const Side& b, const std::string& tensor) {
  Comparison result;
  std::vector<Pair> pairs = pairs_of(a, b, result);
  if (!tensor.empty()) {
    const TensorEntry* one = &find_tensor(a.file, a.use, tensor);
    std::erase_if(pairs, [&](const Pair& p) { return p.a != one; });
    std::erase_if(result.only_a, [&](const std::string& name) { return name != one->name; });
    result.only_b.clear();
  }
  std::sort(pairs.begin(), pairs.end(),
            [](const Pair& x, const Pair& y) { return natural_less(x.a->name, y.a->name); });
  std::sort(result.only_a.begin(), result.only_a.end(), natural_less);
  std::sort(result.only_b.begin(), result.only_b.end(), natural_less);
  for (const Pair& pair : pairs) compare(a, b, pair, result);
  std::stable_sort(result.different.begin(), result.different.end(),
                   [](const Difference& x, const Difference& y) { return x.d.largest > y.d.largest; });
  return result;
}

// Lines of a list of which `limit` are shown.
class Lines {
 public:
  explicit Lines(int64_t limit) : limit_(limit) {}
  void add(const std::string& line) {
    if (limit_ == 0 || ++count_ <= limit_) text_ += line + "\n";
  }
  std::string text() const {
    return limit_ == 0 || count_ <= limit_ ? text_ : text_ + fmt::format("... and {} more\n", count_ - limit_);
  }

 private:
  int64_t limit_, count_ = 0;
  std::string text_;
};

std::string table(const Comparison& c, int64_t limit) {
  RowPairs rows({{"tensor", Kind::ending}, {"of"}, {"largest at", Kind::text}},
                {{"differ"}, {"rel. L2"}, {"largest"}, {"A there"}, {"B there"}});
  size_t shown = 0;
  for (const auto& [pair, d] : c.different) {
    if (limit > 0 && shown == static_cast<size_t>(limit)) break;
    ++shown;
    rows.row({pair.a->name, std::to_string(pair.a->numel()), shape_string(indices_of(d.at, pair.a->shape))},
             {std::to_string(d.differing), fmt::format("{:.3g}", d.relative_l2), fmt::format("{:.3g}", d.largest),
              number_text(d.a, pair.a->dtype), number_text(d.b, pair.b->dtype)});
  }
  if (shown == 0) return "";
  std::string text = rows.text();
  if (shown < c.different.size())
    text += fmt::format("... and {} more (--limit 0 shows all)\n", c.different.size() - shown);
  return text + "\n";
}

std::string text_of(const Side& a, const Side& b, const Comparison& c, const WeightsOptions& options) {
  std::string text = fmt::format("A  {}\nB  {}\n", printable(a.file.path()), printable(b.file.path()));
  const size_t in_both = c.equal + c.different.size() + c.shapes.size() + c.unreadable.size();
  text += fmt::format("{} tensors in both: {} equal, {} not; only in A {}, only in B {}\n\n", in_both, c.equal,
                      in_both - c.equal, c.only_a.size(), c.only_b.size());
  text += table(c, options.limit);
  Lines lines(options.limit);
  for (const Pair& p : c.shapes)
    lines.add(fmt::format("other shape: {} {} in A, {} in B", printable(p.a->name), shape_string(p.a->shape),
                          shape_string(p.b->shape)));
  for (const Pair& p : c.unreadable)
    lines.add(fmt::format("other bytes, which are not read as numbers: {} ({} in A, {} in B)", printable(p.a->name),
                          name_of(p.a->dtype), name_of(p.b->dtype)));
  for (const std::string& name : c.only_a) lines.add("only in A: " + printable(name));
  for (const std::string& name : c.only_b) lines.add("only in B: " + printable(name));
  text += lines.text();
  if (c.renamed > 0)
    text +=
        fmt::format("note: {} have other names in B and were paired by the parameters that they become\n", c.renamed);
  if (c.renamed > 0 && a.use.architecture != b.use.architecture)
    text += "note: in a BERT, unlike in a DistilBERT, positions lack the row of token types that is added to them\n";
  for (const auto& [which, count] : c.dtypes)
    text += fmt::format("note: {} are {}; they were compared as numbers\n", count, which);
  const double largest = c.different.empty() ? 0 : c.different.front().d.largest;
  text += largest > options.tolerance
              ? fmt::format("largest difference {:.3g}, beyond the tolerance of {}\n", largest, options.tolerance)
          : c.beyond(options.tolerance) ? "the files do not hold the same tensors\n"
          : largest > 0
              ? fmt::format("largest difference {:.3g}, within the tolerance of {}\n", largest, options.tolerance)
              : "the same numbers\n";
  return text;
}

ordered_json json_of(const Side& a, const Side& b, const Comparison& c, double tolerance) {
  ordered_json all{{"a", a.file.path()},     {"b", b.file.path()},
                   {"tolerance", tolerance}, {"beyond", c.beyond(tolerance)},
                   {"equal", c.equal},       {"different", ordered_json::array()}};
  const auto names = [](const Pair& p) {
    return ordered_json{{"name", p.a->name},
                        {"name_in_b", p.b->name},
                        {"dtype", name_of(p.a->dtype)},
                        {"dtype_in_b", name_of(p.b->dtype)},
                        {"shape", p.a->shape}};
  };
  for (const auto& [pair, d] : c.different) {
    ordered_json row = names(pair);
    row["differing"] = d.differing;
    row["relative_l2"] = json_number(d.relative_l2);
    row["largest"] = json_number(d.largest);
    row["index"] = indices_of(d.at, pair.a->shape);
    row["a"] = json_number(d.a);
    row["b"] = json_number(d.b);
    all["different"].push_back(std::move(row));
  }
  for (const auto& [key, list] : {std::pair("other_shape", &c.shapes), std::pair("other_bytes", &c.unreadable)}) {
    all[key] = ordered_json::array();
    for (const Pair& p : *list) {
      ordered_json row = names(p);
      row["shape_in_b"] = p.b->shape;
      all[key].push_back(std::move(row));
    }
  }
  all["only_in_a"] = c.only_a;
  all["only_in_b"] = c.only_b;
  return all;
}

}  // namespace

int compare_weights(const WeightsOptions& options, const std::string& first) {
  const Side a(first), b(options.against);
  const Comparison c = compare(a, b, options.tensor);
  if (options.json)
    print_json(json_of(a, b, c, options.tolerance));
  else
    fmt::print("{}", text_of(a, b, c, options));
  return c.beyond(options.tolerance) ? 1 : 0;
}

}  // namespace crisp::inspect
