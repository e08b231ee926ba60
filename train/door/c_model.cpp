// crisp/crisp.h: models.
#include <algorithm>

#include "engine/fail.h"
#include "train/door/c_handles.h"

using crisp::Classifier;
using crisp::NumberArray;
using namespace crisp::door;

namespace crisp::door {

ModelSource source_of(const crisp_file* files, size_t count) {
  if (count > 0) not_null(files, "files");
  std::map<std::string, std::string_view> views;
  for (size_t i = 0; i < count; ++i) {
    const char* name = not_null(files[i].name, "a file's name");
    if (files[i].size > 0) not_null(files[i].data, "a file's data");
    views[name] = {static_cast<const char*>(files[i].data), files[i].size};
  }
  return ModelSource::memory(views);
}

ModelSource source_of(crisp_read read, void* user) {
  not_null(read, "read");
  return ModelSource::reader(
      [read, user](const std::string& name, uint64_t offset, std::span<std::byte> out) -> std::optional<uint64_t> {
        uint64_t size = 0;
        const int code = read(user, name.c_str(), offset, out.data(), out.size(), &size);
        if (code == CRISP_NO_FILE) return std::nullopt;
        if (code != 0) throw Stopped{"the function that reads the model's files has failed"};
        return size;
      });
}

}  // namespace crisp::door

namespace {

std::vector<std::string> label_names_of(const Classifier& classifier) {
  std::vector<std::string> names;
  for (int32_t label = 0; label < classifier.num_labels(); ++label) names.push_back(classifier.label_name(label));
  return names;
}

int load(crisp_context* context, crisp_model** model, const auto& source) {
  return with(context, [&] {
    not_null(model, "model");
    Classifier classifier(source(), context->options);
    *model = make_handle<crisp_model>(context->allocator, std::move(classifier));
  });
}

void give_array(const crisp_model& model, const NumberArray& array, crisp_array** out) {
  Result result(model.allocator);
  result.lay_out([&](Result& r) {
    auto* head = r.room<crisp_array>(1);
    auto* shape = r.room<int64_t>(array.shape.size());
    auto* values = r.room<double>(array.values.size());
    if (!head) return;
    std::copy(array.shape.begin(), array.shape.end(), shape);
    std::copy(array.values.begin(), array.values.end(), values);
    *head = {static_cast<int32_t>(array.shape.size()), shape, array.values.size(), values};
  });
  *out = static_cast<crisp_array*>(result.hand_over());
}

void give_layer(const crisp_model& model, const std::vector<NumberArray>& layers, int32_t layer, crisp_array** out) {
  if (layer < 0 || layer >= std::ssize(layers))
    crisp::fail<crisp::UsageError>("layer {}; there are 0 to {}", layer, layers.size() - 1);
  give_array(model, layers[static_cast<size_t>(layer)], out);
}

}  // namespace

crisp_model::crisp_model(const Allocator& from, Classifier made)
    : allocator(from),
      classifier(std::move(made)),
      label_names(label_names_of(classifier)),
      parameter_names(classifier.parameter_names()) {}

int crisp_model_load(crisp_context* context, const char* path, crisp_model** model) {
  return load(context, model, [&] { return crisp::ModelSource(not_null(path, "path")); });
}

int crisp_model_load_memory(crisp_context* context, const crisp_file* files, size_t count, crisp_model** model) {
  return load(context, model, [&] { return source_of(files, count); });
}

int crisp_model_load_callback(crisp_context* context, crisp_read read, void* user, crisp_model** model) {
  return load(context, model, [&] { return source_of(read, user); });
}

void crisp_model_free(crisp_model* model) { free_handle(model); }

const char* crisp_model_error(const crisp_model* model) { return model ? model->failures.last() : ""; }

int crisp_model_num_labels(const crisp_model* model, int32_t* count) {
  return with(model, [&] { *not_null(count, "count") = model->classifier.num_labels(); });
}

int crisp_model_label_name(const crisp_model* model, int32_t label, const char** name) {
  return with(model, [&] {
    not_null(name, "name");
    if (label < 0 || label >= std::ssize(model->label_names)) model->classifier.label_name(label);  // throws
    *name = model->label_names[static_cast<size_t>(label)].c_str();
  });
}

