// How the accesses of every kernel fit the hardware. Of a line's requests (what the lanes of a warp ask for at once)
// the sectors of device memory that they touch, all in all, are at most 1.25 times those that would hold the same
// bytes: neighbours that begin within a sector are 5 where 4 would do. A request to shared memory takes 2 ways at most,
// or as many as its words need.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>

#include "engine/context.h"
#include "tests/engine/cuda/device.h"
#include "tests/engine/cuda/fit_cases.h"
#include "tests/engine/helpers.h"

using namespace crisp;
using namespace crisp::test;
using emulator::Fit;

namespace {

constexpr double most_sectors = 1.25;
constexpr uint64_t most_ways = 2;

// A line that takes more, and how much of what it exceeds.
struct Exception {
  std::string file, text;  // part of the one line in it that has it
  double most;
  std::string reason;
};

const std::string kept_keys = "only the lanes of kept keys have an access, where rows are too long for shared memory",
                  searched = "a search in a list of keys";
const std::vector<Exception> exceptions{
    {"adamw.cu", "* static_cast<double>(*numbers.at[i]);", 8, "each number lies in an array of its own"},
    {"reduce.cu", "* inner + cell.col] += dy[e];", 8, "one element of each row: where its maximum is"},
    {"reduce.cu", "? dy[maximum] : T(0);", 2.5, "dy is read by the lanes of maxima, few of a warp"},
    {"backward.cu", "sum += row.g[j] * part;", 5.5, kept_keys},
    {"backward.cu", "row.g[j] = formulas::normaliser_gradient(", 5.5, kept_keys},
    {"backward.cu", "{ left[rows.offset(r, b.n_k) + j] =", 5.5, kept_keys},
    {"backward.cu", "? absent<T>() : present(row_of(r)[j]);", 3.5, kept_keys},
    {"normalisers.cuh", "row.x[j] = e;", 5.5, kept_keys},
    {"selection.cuh", "if (!stays) x[j] = absent<T>();", 1.5,
     "only the lanes of keys that are not kept have an access"},
    {"selection.cuh", "= keys[from + half] < j;", 1.5, searched},
    {"selection.cuh", "return keys[from] == j;", 1.5, searched},
};

// By their names without folders.
using Sources = std::map<std::string, std::vector<std::string>>;
Sources sources() {
  Sources all;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(CRISP_SOURCE_DIR "/engine/cuda")) {
    const auto extension = entry.path().extension();
    if (extension != ".cu" && extension != ".cuh") continue;
    std::ifstream file(entry.path());
    auto& lines = all[entry.path().filename().string()];
    for (std::string line; std::getline(file, line);) lines.push_back(line);
  }
  return all;
}

// "file:12", or what is wrong with the exception.
std::string place_of(const Exception& e, const Sources& all, std::vector<std::string>& problems) {
  std::vector<size_t> found;
  if (const auto file = all.find(e.file); file != all.end())
    for (size_t i = 0; i < file->second.size(); ++i)
      if (file->second[i].find(e.text) != std::string::npos) found.push_back(i + 1);
  if (found.size() == 1) return fmt::format("{}:{}", e.file, found[0]);
  problems.push_back(fmt::format("{} lines of {} have \"{}\", an exception's", found.size(), e.file, e.text));
  return "";
}

// "a.cuh:3 in b.cu:4" is both.
bool is_at(const Fit& f, const std::string& place) {
  return !place.empty() && (" " + f.place + " ").find(" " + place + " ") != std::string::npos;
}

// What is too much, for words of an exception: sectors to the least, or ways.
double excess(const Fit& f) {
  if (f.is_shared) return f.ways > std::max(most_ways, f.least_ways) ? static_cast<double>(f.ways) : 0;
  const double ratio = static_cast<double>(f.sectors) / static_cast<double>(f.least_sectors);
  return ratio > most_sectors ? ratio : 0;
}

std::string text_of(const Fit& f, const std::string& kernel) {
  const std::string what = f.is_shared
                               ? fmt::format("{} ways in a request to shared memory, {} would do", f.ways, f.least_ways)
                               : fmt::format("{} sectors of device memory in {} requests, {:.2f} times the least, {}",
                                             f.sectors, f.requests, excess(f), f.least_sectors);
  return fmt::format("{}: {}, in {}", f.place, what, kernel);
}

using KernelNames = std::map<const void*, std::string>;  // names by address

