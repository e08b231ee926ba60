// What the exercises share: arrays that know their size, and the functions that are to be written. Nothing else of
// Crisp is needed: in this folder `c++ -std=c++20 -c gelu.cpp` must work.
//
// - Arrays are row-major: element [i, j] of an array [rows, columns] stands at i * columns + j.
// - A forward function writes its outputs: y[i] = ...
// - A backward function accumulates its gradients: dx[i] += ..., because x may have been used elsewhere as well, and
//   what came from there must stay in the sum.
// - dy is the gradient that arrives: d(loss)/dy, of the shape of y. dx is d(loss)/dx = the sum over y's elements of
//   dy d(y)/dx.
// - An index outside of an array ends the run, with the array's name and the line.
//
// crisp-lessons compiles each exercise by itself, with a copy of this header of its own, calls the functions with
// numbers that it chose, and compares what they have written with what Crisp's own operations make of the same numbers.
#pragma once

#include <cstdint>

/// Where an array is indexed, and in which line.
struct Index {
  int64_t value;
  int line;
  Index(int64_t i, int in_line = __builtin_LINE()) : value(i), line(in_line) {}
};

/// Ends the run with a message.
[[noreturn]] void index_out_of_range(const char* array, int64_t index, int64_t size, int line);

template <class T>
class Numbers {
 public:
  Numbers(const char* name, T* data, int64_t size) : name_(name), data_(data), size_(size) {}

  T& operator[](Index i) const {
    if (i.value < 0 || i.value >= size_) index_out_of_range(name_, i.value, size_, i.line);
    return data_[i.value];
  }
  int size() const { return static_cast<int>(size_); }
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }

 private:
  const char* name_;
  T* data_;
  int64_t size_;
};

using Input = Numbers<const double>;
using Output = Numbers<double>;
using Labels = Numbers<const int64_t>;

// 1. gelu.cpp
void gelu_forward(int n, Input x, Output y);
void gelu_backward(int n, Input x, Input dy, Output dx);

// 2. linear.cpp
void linear_forward(int rows, int in, int out, Input x, Input weight, Input bias, Output y);
void linear_backward(int rows, int in, int out, Input x, Input weight, Input dy, Output dx, Output dweight,
                     Output dbias);

// 3. softmax_cross_entropy.cpp
void softmax_cross_entropy_forward(int rows, int classes, Input logits, Labels labels, Output probabilities,
                                   Output loss);
void softmax_cross_entropy_backward(int rows, int classes, Input probabilities, Labels labels, double dloss,
                                    Output dlogits);

// 4. layer_norm.cpp
void layer_norm_forward(int rows, int dim, Input x, Input weight, Input bias, double epsilon, Output y, Output mean,
                        Output inverse);
void layer_norm_backward(int rows, int dim, Input x, Input weight, Input mean, Input inverse, Input dy, Output dx,
                         Output dweight, Output dbias);

// 5. attention.cpp
void attention_forward(int batch, int queries, int keys, int dim, Input q, Input k, Input v, Output weights, Output y);
void attention_backward(int batch, int queries, int keys, int dim, Input q, Input k, Input v, Input weights, Input dy,
                        Output dq, Output dk, Output dv);

// 6. top_k_attention.cpp
void top_k_attention_forward(int batch, int queries, int keys, int dim, int kept, Input q, Input k, Input v,
                             Output weights, Output y);
void top_k_attention_backward(int batch, int queries, int keys, int dim, int kept, Input q, Input k, Input v,
                              Input weights, Input dy, Output dq, Output dk, Output dv);
