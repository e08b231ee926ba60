// Planted faults: each is found, and named with file and line. Those that only kernels with the check can show are
// tagged [checked].
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda_emulator/kernels/faults.h"
#include "tests/cuda_emulator/support.h"
#include "tests/support/sanitizers.h"

using namespace crisp;
using namespace crisp::test;
using Catch::Contains;
using Catch::StartsWith;

namespace {

/// What the emulator says of the kernel on 64 floats that are zero.
std::string finding(const std::string& name, unsigned blocks, unsigned threads, size_t shared = 0) {
  const DeviceArray<float> x(std::vector<float>(64));
  INFO(name);
  REQUIRE(launch_fault(name, blocks, threads, shared, x.get()) == cudaSuccess);
  cudaDeviceSynchronize();
  const auto found = emulator::take_findings();
  REQUIRE(!found.empty());
  return found[0];
}

std::string fault(const std::string& mark) { return line_of("kernels/faults.cu", mark); }

/// What a child says that does `act` and must not survive it.
template <class Act>
std::string last_words(Act act) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    report_to_stderr();
    ::alarm(60);
    act();
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string said;
  char part[512];
  for (ssize_t n; (n = ::read(ends[0], part, sizeof part)) > 0;) said.append(part, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(!(WIFEXITED(status) && WEXITSTATUS(status) == 0));
  return said;
}

}  // namespace

TEST_CASE("threads that meet at different barriers") {
  const Fresh fresh;
  const std::string found = finding("divergent_barrier", 1, 64);
  CHECK_THAT(found, StartsWith(fault("barrier of the second warp") + ": threads of one block meet at different"));
  CHECK_THAT(found, Contains(fault("barrier of the first warp")));
}

