// The one block in which a training forward leaves what backward needs, and in which gate traces are taken.
//
// For each layer in turn, D the directions, N rows of data (T * B, or the rows of packed data):
//   gates    (N, D, 4, H)      i, f, g, o after activation              fast
//   cell     (N, D, H)         c of every step                          fast, lean
//            (ceil(T/K), B, D, H)  c of every K-th step                 minimal
//   raw      (N, D, H)         o * tanh(c), with a projection only      fast, lean
//   output   (N, D * P)        the layer's output, but for the last layer, whose output is the caller's
//   dropped  (N, D * P)        that output after dropout, with dropout only
// Every array begins at a multiple of 64 bytes. Padded data have N = T * B rows in the order (T, B); rows past a length
// are left as they are.
#pragma once

#include <cstdint>

namespace cellgate {

enum class Keep : int { nothing = 0, fast = 1, lean = 2, minimal = 3 };

struct LayerShape {
  int64_t input_size;       // I
  int64_t hidden_size;      // H
  int64_t projection_size;  // P, equal to H without a projection
  bool projected;
};

// Offsets in scalars from the start of the block; -1: not kept.
struct SavedLayer {
  int64_t gates = -1, cell = -1, raw = -1, output = -1, dropped = -1;
};

struct SavedShape {
  int64_t steps, batch, rows;  // T, B, N
  int directions;
  Keep keep;
  int64_t every;  // K of minimal
  bool dropout;
};

// Adds one layer at `at` scalars and returns where the next begins.
inline int64_t lay_out_saved(const SavedShape& s, const LayerShape& layer, bool last, int64_t at, SavedLayer& to) {
  auto take = [&at](int64_t scalars) {
    int64_t here = at;
    at += (scalars + 31) / 32 * 32;  // 64 bytes of the smallest type in use, a multiple of it for the others
    return here;
  };
  const int64_t D = s.directions, H = layer.hidden_size;
  if (s.keep == Keep::fast) to.gates = take(s.rows * D * 4 * H);
  if (s.keep == Keep::fast || s.keep == Keep::lean) to.cell = take(s.rows * D * H);
  if (s.keep == Keep::minimal) to.cell = take((s.steps + s.every - 1) / s.every * s.batch * D * H);
  if (layer.projected && s.keep != Keep::minimal && s.keep != Keep::nothing) to.raw = take(s.rows * D * H);
  if (!last) {
    to.output = take(s.rows * D * layer.projection_size);
    if (s.dropout) to.dropped = take(s.rows * D * layer.projection_size);
  }
  return at;
}

}  // namespace cellgate
