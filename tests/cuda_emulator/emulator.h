// What tests see of the emulator: how it runs, what it found, what it counted.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace crisp::emulator {

enum class Order { forward, reverse, random };

struct Settings {
  Order threads = Order::forward;   // which of a block's threads that can run does so
  Order blocks = Order::forward;    // in which order blocks run
  Order branches = Order::forward;  // which of the streams, and of a graph's nodes, that can run does so
  uint64_t seed = 1;                // of random orders
  bool deferred = true;             // streams run when the host waits for them, never at once
  bool hide_from_host = true;       // the host cannot touch device memory
  bool epilogues = true;            // cublasLt has algorithms for products with an epilogue
  bool other_sizes = true;          // its algorithms take products of other row counts than they were chosen for
  bool count_fits = false;          // take_fits(), where kernels are compiled with the check; slow
  int devices = 1;
  int driver = 13000;  // 0: there is none
  uint64_t memory_bytes = uint64_t{4} << 30;
};
Settings& settings();

struct Counters {
  uint64_t launches = 0;  // kernels and products, those of replayed graphs, too
  uint64_t blocks = 0, threads = 0, switches = 0;
  uint64_t choices = 0;                             // algorithms that cublasLt was asked to choose
  uint64_t waits = 0;                               // times that the host waited for the device
  uint64_t graph_kernels = 0;                       // of the launches, those that graphs made
  uint64_t graph_launches = 0;                      // of graphs
  uint64_t graph_instances = 0, graph_updates = 0;  // made, and changed; refused changes do not count
  uint64_t checked = 0;                             // accesses that the race check saw
};
Counters& counters();

/// What was done wrong since the last call, each with file and line: races, reads of what nobody wrote, divergent
/// barriers, accesses out of bounds, refused calls. One line for each place in the source.
std::vector<std::string> take_findings();

/// How the accesses at one place in the source fit the hardware. A request is what the lanes of a warp ask for at once.
struct Fit {
  std::string place;
  const void* kernel = nullptr;  // Function::address
  bool is_shared = false;
  uint64_t requests = 0;
  uint64_t sectors = 0;        // of 32 bytes of device memory that the requests touch
  uint64_t least_sectors = 0;  // that would hold the same bytes
  uint64_t ways = 0;           // most words of one bank of shared memory in a request: 1 is without conflict
  uint64_t least_ways = 0;     // that the words of such a request would do with: 2 for 32 f64 numbers
};
/// Since the last call, while settings().count_fits. One for each place in the code of each kernel.
std::vector<Fit> take_fits();

struct Function {
  const void* address;
  std::string name;  // with the types that a template was made for
};
/// All functions of this program in the namespace `space` (empty: in any) that have one of these names (without
/// namespaces and types), called or not; nothing where there is no nm (binutils).
std::vector<Function> functions_named(const std::set<std::string>& names, const std::string& space = "");

/// Whether kernels of this program were compiled with the race and initialisation check.
bool checks_accesses();

/// Forgets errors, findings and what is queued; counts and settings are as at the start. Allocations stay.
void reset();

}  // namespace crisp::emulator
