#include "tools/inspect/weights.h"
#include "tools/inspect/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/row_pairs.h"
#include "tools/inspect/subject.h"
#include "tools/inspect/tensor_numbers.h"
#include "tools/nearest.h"
#include "train/inference/model_files.h"
#include "weights/locate.h"
#include "weights/published.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;
using Kind = TextTable::Kind;

std::string short_number(double x) { return std::isnan(x) ? "-" : fmt::format("{:.3g}", x); }

std::string place(uint64_t element, const TensorEntry& tensor) {
  return shape_string(indices_of(element, tensor.shape));
}

// Everything that is shown of one file, tensors in natural order.
class Report {
 public:
  explicit Report(const std::string& file_or_directory)
      : file_(open_weights(file_or_directory)), use_(use_of_file(file_)) {
    order_.resize(file_.tensors().size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::sort(order_.begin(), order_.end(),
              [&](size_t a, size_t b) { return natural_less(file_.tensors()[a].name, file_.tensors()[b].name); });
  }

  void take(const std::string& tensor) {
    if (tensor.empty()) return;
    order_ = {static_cast<size_t>(&find_tensor(file_, use_, tensor) - file_.tensors().data())};
  }
  void measure() {
    statistics_.resize(file_.tensors().size());
    for (const size_t i : order_)
      if (has_numbers(file_.tensors()[i].dtype)) statistics_[i] = statistics_of(file_, file_.tensors()[i]);
  }

  std::string summary() const;
  std::string table() const;
  std::string not_finite() const;
  std::string one() const;
  ordered_json json() const;
  const FileUse& use() const { return use_; }

 private:
  ordered_json json(size_t i) const;
  std::vector<double> head(const TensorEntry& tensor, uint64_t first, uint64_t count) const {
    std::vector<double> values(static_cast<size_t>(count));
    read_numbers(file_, tensor, first, values);
    return values;
  }

  SafetensorsFile file_;
  FileUse use_;
  std::vector<size_t> order_;
  std::vector<std::optional<TensorStatistics>> statistics_;
};

std::string Report::summary() const {
  uint64_t numbers = 0, bytes = 0;
  for (const TensorEntry& t : file_.tensors()) numbers += t.numel(), bytes += t.end - t.begin;
  const std::string of = use_.architecture.empty() ? "" : use_.architecture + ": ";
  std::string text = fmt::format("{}\n{}{} tensors, {} elements, {} bytes\n", printable(file_.path()), of,
                                 file_.tensors().size(), numbers, bytes);
  for (const auto& [key, value] : file_.metadata())
    text += fmt::format("__metadata__: {} = {}\n", printable(key), quote(value, 500));
  return text;
}

std::string Report::table() const {
  RowPairs table({{"tensor", Kind::ending}, {"dtype", Kind::text}, {"shape", Kind::text}, {"bytes"}},
                 {{"becomes", Kind::flexible}, {"min"}, {"max"}, {"mean"}, {"std"}});
  for (const size_t i : order_) {
    const TensorEntry& t = file_.tensors()[i];
    std::vector<std::string> numbers(4, "-");
    if (const auto& s = statistics_[i])
      numbers = {short_number(s->min), short_number(s->max), short_number(s->mean), short_number(s->deviation)};
    numbers.insert(numbers.begin(), use_.tensors[i].becomes);
    table.row({t.name, std::string(name_of(t.dtype)), shape_string(t.shape), std::to_string(t.end - t.begin)},
              std::move(numbers));
  }
  return table.text();
}

std::string Report::not_finite() const {
  TextTable table({{"not finite", Kind::flexible}, {"NaN"}, {"infinite"}, {"of"}, {"first at", Kind::text}});
  bool any_numbers = false;
  for (const size_t i : order_) {
    const auto& s = statistics_[i];
    any_numbers |= s.has_value();
    if (!s || !s->at_not_finite) continue;
    const TensorEntry& t = file_.tensors()[i];
    table.row({t.name, std::to_string(s->nan), std::to_string(s->infinite), std::to_string(t.numel()),
               place(*s->at_not_finite, t)});
  }
  if (!table.empty()) return table.text();
  return any_numbers ? "no NaN, no infinity\n" : "";
}

// One tensor at length: where its extremes are, and its first numbers.
std::string Report::one() const {
  const size_t i = order_.front();
  const TensorEntry& t = file_.tensors()[i];
  std::string text = fmt::format("{}\n{} {}, {} elements, {} bytes\n{}\n", printable(t.name), name_of(t.dtype),
                                 shape_string(t.shape), t.numel(), t.end - t.begin, use_.tensors[i].becomes);
  const auto& s = statistics_[i];
  if (!s || t.numel() == 0) return text;
  const auto exact = [&](double x) { return number_text(x, t.dtype); };
  if (s->finite > 0)
    text += fmt::format("min {} at {}\nmax {} at {}\nmean {:.6g}, standard deviation {:.6g}\n", exact(s->min),
                        place(s->at_min, t), exact(s->max), place(s->at_max, t), s->mean, s->deviation);
  text += s->at_not_finite
              ? fmt::format("{} NaN, {} infinite, the first at {}\n", s->nan, s->infinite, place(*s->at_not_finite, t))
              : "no NaN, no infinity\n";
  constexpr uint64_t most_rows = 4;
  const uint64_t most_columns = t.dtype == SafeDType::F64 ? 3 : 5;
  const uint64_t width = t.shape.empty() ? 1 : t.shape.back(), columns = std::min(width, most_columns);
  TextTable table(std::vector<TextTable::Column>(static_cast<size_t>(columns) + 1));
  for (uint64_t row = 0; row < std::min(t.numel() / width, most_rows); ++row) {
    std::vector<std::string> cells{place(row * width, t)};
    for (const double x : head(t, row * width, columns)) cells.push_back(exact(x));
    table.row(std::move(cells));
  }
  const std::string rows = table.text();
  return text + "its first numbers, from each place on:\n" + rows.substr(rows.find('\n') + 1);
}

ordered_json Report::json(size_t i) const {
  const TensorEntry& t = file_.tensors()[i];
  ordered_json row{{"name", t.name},
                   {"dtype", name_of(t.dtype)},
                   {"shape", t.shape},
                   {"bytes", t.end - t.begin},
                   {"becomes", use_.tensors[i].becomes}};
  row["parameter"] = use_.tensors[i].parameter.empty() ? ordered_json() : ordered_json(use_.tensors[i].parameter);
  const auto& s = statistics_[i];
  if (!s) return row;
  const auto index = [&](bool known, uint64_t element) {
    return known ? ordered_json(indices_of(element, t.shape)) : ordered_json();
  };
  const bool some = s->finite > 0;
  for (const auto& [key, value] : {std::pair("min", s->min), std::pair("max", s->max), std::pair("mean", s->mean),
                                   std::pair("standard_deviation", s->deviation)})
    row[key] = some ? ordered_json(value) : ordered_json();
  row["index_of_min"] = index(some, s->at_min);
  row["index_of_max"] = index(some, s->at_max);
  row["nan"] = s->nan;
  row["infinite"] = s->infinite;
  row["index_of_not_finite"] = index(s->at_not_finite.has_value(), s->at_not_finite.value_or(0));
  return row;
}

ordered_json Report::json() const {
  ordered_json all{{"file", file_.path()}, {"metadata", file_.metadata()}};
  all["architecture"] = use_.architecture.empty() ? ordered_json() : ordered_json(use_.architecture);
  all["notes"] = use_.notes;
  all["tensors"] = ordered_json::array();
  for (const size_t i : order_) all["tensors"].push_back(json(i));
  return all;
}

}  // namespace

