// What -fsanitize=thread makes a compiler call before each access. Programs whose kernels are compiled so link these
// functions in place of libtsan.
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulator/race.h"

namespace race = crisp::emulator::race;

#define CRISP_HOOK(name, bytes, kind) \
  extern "C" void name(void* p);      \
  extern "C" void name(void* p) { race::access(p, bytes, race::Access::kind, __builtin_return_address(0)); }
#define CRISP_HOOKS(bytes)                                \
  CRISP_HOOK(__tsan_read##bytes, bytes, read)             \
  CRISP_HOOK(__tsan_write##bytes, bytes, write)           \
  CRISP_HOOK(__tsan_unaligned_read##bytes, bytes, read)   \
  CRISP_HOOK(__tsan_unaligned_write##bytes, bytes, write) \
  CRISP_HOOK(__tsan_volatile_read##bytes, bytes, read)    \
  CRISP_HOOK(__tsan_volatile_write##bytes, bytes, write)
CRISP_HOOKS(1)
CRISP_HOOKS(2)
CRISP_HOOKS(4)
CRISP_HOOKS(8)
CRISP_HOOKS(16)

// Of the host's code beside the kernels: initialisation of static variables, shared pointers. Kernels' own atomics come
// by note_atomic().
#define CRISP_ATOMIC_UPDATE(bits, name, builtin)                                                              \
  extern "C" uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t* p, uint##bits##_t v, int);  \
  extern "C" uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t* p, uint##bits##_t v, int) { \
    return builtin(p, v, __ATOMIC_SEQ_CST);                                                                   \
  }
#define CRISP_ATOMICS(bits)                                                                        \
  extern "C" uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* p, int);     \
  extern "C" uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* p, int) {    \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                \
  extern "C" void __tsan_atomic##bits##_store(volatile uint##bits##_t* p, uint##bits##_t v, int);  \
  extern "C" void __tsan_atomic##bits##_store(volatile uint##bits##_t* p, uint##bits##_t v, int) { \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                \
  CRISP_ATOMIC_UPDATE(bits, exchange, __atomic_exchange_n)                                         \
  CRISP_ATOMIC_UPDATE(bits, fetch_add, __atomic_fetch_add)                                         \
  CRISP_ATOMIC_UPDATE(bits, fetch_sub, __atomic_fetch_sub)
CRISP_ATOMICS(8)
CRISP_ATOMICS(32)
CRISP_ATOMICS(64)

extern "C" {
void __tsan_init();
void __tsan_func_entry(void* caller);
void __tsan_func_exit();
void __tsan_read_range(void* p, unsigned long bytes);
void __tsan_write_range(void* p, unsigned long bytes);
void __tsan_vptr_update(void** p, void* value);
void __tsan_vptr_read(void** p);
void* __tsan_memcpy(void* to, const void* from, unsigned long bytes);
void* __tsan_memset(void* p, int value, unsigned long bytes);

void __tsan_init() { race::enable(); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_read_range(void* p, unsigned long bytes) {
  race::access(p, bytes, race::Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void* p, unsigned long bytes) {
  race::access(p, bytes, race::Access::write, __builtin_return_address(0));
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
// Newer compilers call these for copies that they do not expand.
void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
  race::access(from, bytes, race::Access::read, __builtin_return_address(0));
  race::access(to, bytes, race::Access::write, __builtin_return_address(0));
  return std::memcpy(to, from, bytes);
}
void* __tsan_memset(void* p, int value, unsigned long bytes) {
  race::access(p, bytes, race::Access::write, __builtin_return_address(0));
  return std::memset(p, value, bytes);
}
}
