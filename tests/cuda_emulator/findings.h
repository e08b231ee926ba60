// What the emulator found, and where in the source.
#pragma once

#include <string>
#include <vector>

#include "emulated/runtime_api.h"

namespace crisp::emulator {

/// "file.cu:12", without folders.
std::string place(Where where);
/// The same of an address in the program's code, with the lines into which it was inlined; an offset where there are no
/// line tables (-g1) or no addr2line.
std::string place_of_code(const void* code);
/// Finds many at once, which takes a fraction of the time; place_of_code() knows them from then on.
void find_places(const std::vector<const void*>& codes);

void add_finding(const std::string& text);
/// A finding about a call of the runtime, which returns `error` for it.
cudaError_t refuse(cudaError_t error, Where where, const std::string& text);
/// The same without a finding: programs are expected to try.
cudaError_t fail_call(cudaError_t error);
/// A failure that ends a device's life: every later call returns it, until reset().
void break_device(cudaError_t error);
cudaError_t device_state();

/// A random number of the orders, below n.
uint64_t random_below(uint64_t n);

}  // namespace crisp::emulator
