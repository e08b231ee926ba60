// The settings of the library: what its header and its Python package say of them, and how messages name them.
#include <optional>
#include <span>
#include <sstream>

#include "data/input/parse_text.h"
#include "tests/train/door/door.h"
#include "train/door/state.h"

using namespace crisp;
using namespace crisp::test;

namespace {

std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  REQUIRE(from != std::string::npos);
  const size_t to = text.find(end, from + begin.size());
  REQUIRE(to != std::string::npos);
  return text.substr(from + begin.size(), to - from - begin.size());
}

// "a 1, b (note), c on" as a list: each name with what follows it, without notes.
using Said = std::vector<std::string>;
std::string said_of(const std::string& name, const std::string& value) {
  return value.empty() ? name : std::string(name).append(" ").append(value);
}
Said settings_said_in(std::string text) {
  for (size_t note = text.find('('); note != std::string::npos; note = text.find('('))
    text.erase(note, text.find(')', note) - note + 1);
  Said all;
  for (const std::string& item : split(text, ',')) {
    std::istringstream words(item);
    std::string name, value, more;
    words >> name >> value;
    CHECK_FALSE(words >> more);
    all.push_back(said_of(name, value));
  }
  return all;
}

std::string source(const char* file) { return read_file(std::string(CRISP_SOURCE_DIR "/train/door/").append(file)); }

// Names and defaults.
template <class Options>
Said declared(const Settings<Options>& settings) {
  Said all;
  for (const Setting<Options>& setting : settings)
    all.push_back(said_of(setting.key(), show_value(setting.get(Options()))));
  return all;
}

}  // namespace

TEST_CASE("crisp.h lists every setting with its default") {
  std::string text = between(source("crisp/crisp.h"), "/* One setting as text.", "*/");
  for (size_t star = text.find("\n *"); star != std::string::npos; star = text.find("\n *")) text.erase(star, 3);
  const Said of_all = settings_said_in(between(text, "of all: ", ";"));
  CHECK(of_all == declared(door::classifier_settings()));
  Said of_tuners = of_all;
  for (const auto& part : {between(text, "of tuners: ", ";"), between(text, "of sparse attention: ", ". CRISP_USAGE")})
    for (const std::string& said : settings_said_in(part)) of_tuners.push_back(said);
  CHECK(of_tuners == declared(door::tuner_settings()));
}

TEST_CASE("the Python package lists every setting, and those of a model with their defaults") {
  const std::string package = source("python/crisp/__init__.py");
  std::vector<std::string> keys;
  for (const auto& setting : door::tuner_settings()) keys.push_back(setting.key());
  CHECK(settings_said_in(between(package, "`settings` are its options:\n", ".\n")) == keys);
  Said of_model;
  for (std::string line : split(between(package, "source: Source,\n        *,\n", "        log:"), '\n')) {
    if (line.empty()) continue;
    const std::string name = between(line, "        ", ":");
    std::string value = between(line, " = ", ",");
    std::erase(value, '"');
    if (value == "True") value = "on";
    of_model.push_back(said_of(name, value));
  }
  CHECK(of_model == declared(door::classifier_settings()));
}

TEST_CASE("messages name settings as the library does") {
  using door::with_names_of_here;
  CHECK(with_names_of_here("--window belongs to --sparse-method neighbour, not top-k") ==
        "window belongs to sparse_method neighbour, not top-k");
  CHECK(with_names_of_here("give (--max-length 7)\n--sparsity-ramp") == "give (max_length 7)\nsparsity_ramp");
  CHECK(with_names_of_here("there is no vocab.txt beside x; give --vocab FILE") == "there is no vocab.txt beside x");
  for (const char* other : {"", "--", "a -- b", "--vocab FILE", "/tmp/--window", "x--window", "--windows", "--window-"})
    CHECK(with_names_of_here(other) == other);

  const auto refusal = [](FineTuner::Options o) {
    return message_of<UsageError>([&] { FineTuner(sample_weights(), sample_examples(4), o); });
  };
  FineTuner::Options o = short_training();
  o.sparsity = "0,0.5,0,0";
  o.sparse = {{"sparse_layers", "0,2"}};
  CHECK(refusal(o) == "sparsity 0,0.5,0,0 is 0 in all of sparse_layers 0,2: nothing would be sparse");
  o.sparse = {{"sparse-layers", "0,2"}};  // the programs' spelling
  CHECK(refusal(o) == "sparsity 0,0.5,0,0 is 0 in all of sparse_layers 0,2: nothing would be sparse");
  o.sparsity = "0.5";
  o.sparse = {{"drop_attention_unit", "column"}};
  CHECK(refusal(o) == "drop_attention_unit column needs drop_attention P");
  o.sparse = {{"sparse_layer", "1"}};
  CHECK(refusal(o) == "sparse attention has no other setting \"sparse_layer\"");
  o.sparse = {{"sparse-layers", "late"}, {"sparse_layers", "early"}};
  CHECK(refusal(o) == "sparse_layers is given twice, spelt with - and with _; give it once");
  o.sparse = {{"drop_attention-unit", "entry"}, {"drop-attention_unit", "entry"}};
  CHECK(refusal(o) == "drop_attention_unit is given twice, spelt with - and with _; give it once");
  o = short_training();
  o.batch_size = 0;
  CHECK(refusal(o) == "batch_size must be a whole number from 1 to 1000000, not '0'");
  o = short_training();
  o.max_length = 100000;
  CHECK(contains(refusal(o), "max_length 100000 is more than the model's "));
  CHECK_FALSE(contains(refusal(o), "--"));

  // An exception of the host's own class stays one.
  struct Mine : UsageError {
    using UsageError::UsageError;
  };
  struct Throwing : FineTuner::Observer {
    bool on_step(const FineTuner::Step&) override { throw Mine("--window is mine"); }
  } observer;
  FineTuner tuner(sample_weights(), sample_examples(4), short_training());
  CHECK(message_of<Mine>([&] { tuner.run(observer); }) == "--window is mine");
  const ModelSource source = ModelSource::reader(
      [](const std::string&, uint64_t, std::span<std::byte>) -> std::optional<uint64_t> { throw Mine("--threads"); });
  CHECK(message_of<Mine>([&] { Classifier(source, Classifier::Options()); }) == "--threads");
}
