// crisp-bench: kernels, operations and whole steps, beside what the machine can do at best.
#include "tools/bench/commands.h"

int main(int argc, char** argv) {
  using namespace crisp;
  CLI::App app("Measures this machine's ceilings, the kernels beside them, and whole training steps.", "crisp-bench");
  set_help_style(app);
  app.require_subcommand(1);
  std::vector<bench::Command> commands;
  for (const auto add : {bench::add_machine, bench::add_gemm, bench::add_ops, bench::add_attention, bench::add_adamw,
                         bench::add_step, bench::add_threads}) {
    commands.push_back(add(app));
    set_help_style(*commands.back().app);
  }
  return run_program(app, argc, argv, [&] {
    for (const bench::Command& command : commands)
      if (command.app->parsed()) return command.run();
    return 2;  // never reached: one subcommand is required
  });
}
