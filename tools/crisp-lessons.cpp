// crisp-lessons: the exercises of the course, and their grader.
#include "tools/lessons/grader/commands.h"

int main(int argc, char** argv) {
  using namespace crisp;
  CLI::App app("Exercises in writing gradients, and what your answers are compared with.", "crisp-lessons");
  set_help_style(app);
  app.require_subcommand(1);
  std::vector<lessons::Command> commands;
  for (const auto add :
       {lessons::add_list, lessons::add_next, lessons::add_start, lessons::add_check, lessons::add_hint}) {
    commands.push_back(add(app, argc > 0 ? argv[0] : "crisp-lessons"));
    set_help_style(*commands.back().app);
  }
  return run_program(app, argc, argv, [&] {
    for (const lessons::Command& command : commands)
      if (command.app->parsed()) return command.run();
    return 2;  // never reached: one subcommand is required
  });
}
