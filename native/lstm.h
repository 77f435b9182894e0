// The contract between the engine's kernels and their callers: plain structs of pointers, sizes and strides.
//
// Letters: T steps, B batch, I input size of a layer, H hidden size, P size of h (projection size, else H), D
// directions. Gate order i, f, g, o. S is the scalar type (float or double). Strides count scalars, never bytes. Where
// no stride is named the array is contiguous. No array may overlap another unless it says so. Kernels trust the sizes:
// the caller validates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cellgate {

// A (T, B, n) array read or written at p[t * step + b * row + j]; or, when `first` is not null, packed data of N rows,
// where step t begins at row first[t]: p[(first[t] + b) * row + j].
template <class S>
struct Sequence {
  S* p = nullptr;
  int64_t step = 0;
  int64_t row = 0;
  const int64_t* first = nullptr;  // (T)
  S* at(int64_t t, int64_t b) const { return first ? p + (first[t] + b) * row : p + t * step + b * row; }
  explicit operator bool() const { return p != nullptr; }
};

// One direction of one layer, forward.
template <class S>
struct ForwardDirection {
  const S* w_ih = nullptr;  // (4H, I)
  const S* w_hh = nullptr;  // (4H, P)
  const S* b_ih = nullptr;  // (4H), or null: no bias
  const S* b_hh = nullptr;  // (4H), or null; null exactly when b_ih is
  const S* w_hr = nullptr;  // (P, H), or null: no projection, P == H
  const S* h0 = nullptr;    // (B, P), or null: zeros
  const S* c0 = nullptr;    // (B, H), or null: zeros
  S* h_n = nullptr;         // out (B, P); may not overlap h0
  S* c_n = nullptr;         // out (B, H); may not overlap c0
  // Outputs (T, B, P): h of every step; the recurrence reads them back, so they must be plain memory.
  Sequence<S> output;
  // What training keeps and traces show, each out (T, B, H) or null: the gates after their activation, the cell state
  // after the step, and with a projection the hidden vector before it, o * tanh(c).
  // The saved tensors of training are one such arrangement: gates (T, B, 4H), planes i, f, g, o of H each, so that
  // gate[k].p = saved + k * H, gate[k].row = 4H, gate[k].step = 4H * B; tanh(c) is recomputed, h is the output.
  // Steps past a row's length are not written.
  Sequence<S> gate[4];
  Sequence<S> cell;
  // K > 1 keeps checkpoints: cell.at(t / K) receives c of the steps with t % K == K - 1 (backward in time t % K == 0)
  // only.
  int64_t cell_every = 1;
  Sequence<S> raw;
  bool backward_in_time = false;
  const S* packed = nullptr;  // this direction's weights packed before (stream objects), or null
};

// One layer, one or two directions that read the same input.
template <class S>
struct ForwardLayer {
  int64_t input_size = 0;       // I
  int64_t hidden_size = 0;      // H
  int64_t projection_size = 0;  // P, equal to H without a projection
  Sequence<const S> input;      // (T, B, I)
  // Dropout: before the layer runs, dropped = input * mask is written, and read in the place of input. Null: none.
  Sequence<const S> mask;  // (T, B, I)
  Sequence<S> dropped;     // out (T, B, I)
  int directions = 1;
  ForwardDirection<S> direction[2];
};

// A stack of layers over one batch. Layer l + 1 reads what layer l wrote; the caller sees to that by pointers.
template <class S>
struct ForwardCall {
  int64_t steps = 0;  // T
  int64_t batch = 0;  // B
  int layers = 0;
  const ForwardLayer<S>* layer = nullptr;
  // (B) each in [0, T], or null: all T. Output past a length is written zero, except in packed data, which has no such
  // rows (there lengths must not increase with b).
  const int64_t* lengths = nullptr;
  // (T, B) or null; true: the state is zero before that step. In the backward direction too the state does not cross
  // from step t to step t - 1 when reset[t] is true.
  const uint8_t* reset = nullptr;
  bool weights_change = false;  // true in training: weights are packed for this call only, without the cache
  int threads = 1;              // at most this many
};

}  // namespace cellgate
