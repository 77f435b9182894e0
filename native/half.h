// A stack in bfloat16 on instructions made for it: inputs, weights and h in bfloat16, multiplied two at a time into
// float32 sums; gates and cell states in float32. For dense batches without projection, where the CPU has AVX512_BF16.
//
// Letters, strides and rules as in lstm.h. bfloat16 scalars are the upper halves of float32, here uint16_t.
#pragma once

#include <cstdint>

#include "lstm.h"
#include "stack.h"
#include "stack_backward.h"

namespace cellgate {

using Half = uint16_t;

struct HalfDirection {
  const Half* w_ih = nullptr;  // (4H, I)
  const Half* w_hh = nullptr;  // (4H, H)
  const Half* b_ih = nullptr;  // (4H), or null
  const Half* b_hh = nullptr;
  const Half* h0 = nullptr;  // (B, H), or null: zeros
  const Half* c0 = nullptr;
  Half* h_n = nullptr;    // out (B, H)
  Half* c_n = nullptr;    // out (B, H)
  Sequence<Half> output;  // out (T, B, H)
  // What training keeps, in float32, out or null, as in lstm.h.
  Sequence<float> gate[4], cell;
  bool backward_in_time = false;
};

struct HalfLayer {
  int64_t input_size = 0, hidden_size = 0;
  Sequence<const Half> input;  // (T, B, I)
  int directions = 1;
  HalfDirection direction[2];
};

struct HalfCall {
  int64_t steps = 0, batch = 0;  // each at least 1
  int layers = 0;
  const HalfLayer* layer = nullptr;
  int threads = 1;
};

// Backward, as in lstm_backward.h. Gradients of the gates are rounded to bfloat16 before they are multiplied; sums are float32.
struct HalfGradDirection {
  const Half* w_ih = nullptr;  // (4H, I)
  const Half* w_hh = nullptr;  // (4H, H)
  const Half* h0 = nullptr;    // (B, H), or null: zeros
  const Half* c0 = nullptr;
  Sequence<const Half> output;          // (T, B, H)
  Sequence<const float> gate[4], cell;  // (T, B, H)
  Sequence<const Half> dy;              // (T, B, H), or null; of the last layer
  Sequence<const float> dy_wide;        // the same of the others: dx of the layer above
  const Half* dh_n = nullptr;           // (B, H), or null
  const Half* dc_n = nullptr;
  // Out, each may be null: not wanted.
  Half *dw_ih = nullptr, *dw_hh = nullptr, *db_ih = nullptr, *db_hh = nullptr, *dh0 = nullptr, *dc0 = nullptr;
  bool backward_in_time = false;
  bool wants_weights() const { return dw_ih || dw_hh || db_ih || db_hh; }
};

struct HalfGradLayer {
  int64_t input_size = 0, hidden_size = 0;
  Sequence<const Half> input;  // (T, B, I)
  Sequence<float> dx;          // out (T, B, I), or null
  int directions = 1;
  HalfGradDirection direction[2];
};

struct HalfGradCall {
  int64_t steps = 0, batch = 0;
  int layers = 0;
  const HalfGradLayer* layer = nullptr;
  int threads = 1;
};

// What native/isa/avx512_bf16.cpp exports. False: memory is out.
struct HalfKernels {
  bool (*forward)(const HalfCall& call);
  bool (*backward)(const HalfGradCall& call);
  void (*widen)(const Half* from, float* to, int64_t n);
  void (*narrow)(const float* from, Half* to, int64_t n);  // to the nearest, ties to even
};

// The kernels, or null where this CPU or this build has none or another instruction set is forced.
const HalfKernels* half_kernels();

// Runs a stack of float32 shape on bfloat16 arrays. Uses of `call`: steps, batch, x, y, weights, h0, c0, h_n, c_n,
// threads, and saved, the float32 block of Keep::fast, or null; outputs of inner layers stand in it in bfloat16. False:
// memory is out.
bool half_forward(const StackShape& shape, const StackForward& call);

// Gradients of such a call. Uses of `call`: as there, with y contiguous, and dy, dh_n, dc_n, dweights, dh0, dc0 in bfloat16, but
// dx in float32, (T, B, I) by strides.
bool half_backward(const StackShape& shape, const StackBackward& call);

// Converts arrays, on several threads where there is much to do.
struct HalfCopy {
  const void* from;
  void* to;
  int64_t n;
};
void half_convert(bool widen, const HalfCopy* copies, int64_t count, int threads);

}  // namespace cellgate
