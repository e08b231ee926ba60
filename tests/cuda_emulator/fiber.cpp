#include "tests/cuda_emulator/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/sanitizers.h"

#if !defined(__x86_64__) && !defined(CRISP_EMULATOR_SWAPCONTEXT)
#define CRISP_EMULATOR_SWAPCONTEXT
#endif
#ifdef CRISP_EMULATOR_SWAPCONTEXT
#include <ucontext.h>
#endif

#if CRISP_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace crisp::emulator {
namespace {

constexpr size_t stack_bytes = size_t{128} << 10;  // sanitizers make frames several times larger
const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));

// Of the last switch, for the side that arrives.
Fiber *left = nullptr, *reached = nullptr;

char* new_stack() {
  // The page below cannot be touched, so that an overflow is a fault.
  void* memory =
      ::mmap(nullptr, stack_bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || ::mprotect(memory, page, PROT_NONE) != 0) std::abort();
  return static_cast<char*>(memory) + page;
}

}  // namespace

#ifndef CRISP_EMULATOR_SWAPCONTEXT
// Saves what a call preserves, exchanges the stacks, restores.
extern "C" void crisp_emulator_switch(void** save, void* load);
asm(R"(
.text
.globl crisp_emulator_switch
.type crisp_emulator_switch,@function
crisp_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size crisp_emulator_switch, .-crisp_emulator_switch
)");
#endif

Fiber::~Fiber() {
#ifdef CRISP_EMULATOR_SWAPCONTEXT
  delete static_cast<ucontext_t*>(context_);
#endif
  if (stack_) ::munmap(stack_ - page, stack_bytes + page);
}

bool Fiber::owns(const void* p) const { return stack_ && p >= stack_ && p < stack_ + stack_bytes; }

void Fiber::start(void (*body)(), unsigned number) {
  if (!stack_) stack_ = new_stack();
#if CRISP_ADDRESS_SANITIZER
  __asan_unpoison_memory_region(stack_, stack_bytes);
#endif
  body_ = body;
  fake_stack_ = nullptr;
  bottom_ = stack_;
  bytes_ = stack_bytes;
  // Stacks that began at the same place of a page would compete for a few sets of the cache.
  const size_t used = stack_bytes - 64 - number % 61 * 64;
#ifdef CRISP_EMULATOR_SWAPCONTEXT
  if (!context_) context_ = new ucontext_t;
  auto& context = *static_cast<ucontext_t*>(context_);
  ::getcontext(&context);
  context.uc_stack.ss_sp = stack_;
  context.uc_stack.ss_size = used;
  context.uc_link = nullptr;
  ::makecontext(&context, &Fiber::enter, 0);
#else
  auto* top = reinterpret_cast<void**>(stack_ + used);
  *--top = nullptr;  // a return address that nobody uses, for the alignment after a call
  *--top = reinterpret_cast<void*>(&Fiber::enter);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  context_ = top;
#endif
}

void Fiber::enter() {
  arrive();
  reached->body_();
  std::abort();
}

void Fiber::arrive() {
#if CRISP_ADDRESS_SANITIZER
  __sanitizer_finish_switch_fiber(reached->fake_stack_, &left->bottom_, &left->bytes_);
#endif
}

void Fiber::switch_between(Fiber& from, Fiber& to) {
  left = &from;
  reached = &to;
#if CRISP_ADDRESS_SANITIZER
  __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.bytes_);
#endif
#ifdef CRISP_EMULATOR_SWAPCONTEXT
  if (!from.context_) from.context_ = new ucontext_t;
  ::swapcontext(static_cast<ucontext_t*>(from.context_), static_cast<ucontext_t*>(to.context_));
#else
  crisp_emulator_switch(&from.context_, to.context_);
#endif
  arrive();
}

}  // namespace crisp::emulator
