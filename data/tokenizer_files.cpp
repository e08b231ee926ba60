#include "data/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "data/input/file.h"
#include "data/input/text.h"
#include "data/tokenizer_parts.h"
#include "engine/fail.h"

namespace crisp {

using namespace tokenizer_parts;
using nlohmann::json;

tokenizer_parts::JsonFile::JsonFile(std::string where, uint64_t limit, std::vector<std::string>& files,
                                    const InputFiles* input)
    : path(std::move(where)) {
  if (!input_exists(path, input)) return;
  object = parse_json(read_input(path, limit, input), path);
  exists = true;
  files.push_back(path);
}

void tokenizer_parts::refuse_kind(const std::string& path, const char* what, const std::string& kind,
                                  const char* only) {
  fail<BadInput>("{}: {} {} is not supported; only {} is", path, what, quote(kind), only);
}

namespace {

std::string in(const std::string& directory, const char* name) {
  return (std::filesystem::path(directory) / name).string();
}

// Whether the class that the files name is one whose rules are known here; true for the one that takes tokenizer.json
// as it is.
bool class_takes_json(const JsonFile& config, const std::string& directory, const InputFiles* input) {
  const Fields f = config.fields();
  std::optional<std::string> name = f.text("tokenizer_class");
  std::string where = config.path;
  if (const std::string path = in(directory, "config.json"); !name && input_exists(path, input)) {
    const JsonDocument object = parse_json(read_input(path, input_limit::settings, input), path);
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
  result.model_max_length = f.real("model_max_length", {.low = 2}).value_or(result.model_max_length);
  std::optional<std::string> side = f.text("truncation_side");
  if (!side && whole.exists)
    if (const json* truncation = whole.fields().object("truncation"))
      if (const Fields t(*truncation, whole.path); const auto direction = t.text("direction")) {
        if (*direction != "Left" && *direction != "Right") t.refuse("direction", *t.find("direction"), "Left or Right");
        side = *direction == "Left" ? "left" : "right";
      }
  if (side && *side != "left" && *side != "right")
    f.refuse("truncation_side", *f.find("truncation_side"), "left or right");
  s.truncate_left = side == "left";
  const json* never = f.find("never_split");
  if ((never != nullptr && !never->empty()) || !f.flag("do_basic_tokenize").value_or(true))
    result.notes.push_back(fmt::format(
        "{}: never_split and do_basic_tokenize have no effect, as in transformers' fast tokenizer", config.path));
}

bool has_capitals(const Vocabulary& vocabulary) {
  return std::any_of(vocabulary.tokens.begin(), vocabulary.tokens.end(), [](const std::string& token) {
    return !token.starts_with('[') &&
           std::any_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
  });
}

}  // namespace

TokenizerFiles read_tokenizer(const std::string& directory, const std::string& vocabulary, const InputFiles* input) {
  TokenizerFiles result;
  const std::string beside = vocabulary.empty() ? directory : std::filesystem::path(vocabulary).parent_path().string();
  const std::string home = directory.empty() || input_exists(in(beside, config_name), input) ? beside : directory;
  const bool given_json = vocabulary.ends_with(".json");
  const std::string text_path = given_json ? "" : vocabulary.empty() ? in(directory, vocabulary_name) : vocabulary;
  const std::string json_path = given_json ? vocabulary : vocabulary.empty() ? in(directory, json_name) : "";

  const bool has_text = !text_path.empty() && (!vocabulary.empty() || input_exists(text_path, input));
  const bool has_json = !json_path.empty() && (!vocabulary.empty() || input_exists(json_path, input));
  if (!has_text && !has_json) return result;

  const JsonFile config(in(home, config_name), input_limit::settings, result.files, input);
  const JsonFile specials(in(home, specials_name), input_limit::settings, result.files, input);
  const JsonFile added(in(home, added_name), input_limit::tokenizer, result.files, input);
  JsonFile whole;
  TokenizerSettings& s = result.settings;
  if (has_text) {
    const std::string text = read_input(text_path, input_limit::tokenizer, input);
    result.files.push_back(text_path);
    result.vocabulary = parse_vocabulary(text, text_path);
    result.path = text_path;
  }
  const bool takes_json = class_takes_json(config, home, input);
  if (has_json) {
    result.json = read_input(json_path, input_limit::tokenizer, input);
    result.files.push_back(json_path);
    whole.path = json_path;
    whole.object = parse_json(result.json, json_path);
    whole.exists = true;
    result.path = json_path;
    result.json_decides = takes_json;
    const Fields f = whole.fields();
    const Fields model(model_of(f), json_path);
    Vocabulary of_json = read_json_vocabulary(model);
    if (has_text && of_json.tokens != result.vocabulary.tokens)
      result.notes.push_back(fmt::format(
          "{} and {} hold different vocabularies; the second is used, as in transformers", text_path, json_path));
    result.vocabulary = std::move(of_json);
    read_config(config, whole, result);
    if (takes_json) {
      read_json_settings(f, model, s);
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

}  // namespace crisp
