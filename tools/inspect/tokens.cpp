#include "tools/inspect/tokens.h"
#include "tools/inspect/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "data/input/file.h"
#include "data/input/text.h"
#include "data/tokenizer_files.h"
#include "engine/fail.h"
#include "model/config.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/subject.h"
#include "tools/text_table.h"
#include "train/durable/console.h"
#include "train/inference/limits.h"
#include "weights/hub_cache.h"
#include "weights/published.h"

namespace crisp::inspect {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using Kind = TextTable::Kind;
using Rule = ExplainedToken::Rule;

struct TokensOptions {
  std::string text, model, weights, vocab;
  int64_t max_length = 0;
  bool json = false;
};

// The tokenizer's files, and how many positions the model beside them has.
struct Source {
  TokenizerFiles files;
  std::optional<int64_t> positions = {};
};

// Where the tokenizer of what --model or --weights names lies; the weights themselves need not be there.
std::string directory_of(const std::string& file_or_directory) {
  std::error_code ignored;
  if (!input_exists(file_or_directory)) return find_in_hub_cache(file_or_directory);
  if (fs::is_directory(file_or_directory, ignored)) return published_directory(file_or_directory);
  const std::string parent = fs::path(file_or_directory).parent_path().string();
  return parent.empty() ? "." : parent;
}

Source read_source(const TokensOptions& options) {
  if (options.model.empty() && options.weights.empty()) {
    if (options.vocab.empty()) fail<UsageError>("give --model DIR, --weights FILE or --vocab FILE");
    return {read_tokenizer("", options.vocab)};
  }
  const std::string& given = model_or_weights(options.model, options.weights);
  check_model_exists(given);
  return read_published(given, [&] {
    const std::string directory = directory_of(given), config = (fs::path(directory) / "config.json").string();
    Source source{read_tokenizer(directory, options.vocab)};
    if (source.files.path.empty())
      fail<UsageError>("there is no vocab.txt or tokenizer.json beside {}; give --vocab FILE", given);
    if (!input_exists(config)) return source;
    try {
      source.positions = parse_config(read_input(config, input_limit::settings), config).max_positions;
    } catch (const BadInput& error) {  // another model's tokenizer can be looked at all the same
      say("note: how many positions the model has is not known: {}", error.what());
    }
    return source;
  });
}

// As training and prediction would cut; INT_MAX for never.
int max_length_of(const TokensOptions& options, const Source& source) {
  if (options.max_length > 0) return static_cast<int>(options.max_length);
  const double positions = static_cast<double>(source.positions.value_or(INT_MAX));
  return static_cast<int>(std::min(source.files.model_max_length, positions));
}

std::string range(uint32_t begin, uint32_t end) { return fmt::format("{}..{}", begin, end); }

const char* name_of(Rule rule) {
  switch (rule) {
    case Rule::frame:
      return "frame";
    case Rule::added:
      return "added";
    case Rule::piece:
      return "piece";
    case Rule::long_word:
      return "long_word";
    case Rule::no_piece:
      return "no_piece";
  }
  return "";
}

const char* name_of(Loss::Rule rule) {
  switch (rule) {
    case Loss::Rule::invalid_utf8:
      return "invalid_utf8";
    case Loss::Rule::clean_text:
      return "clean_text";
    case Loss::Rule::white_space:
      return "white_space";
    case Loss::Rule::strip_accents:
      return "strip_accents";
  }
  return "";
}

// "U+200B U+0007"
std::string code_points(std::string_view text) {
  std::string list;
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode_utf8(text, i);
    list += fmt::format("{}U+{:04X}", list.empty() ? "" : " ", std::max(0, c.code));
    i += c.length;
  }
  return list;
}

std::string describe(const Loss& loss, std::string_view text) {
  const std::string_view bytes = text_bytes(text, loss.begin, loss.end);
  switch (loss.rule) {
    case Loss::Rule::invalid_utf8:
      return loss.becomes.empty() ? "no UTF-8: dropped by clean_text" : "no UTF-8: each byte is U+FFFD";
    case Loss::Rule::clean_text:
      return code_points(bytes) + ": dropped by clean_text";
    case Loss::Rule::white_space:
      break;
    case Loss::Rule::strip_accents:
      return loss.becomes.empty()
                 ? code_points(bytes) + ": dropped by strip_accents"
                 : fmt::format("{} became {} by strip_accents", quote(bytes, 24), quote(loss.becomes, 24));
  }
  return "white space between words";
}

std::string token_table(const std::vector<ExplainedToken>& tokens, std::string_view text, const WordPiece& tokenizer) {
  TextTable table(
      {{"#"}, {"id"}, {"piece", Kind::flexible}, {"bytes"}, {"text", Kind::flexible}, {"remark", Kind::flexible}});
  size_t position = 0;
  for (const ExplainedToken& token : tokens) {
    if (token.cut) continue;
    const auto& [id, begin, end] = token.span;
    const bool frame = token.rule == Rule::frame;
    table.row({std::to_string(position++), std::to_string(id), tokenizer.token(id), frame ? "" : range(begin, end),
               std::string(text_bytes(text, begin, end)), remark_on(token, text, tokenizer)});
  }
  return table.text();
}