// Of fits, of exceptions, and of kernels that none of the fits is of.
std::vector<std::string> problems_of(const std::vector<Fit>& fits, const std::vector<Exception>& allowed,
                                     const Sources& all, const KernelNames& kernels) {
  std::vector<std::string> problems;
  std::vector<std::string> places;
  for (const Exception& e : allowed) places.push_back(place_of(e, all, problems));
  std::set<size_t> needed;
  std::set<const void*> seen;
  for (const Fit& f : fits) {
    const auto kernel = kernels.find(f.kernel);
    const std::string name = kernel != kernels.end() ? kernel->second : "a kernel that is none of the sources'";
    if (kernel == kernels.end()) problems.push_back(fmt::format("{} belongs to {}", f.place, name));
    seen.insert(f.kernel);
    const double much = excess(f);
    if (much == 0) continue;
    bool is_allowed = false;
    for (size_t i = 0; i < allowed.size(); ++i) {
      if (!is_at(f, places[i])) continue;
      needed.insert(i);
      is_allowed |= much <= allowed[i].most;
    }
    if (!is_allowed) problems.push_back(text_of(f, name));
  }
  for (size_t i = 0; i < allowed.size(); ++i)
    if (!places[i].empty() && !needed.contains(i))
      problems.push_back(fmt::format("{}, \"{}\", needs no exception", places[i], allowed[i].text));
  for (const auto& [address, name] : kernels)
    if (!seen.contains(address)) problems.push_back(fmt::format("no case of fit_cases.cpp runs {}", name));
  return problems;
}

// All kernels of the program, in each of the types that they are made for.
KernelNames kernels_of(const Sources& all) {
  static const std::regex kernel(R"(__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\()"), any("__global__"),
      space(R"(\s+)"), scopes(R"(crisp::|cuda_emulated::|formulas::|\(anonymous namespace\)::)");
  std::set<std::string> names;
  for (const auto& [file, lines] : all) {
    std::string text;
    for (const std::string& line : lines) text += line.substr(0, line.find("//")) + " ";
    text = std::regex_replace(text, space, " ");
    const auto find = [&text](const std::regex& what) { return std::sregex_iterator(text.begin(), text.end(), what); };
    const std::sregex_iterator end;
    for (auto i = find(kernel); i != end; ++i) names.insert((*i)[1]);
    INFO("kernels that this test does not understand in " << file);
    CHECK(std::distance(find(kernel), end) == std::distance(find(any), end));
  }
  KernelNames kernels;
  std::set<std::string> made;
  // A build with nvcc has functions of the same names, which launch the real ones.
  for (const auto& [address, name] : emulator::functions_named(names, "cuda_emulated")) {
    kernels[address] = std::regex_replace(name, scopes, "");
    made.insert(name.substr(0, name.find_first_of("<(")));
  }
  INFO("by nm and addr2line (binutils)");
  CHECK(made == names);
  return kernels;
}

}  // namespace

TEST_CASE("every kernel's accesses fit the hardware, but for a list of exceptions") {
  emulator::settings().hide_from_host = false;  // to hide it would take most of the time
  emulator::settings().count_fits = true;
  {
    const Context::Use use(Context::standard());
    run_every_kernel<float>();
    run_every_kernel<double>();
  }
  const auto fits = emulator::take_fits();
  const Sources all = sources();
  for (const std::string& problem : problems_of(fits, exceptions, all, kernels_of(all))) FAIL_CHECK(problem);
}

TEST_CASE("what does not fit, and exceptions that are not needed, are told") {
  const Sources all{{"a.cu", {"x = y;", "z = x;", "z = y;"}}};
  const int one = 0, two = 0, other = 0;
  const KernelNames kernels{{&one, "first<float>"}, {&two, "second"}};
  const Fit neighbours{"h.cuh:7 in a.cu:1", &one, false, 2, 10, 8, 0, 0}, wide{"a.cu:1", &two, true, 1, 0, 0, 4, 4};
  const Fit apart{"h.cuh:7 in a.cu:2 in a.cu:3", &one, false, 2, 11, 8, 0, 0},
      banks{"a.cu:12", &two, true, 1, 0, 0, 3, 2};
  using Texts = std::vector<std::string>;
  CHECK(problems_of({neighbours, wide}, {}, all, kernels).empty());
  CHECK(problems_of({apart, banks}, {}, all, kernels) ==
        Texts{"h.cuh:7 in a.cu:2 in a.cu:3: 11 sectors of device memory in 2 requests, 1.38 times the least, 8, in "
              "first<float>",
              "a.cu:12: 3 ways in a request to shared memory, 2 would do, in second"});
  CHECK(problems_of({apart, wide}, {{"a.cu", "z = x", 1.4, ""}}, all, kernels).empty());
  CHECK(problems_of({apart, wide}, {{"a.cu", "z = x", 1.3, ""}}, all, kernels).size() == 1);
  CHECK(problems_of({neighbours, wide}, {{"a.cu", "x = y", 8, ""}}, all, kernels) ==
        Texts{"a.cu:1, \"x = y\", needs no exception"});
  CHECK(problems_of({neighbours, wide}, {{"a.cu", "z =", 8, ""}, {"b.cu", "z", 8, ""}}, all, kernels) ==
        Texts{"2 lines of a.cu have \"z =\", an exception's", "0 lines of b.cu have \"z\", an exception's"});
  CHECK(problems_of({neighbours}, {}, all, kernels) == Texts{"no case of fit_cases.cpp runs second"});
  CHECK(problems_of({neighbours, wide, {"a.cu:3", &other, false, 1, 1, 1, 0, 0}}, {}, all, kernels) ==
        Texts{"a.cu:3 belongs to a kernel that is none of the sources'"});
}
