#include "tests/train/durable/durable_scenarios.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/train/support.h"
#include "train/durable/append_file.h"
#include "train/durable/checkpoint_store.h"
#include "train/durable/metrics.h"
#include "train/durable/output_directory.h"
#include "train/durable/tensorboard.h"
#include "weights/published.h"

namespace crisp::test {
namespace {

namespace fs = std::filesystem;
using Reach = std::function<void(int)>;

const std::vector<std::string> run_files{"model.safetensors", "config.json", "all_results.json", "metrics.jsonl"};

std::string read_or(const std::string& path, const std::string& otherwise) {
  return fs::exists(path) ? read_file(path) : otherwise;
}

void write_later(const std::string& path, const std::string& text) {
  write_file_atomically(path, text, Flush::by_caller);
}

auto checkpoint_of(const std::string& content) {
  return [content](const std::string& directory) {
    write_later(directory + "/model.safetensors", content);
    write_later(directory + "/state", content + content);
  };
}

std::string damage_in(const CheckpointStore& store) {
  for (const Checkpoint& checkpoint : store.list())
    if (const std::string damage = checkpoint_damage(checkpoint); !damage.empty())
      return checkpoint.path + ": " + damage;
  return "";
}

// --- A file that is replaced.
void replace_file(const std::string& root, const Reach& reach) {
  for (int i = 1; i <= 2; ++i) {
    write_file_atomically(root + "/file", std::to_string(i));
    reach(i);
  }
}

std::string file_complaint(const std::string& root, int reached, bool) {
  const std::string text = read_or(root + "/file", "0");
  return text == std::to_string(reached) || text == std::to_string(reached + 1) ? "" : "the file holds '" + text + "'";
}

// --- Checkpoints: each is the newest, the first is also the best; the last replaces one of its step.
void save_checkpoints(const std::string& root, const Reach& reach) {
  CheckpointStore store(root);
  for (int step = 1; step <= 3; ++step) {
    store.save(step, checkpoint_of(std::to_string(step)));
    reach(step);
    store.prune(1, {1});
  }
  store.save(3, checkpoint_of("4"));
  reach(4);
}

std::string checkpoints_complaint(const std::string& root, int reached, bool) {
  const CheckpointStore store(root);
  if (std::string damage = damage_in(store); !damage.empty()) return damage;
  const std::optional<Checkpoint> newest = store.newest_valid();
  if (!newest) return reached == 0 ? "" : "no checkpoint";
  const std::string content = read_file(newest->path + "/model.safetensors");
  if (content < std::to_string(reached)) return "the newest checkpoint is " + content;
  if (reached > 0 && !fs::exists(root + "/checkpoint-1")) return "the best checkpoint is gone";
  for (const std::string& name : names_in(root))
    if (name.starts_with('.')) return name + " was left";
  return "";
}

// --- A run: it logs, saves and publishes, twice.
void publish(OutputDirectory& output, const std::string& generation) {
  output.publish([&](const std::string& directory) {
    for (const char* name : {"model.safetensors", "config.json", "all_results.json"})
      write_later(directory + "/" + name, generation);
  });
}

// `first`: of the generations that are published, in number 2. Those of a new run come after those of the former.
void train(const std::string& path, bool overwrite, int first, const Reach& reach) {
  OutputDirectory output(path, run_files, false, overwrite);
  MetricsLog metrics(output.file("metrics.jsonl"));
  TensorBoardWriter events(output.path());
  for (int i = 0; i < 2; ++i) {
    const int generation = first + i;
    metrics.write(nlohmann::ordered_json{{"step", generation}});
    events.scalar("loss", 1, generation);
    metrics.sync();
    events.sync();
    CheckpointStore store(output.path());
    store.save(generation, [&](const std::string& directory) {
      checkpoint_of(std::to_string(generation))(directory);
      write_later(directory + "/logs", fmt::format("{} {}", metrics.bytes(), events.bytes()));
    });
    store.prune(1);
    reach(2 * i + 1);
    publish(output, std::to_string(generation));
    reach(2 * i + 2);
  }
}

// Of the files that belong together; "mixed" when they do not; "" where there is no model.
std::string generation_in(const std::string& directory) {
  const std::string model = read_or(directory + "/model.safetensors", "");
  if (model.empty()) return "";
  for (const char* name : {"config.json", "all_results.json"})
    if (read_or(directory + "/" + name, "absent") != model) return "mixed";
  return model;
}

std::string checkpoint_and_logs_complaint(const std::string& path, int least) {
  const CheckpointStore store(path);
  if (std::string damage = damage_in(store); !damage.empty()) return damage;
  const std::optional<Checkpoint> newest = store.newest_valid();
  if (!newest) return least == 0 ? "" : "no checkpoint";
  if (newest->step < least) return fmt::format("the newest checkpoint is {}", newest->step);
  if (read_file(newest->path + "/model.safetensors") != std::to_string(newest->step)) return "another checkpoint";
  size_t metrics = 0, events = 0, events_there = 0;
  if (std::sscanf(read_file(newest->path + "/logs").c_str(), "%zu %zu", &metrics, &events) != 2) return "no lengths";
  for (const std::string& name : names_in(path))
    if (is_event_file_name(name)) events_there = std::max<size_t>(events_there, fs::file_size(path + "/" + name));
  if (read_or(path + "/metrics.jsonl", "").size() < metrics) return "lines of metrics.jsonl are lost";
  if (read_file(path + "/metrics.jsonl").find(fmt::format("{{\"step\":{}}}", newest->step)) == std::string::npos)
    return "metrics.jsonl is another run's";
  return events_there < events ? "events are lost" : "";
}

// `first` as in train(); what was there before, if anything, is first - 1.
std::string run_complaint(const std::string& path, int first, int reached, bool killed) {
  const int published = first - 1 + reached / 2, saved = reached > 0 ? first + (reached - 1) / 2 : 0;
  const auto is_good = [&](const std::string& generation) {
    if (generation.empty()) return published == 0;
    return generation != "mixed" && std::stoi(generation) >= published;
  };
  const std::string seen = generation_in(published_directory(path));
  if (!is_good(seen)) return fmt::format("readers find '{}', not {} or later", seen, published);
  if (killed && generation_in(path) == "mixed") return "a mixture at the top";

  const OutputDirectory output(path, run_files, true, false);  // throws where it would refuse
  const CheckpointStore store(output.path());
  const std::string top = generation_in(path);
  if (top != seen) return fmt::format("'{}' at the top, where readers found '{}'", top, seen);
  const bool new_is_published = !seen.empty() && std::stoi(seen) >= first;
  if (first > 1 && !new_is_published) {
    if (std::string bad = checkpoint_and_logs_complaint(path, first - 1); !bad.empty()) return "former run: " + bad;
    if (saved > 0 && !output.replaces_run()) return "the new run is not found";
  }
  if (saved > 0 || new_is_published) {
    if (!output.holds_run()) return "no run is found";
    if (std::string bad = checkpoint_and_logs_complaint(output.path(), saved); !bad.empty()) return bad;
  }
  for (const std::string& name : names_in(path))
    if (name.starts_with('.') && name != ".crisp.lock" && name != OutputDirectory::new_run_name)
      return name + " was left";
  return "";
}

}  // namespace

const std::vector<Scenario>& durable_scenarios() {
  static const std::vector<Scenario> all{
      {"a file that is replaced", [](const std::string&) {}, replace_file, file_complaint},
      {"checkpoints", [](const std::string&) {}, save_checkpoints, checkpoints_complaint},
      {"a run", [](const std::string&) {},
       [](const std::string& root, const Reach& reach) { train(root + "/a/b", false, 1, reach); },
       [](const std::string& root, int reached, bool killed) {
         return run_complaint(root + "/a/b", 1, reached, killed);
       }},
      {"a run in place of another", [](const std::string& root) { train(root + "/out", false, 1, [](int) {}); },
       [](const std::string& root, const Reach& reach) { train(root + "/out", true, 3, reach); },
       [](const std::string& root, int reached, bool killed) {
         return run_complaint(root + "/out", 3, reached, killed);
       }}};
  return all;
}

}  // namespace crisp::test
