// One table of functions for each instruction set, and the choice among them at run time.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "lstm.h"
#include "lstm_backward.h"
#include "variant.h"

namespace cellgate {

// What measures the limits of the machine (peak.h).
struct PeakKernels {
  int lanes_f32, lanes_f64, chains;
  float (*fma_f32)(int64_t rounds);  // 2 * rounds * chains * lanes operations
  double (*fma_f64)(int64_t rounds);
  float (*read_in_order)(const float* p, int64_t n);  // n a multiple of 8 * lanes_f32
};

// What a file in native/isa/ exports. Every function is safe to call from several threads at once.
struct Kernels {
  const char* name;  // "avx512", "avx2", "neon", "scalar"
  int lanes;         // floats in a vector
  // Elementwise, for tests: y[j] = f(x[j]), x and y may be equal.
  void (*sigmoid_f32)(const float* x, float* y, int64_t n);
  void (*tanh_f32)(const float* x, float* y, int64_t n);
  void (*sigmoid_f64)(const double* x, double* y, int64_t n);
  void (*tanh_f64)(const double* x, double* y, int64_t n);
  // Runs a stack forward; false when memory is out.
  bool (*forward_f32)(const ForwardCall<float>& call);
  bool (*forward_f64)(const ForwardCall<double>& call);
  // Scalars of one direction's packed weights, and the packing itself, for callers that keep their weights packed.
  int64_t (*packed_size_f32)(const ForwardLayer<float>& layer, bool projected);
  int64_t (*packed_size_f64)(const ForwardLayer<double>& layer, bool projected);
  void (*pack_f32)(const ForwardLayer<float>& layer, const ForwardDirection<float>& direction, float* packed);
  void (*pack_f64)(const ForwardLayer<double>& layer, const ForwardDirection<double>& direction, double* packed);
  // The backward pass of a stack; false when memory is out.
  bool (*backward_f32)(const BackwardCall<float>& call);
  bool (*backward_f64)(const BackwardCall<double>& call);
  // One direction of one layer of any other cell (variant.h); false when memory is out.
  bool (*variant_forward_f32)(const VariantForward<float>& call);
  bool (*variant_forward_f64)(const VariantForward<double>& call);
  bool (*variant_backward_f32)(const VariantBackward<float>& call);
  bool (*variant_backward_f64)(const VariantBackward<double>& call);
  // Scalars of its packed weights, and the packing: of the sizes and weights of a call, nothing else is looked at.
  int64_t (*variant_packed_size_f32)(const VariantForward<float>& call);
  int64_t (*variant_packed_size_f64)(const VariantForward<double>& call);
  void (*variant_pack_f32)(const VariantForward<float>& call, float* packed);
  void (*variant_pack_f64)(const VariantForward<double>& call, double* packed);
  PeakKernels peak;
};

// A named set of kernels cannot run; the text says what there is.
struct NoSuchKernels : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The kernels in use. The first call chooses: what CELLGATE_CPU_ISA names, else the best this CPU can run. Throws
// NoSuchKernels when the named set is unknown, not built in, or not on this CPU.
const Kernels& kernels();

// The table of a named instruction set, or null with the reason in *why (static text).
const Kernels* find_kernels(const char* name, const char** why);

// Names of the instruction sets built into this library, best first, ended by null.
const char* const* built_isas();

// Replaces the choice (tests run each instruction set in one process). Throws like kernels().
void force_kernels(const char* name);

}  // namespace cellgate
