// crisp-inspect grad: gradients of parameters and activations.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/inspect/activations.h"
#include "tools/inspect/grad.h"
#include "tools/inspect/output.h"
#include "tools/inspect/values_file.h"
#include "tools/text_table.h"
#include "train/durable/console.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;
using Kind = TextTable::Kind;

// What has a gradient once f has run backward.
struct Entry {
  std::string name, short_name;
  Tensor tensor;
};

struct Gradients {
  double value = 0;
  std::vector<Entry> parameters, activations;
};

Gradients run_backward(const Subject& subject, bool with_activations) {
  Gradients all;
  for (const Parameter& p : subject.model().parameters())
    all.parameters.push_back({p.name, short_name(p.name), p.tensor});
  Tape tape(subject.context());
  tape.keep_values(with_activations);
  const Tensor f = subject.objective(tape);
  all.value = f.item();
  if (with_activations)
    for (const NamedResult& a : activations_of(tape)) all.activations.push_back({a.name, a.name, a.value});
  tape.backward(f);
  return all;
}

// Of what f does not depend on it is 0.
NamedValues gradient_of(const Entry& e) {
  const Tensor grad = e.tensor.grad();
  return {e.name, e.tensor.shape(),
          grad ? grad.to_vector() : std::vector<double>(static_cast<size_t>(e.tensor.numel()))};
}

std::vector<double> values_of(const Tensor& tensor) { return tensor.detach().to_vector(); }

// "layer.2" and "ffn.lin1.weight"; what belongs to no part of the model has no group.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const size_t dot = name.find('.'), second = name.starts_with("layer.") ? name.find('.', dot + 1) : dot;
  if (dot == std::string::npos) return {"", name};
  if (name.starts_with("pre_classifier.") || name.starts_with("classifier.")) return {"head", name};
  return {name.substr(0, second), name.substr(second + 1)};
}

std::string dims_text(const Shape& shape) {
  std::string text;
  for (const int64_t d : shape.dims()) text += fmt::format("{}{}", text.empty() ? "" : "x", d);
  return text.empty() ? "1" : text;
}

std::string norm_text(double norm) { return norm == 0 ? "0" : fmt::format("{:.2e}", norm); }

// Parts of the model, in their order, with what belongs to them.
struct Group {
  std::string name;  // "" for what belongs to none: alone, so that it stays where it is
  std::vector<size_t> members = {};
  double squares = 0;  // sum over the gradients of all members
};

std::vector<Group> groups_of(const std::vector<Entry>& entries,
                             const std::vector<std::optional<TensorNumbers>>& gradients) {
  std::vector<Group> groups;
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string name = split_name(entries[i].short_name).first;
    const auto same = [&](const Group& g) { return !name.empty() && g.name == name; };
    auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group == groups.end()) group = groups.insert(group, {name});
    group->members.push_back(i);
    const double norm = gradients[i] ? gradients[i]->norm : 0;
    group->squares += norm * norm;
  }
  return groups;
}

double total_norm(const std::vector<Group>& groups) {
  return std::sqrt(
      std::accumulate(groups.begin(), groups.end(), 0.0, [](double sum, const Group& g) { return sum + g.squares; }));
}

std::string table_of(const std::vector<Entry>& entries, const std::vector<std::optional<TensorNumbers>>& gradients,
                     bool parameters) {
  std::vector<TextTable::Column> columns{{parameters ? "parameter" : "result of", Kind::flexible}, {"shape"}};
  if (parameters)
    columns.insert(columns.end(), {{"L2 norm"}, {"largest"}, {"at"}, {"mean"}});
  else
    columns.insert(columns.end(), {{"its norm"}, {"gradient's"}, {"largest"}});
  TextTable table(columns);
  const std::vector<Group> groups = groups_of(entries, gradients);
  for (const Group& group : groups) {
    if (!group.name.empty()) table.row({group.name, "", parameters ? norm_text(std::sqrt(group.squares)) : ""});
    for (const size_t i : group.members) {
      const std::optional<TensorNumbers>& g = gradients[i];
      const Shape& shape = entries[i].tensor.shape();
      std::vector<std::string> cells{
          fmt::format("{}{}", group.name.empty() ? "" : " ", split_name(entries[i].short_name).second),
          dims_text(shape)};
      if (!parameters) cells.push_back(norm_text(numbers_of(values_of(entries[i].tensor)).norm));
      cells.push_back(g ? norm_text(g->norm) : "-");
      cells.push_back(g ? norm_text(g->largest) : "-");
      if (parameters) {
        cells.push_back(g && g->largest != 0 ? place_text(g->largest_at, shape) : "-");
        cells.push_back(!g ? "-" : g->mean == 0 ? "0" : fmt::format("{:.1e}", g->mean));
      }
      table.row(std::move(cells));
    }
  }
  if (parameters) table.row({"all", "", norm_text(total_norm(groups))});
  return table.text();
}

