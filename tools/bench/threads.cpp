// crisp-bench threads: what it costs to share work among threads, on a machine of one's own and beside another job.
#include <optional>

#include "engine/cpu/threads/team.h"
#include "tools/bench/commands.h"
#include "tools/bench/load.h"
#include "tools/bench/report.h"

namespace crisp::bench {
namespace {

void wait(double seconds) {
  const double end = now() + seconds;
  while (now() < end) {
  }
}

int threads(const CommonOptions& o) {
  const Context context = o.context();
  const int members = context.threads();
  const auto loop = [members] { on_team(members, [](const Team&) {}); };
  constexpr int barriers = 100;
  const auto hundred_barriers = [members] {
    on_team(members, [](const Team& team) {
      for (int i = 0; i < barriers; ++i) team.barrier();
    });
  };
  const auto after_rest = [&] {
    wait(1e-3);
    const double begin = now();
    loop();
    return now() - begin;
  };
  const auto shared_work = [members] { on_team(members, [](const Team&) { wait(1e-3); }); };
  std::vector<Result> results;
  for (const bool beside : {false, true}) {
    std::optional<BusyCore> other;
    if (beside) other.emplace();
    const auto add = [&](const char* what, const Spread& time) {
      results.push_back({{{"what", what}, {"beside", beside ? "a busy core" : "nothing"}}, time, 0, ""});
    };
    add("empty loop", measure(loop, o.effort()));
    add("empty loop after 1 ms without", collect(after_rest, o.effort()));
    add("loop of 100 barriers", measure(hundred_barriers, o.effort()));
    add("loop of 1 ms on each thread", measure(shared_work, o.effort()));
  }
  print_report("threads", {}, results, context, Device::cpu, o.json);
  return 0;
}

}  // namespace

Command add_threads(CLI::App& program) {
  CLI::App* app =
      add_command(program, "threads", "What sharing work among threads costs, alone and beside another job");
  const auto options = std::make_shared<CommonOptions>();
  add_common_options(*app, *options);
  return {app, [options] { return threads(*options); }};
}

}  // namespace crisp::bench
