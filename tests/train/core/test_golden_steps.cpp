// Three clipped AdamW steps against torch.optim.AdamW and clip_grad_norm_ on the same weights and batch.
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "train/core/optimizer.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("losses, gradient norms and parameters after three AdamW steps are PyTorch's") {
  for (const auto& [fixture, run] : golden_runs) {
    INFO(fixture << ", run " << run);
    const Golden golden(fixture);
    const DistilBert model = golden.model(run);
    const bool f32 = model.dtype() == DType::f32;
    const std::string prefix = std::string(run) + ".";
    const double learning_rate = golden.number("lr");
    AdamW optimizer(model.parameters(), {golden.number("beta1"), golden.number("beta2"), golden.number("eps"),
                                         golden.number("weight_decay")});

    std::vector<double> losses, norms;
    Tape tape;
    for (int64_t step = 0; step < golden.size("steps"); ++step) {
      tape.clear();
      const Tensor logits = model.forward(tape, golden.batch(), {.training = true});
      const Tensor loss = cross_entropy(tape, logits, golden.labels());
      tape.backward(loss);
      losses.push_back(loss.item());
      norms.push_back(optimizer.step(learning_rate, golden.number("clip")).norm);
    }

    const double tolerance = f32 ? 1e-6 : 1e-12;
    const std::vector<double> expected_losses = golden.values(prefix + "losses");
    const std::vector<double> expected_norms = golden.values(prefix + "grad_norms");
    REQUIRE(losses.size() == expected_losses.size());
    for (size_t i = 0; i < losses.size(); ++i) {
      CHECK(relative_l2({losses[i]}, {expected_losses[i]}) <= (f32 ? 1e-5 : 1e-12));
      CHECK(relative_l2({norms[i]}, {expected_norms[i]}) <= (f32 ? 1e-5 : 1e-12));
    }
    // "tiny" is there for the branch without clipping, the others for the one with it.
    CHECK((norms[0] > golden.number("clip")) == (std::string(fixture) != "tiny"));

    for (const Parameter& p : model.parameters()) {
      INFO(p.name);
      const std::vector<double> ours = golden.stored_part(p.tensor);
      const std::vector<double> theirs = golden.values(prefix + "after." + p.name);
      if (is_key_bias(p.name)) {
        // Adam divides the rounding noise of a zero gradient by its own size: in f32 a step may be as long as any
        // other, in any direction.
        if (f32)
          CHECK(largest_difference(ours, golden.values(p.name)) <= 1.001 * learning_rate * golden.number("steps"));
        else
          CHECK(largest_difference(ours, theirs) <= 1e-10);
      } else {
        CHECK(relative_l2(ours, theirs) <= tolerance);
      }
    }
  }
}
