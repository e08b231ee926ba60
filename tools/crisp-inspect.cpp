// crisp-inspect: looks into models, files and single steps, and proves gradients.
#include "tools/inspect/commands.h"

int main(int argc, char** argv) {
  using namespace crisp;
  CLI::App app("Looks into models, files and single steps, and proves gradients.", "crisp-inspect");
  set_help_style(app);
  app.require_subcommand(1);
  std::vector<inspect::Command> commands;
  for (const auto add :
       {inspect::add_attention, inspect::add_check, inspect::add_diff, inspect::add_grad, inspect::add_graph,
        inspect::add_memory, inspect::add_nan, inspect::add_step, inspect::add_tokens, inspect::add_weights}) {
    commands.push_back(add(app));
    set_help_style(*commands.back().app);
  }
  return run_program(app, argc, argv, [&] {
    for (const inspect::Command& command : commands)
      if (command.app->parsed()) return command.run();
    return 2;  // never reached: one subcommand is required
  });
}
