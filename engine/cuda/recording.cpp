#include "engine/cuda/recording.h"

#include <cuda_runtime.h>

#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/backend.h"
#include "engine/cuda/branch.h"
#include "engine/cuda/memory.h"
#include "engine/cuda/runtime.h"
#include "engine/fail.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

// Commands of a step's first piece; each further one has half as many again. So the device has something to do soon,
// and is not done with a piece before the host has recorded the next.
constexpr size_t first_piece = 8;
constexpr size_t most_executables = 256;

struct Destroy {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
  void operator()(cudaGraphExec_t executable) const { cudaGraphExecDestroy(executable); }
};
using Graph = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, Destroy>;
using Executable = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Destroy>;

class Recorder {
 public:
  // Ends with the process: so do the graphs.
  static Recorder& the() {
    static Recorder& recorder = *new Recorder;
    return recorder;
  }

  void begin_step() {
    const std::lock_guard lock(queue_mutex());
    if (!lost_.empty()) fail("{}", std::exchange(lost_, {}));
    if (++steps_ > 1) return;
    // The first step of a process runs at once: libraries and kernels are loaded in it. So does one whose blocks of
    // memory go back to the device when they are freed.
    records_ = mode_ != StepMode::calls && is_warm_ && Memory::the().keeps_blocks();
    piece_ = 0;
    room_ = first_piece;
  }
  void end_step(bool during_exception) {
    const std::lock_guard lock(queue_mutex());
    is_warm_ = true;
    const bool is_last = --steps_ == 0;
    try {
      run();
    } catch (const std::exception& error) {
      if (is_last) records_ = false;
      if (!during_exception) throw;
      lost_ = error.what();
    }
    if (is_last) records_ = false;
  }

  // With the lock: a command is about to be put into a queue.
  void before_command() {
    if (!records_ || at_once_ > 0) return;
    // What runs beside the rest is not cut off from it.
    if (is_capturing_ && recorded_ >= room_ && mode_ == StepMode::graphs && !is_forked()) {
      run();
      room_ += room_ / 2;
    }
    if (!is_capturing_) begin_piece();
    ++recorded_;
  }
  // Others may call on meanwhile, but not record.
  void begin_at_once() {
    const std::lock_guard lock(queue_mutex());
    run();
    ++at_once_;
  }
  void end_at_once() {
    const std::lock_guard lock(queue_mutex());
    --at_once_;
  }

  StepMode mode() {
    const std::lock_guard lock(queue_mutex());
    return mode_;
  }
  void set_mode(StepMode mode) {
    const std::lock_guard lock(queue_mutex());
    mode_ = mode;
  }
  Steps::Counts counts() {
    const std::lock_guard lock(queue_mutex());
    return counts_;
  }

 private:
  void begin_piece() {
    join();  // no graph may wait for what is outside of it
    // Relaxed: memory may be asked for, and libraries may load what they need, which no queue sees.
    check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeRelaxed), "beginning to record a step");
    is_capturing_ = true;
    recorded_ = 0;
  }

  // What has been recorded is given to the device.
  void run() {
    if (!is_capturing_) return;
    join();
    is_capturing_ = false;
    cudaGraph_t made = nullptr;
    check_recorded(cudaStreamEndCapture(stream(), &made));
    const Graph graph(made);
    check_recorded(cudaGraphLaunch(executable_for(made), stream()));
    ++counts_.launched;
    ++piece_;
  }

  // One that has the same nodes, made to be this graph; else a new one. Those that run already stay as they are.
  cudaGraphExec_t executable_for(cudaGraph_t graph) {
    size_t nodes = 0;
    check_recorded(cudaGraphGetNodes(graph, nullptr, &nodes));
    const std::pair key(piece_, nodes);
    for (const Executable& one : executables_[key]) {
      cudaGraphExecUpdateResultInfo info{};
      const cudaError_t error = cudaGraphExecUpdate(one.get(), graph, &info);
      if (error == cudaSuccess) return one.get();
      cudaGetLastError();  // else the next launch would report it
      if (error != cudaErrorGraphExecUpdateFailure) check_recorded(error);
    }
    if (kept_ >= most_executables) {
      check_recorded(cudaStreamSynchronize(stream()));
      executables_.clear();
      kept_ = 0;
    }
    cudaGraphExec_t made = nullptr;
    check_recorded(cudaGraphInstantiate(&made, graph, 0));
    Executable executable(made);
    ++counts_.made;
    executables_[key].push_back(std::move(executable));
    ++kept_;
    return made;
  }

  // What was recorded is lost where this throws.
  static void check_recorded(cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();
    fail(
        "CUDA failed in running a recorded step: {} ({}). With CRISP_CUDA_GRAPH=0 in the environment no step is "
        "recorded",
        cudaGetErrorString(error), cudaGetErrorName(error));
  }

  static StepMode mode_of_environment() {
    const char* const wish = std::getenv("CRISP_CUDA_GRAPH");
    return step_mode_named(wish ? wish : "");
  }

  StepMode mode_ = mode_of_environment();
  bool is_warm_ = false, records_ = false, is_capturing_ = false;
  int steps_ = 0, at_once_ = 0;  // that have begun and not ended
  size_t piece_ = 0, recorded_ = 0, room_ = first_piece;
  std::map<std::pair<size_t, size_t>, std::vector<Executable>> executables_;  // by piece of a step and number of nodes
  size_t kept_ = 0;
  Steps::Counts counts_{};
  std::string lost_;  // why a step is, whose end could not throw
};

}  // namespace

std::recursive_mutex& queue_mutex() {
  static std::recursive_mutex& mutex = *new std::recursive_mutex;
  return mutex;
}

Command::Command() : lock_(queue_mutex()) { Recorder::the().before_command(); }

AtOnce::AtOnce() { Recorder::the().begin_at_once(); }
AtOnce::~AtOnce() { Recorder::the().end_at_once(); }

StepMode step_mode_named(std::string_view word) {
  if (word.empty() || word == "1") return StepMode::graphs;
  if (word == "0") return StepMode::calls;
  if (word == "whole") return StepMode::one_graph;
  fail<UsageError>("CRISP_CUDA_GRAPH is \"{}\"; it must be 0 (no graphs), 1 or whole (one graph a step)", word);
}

const Steps& steps() {
  static const Steps recorded{.begin = [] { Recorder::the().begin_step(); },
                              .end = [](bool during_exception) { Recorder::the().end_step(during_exception); },
                              .mode = [] { return Recorder::the().mode(); },
                              .set_mode = [](StepMode mode) { Recorder::the().set_mode(mode); },
                              .counts = [] { return Recorder::the().counts(); }};
  return recorded;
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
