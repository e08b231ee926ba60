#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "data/input/text.h"
#include "data/tokenizer_parts.h"
#include "engine/fail.h"

namespace crisp::tokenizer_parts {

using nlohmann::json;

namespace {

// Keys of named special tokens, in the order in which transformers adds them.
constexpr const char* named_tokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};

// An added token as a string or an object; what the object does not say is as in Python's AddedToken.
AddedToken parse_added(const Fields& owner, const char* key, const json& value, bool special) {
  if (value.is_string())
    return {.content = value.get<std::string>(), .special = special, .normalized = !special, .where = owner.where()};
  if (!value.is_object()) owner.refuse(key, value, "a token: a string, or an object with its \"content\"");
  const std::string where = fmt::format("{}, {}", owner.where(), key);
  const Fields f(value, where);
  AddedToken token{.content = f.need("content", f.text("content")), .where = owner.where()};
  token.special = f.flag("special").value_or(special);
  token.normalized = f.flag("normalized").value_or(!token.special);
  token.single_word = f.flag("single_word").value_or(false);
  token.lstrip = f.flag("lstrip").value_or(false);
  token.rstrip = f.flag("rstrip").value_or(false);
  return token;
}

int32_t id_of(const Fields& owner, const char* key, const json& value) {
  return static_cast<int32_t>(owner.whole(key, value, 0, INT32_MAX - 1));
}

// The special tokens that tokenizer_config.json or special_tokens_map.json names.
void add_named(const JsonFile& file, Additions& additions) {
  const Fields f = file.fields();
  for (const auto& [key, value] : file.object.items()) {
    const bool standard = std::find(std::begin(named_tokens), std::end(named_tokens), key) != std::end(named_tokens);
    if (value.is_null()) continue;
    if (standard) {
      additions.named(key, parse_added(f, key.c_str(), value, true));
    } else if (key.ends_with("_token") && value.is_string()) {  // transformers takes any such key for a special token
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

}  // namespace

void Additions::by_id(AddedToken token) {
  const int32_t id = token.stated_id;
  by_id_[id] = std::move(token);
}

std::string Additions::name(const char* key, const std::string& otherwise) const {
  const auto found = named_.find(key);
  return found == named_.end() ? otherwise : found->second.content;
}

std::vector<AddedToken> Additions::list() const {
  std::vector<AddedToken> all;
  std::unordered_map<std::string, size_t> places;
  for (const auto& [id, token] : by_id_) {
    places.try_emplace(token.content, all.size());
    all.push_back(token);
  }
  const auto add = [&](const AddedToken& token) {
    if (const auto [place, is_new] = places.try_emplace(token.content, all.size()); is_new) {
      all.push_back(token);
    } else {
      all[place->second].special = true;
    }
  };
  for (const char* key : named_tokens)
    if (const auto found = named_.find(key); found != named_.end()) add(found->second);
  for (const AddedToken& token : extra_) add(token);
  return all;
}

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
    std::unordered_set<std::string> known;
    for (const AddedToken& token : additions.list()) known.insert(token.content);
    for (const auto& [content, id] : added.object.items()) {
      const bool special = known.contains(content);
      additions.by_id({.content = content,
                       .special = special,
                       .normalized = !special,
                       .stated_id = id_of(fields, content.c_str(), id),
                       .where = added.path});
    }
  }
  if (whole.exists) add_from_json(whole, additions);
}

}  // namespace crisp::tokenizer_parts
