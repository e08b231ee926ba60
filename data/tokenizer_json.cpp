#include <algorithm>
#include <optional>

#include "data/input/text.h"
#include "data/tokenizer_parts.h"
#include "engine/fail.h"

namespace crisp::tokenizer_parts {

using nlohmann::json;

namespace {

// {"type": name, ...}; a Sequence of one is that one.
struct Component {
  std::string type;
  const json* object = nullptr;
};

Component component(const Fields& f, const char* key, const char* list_key) {
  const json* object = f.object(key);
  if (object == nullptr) return {};
  std::string type = f.need(key, Fields(*object, f.where()).text("type"));
  if (type == "Sequence") {
    const json* list = Fields(*object, f.where()).list(list_key);
    if (list != nullptr && list->size() == 1 && list->front().is_object() && list->front().contains("type")) {
      object = &list->front();
      type = f.need("type", Fields(*object, f.where()).text("type"));
    }
  }
  return {type, object};
}

// The tokens before and after a sentence.
void read_post_processor(const Fields& f, TokenizerSettings& s) {
  const Component processor = component(f, "post_processor", "processors");
  constexpr const char* only = "BertProcessing, or TemplateProcessing of one token, the sentence and one token,";
  if (processor.type == "BertProcessing") {
    for (const auto& [key, name] : {std::pair{"cls", &s.cls}, {"sep", &s.sep}}) {
      const json* pair = Fields(*processor.object, f.where()).list(key);
      if (pair == nullptr || pair->empty() || !pair->front().is_string())
        fail<BadInput>("{}: \"post_processor\" has no \"{}\" with its token", f.where(), key);
      *name = pair->front().get<std::string>();
    }
    return;
  }
  const json* parts =
      processor.type == "TemplateProcessing" ? Fields(*processor.object, f.where()).list("single") : nullptr;
  const auto special = [&](size_t i) -> std::optional<std::string> {
    const json& part = parts->at(i);
    if (!part.is_object() || !part.contains("SpecialToken") || !part["SpecialToken"].is_object()) return {};
    return Fields(part["SpecialToken"], f.where()).text("id");
  };
  if (parts == nullptr || parts->size() != 3 || !special(0) || special(1) || !special(2))
    refuse_kind(f.where(), "the post_processor", processor.object == nullptr ? "null" : processor.type, only);
  s.cls = *special(0);
  s.sep = *special(2);
}

}  // namespace

const json& model_of(const Fields& whole) {
  const json* object = whole.object("model");
  if (object == nullptr) whole.refuse_missing("model");
  // Old files do not name the kind.
  if (const std::string kind = Fields(*object, whole.where()).text("type").value_or("WordPiece"); kind != "WordPiece")
    refuse_kind(whole.where(), "a tokenizer of kind", kind, "WordPiece");
  return *object;
}

Vocabulary read_json_vocabulary(const Fields& model) {
  const json* tokens = model.object("vocab");
  if (tokens == nullptr) model.refuse_missing("vocab");
  // Ids may have gaps, but a few tokens must not take the memory of many.
  const int64_t largest_id = std::max<int64_t>(1 << 20, 2 * static_cast<int64_t>(tokens->size()));
  Vocabulary vocabulary;
  std::vector<bool> taken;
  for (const auto& [token, value] : tokens->items()) {
    const auto id = static_cast<size_t>(model.whole("vocab", value, 0, largest_id));
    if (id >= vocabulary.tokens.size()) {
      vocabulary.tokens.resize(id + 1);
      taken.resize(id + 1);
    }
    if (taken[id]) fail<BadInput>("{}: two tokens have the id {}", model.where(), id);
    taken[id] = true;
    vocabulary.tokens[id] = token;
    ++vocabulary.count;
  }
  if (vocabulary.tokens.empty()) fail<BadInput>("{}: the vocabulary is empty", model.where());
  return vocabulary;
}

void read_json_settings(const Fields& f, const Fields& model, TokenizerSettings& s) {
  s.unk = model.text("unk_token").value_or("[UNK]");
  s.continuation = model.text("continuing_subword_prefix").value_or("##");
  s.max_word_characters =
      model.whole("max_input_chars_per_word", 1, TokenizerSettings::longest_word).value_or(s.max_word_characters);
  const Component normalizer = component(f, "normalizer", "normalizers");
  if (normalizer.type == "BertNormalizer") {
    const Fields n(*normalizer.object, f.where());
    s.clean_text = n.flag("clean_text").value_or(true);
    s.lower_case = n.flag("lowercase").value_or(true);
    s.strip_accents = n.flag("strip_accents");
    s.tokenize_chinese_chars = n.flag("handle_chinese_chars").value_or(true);
  } else if (normalizer.object == nullptr || normalizer.type == "Lowercase") {
    s.clean_text = s.tokenize_chinese_chars = false;
    s.lower_case = normalizer.object != nullptr;
    s.strip_accents = false;
  } else {
    refuse_kind(f.where(), "the normalizer", normalizer.type, "BertNormalizer, Lowercase or none");
  }
  const Component splitter = component(f, "pre_tokenizer", "pretokenizers");
  if (splitter.type != "BertPreTokenizer")
    refuse_kind(f.where(), "the pre_tokenizer", splitter.object == nullptr ? "null" : splitter.type,
                "BertPreTokenizer");
  read_post_processor(f, s);
}

void note_ignored(const Fields& f, const Fields& model, TokenizerFiles& result) {
  const TokenizerSettings& s = result.settings;
  std::string contradictions;
  const auto compare = [&](const std::string& name, const json* value, const json& used) {
    if (value == nullptr || *value == used) return;
    contradictions += fmt::format("{}{} {} ({} is used)", contradictions.empty() ? "" : ", ", name, show_json(*value),
                                  show_json(used));
  };
  const Component normalizer = component(f, "normalizer", "normalizers");
  if (normalizer.type == "BertNormalizer") {
    const Fields n(*normalizer.object, f.where());
    compare("lowercase", n.find("lowercase"), s.lower_case);
    compare("strip_accents", n.find("strip_accents"), s.strips_accents());
    compare("handle_chinese_chars", n.find("handle_chinese_chars"), s.tokenize_chinese_chars);
    compare("clean_text", n.find("clean_text"), s.clean_text);
  } else {
    compare("normalizer", f.find("normalizer"), "BertNormalizer");
  }
  const Component splitter = component(f, "pre_tokenizer", "pretokenizers");
  if (splitter.type != "BertPreTokenizer") compare("pre_tokenizer", f.find("pre_tokenizer"), "BertPreTokenizer");
  compare("continuing_subword_prefix", model.find("continuing_subword_prefix"), s.continuation);
  compare("max_input_chars_per_word", model.find("max_input_chars_per_word"), s.max_word_characters);
  if (!contradictions.empty())
    result.notes.push_back(
        fmt::format("{}: its {} does not count, as in transformers: tokenizer_config.json and the tokenizer's class "
                    "decide",
                    result.path, contradictions));
}

}  // namespace crisp::tokenizer_parts
