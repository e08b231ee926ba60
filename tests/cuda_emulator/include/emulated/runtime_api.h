// The CUDA runtime API on the emulator: memory, streams, events, graphs, launches. Numbers are CUDA's.
#pragma once

#include <memory>
#include <tuple>
#include <utility>

#include "emulated/language.h"

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorIllegalState = 401,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
  cudaErrorStreamCaptureMerge = 902,
  cudaErrorStreamCaptureUnmatched = 903,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorStreamCaptureIsolation = 905,
  cudaErrorCapturedEvent = 907,
  cudaErrorGraphExecUpdateFailure = 910,
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaPeekAtLastError();
cudaError_t cudaGetLastError();

struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphNode_st;
struct CUgraphExec_st;
using cudaStream_t = CUstream_st*;
using cudaEvent_t = CUevent_st*;
using cudaGraph_t = CUgraph_st*;
using cudaGraphNode_t = CUgraphNode_st*;
using cudaGraphExec_t = CUgraphExec_st*;

enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
constexpr int CUDART_VERSION = 13000;
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  size_t sharedMemPerBlock, sharedMemPerBlockOptin;
  int major, minor;
  int multiProcessorCount;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);

cudaError_t cudaMalloc(void** p, size_t bytes, CRISP_EMULATOR_WHERE);
cudaError_t cudaFree(void* p, CRISP_EMULATOR_WHERE);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
/// Pinned memory: copies from and to it run late. Those of other memory wait, as the real ones may.
cudaError_t cudaMallocHost(void** p, size_t bytes, CRISP_EMULATOR_WHERE);
cudaError_t cudaFreeHost(void* p, CRISP_EMULATOR_WHERE);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, CRISP_EMULATOR_WHERE);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream = nullptr, CRISP_EMULATOR_WHERE);
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream = nullptr, CRISP_EMULATOR_WHERE);

cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream, CRISP_EMULATOR_WHERE);
cudaError_t cudaDeviceSynchronize(CRISP_EMULATOR_WHERE);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0, CRISP_EMULATOR_WHERE);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t event, CRISP_EMULATOR_WHERE);
cudaError_t cudaEventQuery(cudaEvent_t event, CRISP_EMULATOR_WHERE);
/// By the host's clock, from when the one was reached to when the other was.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end, CRISP_EMULATOR_WHERE);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode, CRISP_EMULATOR_WHERE);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph, CRISP_EMULATOR_WHERE);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
/// How many there are; a list of them is not emulated (`nodes` is null).
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count);
enum cudaGraphExecUpdateResult {
  cudaGraphExecUpdateSuccess = 0,
  cudaGraphExecUpdateError = 1,
  cudaGraphExecUpdateErrorTopologyChanged = 2,
  cudaGraphExecUpdateErrorNodeTypeChanged = 3,
  cudaGraphExecUpdateErrorParametersChanged = 5,
};
struct cudaGraphExecUpdateResultInfo {
  cudaGraphExecUpdateResult result;
  cudaGraphNode_t errorNode, errorFromNode;
};
/// Launches that have been queued stay as they are.
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph, cudaGraphExecUpdateResultInfo* info);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

struct cudaLaunchAttribute {
  int id, value;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

namespace crisp::emulator {

/// A launch's configuration and where the launch stands in the source.
struct Placed {
  Placed(const cudaLaunchConfig_t* c, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : config(*c), where{file, line} {}
  const cudaLaunchConfig_t& config;
  Where where;
};
cudaError_t allow_shared(const void* kernel, int bytes, Where where);

/// A kernel and its arguments, for one thread. Each gets copies of its own; reading them here is no access of the
/// kernel's, so the race check must not see it.
class ThreadCall {
 public:
  virtual ~ThreadCall() = default;
  virtual void run() const = 0;
};
template <class... Parameters>
class KernelCall : public ThreadCall {
 public:
  template <class... Arguments>
  explicit KernelCall(void (*kernel)(Parameters...), Arguments&&... arguments)
      : kernel_(kernel), arguments_(std::forward<Arguments>(arguments)...) {}
  __attribute__((no_sanitize("thread"))) void run() const override { call(std::index_sequence_for<Parameters...>()); }

 private:
  template <size_t... I>
  __attribute__((no_sanitize("thread"))) void call(std::index_sequence<I...>) const {
    kernel_(std::get<I>(arguments_)...);
  }
  void (*kernel_)(Parameters...);
  std::tuple<Parameters...> arguments_;
};
cudaError_t enqueue_kernel(const Placed& placed, const void* kernel, std::unique_ptr<const ThreadCall> thread);
}  // namespace crisp::emulator

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value, CRISP_EMULATOR_WHERE) {
  return crisp::emulator::allow_shared(reinterpret_cast<const void*>(kernel), value, where);
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const crisp::emulator::Placed& config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  return crisp::emulator::enqueue_kernel(config, reinterpret_cast<const void*>(kernel),
                                         std::make_unique<const crisp::emulator::KernelCall<Parameters...>>(
                                             kernel, std::forward<Arguments>(arguments)...));
}
