// The contract of the cells that differ from torch.nn.LSTM's: one direction of one layer, forward and backward.
//
// Letters, gate order and rules as in lstm.h. M vectors of H make the state c of a layer: 1; 3 for the sLSTM (c, n, m),
// 4 for full gate recurrence (c, i, f, o). What the recurrent weights multiply is the vector r: h, or h with a locked
// mask. What each function of a form is, equations/form.py says; the numbers are those of backends/cpu_variant.py.
#pragma once

#include "lstm.h"

namespace cellgate {

struct CellForm {
  int input = 0;      // 0 sigmoid, 1 one
  int forget = 0;     // 0 sigmoid, 1 one, 2 one minus i
  int output = 0;     // 0 sigmoid, 1 one
  int candidate = 0;  // 0 tanh(a), 1 a, 2 2 tanh(a / 2)
  int squash = 0;     // 0 tanh(c), 1 c, 2 tanh(c / 2)
  bool hard = false;  // piecewise linear sigmoid and tanh
  int norm = 0;       // 0 none, 1 layer norm, 2 RMS norm
  bool slstm = false;
  bool gate_recurrence = false;
  double clip = 0;  // 0: none
  int memories() const { return slstm ? 3 : gate_recurrence ? 4 : 1; }
  int gate_planes() const { return slstm ? 5 : 4; }  // the fifth: sigmoid of the sum of f, for backward
};

template <class S>
struct VariantForward {
  int64_t steps = 0, batch = 0, input_size = 0, hidden_size = 0, projection_size = 0;
  CellForm form;
  bool backward_in_time = false;
  bool weights_change = false;  // between calls, as in training: packed copies are not kept
  int threads = 1;
  const int64_t* lengths = nullptr;  // (B) or null
  const uint8_t* reset = nullptr;    // (T, B) or null
  Sequence<const S> x;               // (T, B, I)
  const S* w_ih = nullptr;           // (4H, I)
  const S* w_hh = nullptr;           // (4H, P)
  const S* b_ih = nullptr;           // (4H) or null
  const S* b_hh = nullptr;           // (4H) or null
  const S* w_hr = nullptr;           // (P, H) or null
  const S* peephole = nullptr;       // (3H) of i, f, o, or null
  const S* w_gg = nullptr;           // (3H, 3H) from i, f, o of the step before to i, f, o: with full gate recurrence
  // Of the normalised input product (4H), recurrent product (4H) and cell (H); shifts are null with RMS norm.
  const S *gain_ih = nullptr, *shift_ih = nullptr, *gain_hh = nullptr, *shift_hh = nullptr, *gain_c = nullptr,
          *shift_c = nullptr;
  const S* h0 = nullptr;        // (B, P) or null
  const S* c0 = nullptr;        // (B, M*H) or null
  const S* locked = nullptr;    // (B, P) or null
  Sequence<const S> candidate;  // (T, B, H) or null
  Sequence<const S> zone_c;     // (T, B, H) or null
  Sequence<const S> zone_h;     // (T, B, P) or null
  S* h_n = nullptr;             // out (B, P)
  S* c_n = nullptr;             // out (B, M*H)
  Sequence<S> output;           // out (T, B, P), zero past a length
  const S* packed = nullptr;    // the weights packed by variant_pack, or null
  // What backward needs, contiguous; past a length nothing is written. Null: not kept.
  S* memory = nullptr;  // out (T, B, M*H), the state c of every step, or, with memory_every = K > 1, at t / K of the
  int64_t memory_every = 1;  // steps with t % K = K - 1 (0 for the backward direction); 1 with full gate recurrence
  S* gates = nullptr;        // out (T, B, planes, H) or null; backward without it computes gates again
  S *normal_ih = nullptr, *normal_hh = nullptr;  // out (T, B, 4H), normalised products before their gain, or null
  S* scales = nullptr;  // out (T, B, 4), what each was multiplied with, then the mean of the cell and its own; or null
  // Whether the state of every step is to be had in `memory`.
  bool every_memory() const { return memory && memory_every == 1; }
};

template <class S>
struct VariantBackward {
  VariantForward<S> was;      // as it was called; memory is not null
  Sequence<const S> dy;       // (T, B, P) or null
  const S* dh_n = nullptr;    // (B, P) or null
  const S* dc_n = nullptr;    // (B, M*H) or null
  const S* dgates = nullptr;  // (T, B, planes, H) or null: of i, f, g, o where a trace is part of the loss
  const S* dcell = nullptr;   // (T, B, H) or null, likewise of c
  // Gradients out; null: not wanted.
  Sequence<S> dx;  // (T, B, I)
  S *dw_ih = nullptr, *dw_hh = nullptr, *db = nullptr, *dw_hr = nullptr, *dpeephole = nullptr, *dw_gg = nullptr;
  S *dgain_ih = nullptr, *dgain_hh = nullptr, *dgain_c = nullptr, *dshift_c = nullptr;  // shifts of products: db
  S *dh0 = nullptr, *dc0 = nullptr;
};

}  // namespace cellgate