ordered_json to_json(const TensorNumbers& n, const Shape& shape) {
  return {{"norm", n.norm},  {"mean", n.mean},       {"min", n.min},
          {"max", n.max},    {"largest", n.largest}, {"largest_at", place(n.largest_at, shape)},
          {"zeros", n.zeros}};
}

ordered_json to_json(const Subject& subject, double value) {
  return {
      {"objective", subject.objective_name()}, {"value", value}, {"attention", subject.config().sparsity.describe()}};
}

ordered_json to_json(const Entry& e, const std::optional<TensorNumbers>& gradient, bool with_value) {
  const Shape& shape = e.tensor.shape();
  ordered_json json{{"name", e.name}, {"shape", shape.dims()}};
  if (with_value) json["value"] = to_json(numbers_of(values_of(e.tensor)), shape);
  json["gradient"] = gradient ? to_json(*gradient, shape) : ordered_json(nullptr);
  return json;
}

// What is not finite is shown all the same, to find where it begins.
int exit_code(const Subject& subject, double value) {
  if (std::isfinite(value)) return 0;
  const std::string why = describe_broken_weights(subject.loaded());
  say("crisp-inspect: f is {}{}{}", value, why.empty() ? "" : "; ", why);
  return 4;
}

// The places of the elements of the largest magnitudes, and of the first ones.
std::vector<size_t> largest_places(const std::vector<double>& values, int64_t count) {
  std::vector<size_t> places(values.size());
  std::iota(places.begin(), places.end(), size_t{0});
  const auto shown = std::min(static_cast<size_t>(count), places.size());
  const auto size = [&](size_t i) { return std::isnan(values[i]) ? HUGE_VAL : std::abs(values[i]); };
  std::partial_sort(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(shown), places.end(),
                    [&](size_t a, size_t b) { return size(a) != size(b) ? size(a) > size(b) : a < b; });
  places.resize(shown);
  return places;
}

std::vector<size_t> first_places(const std::vector<double>& values, int64_t count) {
  std::vector<size_t> places(std::min(static_cast<size_t>(count), values.size()));
  std::iota(places.begin(), places.end(), size_t{0});
  return places;
}

std::string elements_table(const char* title, const std::vector<size_t>& places, const Shape& shape,
                           const std::vector<double>& values, const std::vector<double>& gradient) {
  TextTable table({{title, Kind::text}, {"value"}, {"gradient"}});
  for (const size_t i : places)
    table.row({fmt::format("[{}]", place_text(static_cast<int64_t>(i), shape)), fmt::format("{:.9g}", values[i]),
               fmt::format("{:.9g}", gradient[i])});
  return "\n" + table.text();
}

ordered_json elements_json(const std::vector<size_t>& places, const Shape& shape, const std::vector<double>& values,
                           const std::vector<double>& gradient) {
  ordered_json list = ordered_json::array();
  for (const size_t i : places)
    list.push_back({{"at", place(static_cast<int64_t>(i), shape)}, {"value", values[i]}, {"gradient", gradient[i]}});
  return list;
}

std::string numbers_table(const TensorNumbers& value, const TensorNumbers& gradient, const Shape& shape) {
  TextTable table({{"", Kind::text}, {"value"}, {"gradient of f"}});
  const auto row = [&](const char* name, double of_value, double of_gradient) {
    table.row({name, fmt::format("{:.6g}", of_value), fmt::format("{:.6g}", of_gradient)});
  };
  row("L2 norm", value.norm, gradient.norm);
  row("mean", value.mean, gradient.mean);
  row("smallest", value.min, gradient.min);
  row("largest", value.max, gradient.max);
  row("largest magnitude", std::abs(value.largest), std::abs(gradient.largest));
  table.row({"  at", place_text(value.largest_at, shape), place_text(gradient.largest_at, shape)});
  table.row({"elements that are 0", std::to_string(value.zeros), std::to_string(gradient.zeros)});
  return table.text();
}

