// The tokenizer of a model's directory as Hugging Face's `AutoTokenizer` (transformers 5) takes it: vocab.txt or
// tokenizer.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json; and the files that say the same.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer_settings.h"
#include "data/wordpiece.h"

namespace crisp {

class InputFiles;

struct TokenizerFiles {
  std::string path = {};  // of the file with the vocabulary, for messages; empty: there is none
  Vocabulary vocabulary = {};
  TokenizerSettings settings = {};
  double model_max_length = 1e30;       // Hugging Face's number for "no limit"
  std::string json = {};                // what tokenizer.json held; empty where there was none
  bool json_decides = false;            // all of it is used (TokenizersBackend), not its vocabulary alone
  std::vector<std::string> files = {};  // all that were read
  std::vector<std::string> notes = {};  // for the user: what was assumed, what contradicts

  /// Throws BadInput as WordPiece does.
  WordPiece tokenizer() const { return WordPiece(vocabulary, settings, path); }
};

/// The tokenizer in `directory` (empty: none, or the current one where no `vocabulary` is given); with `vocabulary`, a
/// vocab.txt or (ending in .json) a tokenizer.json, the one that this file and those beside it make, or, where no
/// tokenizer_config.json lies there, those in `directory`. Throws BadInput for files that are not what they should be
/// and for a tokenizer that is no WordPiece of BERT. `input`, where given, holds the files in place of the file system;
/// "" is the directory of those without one.
TokenizerFiles read_tokenizer(const std::string& directory, const std::string& vocabulary = "",
                              const InputFiles* input = nullptr);

/// Name and content of the files from which read_tokenizer and transformers make the same tokenizer again.
std::vector<std::pair<std::string, std::string>> tokenizer_documents(const TokenizerFiles& files, int max_length);
/// The names that they may have.
std::vector<std::string> tokenizer_file_names();

}  // namespace crisp
