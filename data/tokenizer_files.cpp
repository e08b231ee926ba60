#include "data/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "data/input/file.h"
#include "data/input/json.h"
#include "data/input/text.h"
#include "engine/error.h"

namespace crisp {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using Fields = JsonFields<json>;

constexpr const char* vocabulary_name = "vocab.txt";
constexpr const char* json_name = "tokenizer.json";
constexpr const char* config_name = "tokenizer_config.json";
constexpr const char* specials_name = "special_tokens_map.json";
constexpr const char* added_name = "added_tokens.json";

// Keys of named special tokens, in the order in which transformers adds them.
constexpr const char* named_tokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};

std::string in(const std::string& directory, const char* name) {
  return (std::filesystem::path(directory) / name).string();
}

// A JSON file that may be absent.
struct JsonFile {
  std::string path;
  json object = json::object();
  bool exists = false;

  JsonFile() = default;
  JsonFile(std::string where, uint64_t limit, std::vector<std::string>& files) : path(std::move(where)) {
    if (!input_exists(path)) return;
    object = parse_json(read_input(path, limit), path);
    exists = true;
    files.push_back(path);
  }
  Fields fields() const { return Fields(object, path); }
};

// An added token as a string or an object; what the object does not say is as in Python's AddedToken.
AddedToken parse_added(const Fields& owner, const char* key, const json& value, bool special) {
  if (value.is_string()) return {.content = value.get<std::string>(), .special = special, .normalized = !special};
  if (!value.is_object()) owner.refuse(key, value, "a token: a string, or an object with its \"content\"");
  const std::string where = fmt::format("{}, {}", owner.where(), key);
  const Fields f(value, where);
  AddedToken token{.content = f.need("content", f.text("content"))};
  token.special = f.flag("special").value_or(special);
  token.normalized = f.flag("normalized").value_or(!token.special);
  token.single_word = f.flag("single_word").value_or(false);
  token.lstrip = f.flag("lstrip").value_or(false);
  token.rstrip = f.flag("rstrip").value_or(false);
  return token;
}

// All tokens to add, in the order in which transformers does.
class Additions {
 public:
  void by_id(AddedToken token) {
    const int32_t id = token.stated_id;
    by_id_[id] = std::move(token);
  }
  void named(const std::string& key, AddedToken token) { named_[key] = std::move(token); }
  void extra(AddedToken token) { extra_.push_back(std::move(token)); }

  // What a named token is called, `otherwise` where nothing says so.
  std::string name(const char* key, const std::string& otherwise) const {
    const auto found = named_.find(key);
    return found == named_.end() ? otherwise : found->second.content;
  }

  std::vector<AddedToken> list() const {
    std::vector<AddedToken> all;
    for (const auto& [id, token] : by_id_) all.push_back(token);
    const auto add = [&](const AddedToken& token) {
      const auto same = [&](const AddedToken& other) { return other.content == token.content; };
      const auto found = std::find_if(all.begin(), all.end(), same);
      if (found == all.end()) {
        all.push_back(token);
      } else {
        found->special = true;
      }
    };
    for (const char* key : named_tokens)
      if (const auto found = named_.find(key); found != named_.end()) add(found->second);
    for (const AddedToken& token : extra_) add(token);
    return all;
  }

 private:
  std::map<int32_t, AddedToken> by_id_;
  std::map<std::string, AddedToken> named_;
  std::vector<AddedToken> extra_;
};

int32_t id_of(const Fields& owner, const char* key, const json& value) {
  return static_cast<int32_t>(owner.whole(key, value, 0, INT32_MAX - 1));
}

// "added_tokens" of tokenizer.json.
void add_from_json(const JsonFile& file, Additions& additions) {
  const Fields f = file.fields();
  const json* list = f.list("added_tokens");
  if (list == nullptr) return;
  for (const json& element : *list) {
    AddedToken token = parse_added(f, "added_tokens", element, false);
    const Fields fields(element, file.path);
    token.stated_id = static_cast<int32_t>(fields.need("id", fields.whole("id", 0, INT32_MAX - 1)));
    additions.by_id(std::move(token));
  }
}