const Entry& find_entry(const Gradients& all, const std::string& wanted) {
  std::vector<std::string> names;
  for (const auto* entries : {&all.parameters, &all.activations})
    for (const Entry& e : *entries) names.push_back(e.short_name);
  const size_t i = find_name(short_name(wanted), names, "parameter or activation");
  return i < all.parameters.size() ? all.parameters[i] : all.activations[i - all.parameters.size()];
}

}  // namespace

int show_gradients(const GradOptions& o) {
  const Subject subject(o.subject, o.type);
  const Gradients all = run_backward(subject, o.activations);
  const std::vector<Entry>& entries = o.activations ? all.activations : all.parameters;
  std::vector<std::optional<TensorNumbers>> gradients;
  for (const Entry& e : entries) gradients.push_back(gradient_numbers(e.tensor));
  if (!o.output.empty()) {
    std::vector<NamedValues> values;
    for (const Entry& e : entries) {
      values.push_back(gradient_of(e));
      if (o.activations) values.push_back({"value." + e.name, e.tensor.shape(), values_of(e.tensor)});
    }
    write_values(o.output, values, o.type);
  }
  if (o.json) {
    ordered_json json = to_json(subject, all.value);
    const char* list = o.activations ? "activations" : "parameters";
    json[list] = ordered_json::array();
    for (size_t i = 0; i < entries.size(); ++i) json[list].push_back(to_json(entries[i], gradients[i], o.activations));
    if (!o.activations) {
      const std::vector<Group> groups = groups_of(entries, gradients);
      json["groups"] = ordered_json::object();
      for (const Group& g : groups) json["groups"][g.name] = std::sqrt(g.squares);
      json["norm"] = total_norm(groups);
    }
    print_json(json);
    return exit_code(subject, all.value);
  }
  fmt::print("{}\n{}", headline(subject, all.value), table_of(entries, gradients, !o.activations));
  return exit_code(subject, all.value);
}

int show_gradient_of(const GradOptions& o) {
  const Subject subject(o.subject, o.type);
  const Gradients all = run_backward(subject, true);
  const Entry& e = find_entry(all, o.of);
  const bool is_parameter = &e >= all.parameters.data() && &e < all.parameters.data() + all.parameters.size();
  const NamedValues gradient = gradient_of(e);
  const std::vector<double> values = values_of(e.tensor);
  const Shape& shape = e.tensor.shape();
  if (!o.output.empty()) {
    std::vector<NamedValues> written{gradient};
    if (!is_npy("--output", o.output) && !is_parameter) written.push_back({"value." + e.name, shape, values});
    write_values(o.output, written, o.type);
  }
  const std::vector<size_t> largest = largest_places(gradient.values, o.elements),
                            first = first_places(values, o.elements);
  const bool depends = static_cast<bool>(e.tensor.gradient());
  if (o.json) {
    ordered_json json = to_json(subject, all.value);
    json.update(to_json(e, gradient_numbers(e.tensor), true));
    json["kind"] = is_parameter ? "parameter" : "activation";
    json["largest"] = elements_json(largest, shape, values, gradient.values);
    json["first"] = elements_json(first, shape, values, gradient.values);
    print_json(json);
    return exit_code(subject, all.value);
  }
  fmt::print("{}\n{}: {} {}\n", headline(subject, all.value), e.name, is_parameter ? "a parameter," : "a result,",
             shape.str());
  if (!depends) fmt::print("f does not depend on it: its gradient is 0\n");
  fmt::print("\n{}", numbers_table(numbers_of(values), numbers_of(gradient.values), shape));
  if (o.elements > 0) {
    if (depends) fmt::print("{}", elements_table("largest gradients", largest, shape, values, gradient.values));
    fmt::print("{}", elements_table("first elements", first, shape, values, gradient.values));
  }
  return exit_code(subject, all.value);
}

}  // namespace crisp::inspect
