#include "model/config.h"

#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/checked.h"
#include "engine/fail.h"
#include "model/sparsity_json.h"

namespace crisp {
namespace {

using nlohmann::json;

using Fields = JsonFields<json>;

// A size that must be there.
int64_t size(const Fields& f, const char* key) { return f.need(key, f.whole(key, 1, INT32_MAX)); }

double rate_or(const Fields& f, const char* key, double otherwise) {
  return f.real(key, dropout_range).value_or(otherwise);
}

// A setting of which this program knows one value.
void check_only(const Fields& f, const char* key, const char* only, const char* remark = "") {
  const std::string value = f.text(key).value_or(only);
  if (value != only)
    fail<BadInput>("{}: {} {} is not supported; only \"{}\"{} is", f.where(), key, quote(value), only, remark);
}

void read_distilbert(const Fields& f, DistilBertConfig& c) {
  c.vocab_size = size(f, "vocab_size");
  c.max_positions = f.whole("max_position_embeddings", 1, INT32_MAX).value_or(c.max_positions);
  c.dim = size(f, "dim");
  c.hidden_dim = size(f, "hidden_dim");
  c.layers = size(f, "n_layers");
  c.heads = size(f, "n_heads");
  c.dropout = rate_or(f, "dropout", c.dropout);
  c.attention_dropout = rate_or(f, "attention_dropout", c.attention_dropout);
  c.classifier_dropout = rate_or(f, "seq_classif_dropout", c.classifier_dropout);
  // transformers' DistilBERT fixes epsilon at 1e-12; a BERT encoder saved in this form may need another.
  c.layer_norm_epsilon = f.real("layer_norm_eps", layer_norm_epsilon_range).value_or(c.layer_norm_epsilon);
  check_only(f, "activation", "gelu", " (the erf form)");
}

void read_bert(const Fields& f, DistilBertConfig& c, const std::string& where) {
  c.vocab_size = size(f, "vocab_size");
  c.max_positions = f.whole("max_position_embeddings", 1, INT32_MAX).value_or(c.max_positions);
  c.dim = size(f, "hidden_size");
  c.hidden_dim = size(f, "intermediate_size");
  c.layers = size(f, "num_hidden_layers");
  c.heads = size(f, "num_attention_heads");
  c.dropout = rate_or(f, "hidden_dropout_prob", c.dropout);
  c.attention_dropout = rate_or(f, "attention_probs_dropout_prob", c.attention_dropout);
  c.layer_norm_epsilon = f.real("layer_norm_eps", layer_norm_epsilon_range).value_or(c.layer_norm_epsilon);
  check_only(f, "hidden_act", "gelu", " (the erf form)");
  // A decoder's attention is causal: another function of the same weights.
  if (f.flag("is_decoder").value_or(false))
    fail<BadInput>("{}: a decoder (\"is_decoder\": true) is not supported", where);
  check_only(f, "position_embedding_type", "absolute");
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
  for (const int64_t size : {c.vocab_size, c.max_positions, c.dim, c.hidden_dim, c.layers, c.heads, c.num_labels})
    if (size < 1) fail<BadInput>("{}: a size is {}; all must be at least 1", where, size);
  const auto check_number = [&](const char* what, double x, const Interval& range) {
    if (!range.contains(x)) fail<BadInput>("{}: {} is {}; it must be {}", where, what, x, range.str());
  };
  for (const double rate : {c.dropout, c.attention_dropout, c.classifier_dropout})
    check_number("a dropout rate", rate, dropout_range);
  check_number("a LayerNorm epsilon", c.layer_norm_epsilon, layer_norm_epsilon_range);
  check_number("an initializer range", c.initializer_range, initializer_range_range);
  if (c.dim % c.heads != 0) fail<BadInput>("{}: {} heads do not divide a width of {}", where, c.heads, c.dim);
  // A matrix of more would be refused when it is allocated; here the file is known.
  constexpr int64_t most_numbers = int64_t{1} << 40;
  for (const int64_t rows : {c.vocab_size, c.max_positions, c.dim, c.hidden_dim, c.num_labels})
    if (checked_product(rows, c.dim).value_or(most_numbers + 1) > most_numbers)
      fail<BadInput>("{}: a matrix of {} x {} numbers is more than this program supports", where, rows, c.dim);
  if (c.layers > 1000) fail<BadInput>("{}: {} layers are more than this program supports (1000)", where, c.layers);
}

DistilBertConfig parse_config(const std::string& text, const std::string& where) {
  const json object = parse_json(text, where);
  const Fields f(object, where);
  DistilBertConfig c;
  const std::string type = f.text("model_type").value_or(object.contains("n_heads") ? "distilbert" : "bert");
  if (type == "distilbert") {
    read_distilbert(f, c);
  } else if (type == "bert") {
    read_bert(f, c, where);
  } else {
    fail<BadInput>("{}: model_type {} is not supported; only \"distilbert\" and \"bert\" are", where, quote(type));
  }
  if (f.flag("sinusoidal_pos_embds").value_or(false))
    // The file still holds the (fixed) table, and it is used as it is; training it would change the model.
    fail<BadInput>("{}: sinusoidal position embeddings are not supported", where);
  c.initializer_range = f.real("initializer_range", initializer_range_range).value_or(c.initializer_range);
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
  nlohmann::ordered_json j;
  j["architectures"] = {"DistilBertForSequenceClassification"};
  j["model_type"] = "distilbert";
  j["vocab_size"] = c.vocab_size;
  j["max_position_embeddings"] = c.max_positions;
  j["sinusoidal_pos_embds"] = false;
  j["n_layers"] = c.layers;
  j["n_heads"] = c.heads;
  j["dim"] = c.dim;
  j["hidden_dim"] = c.hidden_dim;
  j["dropout"] = c.dropout;
  j["attention_dropout"] = c.attention_dropout;
  j["seq_classif_dropout"] = c.classifier_dropout;
  j["activation"] = "gelu";
  j["initializer_range"] = c.initializer_range;
  j["layer_norm_eps"] = c.layer_norm_epsilon;
  j["pad_token_id"] = 0;
  j["tie_weights_"] = true;
  for (int64_t l = 0; l < c.num_labels; ++l) {
    j["id2label"][std::to_string(l)] = c.label_name(l);
    j["label2id"][c.label_name(l)] = l;
  }
  for (const auto& [name, type] : problem_types)
    if (c.problem_type == type) j["problem_type"] = name;
  j["torch_dtype"] = dtype == DType::f64 ? "float64" : "float32";
  if (!c.sparsity.layers.empty()) {
    const nlohmann::ordered_json settings = sparsity_json(c.sparsity);
    for (const auto& [key, value] : settings.items())
      if (!value.is_null()) j["crisp"][key] = value;
  }
  return j.dump(2) + "\n";
}

}  // namespace crisp
