// A warmed-up training step asks the system for no memory. The global operator new of this program keeps count.
#include <numeric>

#include "engine/allocator.h"
#include "engine/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/counting_new.h"
#include "tests/train/small_run.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// Workspaces are reserved for all threads at once, so the count does not hang on which thread gets which work.
struct Threads {
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(0); }
};

}  // namespace

TEST_CASE("a warmed-up training step takes no memory from the system") {
  const Threads threads(GENERATE(1, 2, 4));
  // One length, so that every step needs blocks of the same sizes.
  const TokenizedDataset data = small_data(32, 9, 9);
  DistilBert model = small_run_model(small_run_config());
  TrainOptions options;
  options.batch_size = 4;
  options.epochs = 3;
  Trainer trainer(model, data, options);
  StepReport report;
  const int64_t batches = trainer.steps_per_epoch();
  for (int64_t i = 0; i < batches; ++i) trainer.micro_step(report);

  const int64_t system = allocator_stats().system_allocations, in_use = allocator_stats().bytes_in_use;
  for (int64_t i = 0; i < batches; ++i) {
    const int64_t before = new_counts.calls;
    trainer.micro_step(report);
    const int64_t made = new_counts.calls - before;
    INFO("step " << i << " of the epoch");
    // The order of a new epoch is the only thing that is made anew.
    CHECK(made <= (i == 0 ? 1 : 0));
  }
  CHECK(allocator_stats().system_allocations == system);
  CHECK(allocator_stats().bytes_in_use == in_use);
}

TEST_CASE("with lengths that vary the cache fills in the first epochs, and then no more") {
  const Threads threads(GENERATE(1, 2, 4));
  release_cached_memory();
  const TokenizedDataset data = small_data(64, 1, 30);
  DistilBert model = small_run_model(small_run_config());
  TrainOptions options;
  options.batch_size = 8;
  options.epochs = 8;
  Trainer trainer(model, data, options);
  StepReport report;
  std::vector<int64_t> made;  // in each epoch
  while (!trainer.finished()) {
    const int64_t before = allocator_stats().system_allocations;
    for (int64_t i = 0; i < trainer.steps_per_epoch(); ++i) trainer.micro_step(report);
    made.push_back(allocator_stats().system_allocations - before);
  }
  // Batches of another total length may need blocks of another size class, of which there are few.
  CHECK(made[0] > 0);
  CHECK(std::accumulate(made.begin() + 1, made.end(), int64_t{0}) < made[0] / 5);
  CHECK(made.back() == 0);
}
