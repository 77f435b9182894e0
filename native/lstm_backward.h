// The contract of the backward pass: what the forward pass of training left, gradients in, gradients out.
//
// Letters, strides and rules as in lstm.h. Nothing past a row's length is read; dx is written zero there. Every gradient
// that goes out is written, not added to, except where it says so.
#pragma once

#include "lstm.h"

namespace cellgate {

// One direction of one layer, backward.
template <class S>
struct BackwardDirection {
  const S* w_ih = nullptr;  // (4H, I)
  const S* w_hh = nullptr;  // (4H, P)
  const S* b_ih = nullptr;  // (4H) or null; read only when gates are recomputed
  const S* b_hh = nullptr;  // (4H) or null, likewise
  const S* w_hr = nullptr;  // (P, H), or null: no projection, P == H
  const S* h0 = nullptr;    // (B, P), or null: zeros
  const S* c0 = nullptr;    // (B, H), or null: zeros

  // What forward left: h of every step (T, B, P); gates after activation, each (T, B, H), or all null: they are recomputed
  // from input and output; cell states (T, B, H), of every step or, with cell_every = K > 1, at t / K of the steps with
  // t % K == K - 1 (backward in time t % K == 0) only; then gates must be null too.
  Sequence<const S> output;
  Sequence<const S> gate[4];
  Sequence<const S> cell;
  int64_t cell_every = 1;

  // Gradients in. Each may be null, that is zero; strides may be zero (a gradient broadcast over time or batch).
  Sequence<const S> dy;       // (T, B, P), of the output
  Sequence<const S> dy_more;  // (T, B, P), added to dy
  Sequence<const S>
      dy_mask;  // (T, B, P), dy (not dy_more) is multiplied by it: the dropout between this layer and the next
  const S* dh_n = nullptr;     // (B, P)
  const S* dc_n = nullptr;     // (B, H)
  Sequence<const S> dgate[4];  // (T, B, H), of the gates after activation, where a trace is part of the loss
  Sequence<const S> dcell;     // (T, B, H), of the cell states

  // Gradients out. Each may be null: not wanted. None may overlap an array read.
  S* dw_ih = nullptr;  // (4H, I)
  S* dw_hh = nullptr;  // (4H, P)
  S* db_ih = nullptr;  // (4H)
  S* db_hh = nullptr;  // (4H), equal to db_ih
  S* dw_hr = nullptr;  // (P, H)
  S* dh0 = nullptr;    // (B, P)
  S* dc0 = nullptr;    // (B, H)
  bool backward_in_time = false;
};

template <class S>
struct BackwardLayer {
  int64_t input_size = 0;
  int64_t hidden_size = 0;
  int64_t projection_size = 0;
  Sequence<const S> input;  // (T, B, I) what the layer read
  Sequence<S> dx;           // (T, B, I) out, the sum over directions, or null: not wanted
  int directions = 1;
  BackwardDirection<S> direction[2];
};

// A stack, from the last layer to the first. dx of a layer is dy of the one below: the caller sees to that by pointers.
template <class S>
struct BackwardCall {
  int64_t steps = 0;
  int64_t batch = 0;
  int layers = 0;
  const BackwardLayer<S>* layer = nullptr;  // layer[0] is the first
  const int64_t* lengths = nullptr;
  const uint8_t* reset = nullptr;
  int threads = 1;
};

}  // namespace cellgate
