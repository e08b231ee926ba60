// What was chosen, and the commands.
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

using nlohmann::ordered_json;

// For a shell: quoted where it needs to be.
std::string shell_word(const std::string& word) {
  constexpr const char* plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=,+@%";
  if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string command_line(const OptionMap& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    text += fmt::format(" --{}", name);
    if (!value.empty()) text += fmt::format(" {}", shell_word(value));
  }
  return text;
}

// Settings of more distinct values than this are counted, not listed.
constexpr size_t values_listed = 6;

// A setting's value in each complete run, as text: the distinct ones in the order of the runs, with their arms.
struct SettingValues {
  std::vector<std::pair<std::string, std::vector<std::string>>> values;
  int64_t runs = 0;
  void add(const std::string& value, const std::string& arm) {
    ++runs;
    auto found = std::find_if(values.begin(), values.end(), [&](const auto& v) { return v.first == value; });
    if (found == values.end()) found = values.insert(values.end(), {value, {}});
    if (found->second.empty() || found->second.back() != arm) found->second.push_back(arm);
  }
};

std::string value_cell(const SettingValues& setting, int64_t runs) {
  const auto code = [](const std::string& value) { return "<code>" + escape(value) + "</code>"; };
  if (setting.values.size() == 1 && setting.runs == runs) return code(setting.values[0].first);
  if (setting.values.size() > values_listed)
    return fmt::format("differs: {} values", grouped(std::ssize(setting.values)));
  std::vector<std::string> parts;
  for (const auto& [value, arms] : setting.values) parts.push_back(fmt::format("{} ({})", code(value), listed(arms)));
  if (setting.runs < runs) parts.push_back("absent in " + counted(runs - setting.runs, "run", "runs"));
  return fmt::format("differs: {}", fmt::join(parts, "; "));
}

// Every setting of the complete runs, as resolved.
std::string settings_table(const StudyResults& study) {
  std::vector<std::string> names;
  std::map<std::string, SettingValues> settings;
  int64_t runs = 0;
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun* run : arm.complete_runs()) {
      const ordered_json one = ordered_json::parse(run->settings, nullptr, false);
      if (!one.is_object()) continue;
      ++runs;
      for (const auto& [name, value] : one.items()) {
        if (settings.find(name) == settings.end()) names.push_back(name);
        settings[name].add(value.is_string() ? value.get<std::string>() : value.dump(), escape(arm.name));
      }
    }
  }
  if (names.empty()) return "";
  Table table("");
  table.header({"setting", "value"});
  for (const std::string& name : names) table.row({escape(name), value_cell(settings[name], runs)});
  return details("All settings as resolved, and where runs differ", "<div class=\"wide\">" + table.html() + "</div>");
}

// What the papers leave open, and our answer; model/README.md has the same list with more words.
struct Choice {
  const char *question, *choice;
  // The study's name, or names or values of options, that make it matter; none: always.
  std::vector<const char*> when{};
};

