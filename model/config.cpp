#include "model/config.h"

#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "model/sparsity_json.h"

namespace crisp {
namespace {

using nlohmann::json;

// Reads keys with types checked; remembers the file for messages.
class Reader {
 public:
  Reader(const json& object, const std::string& where) : object_(object), where_(where) {}

  int64_t size(const char* key) const {
    if (!object_.contains(key)) fail<BadInput>("{}: \"{}\" is missing", where_, key);
    return positive(key);
  }
  int64_t size_or(const char* key, int64_t otherwise) const { return has(key) ? positive(key) : otherwise; }

  double number_or(const char* key, double otherwise, double low, double high) const {
    if (!has(key)) return otherwise;
    const json& value = object_.at(key);
    if (!value.is_number()) fail<BadInput>("{}: \"{}\" must be a number", where_, key);
    const auto x = value.get<double>();
    if (!(x >= low && x <= high)) fail<BadInput>("{}: \"{}\" = {} is outside {}..{}", where_, key, x, low, high);
    return x;
  }

  bool flag_or(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!object_.at(key).is_boolean()) fail<BadInput>("{}: \"{}\" must be true or false", where_, key);
    return object_.at(key).get<bool>();
  }

  std::string text_or(const char* key, const char* otherwise) const {
    if (!has(key)) return otherwise;
    if (!object_.at(key).is_string()) fail<BadInput>("{}: \"{}\" must be a string", where_, key);
    return object_.at(key).get<std::string>();
  }

  bool has(const char* key) const { return object_.contains(key) && !object_.at(key).is_null(); }

 private:
  int64_t positive(const char* key) const {
    const json& value = object_.at(key);
    if (!value.is_number_unsigned() || value.get<uint64_t>() == 0 || value.get<uint64_t>() > uint64_t{1} << 31)
      fail<BadInput>("{}: \"{}\" must be a positive integer below 2^31", where_, key);
    return value.get<int64_t>();
  }

  const json& object_;
  const std::string& where_;
};

void read_distilbert(const Reader& r, DistilBertConfig& c, const std::string& where) {
  c.vocab_size = r.size("vocab_size");
  c.max_positions = r.size_or("max_position_embeddings", c.max_positions);
  c.dim = r.size("dim");
  c.hidden_dim = r.size("hidden_dim");
  c.layers = r.size("n_layers");
  c.heads = r.size("n_heads");
  c.dropout = r.number_or("dropout", c.dropout, 0, 0.999);
  c.attention_dropout = r.number_or("attention_dropout", c.attention_dropout, 0, 0.999);
  c.classifier_dropout = r.number_or("seq_classif_dropout", c.classifier_dropout, 0, 0.999);
  // transformers' DistilBERT fixes epsilon at 1e-12; a BERT encoder saved in this form may need another.
  c.layer_norm_epsilon = r.number_or("layer_norm_eps", c.layer_norm_epsilon, 1e-15, 1);
  if (r.text_or("activation", "gelu") != "gelu")
    fail<BadInput>("{}: activation \"{}\" is not supported; only \"gelu\" (the erf form) is", where,
                   r.text_or("activation", "gelu"));
}

void read_bert(const Reader& r, DistilBertConfig& c, const std::string& where) {
  c.vocab_size = r.size("vocab_size");
  c.max_positions = r.size_or("max_position_embeddings", c.max_positions);
  c.dim = r.size("hidden_size");
  c.hidden_dim = r.size("intermediate_size");
  c.layers = r.size("num_hidden_layers");
  c.heads = r.size("num_attention_heads");
  c.dropout = r.number_or("hidden_dropout_prob", c.dropout, 0, 0.999);
  c.attention_dropout = r.number_or("attention_probs_dropout_prob", c.attention_dropout, 0, 0.999);
  c.layer_norm_epsilon = r.number_or("layer_norm_eps", c.layer_norm_epsilon, 1e-15, 1);
  if (r.text_or("hidden_act", "gelu") != "gelu")
    fail<BadInput>("{}: hidden_act \"{}\" is not supported; only \"gelu\" (the erf form) is", where,
                   r.text_or("hidden_act", "gelu"));
  // A decoder's attention is causal: another function of the same weights.
  if (r.flag_or("is_decoder", false)) fail<BadInput>("{}: a decoder (\"is_decoder\": true) is not supported", where);
  if (r.text_or("position_embedding_type", "absolute") != "absolute")
    fail<BadInput>("{}: position_embedding_type \"{}\" is not supported; only \"absolute\" is", where,
                   r.text_or("position_embedding_type", "absolute"));
}

void read_labels(const json& object, DistilBertConfig& c, const std::string& where) {
  const Reader r(object, where);
  if (!r.has("id2label")) {
    c.num_labels = r.size_or("num_labels", c.num_labels);
    return;
  }
  const json& names = object.at("id2label");
  if (!names.is_object() || names.empty()) fail<BadInput>("{}: \"id2label\" must map ids to names", where);
  c.num_labels = static_cast<int64_t>(names.size());
  for (int64_t id = 0; id < c.num_labels; ++id) {
    const auto name = names.find(std::to_string(id));
    if (name == names.end() || !name->is_string())
      fail<BadInput>("{}: \"id2label\" has {} entries but none named \"{}\"", where, names.size(), id);
    c.label_names.push_back(name->get<std::string>());
  }
}

}  // namespace

