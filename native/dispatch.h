// One table of functions for each instruction set, and the choice among them at run time.
#pragma once

#include <cstdint>

#include "lstm.h"

namespace cellgate {

// What a file in native/isa/ exports. Every function is safe to call from several threads at once.
struct Kernels {
  const char* name;  // "avx512", "avx2", "neon", "scalar"
  int lanes;         // floats in a vector
  // Elementwise, for tests: y[j] = f(x[j]), x and y may be equal.
  void (*sigmoid_f32)(const float* x, float* y, int64_t n);
  void (*tanh_f32)(const float* x, float* y, int64_t n);
  void (*sigmoid_f64)(const double* x, double* y, int64_t n);
  void (*tanh_f64)(const double* x, double* y, int64_t n);
};

// The kernels in use. The first call chooses: what CELLGATE_CPU_ISA names, else the best this CPU can run. Throws
// std::runtime_error, saying what there is, when the named set is unknown, not built in, or not on this CPU.
const Kernels& kernels();

// The table of a named instruction set, or null with the reason in *why (static text).
const Kernels* find_kernels(const char* name, const char** why);

// Names of the instruction sets built into this library, best first, ended by null.
const char* const* built_isas();

// Replaces the choice (tests run each instruction set in one process). Throws like kernels().
void force_kernels(const char* name);

}  // namespace cellgate