const std::vector<Choice>& choice_list() {
  static const std::vector<Choice> list{
      {"threshold per row or per head",
       "top-k (the default): each query keeps exactly k = max(1, floor((1 − s) n + 0.5)) keys; percentile: scores at "
       "or above the s-quantile of the head’s whole n × n score matrix, by linear interpolation"},
      {"n", "the real length of the sentence with [CLS] and [SEP]; there is no padding"},
      {"ties",
       "top-k and bottom-k: the earlier key wins, so that exactly k are kept; percentile and top-k-ties: all equal "
       "ones stay"},
      {"a query that would keep nothing", "it keeps its largest score, the earliest of equal ones"},
      {"gradient",
       "through the kept scores only; the selection is a constant, as are the cosines of lexical similarity"},
      {"evaluation", "sparse as in training, unless <code>--sparse-eval off</code>"},
      {"uniform", "0.7 in every layer, the middle of the paper’s range of 0.6 to 0.8", {"uniform"}},
      {"light", "0.45 in the first layer, rising linearly to 0.75 in the last; mean 0.6", {"light"}},
      {"aggressive", "0.65 in the first layer, rising linearly to 0.95 in the last; mean 0.8", {"aggressive"}},
      {"learning rate, batch, epochs, length, seeds",
       "Crisp Attention gives none of them; those of this study are listed below"},
      {"which sentences count",
       "all of them; the paper’s 90.62 % and 91.59 % are no multiples of 1/872, but fit 754 and 762 of 832, as when a "
       "last incomplete batch of 64 is dropped (a conjecture of ours)"},
      {"equal effective sparsity",
       "with a sparsity s, neighbour, bottom-k, random-k, lexical and syntax keep as many keys of each row as top-k "
       "does",
       {"neighbour", "bottom-k", "random-k", "lexical", "syntax"}},
      {"early and late layers",
       "the first and the last floor(L / 2) of L, at least one; of an odd number the middle one is neither",
       {"early", "late"}},
      {"a ramp",
       "linear from 0 over the first part of the training steps; evaluation always at the full sparsity",
       {"sparsity-ramp"}},
      {"protected keys",
       "they rank before all others and count among the k; by a measure and by percentile they are kept besides; "
       "chance (DropKey, DropAttention, AttentionDrop) never removes them; [CLS] and [SEP] are a sequence’s first and "
       "last key",
       {"keep"}},
      {"percentile and pairs of runs",
       "the last layer, computed for [CLS] alone otherwise, is computed for all tokens, since the threshold is that of "
       "the head’s whole matrix; so dropout draws other numbers in that layer than in the other runs of the seed, and "
       "pairs are less alike",
       {"percentile"}},
      {"order of neighbours",
       "by distance in position; of two equally far the left one first",
       {"neighbour", "bigbird", "lexical", "syntax"}},
      {"random keys",
       "by random numbers of (seed, layer, head, i, j): the same in all steps and sentences, in training and "
       "evaluation",
       {"random-k", "bigbird"}},
      {"lexical similarity",
       "the query’s own position first, then the cosine of the model’s current word embeddings (without position and "
       "LayerNorm), then as neighbours",
       {"lexical"}},
      {"syntax",
       "the number of edges between the words in the tree, then as neighbours; pieces of one word are at 0, [CLS] and "
       "[SEP] hang on the root word",
       {"syntax"}},
      {"BigBird’s mix",
       "the nearest include the query itself; the first positions are keys of all and see all; random ones are drawn "
       "among the rest, for each head",
       {"bigbird"}},
      {"DropKey and DropAttention",
       "one thing with softmax (with sparsemax and entmax15 there is DropKey only): removing a key before the softmax "
       "is dropping its weight and renormalising, with the gradient through the renormalisation; by entries or by "
       "columns of a head; training only, whatever --sparse-train says; a query that would lose all keys keeps its "
       "largest score",
       {"drop-key", "drop-attention"}},
      {"AttentionDrop",
       "a reading of ours: the paper is taken to set top scores to 0 at random; here a key that is drawn is removed "
       "(score −∞, weight 0) instead of its score set to 0, and the n − k largest scores of a row are drawn from, both "
       "by our choice; training only",
       {"attention-drop"}},
      {"learned degrees",
       "a stand-in for Breaking BERT’s algorithm, whose formula could not be found: weights in proportion to m "
       "exp(score), m = clamp((R + z − |i − j|) / R, 0, 1), with a z for each head (after Adaptive Span, arXiv "
       "1905.07799, looking both ways); λ times the mean of all z is added to the loss, but not to what is shown as "
       "loss",
       {"learned-span"}},
      {"learned degrees: numbers",
       "unless options say otherwise R = 4, z = 8 at first, λ = 0, a learning rate of 0.01 for z under the common "
       "schedule, no weight decay; z stays within 0 and the model’s positions",
       {"learned-span"}},
      {"learned degrees: gradient clipping",
       "of the weights by the weights’ norm alone: learned degrees, whose penalty may be of any size, are neither in "
       "the norm nor scaled",
       {"learned-span"}},
      {"learned degrees: weights that have some",
       "a run of learned-span in the same layers goes on from them, unless <code>--span-init</code> is given",
       {"learned-span"}},
      {"learned degrees: evaluation",
       "a hard window, the keys with m of at least one half: |i − j| ≤ floor(z + R / 2)",
       {"learned-span"}},
      {"the preset “crisp” as it comes",
       "four arms with 4 seeds, and the schedules above; the arms of this study are those below",
       {"crisp"}},
      {"the preset “breaking-bert” as it comes",
       "each method with sparsity 0.8 in all, early and late layers, and with 0.4 in all layers; six keys a row in the "
       "mixes of neighbour, random and global keys (6,0,0; 0,3,3; 3,0,3; 3,3,0; 2,2,2); for learned degrees λ of "
       "0.001, 0.01 and 0.1, and a learning rate of 0.05 for z; 3 seeds; the arms of this study are those below",
       {"breaking-bert"}},
  };
  return list;
}

// Whether an option of the study has one of the words as its name or value.
bool mentions(const StudyResults& study, const std::vector<const char*>& words) {
  const auto is_word = [&](const std::string& text) {
    return std::find(words.begin(), words.end(), text) != words.end();
  };
  const auto in = [&](const OptionMap& options) {
    return std::any_of(options.begin(), options.end(),
                       [&](const auto& option) { return is_word(option.first) || is_word(option.second); });
  };
  return is_word(study.name) || in(study.common) ||
         std::any_of(study.arms.begin(), study.arms.end(), [&](const StudyArm& arm) { return in(arm.options); });
}

std::string options_table(const StudyResults& study) {
  const auto options = [](const StudyArm& arm) {
    return arm.options.empty() ? "none" : "<code>" + escape(command_line(arm.options).substr(1)) + "</code>";
  };
  const auto what = [&](const StudyArm& arm) {
    const std::string separator = arm.description.empty() ? "" : ": ";
    return (study.is_base(arm) ? "baseline" + separator : "") + escape(arm.description);
  };
  const Table table =
      arm_table(study, "Each arm’s options; all else is shared", {{"options", options}, {"what it is", what}});
  return "<div class=\"wide\">" + table.html() + "</div>";
}

}  // namespace

std::string choices(const StudyResults& study) {
  Table table("Of Crisp Attention (arXiv 2508.06016) and Breaking BERT (arXiv 2210.03841)");
  table.header({"question", "our choice"});
  for (const Choice& c : choice_list())
    if (c.when.empty() || mentions(study, c.when)) table.row({c.question, c.choice});
  return paragraph(
             "The papers leave much open. What follows is inferred or chosen by Crisp, not taken from them; where it "
             "matters, options make other choices.") +
         "<div class=\"wide\">" + table.html() + "</div>" + options_table(study);
}

std::string settings(const StudyResults& study) {
  return paragraph("The whole study, from the study.json beside this page:") +
         "<pre>crisp-study study.json --output OUTPUT</pre>\n" +
         paragraph("One of its runs, here the baseline with the first seed:") +
         fmt::format("<pre>crisp-train{0} --seed {1} --output OUTPUT/runs/{2}/seed-{1}</pre>\n",
                     escape(command_line(study.options_of(study.base()))), study.seeds[0],
                     escape(shell_word(study.base().name))) +
         paragraph(fmt::format("Seeds: {}. With a seed, the same kernels and the same options, a run gives the same "
                               "bits on any number of threads.",
                               fmt::join(study.seeds, ", "))) +
         settings_table(study);
}

}  // namespace crisp::report
