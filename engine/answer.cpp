#include "engine/answer.h"

#include <cstring>
#include <utility>

#include "engine/backend.h"
#include "engine/fail.h"

namespace crisp {

Answer::Answer(const Tensor& of) : of_(of) {
  if (of.bytes() > Answers::most_bytes)
    fail("an answer has at most {} bytes; {} has {}", Answers::most_bytes, of.label(), of.bytes());
  if (const Answers* const answers = backend(of.device()).answers) asked_ = answers->ask(of.raw(), of.bytes());
}

Answer::~Answer() {
  if (asked_) backend(of_.device()).answers->forget(asked_);
}

Answer::Answer(Answer&& other) noexcept
    : of_(std::exchange(other.of_, {})), asked_(std::exchange(other.asked_, nullptr)) {}

Answer& Answer::operator=(Answer&& other) noexcept {
  std::swap(of_, other.of_);
  std::swap(asked_, other.asked_);
  return *this;
}

void Answer::read(void* to, size_t bytes) const {
  if (!of_ || bytes != of_.bytes()) fail("an answer of {} bytes is read as {}", of_ ? of_.bytes() : 0, bytes);
  if (asked_) return backend(of_.device()).answers->read(asked_, to, bytes);
  const Tensor here = of_.to(Device::cpu);
  std::memcpy(to, here.raw(), bytes);
}

}  // namespace crisp
