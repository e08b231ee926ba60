// The course (tools/lessons): its programs print what its README shows, and are what it says that they are.
#include <filesystem>
#include <set>

#include "engine/cpu/backend.h"
#include "tests/tools/programs.h"

using namespace crisp;
using namespace crisp::test;

namespace {

const std::string folder = CRISP_SOURCE_DIR "/tools/lessons/";

// "1_chain", .., in order.
std::vector<std::string> lessons() {
  std::vector<std::string> names;
  for (const std::string& name : names_in(folder))
    if (name.ends_with(".cpp")) names.push_back(name.substr(0, name.size() - 4));
  return names;
}

// What the README shows of a program: from the line after "$ ./build/lessons/NAME" to the end of that block.
std::string shown(const std::string& lesson) {
  const std::string readme = read_file(folder + "README.md"),
                    command = "```console\n$ ./build/lessons/" + lesson + "\n";
  const size_t at = readme.find(command);
  if (at == std::string::npos) return "";
  const size_t begin = at + command.size();
  return readme.substr(begin, readme.find("```", begin) - begin);
}

// Those that this machine has.
Words instruction_sets() {
  const Words all{"generic", "avx2", "avx512"};
  return {all.begin(), std::find(all.begin(), all.end(), cpu_instruction_set()) + 1};
}

}  // namespace

TEST_CASE("The lessons print what their README shows, with every instruction set") {
  REQUIRE(lessons().size() == 8);
  for (const std::string& lesson : lessons())
    for (const std::string& isa : instruction_sets()) {
      CAPTURE(lesson, isa);
      const Outcome outcome = run({CRISP_LESSONS "/" + lesson}, {.environment = {"CRISP_ISA=" + isa}});
      CHECK(outcome.exit_code == 0);
      CHECK(outcome.err.empty());
      CHECK(outcome.out == shown(lesson));
    }
}

TEST_CASE("Lesson 8 prints the same with more threads and says what it cannot read") {
  const std::string program = CRISP_LESSONS "/8_fine_tuning";
  CHECK(run({program}, {.environment = {"OMP_NUM_THREADS=3"}}).out == shown("8_fine_tuning"));
  const Outcome elsewhere = run({program, "/nowhere"});
  CHECK(elsewhere.exit_code == 1);
  CHECK(elsewhere.err.starts_with("8_fine_tuning: "));
  CHECK(contains(elsewhere.err, "/nowhere/weights/sample"));
}

TEST_CASE("A lesson is under 100 lines, of public headers, and belongs to the README") {
  const std::string readme = read_file(folder + "README.md");
  for (const std::string& lesson : lessons()) {
    CAPTURE(lesson);
    CHECK(contains(readme, "\n## " + lesson.substr(0, 1) + ". "));
    CHECK(contains(readme, "](" + lesson + ".cpp)"));
    const std::vector<std::string> lines = lines_of(read_file(folder + lesson + ".cpp"));
    CHECK(lines.size() < 100);
    for (const std::string& line : lines) {
      if (!line.starts_with("#include \"")) continue;
      CAPTURE(line);
      const std::string header = line.substr(10, line.size() - 11);
      CHECK(std::filesystem::exists(CRISP_SOURCE_DIR "/" + header));
      // One level deep: what lies deeper is for the engine itself.
      CHECK(std::count(header.begin(), header.end(), '/') == (header.starts_with("train/") ? 2 : 1));
      CHECK(std::set<std::string>{"data", "engine", "model", "train"}.count(header.substr(0, header.find('/'))) == 1);
    }
  }
}

TEST_CASE("The course's README links to files that are there") {
  const std::string readme = read_file(folder + "README.md");
  int links = 0;
  for (size_t at = readme.find("]("); at != std::string::npos; at = readme.find("](", at + 1)) {
    const size_t begin = at + 2;
    const std::string link = readme.substr(begin, readme.find(')', begin) - begin);
    // In "[](const Tensor& da)", the code of an experiment, there is a blank.
    if (contains(link, " ")) continue;
    CAPTURE(link);
    CHECK(std::filesystem::exists(folder + link.substr(0, link.find('#'))));
    ++links;
  }
  CHECK(links > 20);
}
