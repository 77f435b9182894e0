// Weights laid out for the tiles: panels of four vectors to each k, the first two of all k before the others,
// [2][K][2][lanes]. A tile of few rows reads both halves side by side, one of many rows one after the other,
// each in order.
//
// Gate panels take `lanes` hidden units each: the four vectors are the units' i, f, g and o columns, so a tile ends
// with whole cells in registers. Where few units are left for the last panel, their columns lie close together, i, f, g
// and o one after another, in as many vectors as that takes: see GateBlock. Plain panels take 4 * lanes consecutive
// output columns. Columns past the end are zero.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
// A block of hidden units in gate panels: four vectors as above, or fewer in [K][vectors][lanes], the column of gate g and
// unit j at g * gate + j.
template <class S>
struct GateBlock {
  static constexpr int64_t L = Vec<S>::lanes;
  int64_t u, n;  // first unit, units that exist
  int64_t vectors = 4, gate = L;
  GateBlock(int64_t H, int64_t block) : u(block * L), n(smaller<int64_t>(L, H - block * L)) {
    if (4 * n > 3 * L) return;
    vectors = ceil_div(4 * n, L);
    gate = n;
  }
};

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

// Where vector j of a panel of four begins. From k to k it is two vectors.
template <class S>
constexpr int64_t half_at(int j, int64_t K) {
  return (j / 2 * K * 2 + j % 2) * Vec<S>::lanes;
}

// Gate panel `block` of w (4H, K).
template <class S>
void pack_gate_panel(const S* w, int64_t H, int64_t K, int64_t block, S* out) {
  constexpr int L = Vec<S>::lanes;
  const GateBlock<S> to(H, block);
  if (to.vectors == 4) {
    for (int g = 0; g < 4; ++g) pack_strip(w + (g * H + to.u) * K, K, K, to.n, out + half_at<S>(g, K), 2 * L);
    return;
  }
  const int64_t row = to.vectors * L;
  for (int64_t column = 0; column < row; ++column) {
    const S* from = column < 4 * to.n ? w + (column / to.n * H + to.u + column % to.n) * K : nullptr;
    for (int64_t k = 0; k < K; ++k) out[k * row + column] = from ? from[k] : S(0);
  }
}

// Plain panel `block` (rows block * 4 * lanes ...) of w (N, K).
template <class S>
void pack_plain_panel(const S* w, int64_t N, int64_t K, int64_t block, S* out) {
  constexpr int L = Vec<S>::lanes;
  for (int j = 0; j < 4; ++j) {
    int64_t n = block * 4 * L + j * L;
    int64_t count = larger<int64_t>(0, smaller<int64_t>(L, N - n));
    pack_strip(w + (count ? n : 0) * K, K, K, count, out + half_at<S>(j, K), 2 * L);
  }
}
CELLGATE_END
