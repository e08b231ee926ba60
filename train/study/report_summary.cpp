// The summary in plain words. It says what was seen, with its uncertainty, and never more.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "train/page/html.h"
#include "train/study/report_sections.h"

namespace crisp::report {
namespace {

// Above this many comparisons, those that came out alike share a list.
constexpr size_t arms_in_words = 6;

std::string run_counts(const StudyResults& study) {
  const auto total = static_cast<int64_t>(study.arms.size() * study.seeds.size());
  std::string text = fmt::format("{} with {}: {}", counted(std::ssize(study.arms), "arm", "arms"),
                                 counted(std::ssize(study.seeds), "seed", "seeds each"), counted(total, "run", "runs"));
  const int64_t complete = study.count(RunStatus::complete);
  if (complete == total) return text + (total == 1 ? ", complete. " : ", all complete. ");
  text += fmt::format(", <strong>of which {} complete", complete);
  for (const auto& [status, words] :
       {std::pair{RunStatus::diverged, "diverged"}, std::pair{RunStatus::failed, "failed"},
        std::pair{RunStatus::missing, "missing (not begun, or not ended)"}})
    if (const int64_t n = study.count(status); n > 0) text += fmt::format(", {} {}", n, words);
  return text + "</strong>. ";
}

std::string baseline_words(const StudyResults& study) {
  const StudyArm& base = study.base();
  const Summary accuracy = base.summary(&StudyRun::accuracy);
  const std::string name = "<strong>" + escape(base.name) + "</strong>";
  if (accuracy.n == 0) return "The baseline, " + name + ", has no complete run yet, so nothing can be compared. ";
  std::string text = study.arms.size() > 1 ? "The baseline, " + name + ", has" : name + " has";
  text += " an accuracy of " + percent(accuracy.mean);
  if (accuracy.n == 1) return text + fmt::format(" in {}. ", counted(1, "run", ""));
  return text + fmt::format(" (mean of {}, standard deviation {} points). ", counted(accuracy.n, "run", "runs"),
                            fixed(100 * accuracy.sd, 2));
}

std::string example_words(const StudyResults& study) {
  std::vector<double> totals, accuracies;
  for (const StudyArm& arm : study.arms) {
    for (const StudyRun* run : arm.complete_runs()) {
      totals.push_back(static_cast<double>(run->total));
      accuracies.push_back(run->accuracy());
    }
  }
  if (totals.empty()) return "";
  const auto [least, most] = range_of(totals);
  const std::string fewest = grouped(static_cast<int64_t>(least));
  if (least != most)
    return fmt::format("The runs were evaluated on different numbers of sentences ({} to {}). ", fewest,
                       grouped(static_cast<int64_t>(most)));
  const double accuracy = mean(accuracies);
  return fmt::format(
      "Each accuracy counts all {} dev sentences; one accuracy near {} has a standard error of {} points from the "
      "choice of those sentences alone. ",
      fewest, percent(accuracy, 1), fixed(100 * std::sqrt(accuracy * (1 - accuracy) / least), 2));
}

std::string by_holm(const StudyResults& study) {
  return fmt::format("after Holm’s correction for {} comparisons", study.comparisons.size());
}

// "+0.30 (-0.70 to +1.30)" of each arm of `cs`, which share a verdict, for people to look up.
std::string list_of_arms(const StudyResults& study, Verdict shared, const std::vector<const ArmComparison*>& cs) {
  const bool same_n =
      std::all_of(cs.begin(), cs.end(), [&](const ArmComparison* c) { return c->accuracy.n == cs[0]->accuracy.n; });
  const auto seeds = [](const ArmComparison* c) { return counted(c->accuracy.n, "seed", "seeds"); };
  const std::string arms = counted(std::ssize(cs), "arm", "arms"), corrected = by_holm(study),
                    over = same_n ? seeds(cs[0]) : "seeds";
  std::string html;
  if (shared == Verdict::shown)
    html = fmt::format("<strong>A {} accuracy is shown</strong> for {}, for new seeds on these dev sentences (p {})",
                       cs[0]->accuracy.mean > 0 ? "higher" : "lower", arms, corrected);
  else if (shared == Verdict::uncorrected_only)
    html = fmt::format(
        "<strong>No difference shown</strong> for {}, though their p is below {:g} by itself (in "
        "brackets: {})",
        arms, significance, corrected);
  else
    html = "<strong>No difference shown</strong> for " + arms;
  html += fmt::format("; mean difference from {} in points, in brackets its 95 % interval over {}",
                      escape(study.base().name), over);
  if (shared == Verdict::shown)
    html +=
        ", then that over seeds and sentences, which is not corrected: where it leaves out 0 as well, a difference for "
        "other sentences of the kind is a hint";
  html += ":<ul class=\"numbers\">";
  for (const ArmComparison* c : cs) {
    std::string range =
        verdict(*c) == Verdict::equal ? "the same with each seed" : difference_interval(c->accuracy.t_interval);
    if (shared == Verdict::shown && c->by_example) range += "; " + interval(c->two_level, 100, 2);
    if (!same_n) range += ", " + seeds(c);
    html += fmt::format("<li>{}: {} ({})", escape(study.arms[c->arm].name), points(c->accuracy.mean), range);
    if (shared == Verdict::shown) html += ", " + p_equals(c->adjusted_p);
    if (shared == Verdict::uncorrected_only)
      html += fmt::format(", {} ({})", p_equals(c->accuracy.p_value), p_value(c->adjusted_p));
    html += "</li>";
  }
  return html + "</ul>";
}

// The arms of `cs`, which share a verdict, together.
std::string together(const StudyResults& study, Verdict shared, const std::vector<const ArmComparison*>& cs) {
  std::vector<std::string> names;
  std::vector<double> means;
  for (const ArmComparison* c : cs) {
    means.push_back(c->accuracy.mean);
    names.push_back(escape(study.arms[c->arm].name));
  }
  const std::string arms = fmt::format("{} ({})", counted(std::ssize(names), "arm", "arms"), listed(names));
  const Interval95 of_means = range_of(means);
  const std::string range = fmt::format("from {} to {} points", points(of_means.low), points(of_means.high));
  switch (shared) {
    case Verdict::not_comparable:
      return fmt::format("<strong>Not compared</strong>: of {} no seed is complete in both the arm and {}.", arms,
                         escape(study.base().name));
    case Verdict::one_seed:
      return fmt::format(
          "<strong>One seed</strong> for {}: differences {}; how much of them is chance can’t be told from single "
          "pairs of runs.",
          arms, range);
    case Verdict::no_spread:
      return fmt::format(
          "<strong>The same difference with each seed</strong> for {}: {}; without a spread between seeds Student’s "
          "interval does not exist, the intervals over seeds and sentences are in the table below.",
          arms, range);
    default:
      return list_of_arms(study, shared, cs);
  }
}

std::vector<std::string> comparison_lines(const StudyResults& study) {
  std::vector<std::string> lines;
  if (study.comparisons.size() <= arms_in_words) {
    for (const ArmComparison& c : study.comparisons) lines.push_back(sentence(c, study));
    return lines;
  }
  const auto add = [&](Verdict shared, const auto& belongs) {
    std::vector<const ArmComparison*> cs;
    for (const ArmComparison& c : study.comparisons)
      if (belongs(c, verdict(c))) cs.push_back(&c);
    if (!cs.empty()) lines.push_back(cs.size() > 1 ? together(study, shared, cs) : sentence(*cs[0], study));
  };
  add(Verdict::shown, [](const ArmComparison& c, Verdict v) { return v == Verdict::shown && c.accuracy.mean > 0; });
  add(Verdict::shown, [](const ArmComparison& c, Verdict v) { return v == Verdict::shown && c.accuracy.mean <= 0; });
  const auto alone = [&](Verdict shared) { add(shared, [=](const ArmComparison&, Verdict v) { return v == shared; }); };
  alone(Verdict::uncorrected_only);
  add(Verdict::none_shown,
      [](const ArmComparison&, Verdict v) { return v == Verdict::none_shown || v == Verdict::equal; });
  alone(Verdict::no_spread);
  alone(Verdict::one_seed);
  alone(Verdict::not_comparable);
  return lines;
}

// "1.09 to 3.20 points", of the arms' detectable differences.
std::string detectable_words(const std::vector<double>& differences) {
  const auto [least, most] = range_of(differences);
  if (least > 1) return "more than any possible difference";
  const std::string low = fixed(100 * least, 2), high = fixed(100 * most, 2);
  if (most > 1) return low + " points to more than any possible difference, depending on the arm,";
  return (low == high ? high : low + " to " + high) + " points";
}

std::string power_words(const StudyResults& study) {
  std::vector<double> single, corrected;
  std::vector<int64_t> pairs;
  for (const ArmComparison& c : study.comparisons) {
    if (!(c.detectable > 0)) continue;
    single.push_back(c.detectable);
    corrected.push_back(c.detectable_corrected);
    pairs.push_back(c.accuracy.n);
  }
  if (single.empty()) return "";
  const auto [fewest, largest] = std::minmax_element(pairs.begin(), pairs.end());
  const std::string seeds = *fewest == *largest ? "" : fmt::format("{} to ", *fewest);
  std::string text = fmt::format(
      "With {}{} and the spread between them, the true difference that would be seen in 80 % of such studies is {} in "
      "one comparison at 5 %",
      seeds, counted(*largest, "seed", "seeds"), detectable_words(single));
  if (study.comparisons.size() > 1)
    text += fmt::format(", and {} at {}", detectable_words(corrected), holm_level(study));
  return text +
         ". A smaller one may well exist and not show: “no difference shown” does not say that the arms are equal.";
}

// "All runs choose", "The runs of a and b choose".
std::string subject(const StudyResults& study, const std::vector<std::string>& names, const char* verb) {
  if (names.size() == study.arms.size()) return fmt::format("All runs {}", verb);
  return fmt::format("The runs of {} {}", listed(names), verb);
}

bool chooses(const StudyRun& run) { return run.select_best && run.dev_losses.size() > 1; }

// Whether the dev sentences may have decided when it ended.
bool stops_on_dev(const StudyRun& run) {
  return run.patience > 0 && run.selection_part == 0 && run.dev_losses.size() > 1;
}

// How a sentence ends on arms whose accuracies are optimistic.
std::string optimistic(const std::vector<std::string>& names, const StudyResults& study) {
  const auto has_results = [](const StudyArm& arm) { return !arm.complete_runs().empty(); };
  return names.size() == arms_where(study, has_results).size() ? "." : ", and favours them over the other arms.";
}

// Arms whose runs end by their accuracy on the dev sentences, and arms whose runs ended at different steps.
std::vector<std::string> length_words(const StudyResults& study) {
  const auto on_dev = arms_where(study, [](const StudyArm& arm) { return arm.any_complete(stops_on_dev); });
  std::vector<std::string> lines;
  if (!on_dev.empty())
    lines.push_back(subject(study, on_dev, "end") +
                    " when their accuracy on the same dev sentences has not risen for some evaluations "
                    "(<code>--early-stopping-patience</code>): these sentences decide how long they train, which makes "
                    "these accuracies optimistic" +
                    optimistic(on_dev, study));
  if (const auto unequal = unequal_lengths(study); !unequal.empty())
    lines.push_back("Runs of one arm ended at different steps: " + listed(unequal) + ".");
  return lines;
}

// Runs that ended, but with a loss beyond anything that a model which learns has.
std::string blown_up_words(const StudyResults& study) {
  const double chance = loss_of_chance(study);
  std::vector<std::string> runs;
  for (const StudyArm& arm : study.arms)
    for (const StudyRun* run : arm.complete_runs())
      if (const double loss = std::fmax(run->loss, run->last_eval_loss); loss > blown_up * chance)
        runs.push_back(fmt::format("{}, seed {} ({})", escape(arm.name), run->seed, fixed(loss, 2)));
  if (runs.empty()) return "";
  return fmt::format(
      "<strong>Blown up</strong>, though every loss stayed finite: a final dev loss of more than {:g} times {}, that "
      "of even probabilities, in {}: {}. Their accuracies count in the means all the same.",
      blown_up, fixed(chance, 2), counted(std::ssize(runs), "run", "runs"), fmt::join(runs, "; "));
}

std::vector<std::string> selection_words(const StudyResults& study) {
  const auto chosen_on = [&](bool part, const StudyArm& arm) {
    return arm.any_complete([&](const StudyRun& run) { return chooses(run) && (run.selection_part > 0) == part; });
  };
  const auto on_dev = arms_where(study, [&](const StudyArm& arm) { return chosen_on(false, arm); });
  const auto on_part = arms_where(study, [&](const StudyArm& arm) { return chosen_on(true, arm); });
  std::vector<std::string> lines;
  if (!on_dev.empty())
    lines.push_back(subject(study, on_dev, "report") +
                    " the best of their evaluations on the same dev sentences (<code>--select best</code>), which "
                    "makes these accuracies optimistic" +
                    (on_part.empty() ? optimistic(on_dev, study) : ", and favours them over the other arms."));
  if (!on_part.empty())
    lines.push_back(subject(study, on_part, "report") +
                    " the evaluation that was best on sentences set aside from the training set "
                    "(<code>--selection-part</code>): the dev sentences took no part in that choice, and those set "
                    "aside were not trained on.");
  return lines;
}

// As crisp-train decides it.
bool on_sample(const OptionMap& options) {
  constexpr std::array other{"weights", "init", "data", "train"};
  return std::none_of(other.begin(), other.end(), [&](const char* name) { return options.contains(name); });
}

std::vector<std::string> cautions(const StudyResults& study) {
  std::vector<std::string> lines;
  const auto sample = arms_where(study, [&](const StudyArm& arm) { return on_sample(study.options_of(arm)); });
  if (!sample.empty())
    lines.push_back(
        "<strong>" + subject(study, sample, "are") +
        " on the bundled sample</strong>, a small model and made-up film reviews, because no weights and no "
        "data are named: good for trying the program, and no evidence about a real model or data set.");
  if (study.arms.size() == 1) lines.push_back("There is only one arm, so there is nothing to compare it with.");
  if (const std::string power = power_words(study); !power.empty()) lines.push_back(power);
  size_t pairs = 0;
  for (const ArmComparison& c : study.comparisons) pairs = std::max(pairs, c.seeds.size());
  if (pairs > 1 && pairs < 5)
    lines.push_back(
        fmt::format("{} are few: the spread between them is itself known only roughly, and the intervals "
                    "rest on differences being about normal.",
                    counted(static_cast<int64_t>(pairs), "paired seed", "paired seeds")));
  if (const int64_t lost = study.lost(); lost > 0)
    lines.push_back(
        fmt::format("{} without a result: means and intervals are those of the runs that ended, and an arm "
                    "whose runs diverge is not as good as its other runs look.",
                    counted(lost, "run ended", "runs ended")));
  if (!study.comparisons.empty())
    lines.push_back(
        "All of this holds for these weights, this data set and these settings; seeds and sentences are "
        "the only sources of chance that the intervals count.");
  for (const std::string& line : {blown_up_words(study), confounded(study)})
    if (!line.empty()) lines.push_back(line);
  for (const auto& list : {selection_words(study), length_words(study)})
    lines.insert(lines.end(), list.begin(), list.end());
  for (const std::string& note : study.notes) lines.push_back(escape(note));
  return lines;
}

}  // namespace

Verdict verdict(const ArmComparison& c) {
  const PairedComparison& a = c.accuracy;
  if (a.n == 0) return Verdict::not_comparable;
  if (a.n == 1) return Verdict::one_seed;
  if (std::isnan(a.p_value)) return Verdict::no_spread;
  if (a.sd == 0) return Verdict::equal;
  if (a.p_value >= significance) return Verdict::none_shown;
  return c.adjusted_p < significance ? Verdict::shown : Verdict::uncorrected_only;
}

std::string sentence(const ArmComparison& c, const StudyResults& study) {
  const PairedComparison& a = c.accuracy;
  const std::string names =
      fmt::format("<strong>{}</strong> minus {}: ", escape(study.arms[c.arm].name), escape(study.base().name));
  const std::string size = points(a.mean) + " points";
  const auto comparisons = static_cast<int64_t>(study.comparisons.size());
  const std::string both = interval(c.two_level, 100, 2);
  const std::string over_both = c.by_example ? "; the 95 % interval over seeds and sentences is " + both : "";
  const std::string estimate = fmt::format("{}{}, 95 % interval {} over {}: ", names, size,
                                           difference_interval(a.t_interval), counted(a.n, "seed", "seeds"));
  switch (verdict(c)) {
    case Verdict::not_comparable:
      return names + "no seed is complete in both, so they can’t be compared.";
    case Verdict::one_seed:
      return names + size + " with one seed: how much of it is chance can’t be told from a single pair of runs.";
    case Verdict::equal:
      return fmt::format("{}the same accuracy with each of {}{}.", names, counted(a.n, "seed", "seeds"), over_both);
    case Verdict::no_spread:
      return fmt::format("{}{} with each of {}; without a spread between seeds Student’s interval does not exist{}.",
                         names, size, counted(a.n, "seed", "seeds"), over_both);
    case Verdict::none_shown:
      return estimate + "no difference shown.";
    case Verdict::uncorrected_only:
      return fmt::format("{}{} by itself, but {} {}: no difference shown.", estimate, p_equals(a.p_value),
                         p_value(c.adjusted_p), by_holm(study));
    case Verdict::shown:
      break;
  }
  std::string text = fmt::format("{}<strong>a {} accuracy is shown</strong> for new seeds on these dev sentences ({}",
                                 estimate, a.mean > 0 ? "higher" : "lower", p_equals(c.adjusted_p));
  text += comparisons > 1 ? " " + by_holm(study) + ")" : ")";
  if (!c.by_example) return text + ".";
  const bool new_sentences = c.two_level.low > 0 || c.two_level.high < 0;
  if (!new_sentences || comparisons == 1)
    return fmt::format("{}; {}, the interval over seeds and sentences being {}.", text,
                       new_sentences ? "it holds for other sentences of the kind, too"
                                     : "for other sentences of the kind it is not shown",
                       both);
  return fmt::format(
      "{}; the 95 % interval over seeds and sentences, {}, leaves out 0 as well, but is not corrected for the {} "
      "comparisons, so for other sentences of the kind it is a hint.",
      text, both, comparisons);
}

std::string summary(const StudyResults& study) {
  std::string html = "<section class=\"summary\" id=\"summary\">\n<h2>Summary</h2>\n";
  html += paragraph(run_counts(study) + baseline_words(study) + example_words(study));
  html += bullets(comparison_lines(study));
  if (const auto lines = cautions(study); !lines.empty()) html += "<h3>What this can’t show</h3>\n" + bullets(lines);
  return html + "</section>\n";
}

}  // namespace crisp::report
