// Copies and fills. Those of pinned memory arrive late; what the host does to the memory meanwhile is found.
#include <cstring>
#include <string>
#include <string_view>

#include "tests/cuda_emulator/emulator.h"
#include "tests/cuda_emulator/findings.h"
#include "tests/cuda_emulator/memory.h"
#include "tests/cuda_emulator/race.h"
#include "tests/cuda_emulator/stream.h"

using namespace crisp::emulator;

namespace {

bool on_device(const void* p, size_t bytes) { return is_device_memory(p) && !is_shared(p) && is_allocated(p, bytes); }

size_t hash_of(const void* p, size_t bytes) {
  return std::hash<std::string_view>()(std::string_view(static_cast<const char*>(p), bytes));
}

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  bool reads_device, writes_device;
  Where where;
  bool goes_late = false;  // its host memory was pinned

  // What it was captured with may have gone before its graph ran.
  bool is_there() const {
    const bool there =
        (reads_device ? on_device(from, bytes) : is_host(from)) && (writes_device ? on_device(to, bytes) : is_host(to));
    if (!there) add_finding(place(where) + ": memory of the copy was freed before it had run");
    return there;
  }
  bool is_host(const void* p) const { return !goes_late || is_pinned(p, bytes); }

  void run() const {
    if (!is_there()) return;
    if (reads_device) race::command_reads(from, bytes, where, "the copy");
    std::memcpy(to, from, bytes);
    if (writes_device) race::command_writes(to, bytes);
  }
};

// Reads its source late, and notices if that was changed meanwhile.
Work late_upload(const Copy& copy) {
  if (!copy.is_there()) return [] {};
  return [copy, hash = hash_of(copy.from, copy.bytes)] {
    if (hash_of(copy.from, copy.bytes) != hash)
      add_finding(place(copy.where) + ": the pinned buffer was changed before its copy had run");
    copy.run();
  };
}

// Its destination is no number until it has run.
Work late_download(const Copy& copy) {
  if (!copy.is_there()) return [] {};
  std::memset(copy.to, not_a_number, copy.bytes);
  return [copy] { copy.run(); };
}

}  // namespace

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream,
                            Where where) {
  Copy copy{to,
            from,
            bytes,
            kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice,
            kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
            where};
  if (bytes == 0) return device_state();
  for (const auto& [p, device, role] : {std::tuple{static_cast<const void*>(to), copy.writes_device, "to"},
                                        std::tuple{from, copy.reads_device, "from"}})
    if (device ? !on_device(p, bytes) : is_device_memory(p))
      return refuse(cudaErrorInvalidValue, where,
                    "copy of " + std::to_string(bytes) + " bytes " + role + " what is no allocation of the " +
                        (device ? "device" : "host") + " of that size");
  if (copy.reads_device && copy.writes_device)
    return enqueue(stream, Command::always(NodeKind::copy, [copy] { copy.run(); }));
  const void* host = copy.writes_device ? from : to;
  const NodeKind node = copy.writes_device ? NodeKind::upload : NodeKind::download;
  if (is_pinned(host, bytes)) {
    copy.goes_late = true;
    return enqueue(stream, {node, [copy] { return copy.writes_device ? late_upload(copy) : late_download(copy); }});
  }
  // Memory that is not pinned goes through a buffer of the driver's, for which the host waits.
  if (is_captured(stream)) {
    invalidate_capture(stream);
    return refuse(cudaErrorStreamCaptureUnsupported, where, "copy of host memory that is not pinned, in a capture");
  }
  if (const cudaError_t e = enqueue(stream, Command::always(node, [copy] { copy.run(); }))) return e;
  ++counters().waits;
  drain(stream);
  return device_state();
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, Where where) {
  if (const cudaError_t e = refuse_in_capture("cudaMemcpy", where, Conflict::always)) return e;
  if (const cudaError_t e = cudaMemcpyAsync(to, from, bytes, kind, nullptr, where)) return e;
  return cudaStreamSynchronize(nullptr, where);
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream, Where where) {
  if (bytes == 0) return device_state();
  if (!on_device(p, bytes))
    return refuse(cudaErrorInvalidValue, where,
                  "fill of " + std::to_string(bytes) + " bytes that are not in one allocation of the device");
  return enqueue(stream, Command::always(NodeKind::fill, [=] {
                   if (!on_device(p, bytes))
                     return add_finding(place(where) + ": memory of the fill was freed before it had run");
                   std::memset(p, value, bytes);
                   race::command_writes(p, bytes);
                 }));
}