std::string loss_table(const std::vector<Loss>& losses, std::string_view text) {
  TextTable table({{"bytes"}, {"not in a token, or not as it is", Kind::flexible}});
  constexpr int most_spaces = 6;
  std::string spaces;  // all in one line below
  int runs = 0;
  for (const Loss& loss : losses) {
    if (loss.rule != Loss::Rule::white_space)
      table.row({range(loss.begin, loss.end), describe(loss, text)});
    else if (++runs <= most_spaces)
      spaces += fmt::format(", {}", range(loss.begin, loss.end));
  }
  std::string result = table.empty() ? "" : "\n" + table.text();
  if (runs > 0)
    result += fmt::format("\nwhite space between words: {}{}\n", spaces.substr(2),
                          runs > most_spaces ? fmt::format(", ... ({} in all)", runs) : "");
  return result;
}

std::string text_of(const std::vector<ExplainedToken>& tokens, const TokensOptions& options, const Source& source,
                    const WordPiece& tokenizer, int max_length) {
  const std::string& text = options.text;
  std::string result = token_table(tokens, text, tokenizer);
  std::string unknown, cut;
  size_t cut_count = 0;
  uint32_t first_cut = UINT32_MAX, last_cut = 0;
  for (const ExplainedToken& token : tokens) {
    if (const std::string why = why_unknown(token, text, tokenizer); !why.empty())
      unknown +=
          fmt::format("{} {}: {}\n", tokenizer.token(token.span.id), range(token.span.begin, token.span.end), why);
    if (!token.cut) continue;
    ++cut_count;
    first_cut = std::min(first_cut, token.span.begin);
    last_cut = std::max(last_cut, token.span.end);
  }
  if (!unknown.empty()) result += "\n" + unknown;
  if (cut_count > 0)
    result += fmt::format("\ntruncated to {} tokens{}: {} tokens are cut, bytes {}: {}\n", max_length,
                          source.files.settings.truncate_left ? ", from the left" : "", cut_count,
                          range(first_cut, last_cut), quote(text_bytes(text, first_cut, last_cut), 60));
  result += loss_table(losses_of(text, tokens, tokenizer), text);
  const std::string most = max_length == INT_MAX ? "" : fmt::format(" (at most {})", max_length);
  return result + fmt::format("\n{} bytes are {} tokens{}; {} ids in {}\n", text.size(), tokens.size() - cut_count,
                              most, tokenizer.size(), printable(source.files.path));
}

ordered_json json_of(const std::vector<ExplainedToken>& tokens, const TokensOptions& options, const Source& source,
                     const WordPiece& tokenizer, int max_length) {
  const std::string& text = options.text;
  ordered_json all{{"text", text}, {"vocabulary", source.files.path}};
  all["max_length"] = max_length == INT_MAX ? ordered_json() : ordered_json(max_length);
  all["tokens"] = all["cut"] = ordered_json::array();
  for (const ExplainedToken& token : tokens) {
    const auto& [id, begin, end] = token.span;
    ordered_json row{{"id", id},
                     {"piece", tokenizer.token(id)},
                     {"begin", begin},
                     {"end", end},
                     {"text", text_bytes(text, begin, end)},
                     {"rule", name_of(token.rule)},
                     {"remark", remark_on(token, text, tokenizer)}};
    if (token.rule == Rule::no_piece) row["unmatched"] = token.unmatched;
    if (token.rule == Rule::long_word) row["characters"] = token.characters;
    all[token.cut ? "cut" : "tokens"].push_back(std::move(row));
  }
  all["lost"] = ordered_json::array();
  for (const Loss& loss : losses_of(text, tokens, tokenizer))
    all["lost"].push_back({{"begin", loss.begin},
                           {"end", loss.end},
                           {"rule", name_of(loss.rule)},
                           {"text", text_bytes(text, loss.begin, loss.end)},
                           {"becomes", loss.becomes}});
  return all;
}

int show_tokens(const TokensOptions& options) {
  const Source source = read_source(options);
  const WordPiece tokenizer = source.files.tokenizer();
  for (const std::vector<std::string>* notes : {&source.files.notes, &tokenizer.notes()})
    for (const std::string& note : *notes) say("note: {}", note);
  const int max_length = max_length_of(options, source);
  const std::vector<ExplainedToken> tokens = tokenizer.explain(options.text, max_length);
  if (options.json)
    print_json(json_of(tokens, options, source, tokenizer, max_length));
  else
    fmt::print("{}", text_of(tokens, options, source, tokenizer, max_length));
  return 0;
}

}  // namespace

Command add_tokens(CLI::App& program) {
  CLI::App* app = add_command(program, "tokens", "What the tokenizer makes of a text, and what it loses");
  auto options = std::make_shared<TokensOptions>();
  required(add_positional(*app, "TEXT", options->text, "the text"));
  add_model_options(*app, options->model, options->weights);
  add_text(*app, "vocab", options->vocab, "vocabulary (vocab.txt or tokenizer.json), alone or in place of the model's",
           "FILE");
  add_integer(*app, "max-length", options->max_length, 0, longest_sentence, "tokens at most; 0: as in training");
  add_flag(*app, "json", options->json, "print one JSON object");
  return {app, [options] { return show_tokens(*options); }};
}

}  // namespace crisp::inspect
