#include "model/config.h"

#include <map>
#include <string>
#include <vector>

#include "data/input/json.h"
#include "data/input/json_writer.h"
#include "data/input/text.h"
#include "engine/checked.h"
#include "engine/fail.h"
#include "model/sparsity_json.h"

namespace crisp {
namespace {

using nlohmann::json;

using Fields = JsonFields<json>;

// A number of the configuration and its keys in config.json, for DistilBERT and for BERT (nullptr: there is none).
struct Size {
  const char *distilbert, *bert;
  int64_t DistilBertConfig::*member;
  bool needed = true;
};
constexpr Size sizes[] = {
    {"vocab_size", "vocab_size", &DistilBertConfig::vocab_size},
    {"max_position_embeddings", "max_position_embeddings", &DistilBertConfig::max_positions, false},
    {"n_layers", "num_hidden_layers", &DistilBertConfig::layers},
    {"n_heads", "num_attention_heads", &DistilBertConfig::heads},
    {"dim", "hidden_size", &DistilBertConfig::dim},
    {"hidden_dim", "intermediate_size", &DistilBertConfig::hidden_dim}};
struct Number {
  const char *distilbert, *bert;
  double DistilBertConfig::*member;
  const Interval& range;
};
constexpr Number numbers[] = {
    {"dropout", "hidden_dropout_prob", &DistilBertConfig::dropout, dropout_range},
    {"attention_dropout", "attention_probs_dropout_prob", &DistilBertConfig::attention_dropout, dropout_range},
    {"seq_classif_dropout", nullptr, &DistilBertConfig::classifier_dropout, dropout_range},
    {"initializer_range", "initializer_range", &DistilBertConfig::initializer_range, initializer_range_range},
    // transformers' DistilBERT fixes epsilon at 1e-12; a BERT encoder saved in this form may need another.
    {"layer_norm_eps", "layer_norm_eps", &DistilBertConfig::layer_norm_epsilon, layer_norm_epsilon_range}};

void read_numbers(const Fields& f, DistilBertConfig& c, bool bert) {
  for (const Size& s : sizes) {
    const char* key = bert ? s.bert : s.distilbert;
    const std::optional<int64_t> size = f.whole(key, 1, INT32_MAX);
    c.*s.member = s.needed ? f.need(key, size) : size.value_or(c.*s.member);
  }
  for (const Number& n : numbers)
    if (const char* key = bert ? n.bert : n.distilbert) c.*n.member = f.real(key, n.range).value_or(c.*n.member);
}

// A setting of which this program knows one value.
void check_only(const Fields& f, const char* key, const char* only, const char* remark = "") {
  const std::string value = f.text(key).value_or(only);
  if (value != only)
    fail<BadInput>("{}: {} {} is not supported; only \"{}\"{} is", f.where(), key, quote(value), only, remark);
}

constexpr std::pair<const char*, ProblemType> problem_types[] = {
    {"single_label_classification", ProblemType::single_label},
    {"multi_label_classification", ProblemType::multi_label},
    {"regression", ProblemType::regression}};

void read_problem_type(const Fields& f, DistilBertConfig& c) {
  const std::optional<std::string> name = f.text("problem_type");
  if (!name) return;
  for (const auto& [known, type] : problem_types)
    if (*name == known) c.problem_type = type;
  if (c.problem_type == ProblemType::unset)
    f.refuse("problem_type", *f.find("problem_type"),
             "single_label_classification, multi_label_classification or regression");
  if (c.problem_type == ProblemType::single_label && c.num_labels == 1)
    fail<BadInput>("{}: \"problem_type\" is single_label_classification, which needs two labels or more, not 1",
                   f.where());
}

// What the weights' classification head was made for, if it is not this model's. A masked-LM head is none.
void read_architecture(const Fields& f, DistilBertConfig& c) {
  const json* names = f.list("architectures");
  if (names == nullptr) return;
  for (const json& name : *names) {
    if (!name.is_string()) f.refuse("architectures", *names, "a list of names");
    for (const char* other : {"ForMultipleChoice", "ForTokenClassification", "ForQuestionAnswering"})
      if (name.get_ref<const std::string&>().ends_with(other)) c.other_head = name.get<std::string>();
  }
}

void read_labels(const json& object, DistilBertConfig& c, const std::string& where) {
  const Fields f(object, where);
  if (!f.has("id2label")) {
    const std::optional<int64_t> count = f.whole("num_labels", 1, 1 << 20);
    c.num_labels = count.value_or(c.num_labels);
    if (count)
      for (int64_t label = 0; label < *count; ++label) c.label_names.push_back(c.label_name(label));
    return;
  }
  const json& names = object.at("id2label");
  if (!names.is_object() || names.empty()) fail<BadInput>("{}: \"id2label\" must map ids to names", where);
  c.num_labels = static_cast<int64_t>(names.size());
  for (int64_t id = 0; id < c.num_labels; ++id) {
    const auto name = names.find(std::to_string(id));
    if (name == names.end())
      fail<BadInput>("{}: \"id2label\" has {} entries but none named \"{}\"; labels are numbered from 0", where,
                     names.size(), id);
    // A number is a name as good as any.
    if (!name->is_string() && !name->is_number())
      fail<BadInput>("{}: \"id2label\" names {} as label {}; it must be a string", where, show_json(*name), id);
    c.label_names.push_back(name->is_string() ? name->get<std::string>() : name->dump());
  }
}

}  // namespace

std::string DistilBertConfig::label_name(int64_t label) const {
  const auto i = static_cast<size_t>(label);
  return i < label_names.size() ? label_names[i] : fmt::format("LABEL_{}", label);
}

HeadFunction DistilBertConfig::head_function() const {
  if (problem_type == ProblemType::regression) return HeadFunction::none;
  if (problem_type == ProblemType::multi_label || num_labels == 1) return HeadFunction::sigmoid;
  return HeadFunction::softmax;
}

void check_config(const DistilBertConfig& c, const std::string& where) {
  const auto check_size = [&](const char* what, int64_t size) {
    if (size < 1) fail<BadInput>("{}: {} is {}; it must be at least 1", where, what, size);
  };
  for (const Size& s : sizes) check_size(s.distilbert, c.*s.member);
  check_size("num_labels", c.num_labels);
  for (const Number& n : numbers)
    if (!n.range.contains(c.*n.member))
      fail<BadInput>("{}: {} is {}; it must be {}", where, n.distilbert, c.*n.member, n.range.str());
  if (c.dim % c.heads != 0) fail<BadInput>("{}: {} heads do not divide a width of {}", where, c.heads, c.dim);
  // A matrix of more would be refused when it is allocated; here the file is known.
  constexpr int64_t most_numbers = int64_t{1} << 40;
  for (const int64_t rows : {c.vocab_size, c.max_positions, c.dim, c.hidden_dim, c.num_labels})
    if (checked_product(rows, c.dim).value_or(most_numbers + 1) > most_numbers)
      fail<BadInput>("{}: a matrix of {} x {} numbers is more than this program supports", where, rows, c.dim);
  if (c.layers > 1000) fail<BadInput>("{}: {} layers are more than this program supports (1000)", where, c.layers);
}

DistilBertConfig parse_config(const std::string& text, const std::string& where) {
  const JsonDocument object = parse_json(text, where);
  const Fields f(object, where);
  DistilBertConfig c;
  const std::string type = f.text("model_type").value_or(object.contains("n_heads") ? "distilbert" : "bert");
  const bool bert = type == "bert";
  if (!bert && type != "distilbert")
    fail<BadInput>("{}: model_type {} is not supported; only \"distilbert\" and \"bert\" are", where, quote(type));
  read_numbers(f, c, bert);
  check_only(f, bert ? "hidden_act" : "activation", "gelu", " (the erf form)");
  // A decoder's attention is causal: another function of the same weights.
  if (bert && f.flag("is_decoder").value_or(false))
    fail<BadInput>("{}: a decoder (\"is_decoder\": true) is not supported", where);
  if (bert) check_only(f, "position_embedding_type", "absolute");
  if (f.flag("sinusoidal_pos_embds").value_or(false))
    // The file still holds the (fixed) table, and it is used as it is; training it would change the model.
    fail<BadInput>("{}: sinusoidal position embeddings are not supported", where);
  check_config(c, where);
  read_architecture(f, c);
  if (f.has("quantization_config"))
    fail<BadInput>("{}: the weights are quantised (\"quantization_config\"); only F64, F32, BF16 and F16 are read",
                   where);
  read_labels(object, c, where);
  read_problem_type(f, c);
  if (const json* settings = f.object("crisp")) c.sparsity = parse_sparsity_json(*settings, c.layers, c.heads, where);
  return c;
}

std::string config_json(const DistilBertConfig& c, DType dtype) {
  check_config(c, "config.json");
  JsonWriter to;
  to.field("architectures", std::vector<std::string>{"DistilBertForSequenceClassification"});
  to.field("model_type", "distilbert");
  to.field("sinusoidal_pos_embds", false);
  to.field("activation", "gelu");
  for (const Size& s : sizes) to.field(s.distilbert, c.*s.member);
  for (const Number& n : numbers) to.field(n.distilbert, c.*n.member);
  to.field("pad_token_id", 0);
  to.field("tie_weights_", true);
  std::map<std::string, int64_t> label_of;  // the last one that has the name, as in Python
  to.begin("id2label");
  for (int64_t l = 0; l < c.num_labels; ++l) {
    to.field(std::to_string(l), c.label_name(l));
    label_of[c.label_name(l)] = l;
  }
  to.end();
  to.begin("label2id");
  for (int64_t l = 0; l < c.num_labels; ++l)
    if (const auto named = label_of.extract(c.label_name(l))) to.field(named.key(), named.mapped());
  to.end();
  for (const auto& [name, type] : problem_types)
    if (c.problem_type == type) to.field("problem_type", name);
  to.field("torch_dtype", dtype == DType::f64 ? "float64" : "float32");
  if (!c.sparsity.layers.empty()) {
    to.begin("crisp");
    write_sparsity(to, c.sparsity);
    to.end();
  }
  return to.finish() + "\n";
}

}  // namespace crisp
