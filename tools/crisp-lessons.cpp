// crisp-lessons: the exercises of the course, and their grader.
#include "tools/lessons/grader/commands.h"

int main(int argc, char** argv) {
  using namespace crisp::lessons;
  const std::string started_as = argc > 0 ? argv[0] : "crisp-lessons";
  std::vector<std::function<crisp::Command(CLI::App&)>> adders;
  for (const auto add : {add_list, add_next, add_start, add_check, add_hint})
    adders.emplace_back([=](CLI::App& program) { return add(program, started_as); });
  return crisp::run_commands("Exercises in writing gradients, and what your answers are compared with.",
                             "crisp-lessons", argc, argv, adders);
}
