// What the methods of sparse attention say of themselves, and where it must be said, too.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "model/methods/method.h"
#include "model/sparse_settings.h"
#include "model/sparsity_json.h"
#include "tests/model/methods.h"
#include "tests/support/catch.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("every method of the list has a word, a case for the tests and its line in the README") {
  std::ifstream file(std::string(CRISP_SOURCE_DIR) + "/model/README.md");
  const std::string readme{std::istreambuf_iterator<char>(file), {}};
  std::set<std::string> words;
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(CRISP_SOURCE_DIR) + "/model/methods"))
    if (entry.path().extension() == ".cpp" && entry.path().filename() != "list.cpp") ++files;
  REQUIRE(all_methods().size() == files);
  for (size_t i = 0; i < all_methods().size(); ++i) {
    const Method& method = *all_methods()[i];
    INFO(method.word);
    CHECK(words.insert(method.word).second);
    CHECK(parse_method(method.word) == static_cast<SparseMethod>(i));
    CHECK(&about(static_cast<SparseMethod>(i)) == &method);
    const std::vector<MethodCase> cases = method_cases();
    CHECK(std::any_of(cases.begin(), cases.end(),
                      [&](const MethodCase& c) { return &about(c.options.method) == &method; }));
    const std::string measure = *method.instead ? std::string(method.instead) + " " : "";
    const std::string line = std::string("\n| `") + method.word + "` | " + method.keeps + " | " + measure + "|\n";
    INFO(line);
    CHECK(readme.find(line) != std::string::npos);
  }
}

TEST_CASE("what a method says of itself holds together") {
  for (const Method* method : all_methods()) {
    INFO(method->word);
    CHECK((method->selection == Selection::listed) == (method->rank != nullptr));
    bool measure = false;
    for (const MethodOption& option : method->options()) measure |= option.is_measure;
    CHECK(measure == (method->measure != nullptr));
    CHECK((!method->differs_by_head || method->rank));
    CHECK((method->at_evaluation || method->removes));
  }
}

TEST_CASE("each option of sparse attention is declared once, with the method's word before its help") {
  std::set<std::string> names;
  for (const Setting<SparsityOptions>& setting : sparse_settings()) {
    INFO(setting.name());
    CHECK(names.insert(setting.name()).second);
    CHECK(setting.complaint(SparsityOptions()) == "");
    SparsityOptions o;
    CHECK(setting.set(o, "no such value") != "");
    // A default that is shown is taken, and changes nothing.
    const std::string shown = show_value(setting.get(o));
    if (!shown.empty()) CHECK(setting.set(o, shown) == "");
    CHECK(show_value(setting.get(o)) == shown);
  }
  const nlohmann::ordered_json written = sparsity_json(make_sparsity({}, 2, 1));
  for (const Method* method : all_methods()) {
    for (const MethodOption& option : method->options()) {
      INFO(option.name());
      const auto* setting = find_setting(sparse_settings(), option.name());
      REQUIRE(setting);
      CHECK(setting->help == std::string(method->word) + ": " + option.help);
      CHECK(written.contains(option.key()));
    }
  }
}

TEST_CASE("a method's numbers have their defaults in a model's configuration") {
  SparsityOptions o;
  o.method = SparseMethod::learned_span;
  o.span_init = 3;
  const SparsityConfig c = make_sparsity(o, 2, 1);
  CHECK(c.span_init == 3);
  CHECK(c.span_ramp == 4);
  CHECK(c.span_penalty == 0);
  CHECK(c.span_learning_rate == 0.01);
  CHECK_FALSE(c.window);
  CHECK_FALSE(c.attention_drop);
}
