// crisp-bench: kernels, operations and whole steps, beside what the machine can do at best.
#include "tools/bench/commands.h"

int main(int argc, char** argv) {
  using namespace crisp::bench;
  return crisp::run_commands("Measures this machine's ceilings, the kernels beside them, and whole training steps.",
                             "crisp-bench", argc, argv,
                             {add_machine, add_gemm, add_ops, add_attention, add_adamw, add_step, add_threads});
}