// The special tokens that tokenizer_config.json or special_tokens_map.json names.
void add_named(const JsonFile& file, Additions& additions) {
  const Fields f = file.fields();
  // Only special_tokens_map.json may spell a token as an object that does not say that it is special.
  for (const auto& [key, value] : file.object.items()) {
    const bool standard = std::find(std::begin(named_tokens), std::end(named_tokens), key) != std::end(named_tokens);
    if (value.is_null()) continue;
    if (standard) {
      additions.named(key, parse_added(f, key.c_str(), value, true));
    } else if (key.ends_with("_token") && value.is_string()) {
      additions.extra(parse_added(f, key.c_str(), value, true));
    }
  }
  for (const char* key : {"extra_special_tokens", "additional_special_tokens"}) {
    const json* tokens = f.find(key);
    if (tokens == nullptr || tokens->empty()) continue;
    if (!tokens->is_array() && !tokens->is_object()) f.refuse(key, *tokens, "a list of tokens");
    for (const json& token : *tokens) additions.extra(parse_added(f, key, token, true));
    break;
  }
}

void read_additions(const JsonFile& config, const JsonFile& specials, const JsonFile& added, const JsonFile& whole,
                    Additions& additions) {
  const Fields f = config.fields();
  add_named(config, additions);
  if (const json* decoder = f.object("added_tokens_decoder")) {
    for (const auto& [key, value] : decoder->items()) {
      AddedToken token = parse_added(f, "added_tokens_decoder", value, false);
      if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != std::string::npos)
        fail<BadInput>("{}: \"added_tokens_decoder\" has the key {}; it must be an id", config.path, quote(key));
      token.stated_id = std::stoi(key);
      additions.by_id(std::move(token));
    }
    return;  // transformers reads none of the others then
  }
  if (specials.exists) add_named(specials, additions);
  if (added.exists) {
    const Fields fields = added.fields();
    const std::vector<AddedToken> known = additions.list();
    for (const auto& [content, id] : added.object.items()) {
      const bool special = std::any_of(
          known.begin(), known.end(), [&known_content = content](const auto& t) { return t.content == known_content; });
      additions.by_id({.content = content,
                       .special = special,
                       .normalized = !special,
                       .stated_id = id_of(fields, content.c_str(), id)});
    }
  }
  if (whole.exists) add_from_json(whole, additions);
}

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

[[noreturn]] void refuse_kind(const std::string& path, const char* what, const std::string& kind, const char* only) {
  fail<BadInput>("{}: {} {} is not supported; only {} is", path, what, quote(kind), only);
}

