// A warmed-up training step asks the system for no memory. The global operator new of this program keeps count.
#include "engine/cpu/memory/allocator.h"
#include "tests/support/catch.h"
#include "tests/support/counting_new.h"
#include "tests/train/small_run.h"

using namespace crisp;
using namespace crisp::test;

// Workspaces are reserved for all threads at once, so the count does not hang on which thread gets which work.
TEST_CASE("a warmed-up training step takes no memory from the system") {
  const Context context({.threads = GENERATE(1, 2, 4)});
  // One length, so that every step needs blocks of the same sizes.
  const TokenizedDataset data = small_data(32, 9, 9);
  DistilBert model = small_run_model(small_run_config());
  TrainerOptions options;
  options.batch_size = 4;
  options.epochs = 3;
  Trainer trainer(model, data, options, context);
  StepReport report;
  const int64_t batches = trainer.steps_per_epoch();
  for (int64_t i = 0; i < batches; ++i) trainer.micro_step(report);

  const int64_t system = allocator_stats().system_allocations, in_use = allocator_stats().bytes_in_use;
  for (int64_t i = 0; i < batches; ++i) {
    const int64_t before = new_counts.calls;
    trainer.micro_step(report);
    const int64_t made = new_counts.calls - before;
    INFO("step " << i << " of the epoch");
    // The order of a new epoch is the only thing that is made anew, with its first batch, before the last step ends.
    CHECK(made <= (i == batches - 1 ? 1 : 0));
  }
  CHECK(allocator_stats().system_allocations == system);
  CHECK(allocator_stats().bytes_in_use == in_use);
}

TEST_CASE("with lengths that vary nothing more is taken after the first epoch") {
  const Context context({.threads = GENERATE(1, 2, 4)});
  release_cached_memory();
  const TokenizedDataset data = small_data(64, 1, 30);
  DistilBert model = small_run_model(small_run_config());
  TrainerOptions options;
  options.batch_size = 8;
  options.epochs = 8;
  Trainer trainer(model, data, options, context);
  StepReport report;
  for (int64_t i = 0; i < trainer.steps_per_epoch(); ++i) trainer.micro_step(report);
  const AllocatorStats first = allocator_stats();
  while (!trainer.finished()) trainer.micro_step(report);
  CHECK(allocator_stats().system_allocations == first.system_allocations);
  CHECK(allocator_stats().bytes_reserved == first.bytes_reserved);
}

TEST_CASE("a trainer holds no gradients between optimizer steps") {
  const TokenizedDataset data = small_data(16, 9, 9);
  DistilBert model = small_run_model(small_run_config());
  TrainerOptions options;
  options.batch_size = 4;
  options.gradient_accumulation_steps = 2;
  Trainer trainer(model, data, options);
  StepReport report;
  const auto gradients = [&] {
    size_t n = 0;
    for (const Parameter& p : model.parameters()) n += p.tensor.grad() ? 1 : 0;
    return n;
  };
  trainer.micro_step(report);
  trainer.micro_step(report);
  CHECK(gradients() == 0);
  const int64_t between = allocator_stats().bytes_in_use;
  CHECK(!trainer.micro_step(report));
  CHECK(gradients() == model.parameters().size());
  CHECK(trainer.micro_step(report));
  CHECK(gradients() == 0);
  CHECK(allocator_stats().bytes_in_use == between);
}