int crisp_model_predict(const crisp_model* model, const char* const* texts, size_t count, int32_t* labels,
                        double* logits, double* scores) {
  return with(model, [&] {
    if (count > 0) not_null(texts, "texts");
    std::vector<std::string> all;
    for (size_t i = 0; i < count; ++i) all.emplace_back(not_null(texts[i], "a text"));
    size_t i = 0;
    for (const Classifier::Prediction& p : model->classifier.predict(all)) {
      if (labels) labels[i] = p.label;
      if (logits) std::copy(p.logits.begin(), p.logits.end(), logits + i * p.logits.size());
      if (scores) std::copy(p.scores.begin(), p.scores.end(), scores + i * p.scores.size());
      ++i;
    }
  });
}

void crisp_free(void* result) { Result::free(result); }

int crisp_model_tokenize(const crisp_model* model, const char* text, crisp_tokens** tokens) {
  return with(model, [&] {
    not_null(tokens, "tokens");
    const std::vector<Classifier::Token> all = model->classifier.tokenize(not_null(text, "text"));
    Result result(model->allocator);
    result.lay_out([&](Result& r) {
      auto* head = r.room<crisp_tokens>(1);
      auto* list = r.room<crisp_token>(all.size());
      for (size_t i = 0; i < all.size(); ++i) {
        const char* piece = r.text(all[i].piece);
        if (list) list[i] = {all[i].id, piece, all[i].begin, all[i].end};
      }
      if (head) *head = {all.size(), list};
    });
    *tokens = static_cast<crisp_tokens*>(result.hand_over());
  });
}

int crisp_model_attention(const crisp_model* model, const char* text, int32_t layer, crisp_array** weights) {
  return with(model, [&] {
    not_null(weights, "weights");
    give_layer(*model, model->classifier.attention(not_null(text, "text")), layer, weights);
  });
}

int crisp_model_hidden(const crisp_model* model, const char* text, int32_t layer, crisp_array** states) {
  return with(model, [&] {
    not_null(states, "states");
    give_layer(*model, model->classifier.hidden_states(not_null(text, "text")), layer, states);
  });
}

int crisp_model_parameter_count(const crisp_model* model, size_t* count) {
  return with(model, [&] { *not_null(count, "count") = model->parameter_names.size(); });
}

int crisp_model_parameter_name(const crisp_model* model, size_t index, const char** name) {
  return with(model, [&] {
    not_null(name, "name");
    if (index >= model->parameter_names.size())
      crisp::fail<crisp::UsageError>("parameter {}; there are 0 to {}", index, model->parameter_names.size() - 1);
    *name = model->parameter_names[index].c_str();
  });
}

int crisp_model_parameter(const crisp_model* model, const char* name, crisp_array** values) {
  return with(model, [&] {
    not_null(values, "values");
    give_array(*model, model->classifier.parameter(not_null(name, "name")), values);
  });
}

int crisp_model_set_parameter(crisp_model* model, const char* name, const double* values, size_t size) {
  return with(model, [&] {
    if (size > 0) not_null(values, "values");
    model->classifier.set_parameter(not_null(name, "name"), std::span(values, size));
  });
}

int crisp_model_gradient(const crisp_model* model, const char* text, int objective, int32_t label,
                         const char* parameter, double* value, crisp_array** gradient) {
  return with(model, [&] {
    not_null(gradient, "gradient");
    if (objective != CRISP_LOSS && objective != CRISP_LOGIT)
      crisp::fail<crisp::UsageError>("objective {}; it must be CRISP_LOSS or CRISP_LOGIT", objective);
    const auto of = objective == CRISP_LOSS ? Classifier::Objective::loss(label) : Classifier::Objective::logit(label);
    std::vector<std::string> names;
    if (parameter) names.emplace_back(parameter);
    const Classifier::Gradients all = model->classifier.gradients(not_null(text, "text"), of, names);
    give_array(*model, parameter ? all.parameters.at(parameter) : all.tokens, gradient);
    if (value) *value = all.value;
  });
}
