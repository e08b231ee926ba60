// The main program around one exercise. The grader compiles it together with a student's file and starts it with the
// name of an exchange file. It calls the student's two functions and knows nothing of what is right.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "exchange.h"
#include "exercise.h"

// Those that the student's file does not define, or defines with other parameters, are null.
#define WEAK(name) extern decltype(name) name __attribute__((weak))
WEAK(gelu_forward);
WEAK(gelu_backward);
WEAK(linear_forward);
WEAK(linear_backward);
WEAK(softmax_cross_entropy_forward);
WEAK(softmax_cross_entropy_backward);
WEAK(layer_norm_forward);
WEAK(layer_norm_backward);
WEAK(attention_forward);
WEAK(attention_backward);
WEAK(top_k_attention_forward);
WEAK(top_k_attention_backward);
#undef WEAK

namespace {

using crisp::lessons::Exchange;
using crisp::lessons::Phase;

Exchange* exchange;

// The array of this name that is to be written, or only read. The grader has put all of them there.
const Exchange::Array& find(const char* name, bool written) {
  for (int64_t a = 0; a < exchange->arrays_count; ++a) {
    const Exchange::Array& array = exchange->arrays[a];
    if (array.written == written && std::strcmp(array.name, name) == 0) return array;
  }
  _exit(99);
}

template <class T>
Numbers<T> numbers(const char* name, bool written) {
  const Exchange::Array& array = find(name, written);
  return {array.name, reinterpret_cast<T*>(reinterpret_cast<int64_t*>(exchange) + array.first), array.size};
}

Input in(const char* name) { return numbers<const double>(name, false); }
Output out(const char* name) { return numbers<double>(name, true); }
Labels labels() { return numbers<const int64_t>("labels", false); }
int size(int i) { return static_cast<int>(exchange->sizes[i]); }

struct Exercise {
  const char* name;
  bool has_forward, has_backward;
  void (*forward)();
  void (*backward)();
};

const Exercise exercises[] = {
    {"gelu", gelu_forward != nullptr, gelu_backward != nullptr, [] { gelu_forward(size(0), in("x"), out("y")); },
     [] { gelu_backward(size(0), in("x"), in("dy"), out("dx")); }},
    {"linear", linear_forward != nullptr, linear_backward != nullptr,
     [] { linear_forward(size(0), size(1), size(2), in("x"), in("weight"), in("bias"), out("y")); },
     [] {
       linear_backward(size(0), size(1), size(2), in("x"), in("weight"), in("dy"), out("dx"), out("dweight"),
                       out("dbias"));
     }},
    {"softmax_cross_entropy", softmax_cross_entropy_forward != nullptr, softmax_cross_entropy_backward != nullptr,
     [] { softmax_cross_entropy_forward(size(0), size(1), in("logits"), labels(), out("probabilities"), out("loss")); },
     [] {
       softmax_cross_entropy_backward(size(0), size(1), in("probabilities"), labels(), exchange->number,
                                      out("dlogits"));
     }},
    {"layer_norm", layer_norm_forward != nullptr, layer_norm_backward != nullptr,
     [] {
       layer_norm_forward(size(0), size(1), in("x"), in("weight"), in("bias"), exchange->number, out("y"), out("mean"),
                          out("inverse"));
     },
     [] {
       layer_norm_backward(size(0), size(1), in("x"), in("weight"), in("mean"), in("inverse"), in("dy"), out("dx"),
                           out("dweight"), out("dbias"));
     }},
    {"attention", attention_forward != nullptr, attention_backward != nullptr,
     [] { attention_forward(size(0), size(1), size(2), size(3), in("q"), in("k"), in("v"), out("weights"), out("y")); },
     [] {
       attention_backward(size(0), size(1), size(2), size(3), in("q"), in("k"), in("v"), in("weights"), in("dy"),
                          out("dq"), out("dk"), out("dv"));
     }},
    {"top_k_attention", top_k_attention_forward != nullptr, top_k_attention_backward != nullptr,
     [] {
       top_k_attention_forward(size(0), size(1), size(2), size(3), size(4), in("q"), in("k"), in("v"), out("weights"),
                               out("y"));
     },
     [] {
       top_k_attention_backward(size(0), size(1), size(2), size(3), size(4), in("q"), in("k"), in("v"), in("weights"),
                                in("dy"), out("dq"), out("dk"), out("dv"));
     }},
};

[[noreturn]] void leave(int exit_code) {
  std::fflush(nullptr);  // what the student's code has printed
  _exit(exit_code);
}

}  // namespace

void index_out_of_range(const char* array, int64_t index, int64_t size, int line) {
  std::strncpy(exchange->outside_of, array, sizeof exchange->outside_of - 1);
  exchange->outside_index = index;
  exchange->outside_size = size;
  exchange->outside_line = line;
  leave(3);
}

int main(int argc, char** argv) {
  const int fd = argc == 2 ? open(argv[1], O_RDWR) : -1;
  struct stat file = {};
  if (fd < 0 || fstat(fd, &file) != 0) return 98;
  void* mapped = mmap(nullptr, static_cast<size_t>(file.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return 98;
  close(fd);
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);  // what was printed before a crash is not lost
  exchange = static_cast<Exchange*>(mapped);
  exchange->phase = Phase::started;
  for (const Exercise& exercise : exercises) {
    if (std::strcmp(exercise.name, exchange->exercise) != 0) continue;
    if (!exercise.has_forward) exchange->phase = Phase::no_forward;
    if (exercise.has_forward && !exercise.has_backward) exchange->phase = Phase::no_backward;
    if (exchange->phase != Phase::started) leave(0);
    exchange->phase = Phase::forward;
    exercise.forward();
    if (!exchange->forward_only) {
      exchange->phase = Phase::backward;
      exercise.backward();
    }
    exchange->phase = Phase::done;
    leave(0);
  }
  return 97;
}