Vocabulary read_json_vocabulary(const Fields& model) {
  const json* tokens = model.object("vocab");
  if (tokens == nullptr) model.refuse_missing("vocab");
  constexpr int64_t largest_id = 1 << 24;
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

// The parts of tokenizer.json that only its own class (TokenizersBackend) uses.
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

// What transformers' BertTokenizer does not look at in a tokenizer.json, where it contradicts what it does.
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

// Whether the class that the files name is one whose rules are known here; true for the one that takes tokenizer.json
// as it is.
bool class_takes_json(const JsonFile& config, const std::string& directory) {
  const Fields f = config.fields();
  std::optional<std::string> name = f.text("tokenizer_class");
  std::string where = config.path;
  if (const std::string path = in(directory, "config.json"); !name && input_exists(path)) {
    const json object = parse_json(read_input(path, input_limit::settings), path);
    if (object.is_object()) name = Fields(object, path).text("tokenizer_class");
    where = path;
  }
  std::string kind = name.value_or("BertTokenizer");
  if (kind.ends_with("Fast")) kind.resize(kind.size() - 4);
  if (kind == "BertTokenizer" || kind == "DistilBertTokenizer") return false;
  if (kind == "PreTrainedTokenizer" || kind == "TokenizersBackend") return true;
  refuse_kind(where, "the tokenizer_class", *name, "BertTokenizer or DistilBertTokenizer (WordPiece)");
}

void read_config(const JsonFile& config, const JsonFile& whole, TokenizerFiles& result) {
  const Fields f = config.fields();
  TokenizerSettings& s = result.settings;
  if (!result.json_decides) {
    s.lower_case = f.flag("do_lower_case").value_or(true);
    s.strip_accents = f.flag("strip_accents");
    s.tokenize_chinese_chars = f.flag("tokenize_chinese_chars").value_or(true);
  }
  s.split_special_tokens = f.flag("split_special_tokens").value_or(false);
  result.model_max_length = f.real("model_max_length", 2, 1e300).value_or(result.model_max_length);
  std::optional<std::string> side = f.text("truncation_side");
  if (!side && whole.exists)
    if (const json* truncation = whole.fields().object("truncation"))
      if (const auto direction = Fields(*truncation, whole.path).text("direction"))
        side = *direction == "Left" ? "left" : "right";
  if (side && *side != "left" && *side != "right")
    f.refuse("truncation_side", *f.find("truncation_side"), "left or right");
  s.truncate_left = side == "left";
  const json* never = f.find("never_split");
  if ((never != nullptr && !never->empty()) || !f.flag("do_basic_tokenize").value_or(true))
    result.notes.push_back(fmt::format(
        "{}: never_split and do_basic_tokenize have no effect, as in transformers' fast tokenizer", config.path));
}

// A vocabulary that a vocab.txt can hold.
bool fits_vocabulary_file(const Vocabulary& vocabulary) {
  return vocabulary.count == vocabulary.tokens.size() &&
         std::all_of(vocabulary.tokens.begin(), vocabulary.tokens.end(), [](const std::string& token) {
           return token.find_first_of("\r\n") == std::string::npos && trim_end(token).size() == token.size();
         });
}

std::string vocabulary_text(const Vocabulary& vocabulary) {
  std::string text;
  for (const std::string& token : vocabulary.tokens) text += token + "\n";
  return text;
}

bool has_capitals(const Vocabulary& vocabulary) {
  return std::any_of(vocabulary.tokens.begin(), vocabulary.tokens.end(), [](const std::string& token) {
    return !token.starts_with('[') &&
           std::any_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  });
}

}  // namespace

TokenizerFiles read_tokenizer(const std::string& directory, const std::string& vocabulary) {
  TokenizerFiles result;
  const std::string beside = vocabulary.empty() ? directory : std::filesystem::path(vocabulary).parent_path().string();
  const std::string home = directory.empty() || input_exists(in(beside, config_name)) ? beside : directory;
  const bool given_json = vocabulary.ends_with(".json");
  const std::string text_path = given_json ? "" : vocabulary.empty() ? in(directory, vocabulary_name) : vocabulary;
  const std::string json_path = given_json ? vocabulary : vocabulary.empty() ? in(directory, json_name) : "";

  const bool has_text = !text_path.empty() && (!vocabulary.empty() || input_exists(text_path));
  const bool has_json = !json_path.empty() && (!vocabulary.empty() || input_exists(json_path));
  if (!has_text && !has_json) return result;

  const JsonFile config(in(home, config_name), input_limit::settings, result.files);
  const JsonFile specials(in(home, specials_name), input_limit::settings, result.files);
  const JsonFile added(in(home, added_name), input_limit::tokenizer, result.files);
  JsonFile whole;
  TokenizerSettings& s = result.settings;
  if (has_text) {
    const std::string text = read_input(text_path, input_limit::tokenizer);
    result.files.push_back(text_path);
    result.vocabulary = parse_vocabulary(text, text_path);
    result.path = text_path;
  }
  const bool takes_json = class_takes_json(config, home);
  if (has_json) {
    result.json = read_input(json_path, input_limit::tokenizer);
    result.files.push_back(json_path);
    whole.path = json_path;
    whole.object = parse_json(result.json, json_path);
    whole.exists = true;
    result.path = json_path;
    result.json_decides = takes_json;
    const Fields f = whole.fields();
    const json* object = f.object("model");
    if (object == nullptr) f.refuse_missing("model");
    const Fields model(*object, json_path);
    // Old files do not name the kind.
    if (const std::string kind = model.text("type").value_or("WordPiece"); kind != "WordPiece")
      refuse_kind(json_path, "a tokenizer of kind", kind, "WordPiece");
    Vocabulary of_json = read_json_vocabulary(model);
    if (has_text && of_json.tokens != result.vocabulary.tokens)
      result.notes.push_back(fmt::format(
          "{} and {} hold different vocabularies; the second is used, as in transformers", text_path, json_path));
    result.vocabulary = std::move(of_json);
    read_config(config, whole, result);
    if (takes_json) {
      read_json_settings(f, model, s);
      read_post_processor(f, s);
    } else {
      note_ignored(f, model, result);
    }
  } else {
    read_config(config, whole, result);
  }

  Additions additions;
  if (!result.json_decides)
    for (const auto& [key, name] : {std::pair{"unk_token", s.unk},
                                    {"sep_token", s.sep},
                                    {"pad_token", s.pad},
                                    {"cls_token", s.cls},
                                    {"mask_token", s.mask}})
      additions.named(key, {name});
  else
    add_from_json(whole, additions);
  read_additions(config, specials, added, whole, additions);
  if (!result.json_decides) {
    s.unk = additions.name("unk_token", s.unk);
    s.sep = additions.name("sep_token", s.sep);
    s.cls = additions.name("cls_token", s.cls);
  }
  s.pad = additions.name("pad_token", "");
  s.mask = additions.name("mask_token", "");
  s.added = additions.list();

  if (!config.exists && !result.json_decides && s.lower_case)
    result.notes.push_back(
        fmt::format("{} has no tokenizer_config.json beside it: taking it for {}, as transformers does", result.path,
                    has_capitals(result.vocabulary) ? "an uncased tokenizer's, though it holds tokens with capital "
                                                      "letters (\"do_lower_case\": false there would "
                                                      "keep them)"
                                                    : "an uncased tokenizer's"));
  return result;
}

