#include "engine/cuda/branch.h"

#include <mutex>

#include "engine/cuda/memory.h"
#include "engine/cuda/recording.h"
#include "engine/cuda/runtime.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

class Branch {
 public:
  static Branch& the() {
    static Branch& branch = *new Branch;
    return branch;
  }

  // Locked until it is ended.
  void begin() {
    queue_mutex().lock();
    try {
      wait_for_last();
      const Command command;  // both events belong to one graph, if they belong to any
      is_open_ = true;
      Memory::the().hold_freed();
      check(cudaEventRecord(begun_, stream()), "beginning a branch");
      check(cudaStreamWaitEvent(queue, begun_), "beginning a branch");
    } catch (...) {
      is_open_ = false;
      Memory::the().release_held();
      queue_mutex().unlock();
      throw;
    }
  }
  void end() noexcept {
    is_open_ = false;
    is_running_ = true;
    if (cudaEventRecord(done_, queue) != cudaSuccess) cudaStreamSynchronize(queue);  // an error shows at the next call
    queue_mutex().unlock();
  }
  void join() noexcept {
    const std::lock_guard lock(queue_mutex());
    wait_for_last();
  }
  bool is_forked() {
    const std::lock_guard lock(queue_mutex());
    return is_open_ || is_running_;
  }

  const cudaStream_t queue = make_queue();

 private:
  Branch() {
    for (cudaEvent_t* event : {&begun_, &done_})
      check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "making a branch");
  }
  static cudaStream_t make_queue() {
    cudaStream_t made = nullptr;
    check(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "making a branch");
    return made;
  }
  // An error shows at the next call.
  void wait_for_last() noexcept {
    if (!is_running_) return;
    is_running_ = false;
    if (cudaStreamWaitEvent(crisp::CRISP_CUDA_NAMESPACE::stream(), done_) != cudaSuccess) cudaStreamSynchronize(queue);
    Memory::the().release_held();
  }

  cudaEvent_t begun_ = nullptr, done_ = nullptr;
  bool is_open_ = false, is_running_ = false;
};

}  // namespace

Fork::Fork() { Branch::the().begin(); }
Fork::~Fork() { Branch::the().end(); }
cudaStream_t Fork::stream() const { return Branch::the().queue; }

void join() noexcept { Branch::the().join(); }
bool is_forked() { return Branch::the().is_forked(); }

}  // namespace crisp::CRISP_CUDA_NAMESPACE