std::string DistilBertConfig::label_name(int64_t label) const {
  const auto i = static_cast<size_t>(label);
  return i < label_names.size() ? label_names[i] : fmt::format("LABEL_{}", label);
}

void check_config(const DistilBertConfig& c, const std::string& where) {
  if (c.dim % c.heads != 0) fail<BadInput>("{}: {} heads do not divide a width of {}", where, c.heads, c.dim);
  if (c.layers > 1000) fail<BadInput>("{}: {} layers are more than this program supports (1000)", where, c.layers);
}

DistilBertConfig parse_config(const std::string& text, const std::string& where) {
  const json object = json::parse(text, nullptr, false);
  if (object.is_discarded() || !object.is_object()) fail<BadInput>("{}: this is not a JSON object", where);
  const Reader r(object, where);
  DistilBertConfig c;
  const std::string type = r.text_or("model_type", object.contains("n_heads") ? "distilbert" : "bert");
  if (type == "distilbert") {
    read_distilbert(r, c, where);
  } else if (type == "bert") {
    read_bert(r, c, where);
  } else {
    fail<BadInput>("{}: model_type \"{}\" is not supported; only \"distilbert\" and \"bert\" are", where, type);
  }
  if (r.flag_or("sinusoidal_pos_embds", false))
    // The file still holds the (fixed) table, and it is used as it is; training it would change the model.
    fail<BadInput>("{}: sinusoidal position embeddings are not supported", where);
  c.initializer_range = r.number_or("initializer_range", c.initializer_range, 0, 1);
  check_config(c, where);
  read_labels(object, c, where);
  if (const auto found = object.find("crisp"); found != object.end()) {
    if (!found->is_object()) fail<BadInput>("{}: \"crisp\" must be an object", where);
    c.sparsity = parse_sparsity_json(*found, c.layers, c.heads, where);
  }
  return c;
}

std::string config_json(const DistilBertConfig& c, DType dtype) {
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
  j["problem_type"] = "single_label_classification";
  j["torch_dtype"] = dtype == DType::f64 ? "float64" : "float32";
  if (!c.sparsity.layers.empty()) {
    const nlohmann::ordered_json settings = sparsity_json(c.sparsity);
    for (const auto& [key, value] : settings.items())
      if (!value.is_null()) j["crisp"][key] = value;
  }
  return j.dump(2) + "\n";
}

}  // namespace crisp
