// Weights laid out for the tiles: panels of [K][4][lanes], so that one pass over k reads four vectors of weights in
// order.
//
// Gate panels take `lanes` hidden units each: the four vectors are the units' i, f, g and o columns, so a tile ends
// with whole cells in registers. Plain panels take 4 * lanes consecutive output columns. Columns past the end are zero.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
// Writes one [K][lanes] column strip, distance `stride` between its rows: out[k * stride + j] = w[j * ld + k] for
// j < count, zero for the lanes past count.
template <class S>
void pack_strip(const S* w, int64_t ld, int64_t K, int64_t count, S* out, int64_t stride) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  int64_t k = 0;
  if (count == L) {
    for (; k + L <= K; k += L) {
      V block[L];
      for (int j = 0; j < L; ++j) block[j] = V::load(w + j * ld + k);
      transpose(block);
      for (int j = 0; j < L; ++j) block[j].store(out + (k + j) * stride);
    }
  }
  for (; k < K; ++k) {
    for (int64_t j = 0; j < L; ++j) out[k * stride + j] = j < count ? w[j * ld + k] : S(0);
  }
}

// Gate panel `block` (units block * lanes ...) of w (4H, K) into out [K][4][lanes].
template <class S>
void pack_gate_panel(const S* w, int64_t H, int64_t K, int64_t block, S* out) {
  constexpr int L = Vec<S>::lanes;
  int64_t u = block * L;
  int64_t count = smaller<int64_t>(L, H - u);
  for (int g = 0; g < 4; ++g) pack_strip(w + (g * H + u) * K, K, K, count, out + g * L, 4 * L);
}

// Plain panel `block` (rows block * 4 * lanes ...) of w (N, K) into out [K][4][lanes].
template <class S>
void pack_plain_panel(const S* w, int64_t N, int64_t K, int64_t block, S* out) {
  constexpr int L = Vec<S>::lanes;
  for (int j = 0; j < 4; ++j) {
    int64_t n = block * 4 * L + j * L;
    int64_t count = larger<int64_t>(0, smaller<int64_t>(L, N - n));
    pack_strip(w + (count ? n : 0) * K, K, K, count, out + j * L, 4 * L);
  }
}
CELLGATE_END
