#include <vector>

#include "engine/error.h"
#include "tests/support/catch.h"
#include "train/core/schedule.h"

namespace crisp {
namespace {

// From the warmup's end on: what transformers 5's get_*_schedule_with_warmup give to a base rate of 1, 3 warmup steps
// of
// 10. The warmup itself is one step ahead of theirs (0, 1/3, 2/3).
struct Table {
  ScheduleType type;
  std::vector<double> factors;
};
const Table tables[] = {
    {ScheduleType::linear,
     {1.0 / 3, 2.0 / 3, 1.0, 1.0, 0.8571428571428571, 0.7142857142857143, 0.5714285714285714, 0.42857142857142855,
      0.2857142857142857, 0.14285714285714285, 0.0, 0.0}},
    {ScheduleType::cosine,
     {1.0 / 3, 2.0 / 3, 1.0, 1.0, 0.9504844339512095, 0.8117449009293668, 0.6112604669781572, 0.38873953302184283,
      0.18825509907063326, 0.04951556604879048, 0.0, 0.0}},
    {ScheduleType::constant, {1.0 / 3, 2.0 / 3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0}},
};

TEST_CASE("a schedule has the values of transformers after the warmup and is one step ahead in it") {
  for (const Table& table : tables) {
    INFO(name_of(table.type));
    const Schedule schedule(table.type, 10, 3);
    for (size_t step = 0; step < table.factors.size(); ++step) {
      INFO("step " << step);
      CHECK(schedule.factor(static_cast<int64_t>(step)) == Approx(table.factors[step]).margin(1e-15).epsilon(1e-15));
    }
  }
}

TEST_CASE("without warmup the first step has the full rate and the last one is not wasted") {
  const Schedule schedule(ScheduleType::linear, 4, 0);
  CHECK(schedule.factor(0) == 1.0);
  CHECK(schedule.factor(1) == 0.75);
  CHECK(schedule.factor(3) == 0.25);
}

TEST_CASE("a warmup longer than the training only rises") {
  const Schedule schedule(ScheduleType::linear, 5, 10);
  CHECK(schedule.factor(0) == Approx(0.1));
  CHECK(schedule.factor(4) == Approx(0.5));
}

TEST_CASE("a training of one step or none has a schedule") {
  CHECK(Schedule(ScheduleType::linear, 1, 1).factor(0) == 1.0);
  CHECK(Schedule(ScheduleType::cosine, 1, 0).factor(0) == 1.0);
  CHECK(Schedule(ScheduleType::linear, 0, 0).factor(0) == 0.0);
  CHECK_THROWS_AS(Schedule(ScheduleType::linear, -1, 0), UsageError);
  CHECK_THROWS_AS(Schedule(ScheduleType::linear, 1, -1), UsageError);
}

TEST_CASE("warmup steps come from the ratio, rounded up, unless they are given") {
  CHECK(warmup_steps_for(100, 0.1, 0) == 10);
  CHECK(warmup_steps_for(101, 0.1, 0) == 11);
  CHECK(warmup_steps_for(100, 0.0, 0) == 0);
  CHECK(warmup_steps_for(100, 0.1, 7) == 7);
}

}  // namespace
}  // namespace crisp