std::vector<std::pair<std::string, std::string>> tokenizer_documents(const TokenizerFiles& files, int max_length) {
  const TokenizerSettings& s = files.settings;
  std::vector<std::pair<std::string, std::string>> documents;
  if (fits_vocabulary_file(files.vocabulary) || files.json.empty())
    documents.emplace_back(vocabulary_name, vocabulary_text(files.vocabulary));
  if (!files.json.empty()) documents.emplace_back(json_name, files.json);

  std::vector<AddedToken> added = files.tokenizer().added();
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.stated_id < b.stated_id; });
  // A name in these files adds the token; a tokenizer.json may know tokens that are not added.
  const auto is_added = [&](const std::string& name) {
    return std::any_of(added.begin(), added.end(), [&](const AddedToken& t) { return t.content == name; });
  };
  ordered_json named = ordered_json::object();
  for (const auto& [key, name] : {std::pair{"unk_token", s.unk},
                                  {"sep_token", s.sep},
                                  {"pad_token", s.pad},
                                  {"cls_token", s.cls},
                                  {"mask_token", s.mask}})
    if (!name.empty() && (!files.json_decides || is_added(name))) named[key] = name;
  documents.emplace_back(specials_name, named.dump(2) + "\n");

  ordered_json config = named;
  config["do_lower_case"] = s.lower_case;
  config["strip_accents"] = s.strip_accents ? ordered_json(*s.strip_accents) : ordered_json();
  config["tokenize_chinese_chars"] = s.tokenize_chinese_chars;
  config["model_max_length"] = max_length;
  if (s.truncate_left) config["truncation_side"] = "left";
  if (s.split_special_tokens) config["split_special_tokens"] = true;
  config["tokenizer_class"] = files.json_decides ? "PreTrainedTokenizerFast" : "DistilBertTokenizer";
  // Each with its id, so that nobody has to guess; not where they are the usual ones alone.
  const bool usual = std::all_of(added.begin(), added.end(), [&](const AddedToken& t) {
    return s.names(t.content) && t.special && !t.normalized && !t.single_word && !t.lstrip && !t.rstrip;
  });
  if (!usual)
    for (const AddedToken& t : added)
      config["added_tokens_decoder"][std::to_string(t.stated_id)] = {
          {"content", t.content}, {"lstrip", t.lstrip},           {"normalized", t.normalized},
          {"rstrip", t.rstrip},   {"single_word", t.single_word}, {"special", t.special}};
  documents.emplace_back(config_name, config.dump(2) + "\n");
  return documents;
}

const std::vector<std::string>& tokenizer_file_names() {
  static const std::vector<std::string> names{vocabulary_name, json_name, config_name, specials_name};
  return names;
}

}  // namespace crisp
