// Our DistilBERT against transformers' on the same weights: logits, loss and every gradient.
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace crisp;
using namespace crisp::test;

TEST_CASE("logits, loss and gradients are those of transformers' DistilBERT") {
  for (const auto& [fixture, run] : golden_runs) {
    const Golden golden(fixture);
    const DistilBert model = golden.model(run);
    const bool f32 = model.dtype() == DType::f32;
    const double tolerance = f32 ? 1e-5 : 1e-12;
    const std::string prefix = std::string(run) + ".";

    Tape tape;
    const Tensor logits = model.forward(tape, golden.batch(), {.training = true});
    const Tensor loss = cross_entropy(tape, logits, golden.labels());
    tape.backward(loss);

    INFO(fixture << ", run " << run);
    CHECK(relative_l2(logits.to_vector(), golden.values(prefix + "logits")) <= tolerance);
    CHECK(relative_l2({loss.item()}, golden.values(prefix + "loss")) <= tolerance);
    for (const Parameter& p : model.parameters()) {
      INFO(p.name);
      REQUIRE(p.tensor.grad());
      const std::vector<double> ours = golden.stored_part(p.tensor.grad());
      const std::vector<double> theirs = golden.values(prefix + "grad." + p.name);
      if (is_key_bias(p.name)) {
        CHECK(largest_difference(ours, std::vector<double>(ours.size(), 0.0)) <= (f32 ? 1e-6 : 1e-15));
      } else {
        CHECK(relative_l2(ours, theirs) <= tolerance);
      }
    }
  }
}

TEST_CASE("inference computes the bits of training without dropout") {
  const Golden golden("ragged");
  const DistilBert model = golden.model("f32");
  Tape recording, inference(Tape::Mode::inference);
  const Tensor a = model.forward(recording, golden.batch(), {.training = true});
  const Tensor b = model.forward(inference, golden.batch(), {});
  CHECK(a.to_vector() == b.to_vector());
  CHECK(inference.nodes().empty());
}