int show_weights(const WeightsOptions& options) {
  if ((options.file.empty() ? 0 : 1) + (options.model.empty() ? 0 : 1) + (options.weights.empty() ? 0 : 1) != 1)
    fail<UsageError>("give one FILE (or --model DIR, or --weights FILE)");
  const std::string& first = !options.file.empty() ? options.file : model_or_weights(options.model, options.weights);
  if (!options.against.empty()) return compare_weights(options, first);
  Report report(first);
  report.take(options.tensor);
  report.measure();
  if (options.json) {
    print_json(report.json());
    return 0;
  }
  if (!options.tensor.empty()) {
    fmt::print("{}", report.one());
    return 0;
  }
  fmt::print("{}\n{}\n{}", report.summary(), report.table(), report.not_finite());
  for (const std::string& note : report.use().notes) fmt::print("note: {}\n", printable_lines(note));
  return 0;
}

Command add_weights(CLI::App& program) {
  CLI::App* app = add_command(program, "weights", "What a file of weights holds, or how it differs from another");
  auto options = std::make_shared<WeightsOptions>();
  add_positional(*app, "FILE", options->file, "a safetensors file, or a model's directory or name");
  add_model_options(*app, options->model, options->weights);
  add_text(*app, "tensor", options->tensor, "this one at length", "NAME");
  add_text(*app, "against", options->against, "show what differs from this file, directory or model", "FILE|DIR");
  add_real(*app, "tolerance", options->tolerance, {.low = 0},
           "with --against: the exit code is 1 where some |a - b| is larger");
  add_integer(*app, "limit", options->limit, 0, INT64_MAX, "with --against: rows shown; 0: all");
  add_flag(*app, "json", options->json, "print one JSON object");
  return {app, [options] { return show_weights(*options); }};
}

}  // namespace crisp::inspect
