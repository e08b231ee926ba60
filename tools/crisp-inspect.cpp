// crisp-inspect: looks into models, files and single steps, and proves gradients.
#include "tools/inspect/commands.h"

int main(int argc, char** argv) {
  using namespace crisp::inspect;
  return crisp::run_commands("Looks into models, files and single steps, and proves gradients.", "crisp-inspect", argc,
                             argv,
                             {add_attention, add_check, add_diff, add_grad, add_graph, add_memory, add_nan, add_step,
                              add_tokens, add_weights});
}
