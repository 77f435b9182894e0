// The backward pass of a stack as callers see it; see stack.h for forward. Turns addresses into a BackwardCall.
#pragma once

#include "lstm_backward.h"
#include "stack.h"

namespace cellgate {

// Gradients of a layer's trace; a null address means zero. Contiguous: (T, B, D, 4, H), (T, B, D, H), (T, B, D * P), or with
// packed data N in the place of T, B. The last layer's output has its gradient in StackBackward::dy instead.
struct TraceGradient {
  const void* gates = nullptr;
  const void* cell = nullptr;
  const void* output = nullptr;
};

struct StackBackward {
  StackForward forward;      // as it was called; h_n, c_n, packed and weights_change are not used
  const void* dy = nullptr;  // of y, by strides (zero strides are welcome), or packed (N, D * P) by row; null: zero
  int64_t dy_step = 0, dy_row = 0;
  const void* const* dh_n = nullptr;     // a layer each (D, B, P), contiguous; null: zero
  const void* const* dc_n = nullptr;     // a layer each (D, B, H)
  const TraceGradient* trace = nullptr;  // a layer each, or null
  void* dx = nullptr;                    // out (T, B, I) by strides, or packed (N, I) by row; null: not wanted
  int64_t dx_step = 0, dx_row = 0;
  void* const* dweights = nullptr;  // out, arranged as the weights; null entries: not wanted
  void* const* dh0 = nullptr;       // out, a layer each (D, B, P); null entries: not wanted
  void* const* dc0 = nullptr;       // out, a layer each (D, B, H)
};

// False when memory is out. forward.saved must be what forward() filled with the same shapes and forward.keep.
bool backward(const StackShape& shape, const StackBackward& call);

}  // namespace cellgate