TEST_CASE("threads that wait for ever", "[deadlock]") {
  const Fresh fresh;
  SECTION("a shuffle that half the lanes never reach") {
    CHECK_THAT(finding("shuffle_in_branch", 1, 32),
               StartsWith(fault("shuffle of half the lanes") + ": thread 0 waits for ever in a __shfl_xor_sync"));
  }
  SECTION("a shuffle of a warp that is not whole") {
    CHECK_THAT(finding("two_shuffles", 1, 16), StartsWith(fault("shuffle of the lower lanes") + ": thread 0 waits"));
  }
  SECTION("a barrier and a sync of one lane") {
    const std::string found = finding("barrier_of_half", 1, 64);
    CHECK_THAT(found, Contains(fault("barrier that half the threads never reach") +
                               ": thread 0 waits for ever in a barrier") ||
                          Contains(fault("sync of one lane") + ": thread 32 waits for ever in a __syncwarp"));
  }
  // The device is gone, as after a fault of a real one.
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  emulator::reset();
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("lanes that meet in different shuffles") {
  const Fresh fresh;
  const std::string found = finding("two_shuffles", 1, 32);
  CHECK_THAT(found, StartsWith(fault("shuffle of the upper lanes")));
  CHECK_THAT(found, Contains(fault("shuffle of the lower lanes")));
}

TEST_CASE("a mask that is not full is said not to be emulated") {
  const Fresh fresh;
  CHECK_THAT(finding("partial_mask", 1, 32),
             StartsWith(fault("mask of half the lanes") + ": __shfl_xor_sync with another mask"));
}

TEST_CASE("launches that a device refuses") {
  const Fresh fresh;
  const DeviceArray<float> x(64);
  const auto refused = [&](unsigned blocks, unsigned threads, size_t shared) {
    CHECK(launch_fault("between_blocks", blocks, threads, shared, x.get()) == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    CHECK(cudaGetLastError() == cudaSuccess);  // such an error goes by
    const auto found = emulator::take_findings();
    REQUIRE(found.size() == 1);
    CHECK_THAT(found[0], StartsWith(fault("launch of a fault") + ": launch "));
    return found[0];
  };
  CHECK_THAT(refused(0, 32, 0), Contains("an empty grid, 0 x 1 x 1"));
  CHECK_THAT(refused(1, 2048, 0), Contains("blocks of 2048 x 1 x 1 threads"));
  CHECK_THAT(refused(1, 0, 0), Contains("blocks of 0 x 1 x 1 threads"));
  CHECK_THAT(refused(1, 32, 64 << 10), Contains("65536 bytes of shared memory, more than the 49152"));
}

TEST_CASE("unwritten memory is read", "[checked]") {
  const Fresh fresh;
  CHECK_THAT(finding("unwritten_shared", 1, 32, 128),
             StartsWith(fault("read of the last element") +
                        ": read of shared memory at byte 124 that nobody wrote, block 0 thread 31"));
  const DeviceArray<float> x(64);
  REQUIRE(launch_fault("unwritten_global", 1, 1, 0, x.get()) == cudaSuccess);
  cudaDeviceSynchronize();
  const auto found = emulator::take_findings();
  REQUIRE(found.size() == 1);
  CHECK_THAT(found[0], StartsWith(fault("read of fresh memory") + ": read of device memory that nobody wrote"));
  // A copy to the host, too.
  x.values();  // copy of fresh memory
  const auto copied = emulator::take_findings();
  REQUIRE(copied.size() == 1);
  CHECK_THAT(copied[0], StartsWith("support.h:") && Contains("the copy reads what nobody wrote, at byte 0 of 256"));
}

TEST_CASE("memory out of bounds is touched", "[checked]") {
  const Fresh fresh;
  CHECK_THAT(finding("beyond_shared", 1, 32, 128),
             StartsWith(fault("write beyond the block's") +
                        ": access out of bounds of shared memory at byte 128, block 0 thread 31"));
  CHECK_THAT(finding("beyond_global", 3, 32), StartsWith(fault("write beyond the allocation") +
                                                         ": access out of bounds of device memory, block 2 thread 0"));
  float* freed = nullptr;
  REQUIRE(cudaMalloc(reinterpret_cast<void**>(&freed), 256) == cudaSuccess);
  REQUIRE(cudaFree(freed) == cudaSuccess);
  std::vector<float> host(64);
  for (float* p : {freed, host.data()}) {
    REQUIRE(launch_fault("beyond_global", 1, 32, 0, p) == cudaSuccess);
    cudaDeviceSynchronize();
    const auto found = emulator::take_findings();
    REQUIRE(found.size() == 1);
    CHECK_THAT(found[0], StartsWith(fault("write beyond the allocation") +
                                    (p == freed ? ": access out of bounds" : ": access to the host's memory")));
  }
}

TEST_CASE("races between blocks", "[checked]") {
  const Fresh fresh;
  const std::string line = fault("write of both blocks");
  CHECK(finding("between_blocks", 2, 1) ==
        line + ": race in device memory: written by block 1 thread 0, written by block 0 thread 0 at " + line +
            ", with nothing that orders them");
  CHECK_THAT(finding("read_between_blocks", 2, 32),
             StartsWith(fault("write of the second block") +
                        ": race in device memory: written by block 1 thread 0, read by block ") &&
                 Contains(fault("read of both blocks")));
}

TEST_CASE("races between threads", "[checked]") {
  const Fresh fresh;
  // Which of the two comes second depends on the order.
  emulator::settings().threads = GENERATE(emulator::Order::forward, emulator::Order::reverse, emulator::Order::random);
  const auto race = [](const char* kernel, const char* one, const char* other, unsigned threads = 64) {
    const std::string found = finding(kernel, 1, threads, 256);
    CHECK_THAT(found, Contains(": race in shared memory at byte "));
    CHECK_THAT(found, Contains(fault(one)) && Contains(fault(other)));
  };
  SECTION("a missing barrier before a read") {
    race("read_after_write", "read after the missing barrier", "write before the missing barrier");
  }
  SECTION("a missing barrier before a write") {
    race("write_after_read", "write after the missing barrier", "read before the missing barrier");
  }
  SECTION("a write beside reads of other lanes") {
    race("lanes_read_one_writes", "read of all lanes", "write of a lane", 32);
  }
  SECTION("a write beside reads of another warp, whatever the writer's own warp has done") {
    race("warps_read_one_writes", "read of all warps", "write of the last lane");
  }
  SECTION("__syncwarp where __syncthreads is needed") {
    race("sync_of_warp_only", "read after __syncwarp", "write before __syncwarp");
  }
  SECTION("a shuffle orders no memory") {
    race("shuffle_orders_nothing", "read after the shuffle", "write before the shuffle");
  }
  SECTION("lanes that are taken to run in step") {
    race("warp_in_step", "read of the neighbour's", "write of each lane");
  }
  SECTION("plain accesses beside atomic ones") {
    const std::string found = finding("plain_beside_atomic", 1, 64);
    CHECK_THAT(found, Contains(fault("atomic access")) && Contains(fault("plain write")));
    CHECK_THAT(finding("read_beside_atomic", 1, 64), Contains(fault("read of what others count")));
  }
}

TEST_CASE("a race in a function that was inlined names both lines", "[checked]") {
  const Fresh fresh;
  CHECK_THAT(finding("room_used_again", 1, 64, 256),
             StartsWith("kernels.cuh:") && Contains(" in " + fault("sum without a barrier before")));
}

TEST_CASE("a pinned buffer that is filled again before its copy has run") {
  const Fresh fresh;
  int* pinned = nullptr;
  REQUIRE(cudaMallocHost(reinterpret_cast<void**>(&pinned), 4) == cudaSuccess);
  const DeviceArray<int> x(2);
  for (int i = 0; i < 2; ++i) {
    *pinned = i + 1;
    REQUIRE(cudaMemcpyAsync(x.get() + i, pinned, 4, cudaMemcpyHostToDevice) == 0);  // copy of the pinned buffer
  }
  CHECK(x.values() == std::vector<int>{2, 2});  // 1, 2 was meant
  const auto found = emulator::take_findings();
  REQUIRE(found.size() == 1);
  CHECK(found[0] == line_of("test_faults.cpp", "copy of the pinned buffer") +
                        ": the pinned buffer was changed before its copy had run");
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
}

TEST_CASE("copies and frees of what was not allocated") {
  const Fresh fresh;
  const DeviceArray<int> x(std::vector<int>(4));
  std::vector<int> host(8);
  const auto refused = [](cudaError_t error) {
    CHECK(error == cudaErrorInvalidValue);
    const auto found = emulator::take_findings();
    REQUIRE(found.size() == 1);
    CHECK_THAT(found[0], StartsWith("test_faults.cpp:"));
    return found[0];
  };
  CHECK_THAT(refused(cudaMemcpy(x.get(), host.data(), 32, cudaMemcpyHostToDevice)), Contains("copy of 32 bytes to"));
  CHECK_THAT(refused(cudaMemcpy(host.data(), x.get() + 1, 16, cudaMemcpyDeviceToHost)), Contains("16 bytes from"));
  CHECK_THAT(refused(cudaMemcpy(host.data(), x.get(), 16, cudaMemcpyHostToDevice)), Contains("of the device"));
  CHECK_THAT(refused(cudaMemcpy(x.get(), x.get(), 16, cudaMemcpyHostToDevice)), Contains("of the host"));
  CHECK_THAT(refused(cudaMemsetAsync(x.get(), 0, 17)), Contains("fill of 17 bytes"));
  CHECK_THAT(refused(cudaFree(host.data())), Contains("cudaFree of what cudaMalloc did not return"));
  CHECK_THAT(refused(cudaFreeHost(host.data())), Contains("cudaFreeHost of what"));
}

TEST_CASE("the host touches device memory") {
  const Fresh fresh;
  const DeviceArray<int> x(std::vector<int>(4));
  const std::string said = last_words([&] {
    const volatile int* touched = x.get();
    (void)*touched;  // touch of the device
  });
  CHECK_THAT(said, Contains(": the host touched device memory"));
#if defined(__x86_64__)
  CHECK_THAT(said, StartsWith(line_of("test_faults.cpp", "touch of the device")));
#endif
}

TEST_CASE("AddressSanitizer sees kernels that leave their memory") {
  if (!address_sanitizer) CRISP_SKIP("built without AddressSanitizer");
  const Fresh fresh;
  const DeviceArray<float> x(std::vector<float>(64));
  const auto launch = [&](const char* name, unsigned blocks, size_t shared) {
    return last_words([&] {
      launch_fault(name, blocks, 32, shared, x.get());
      cudaDeviceSynchronize();
    });
  };
  CHECK_THAT(launch("beyond_shared", 1, 128),
             Contains("use-after-poison") && Contains(fault("write beyond the block's")));
  CHECK_THAT(launch("beyond_global", 3, 0),
             Contains("use-after-poison") && Contains(fault("write beyond the allocation")));
}
