// Threads of control that take turns on one system thread.
#pragma once

#include <cstddef>

namespace crisp::emulator {

class Fiber {
 public:
  /// Of the stack that is in use.
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to this fiber calls `body`, which must not return, on the fiber's own stack. What ran on it before
  /// is forgotten. `number` shifts the stack within its first page.
  void start(void (*body)(), unsigned number);
  bool has_stack() const { return stack_ != nullptr; }
  bool owns(const void* p) const;
  static void switch_between(Fiber& from, Fiber& to);

 private:
  static void enter();
  static void arrive();

  char* stack_ = nullptr;
  void (*body_)() = nullptr;
  void* context_ = nullptr;     // where it waits: a stack pointer or a ucontext_t
  void* fake_stack_ = nullptr;  // AddressSanitizer's
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace crisp::emulator
