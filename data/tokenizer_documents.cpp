// The files that say what a tokenizer is.
#include <algorithm>

#include "data/input/json_writer.h"
#include "data/text_file.h"
#include "data/tokenizer_parts.h"

namespace crisp {

using namespace tokenizer_parts;

namespace {

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

}  // namespace

std::vector<std::pair<std::string, std::string>> tokenizer_documents(const TokenizerFiles& files, int max_length) {
  const TokenizerSettings& s = files.settings;
  std::vector<std::pair<std::string, std::string>> documents;
  if (fits_vocabulary_file(files.vocabulary) || files.json.empty())
    documents.emplace_back(vocabulary_name, vocabulary_text(files.vocabulary));
  if (!files.json.empty()) documents.emplace_back(json_name, files.json);

  std::vector<AddedToken> added = files.tokenizer().added();
  std::sort(added.begin(), added.end(), [](const auto& a, const auto& b) { return a.stated_id < b.stated_id; });
  // A name in these files adds the token and makes it special; a tokenizer.json may know tokens that are neither.
  const auto is_special = [&](const std::string& name) {
    return std::any_of(added.begin(), added.end(), [&](const AddedToken& t) { return t.content == name && t.special; });
  };
  const auto name_specials = [&](JsonWriter& to) {
    for (const auto& [key, name] : {std::pair{"unk_token", s.unk},
                                    {"sep_token", s.sep},
                                    {"pad_token", s.pad},
                                    {"cls_token", s.cls},
                                    {"mask_token", s.mask}})
      if (!name.empty() && (!files.json_decides || is_special(name))) to.field(key, name);
  };
  JsonWriter specials;
  name_specials(specials);
  documents.emplace_back(specials_name, specials.finish() + "\n");

  JsonWriter config;
  name_specials(config);
  config.field("do_lower_case", s.lower_case);
  if (s.strip_accents)
    config.field("strip_accents", *s.strip_accents);
  else
    config.field("strip_accents", nullptr);
  config.field("tokenize_chinese_chars", s.tokenize_chinese_chars);
  config.field("model_max_length", max_length);
  if (s.truncate_left) config.field("truncation_side", "left");
  if (s.split_special_tokens) config.field("split_special_tokens", true);
  config.field("tokenizer_class", files.json_decides ? "PreTrainedTokenizerFast" : "DistilBertTokenizer");
  // Each with its id, so that nobody has to guess; not where they are the usual ones alone.
  const bool usual = std::all_of(added.begin(), added.end(), [&](const AddedToken& t) {
    return s.names(t.content) && t.special && !t.normalized && !t.single_word && !t.lstrip && !t.rstrip;
  });
  if (!usual) {
    config.begin("added_tokens_decoder");
    for (size_t i = 0; i < added.size(); ++i) {
      const AddedToken& t = added[i];
      if (i + 1 < added.size() && added[i + 1].stated_id == t.stated_id) continue;  // a key comes once
      config.begin(std::to_string(t.stated_id));
      config.field("content", t.content);
      for (const auto& [key, value] : {std::pair{"lstrip", t.lstrip},
                                       {"normalized", t.normalized},
                                       {"rstrip", t.rstrip},
                                       {"single_word", t.single_word},
                                       {"special", t.special}})
        config.field(key, value);
      config.end();
    }
    config.end();
  }
  documents.emplace_back(config_name, config.finish() + "\n");
  return documents;
}

std::vector<std::string> tokenizer_file_names() { return {vocabulary_name, json_name, config_name, specials_name}; }

}  // namespace crisp
