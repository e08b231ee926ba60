// Under AddressSanitizer, whoever leaves a block of the allocator is reported. Each offender is a child process.
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "engine/backend.h"
#include "engine/cpu/memory/allocator.h"
#include "engine/cpu/memory/workspace.h"
#include "tests/engine/helpers.h"
#include "tests/support/sanitizers.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// What a child that runs f writes to stderr; "" when it ends well.
template <class F>
std::string report_of(F&& f) {
  std::fflush(nullptr);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    report_to_stderr();
    f();
    _exit(0);
  }
  close(ends[1]);
  std::string report;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) report.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : report;
}

template <class F>
void check_seen(const char* what, F&& f) {
  INFO(what);
  CHECK(contains(report_of(f), "use-after-poison"));
}

void write_to(void* block, std::ptrdiff_t at) { *(static_cast<volatile char*>(block) + at) = 1; }

}  // namespace

TEST_CASE("one byte outside a block, before or behind it, is seen") {
  if (!address_sanitizer) CRISP_SKIP("needs AddressSanitizer: tests/sanitize address");
  for (const size_t bytes : {size_t{1}, size_t{63}, size_t{64}, size_t{100}, size_t{8192}, size_t{8193}, size_t{100000},
                             (size_t{3} << 20) + 1}) {
    for (const bool zeroed : {false, true}) {
      INFO(bytes);
      void* const block = zeroed ? cached_allocate_zeroed(bytes) : cached_allocate(bytes);
      const auto end = static_cast<std::ptrdiff_t>(bytes);
      CHECK(report_of([=] {
              write_to(block, 0);
              write_to(block, end - 1);
            }).empty());
      check_seen("behind", [=] { write_to(block, end); });
      check_seen("a vector behind", [=] { write_to(block, end + 63); });
      check_seen("before", [=] { write_to(block, -1); });
      check_seen("a header's length before", [=] { write_to(block, -64); });
      cached_free(block);
      check_seen("given back", [=] { write_to(block, 0); });
    }
  }
  // Also where a block takes the place of a longer one, and when free memory has gone back to the system.
  void* const longer = cached_allocate(200);
  cached_free(longer);
  void* const shorter = cached_allocate(199);
  REQUIRE(shorter == longer);
  check_seen("behind", [=] { write_to(shorter, 199); });
  void* const large = cached_allocate(size_t{64} << 20);
  cached_free(large);
  release_cached_memory();
  check_seen("behind", [=] { write_to(shorter, 199); });
  cached_free(shorter);
}

TEST_CASE("a kernel that writes one element too many is seen") {
  if (!address_sanitizer) CRISP_SKIP("needs AddressSanitizer: tests/sanitize address");
  const Tensor x = Tensor::zeros({1001}, DType::f32), y = Tensor::zeros({1000}, DType::f32);
  const auto scale = [&](int64_t n, const Tensor& from, const Tensor& to) {
    kernels<float>(Device::cpu).scale(n, 2.0, from.data<float>(), to.data<float>(), 0);
  };
  CHECK(report_of([&] { scale(1000, x, y); }).empty());
  check_seen("writes", [&] { scale(1001, x, y); });
  check_seen("reads", [&] { scale(1001, y, x); });
}

TEST_CASE("scratch memory ends where it was asked to") {
  if (!address_sanitizer) CRISP_SKIP("needs AddressSanitizer: tests/sanitize address");
  const Context::Use use(Context::standard());
  thread_workspace(5000);
  void* const block = thread_workspace(1000);  // a part of the former
  CHECK(report_of([=] { write_to(block, 999); }).empty());
  check_seen("behind", [=] { write_to(block, 1000); });
  thread_workspace(2000);
  CHECK(report_of([=] { write_to(block, 1999); }).empty());
  const Workspaces each = reserve_workspaces(100);
  void* const mine = each.mine();
  CHECK(report_of([=] { write_to(mine, 99); }).empty());
  check_seen("the next thread's", [=] { write_to(mine, 100); });
}
