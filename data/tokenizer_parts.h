// What reading a directory's tokenizer (tokenizer_files.cpp) is made of.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/input/json.h"
#include "data/tokenizer_files.h"

namespace crisp {
class InputFiles;
}

namespace crisp::tokenizer_parts {

using Fields = JsonFields<nlohmann::json>;

inline constexpr const char* vocabulary_name = "vocab.txt";
inline constexpr const char* json_name = "tokenizer.json";
inline constexpr const char* config_name = "tokenizer_config.json";
inline constexpr const char* specials_name = "special_tokens_map.json";
inline constexpr const char* added_name = "added_tokens.json";

/// A JSON file that may be absent.
struct JsonFile {
  std::string path;
  JsonDocument object = nlohmann::json::object();
  bool exists = false;

  JsonFile() = default;
  /// Reads it where it is there, and adds it to `files` then.
  JsonFile(std::string where, uint64_t limit, std::vector<std::string>& files, const InputFiles* input);
  Fields fields() const { return Fields(object, path); }
};

/// Throws BadInput: `what` in the file is of this kind, and only another one is known.
[[noreturn]] void refuse_kind(const std::string& path, const char* what, const std::string& kind, const char* only);

// --- tokenizer_additions.cpp: the tokens that are added to the vocabulary

/// All of them, in the order in which transformers adds them.
class Additions {
 public:
  void by_id(AddedToken token);
  void named(const std::string& key, AddedToken token) { named_[key] = std::move(token); }
  void extra(AddedToken token) { extra_.push_back(std::move(token)); }

  /// What a named token is called, `otherwise` where nothing says so.
  std::string name(const char* key, const std::string& otherwise) const;
  std::vector<AddedToken> list() const;

 private:
  std::map<int32_t, AddedToken> by_id_;
  std::map<std::string, AddedToken> named_;
  std::vector<AddedToken> extra_;
};

/// "added_tokens" of tokenizer.json.
void add_from_json(const JsonFile& file, Additions& additions);
/// Those of all files.
void read_additions(const JsonFile& config, const JsonFile& specials, const JsonFile& added, const JsonFile& whole,
                    Additions& additions);

// --- tokenizer_json.cpp: tokenizer.json

/// "model", which must be WordPiece.
const nlohmann::json& model_of(const Fields& whole);
Vocabulary read_json_vocabulary(const Fields& model);
/// The parts that only its own class (TokenizersBackend) uses.
void read_json_settings(const Fields& whole, const Fields& model, TokenizerSettings& settings);
/// Of what transformers' BertTokenizer does not look at, a note where it contradicts what it does.
void note_ignored(const Fields& whole, const Fields& model, TokenizerFiles& result);

}  // namespace crisp::tokenizer_parts
