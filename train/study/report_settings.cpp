// What was chosen, and the commands.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/study/report_html.h"
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

std::string command_line(const Options& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    text += fmt::format(" --{}", name);
    if (!value.empty()) text += fmt::format(" {}", shell_word(value));
  }
  return text;
}

// What crisp-train is given for an arm, whose own options win.
Options options_of(const StudyResults& study, const StudyArm& arm) {
  Options options;
  for (const auto& option : study.common)
    if (std::none_of(arm.options.begin(), arm.options.end(),
                     [&](const auto& own) { return own.first == option.first; }))
      options.push_back(option);
  options.insert(options.end(), arm.options.begin(), arm.options.end());
  return options;
}

// Settings that all complete runs share.
std::string settings_table(const StudyResults& study) {
  ordered_json shared;
  bool first = true;
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun* run : arm.complete_runs()) {
      const ordered_json one = ordered_json::parse(run->settings, nullptr, false);
      if (!one.is_object()) continue;
      if (first) shared = one;
      first = false;
      for (auto it = shared.begin(); it != shared.end();)
        it = one.contains(it.key()) && one[it.key()] == it.value() ? std::next(it) : shared.erase(it);
    }
  }
  if (shared.empty()) return "";
  Table table("");
  table.header({"setting", "value"});
  for (const auto& [name, value] : shared.items())
    table.row(
        {escape(name), "<code>" + escape(value.is_string() ? value.get<std::string>() : value.dump()) + "</code>"});
  return details("Settings that all runs share, as resolved", "<div class=\"wide\">" + table.html() + "</div>");
}

// What the papers leave open, and our answer; model/README.md has the same list with more words.
struct Choice {
  const char *question, *choice;
  std::vector<const char*> when{};  // names or values of options that make it matter; none: always
};

const std::vector<Choice>& choice_list() {
  static const std::vector<Choice> list{
      {"threshold per row or per head",
       "top-k (the default): each query keeps exactly k = max(1, floor((1 − s) n + 0.5)) keys; percentile: scores at "
       "or "
       "above the s-quantile of the head’s whole n × n score matrix, by linear interpolation"},
      {"n", "the real length of the sentence with [CLS] and [SEP]; there is no padding"},
      {"ties",
       "top-k: the earlier key wins, so that exactly k are kept; percentile and top-k-ties: all equal ones stay"},
      {"a query that would keep nothing", "it keeps its largest score, the earliest of equal ones"},
      {"gradient", "through the kept scores only; the selection is a constant"},
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
       "with a sparsity s, neighbour, random-k, lexical and syntax keep as many keys of each row as top-k does",
       {"neighbour", "random-k", "lexical", "syntax"}},
      {"early and late layers",
       "the first and the last floor(L / 2) of L, at least one; of an odd number the middle one is neither",
       {"early", "late"}},
      {"a ramp",
       "linear from 0 over the first part of the training steps; evaluation always at the full sparsity",
       {"sparsity-ramp"}},
      {"protected keys",
       "they rank before all others and count among the k; where a measure decides they are kept besides",
       {"keep"}},
      {"order of neighbours",
       "by distance in position; of two equally far the left one first",
       {"neighbour", "bigbird", "lexical", "syntax"}},
      {"random keys",
       "by random numbers of (seed, layer, head, i, j): the same in all steps and sentences, in training and "
       "evaluation",
       {"random-k", "bigbird"}},
      {"lexical similarity",
       "the query’s own position first, then the cosine of the model’s current word embeddings, then as neighbours",
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
       "one thing here: removing a key before the softmax is dropping its weight and renormalising; training only",
       {"drop-key", "drop-attention"}},
      {"AttentionDrop", "training only", {"attention-drop"}},
      {"learned degrees",
       "a stand-in for Breaking BERT’s algorithm, whose formula could not be found: weights in proportion to m "
       "exp(score), "
       "m = clamp((R + z − |i − j|) / R, 0, 1), with a z for each head (after Adaptive Span, arXiv 1905.07799); "
       "rounded "
       "to the keys with m of at least one half at evaluation",
       {"learned-span"}},
  };
  return list;
}

// Whether an option of the study has one of the words as its name or value.
bool mentions(const StudyResults& study, const std::vector<const char*>& words) {
  const auto in = [&](const Options& options) {
    return std::any_of(options.begin(), options.end(), [&](const auto& option) {
      return std::any_of(words.begin(), words.end(),
                         [&](const char* word) { return option.first == word || option.second == word; });
    });
  };
  return in(study.common) ||
         std::any_of(study.arms.begin(), study.arms.end(), [&](const StudyArm& arm) { return in(arm.options); });
}

std::string options_table(const StudyResults& study) {
  Table table("Each arm’s options; all else is shared");
  table.header({"arm", "options", "what it is"});
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudyArm& arm = study.arms[i];
    const std::string options = command_line(arm.options);
    table.row({escape(arm.name), options.empty() ? "none" : "<code>" + escape(options.substr(1)) + "</code>",
               i == study.baseline ? "baseline" + (arm.description.empty() ? "" : ": " + escape(arm.description))
                                   : escape(arm.description)},
              i == study.baseline);
  }
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
  std::string seeds;
  for (const uint64_t seed : study.seeds) seeds += fmt::format("{}{}", seeds.empty() ? "" : ", ", seed);
  std::string html = paragraph("The whole study, from the study.json beside this page:");
  html += "<pre>crisp-study study.json --output OUTPUT</pre>\n";
  html += paragraph("One of its runs, here the baseline with the first seed:");
  html += "<pre>crisp-train" + escape(command_line(options_of(study, study.base()))) +
          fmt::format(" --seed {} --output OUTPUT/runs/{}/seed-{}</pre>\n", study.seeds[0],
                      escape(shell_word(study.base().name)), study.seeds[0]);
  html += paragraph(
      fmt::format("Seeds: {}. With a seed, the same kernels and the same options, a run gives the same bits on "
                  "any number of threads.",
                  seeds));
  return html + settings_table(study);
}

}  // namespace crisp::report
