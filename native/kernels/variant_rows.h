// Rows of units, vector by vector with a tail: how they are gone through, and their normalisation (equations/norm.py).
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
template <class S, class Body>
CELLGATE_INLINE void over_units(int64_t H, const Body& body) {
  constexpr int64_t L = Vec<S>::lanes;
  for (int64_t u = 0; u < H; u += L) body(u, smaller(L, H - u));
}

// The same with a number from 0 to 3 besides, of the chain that a sum over units goes into: the latency of one addition
// after the other would be most of a short row's time.
template <class S, class Body>
CELLGATE_INLINE void over_units_in_chains(int64_t H, const Body& body) {
  constexpr int64_t L = Vec<S>::lanes;
  int64_t u = 0;
  for (; u + 4 * L <= H; u += 4 * L) body(u, L, 0), body(u + L, L, 1), body(u + 2 * L, L, 2), body(u + 3 * L, L, 3);
  for (; u < H; u += L) body(u, smaller(L, H - u), 0);
}
template <class V>
CELLGATE_INLINE V sum_of_chains(const V (&chain)[4]) {
  return (chain[0] + chain[1]) + (chain[2] + chain[3]);
}

template <class S>
CELLGATE_INLINE Vec<S> get(const S* p, int64_t n) {
  return n == Vec<S>::lanes ? Vec<S>::load(p) : Vec<S>::load_n(p, n);
}
template <class S>
CELLGATE_INLINE void put(Vec<S> v, S* p, int64_t n) {
  if (n == Vec<S>::lanes)
    v.store(p);
  else
    v.store_n(p, n);
}

// Mean of z[n] (zero for RMS norm), and 1 / sqrt(variance + epsilon).
template <class S>
struct RowScale {
  S mean, scale;
  RowScale(const S* z, int64_t n, int norm) : mean(0) {
    using V = Vec<S>;
    if (norm == 1) {
      V total[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
      over_units_in_chains<S>(n, [&](int64_t u, int64_t m, int j)
                                     __attribute__((always_inline)) { total[j] = total[j] + get<S>(z + u, m); });
      mean = sum(sum_of_chains(total)) / static_cast<S>(n);
    }
    V squares[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
    over_units_in_chains<S>(n, [&](int64_t u, int64_t m, int j) __attribute__((always_inline)) {
      V d = get<S>(z + u, m) - V::set1(mean);
      if (m < V::lanes) {
        // Lanes past the end hold minus the mean, and count for nothing.
        alignas(64) S part[V::lanes];
        d.store(part);
        d = V::load_n(part, m);
      }
      squares[j] = fma(d, d, squares[j]);
    });
    const double variance = static_cast<double>(sum(sum_of_chains(squares)) / static_cast<S>(n));
    scale = static_cast<S>(1.0 / __builtin_sqrt(variance + 1e-5));
  }
  CELLGATE_INLINE Vec<S> of(Vec<S> z) const { return (z - Vec<S>::set1(mean)) * Vec<S>::set1(scale); }
};

// RowScale of two rows at once: what follows from a sum over one row would wait for it alone.
template <class S>
struct RowScales {
  S mean[2], scale[2];
  RowScales(const S* first, const S* second, int64_t n, int norm) : mean{0, 0} {
    using V = Vec<S>;
    const S* z[2] = {first, second};
    if (norm == 1) {
      V totals[2][4];
      for (auto& row : totals)
        for (V& total : row) total = V::zero();
      over_units_in_chains<S>(n, [&](int64_t u, int64_t m, int j) __attribute__((always_inline)) {
        for (int r = 0; r < 2; ++r) totals[r][j] = totals[r][j] + get<S>(z[r] + u, m);
      });
      for (int r = 0; r < 2; ++r) mean[r] = sum(sum_of_chains(totals[r])) / static_cast<S>(n);
    }
    V squares[2][4];
    for (auto& row : squares)
      for (V& square : row) square = V::zero();
    over_units_in_chains<S>(n, [&](int64_t u, int64_t m, int j) __attribute__((always_inline)) {
      for (int r = 0; r < 2; ++r) {
        V d = get<S>(z[r] + u, m) - V::set1(mean[r]);
        if (m < V::lanes) {
          alignas(64) S part[V::lanes];
          d.store(part);
          d = V::load_n(part, m);
        }
        squares[r][j] = fma(d, d, squares[r][j]);
      }
    });
    for (int r = 0; r < 2; ++r) {
      const double variance = static_cast<double>(sum(sum_of_chains(squares[r])) / static_cast<S>(n));
      scale[r] = static_cast<S>(1.0 / __builtin_sqrt(variance + 1e-5));
    }
  }
  CELLGATE_INLINE Vec<S> of(int r, Vec<S> z) const { return (z - Vec<S>::set1(mean[r])) * Vec<S>::set1(scale[r]); }
};

// A normalised product: its gain and shift, and where its values before these go. Null: none.
template <class S>
struct NormalRow {
  const S *z, *gain, *shift;
  S* normal;
};

// to[n] = the sum of both rows, each normalised * gain + shift. `to` and `normal` may be z. scales: both, or null.
template <class S>
void normalise_rows_into(const NormalRow<S>& a, const NormalRow<S>& b, int64_t n, int norm, S* to, S* scales) {
  const RowScales<S> by(a.z, b.z, n, norm);
  over_units<S>(n, [&](int64_t u, int64_t m) {
    Vec<S> x = by.of(0, get<S>(a.z + u, m)), y = by.of(1, get<S>(b.z + u, m));
    if (a.normal) put<S>(x, a.normal + u, m);
    if (b.normal) put<S>(y, b.normal + u, m);
    x = x * get<S>(a.gain + u, m);
    y = y * get<S>(b.gain + u, m);
    if (a.shift) x = x + get<S>(a.shift + u, m);
    if (b.shift) y = y + get<S>(b.shift + u, m);
    put<S>(y + x, to + u, m);
  });
  if (scales) scales[0] = by.scale[0], scales[1] = by.scale[1];
}

// Both normalised products of a step on the way back, for N rows at once, which share the reading of gains and sums: from
// the gradient of the value, da, which they have in common, and their values z before gain and shift,
//   dz = scale (d - mean(d) - z mean(d z)), d = da gain;    dgain += da z;    dshift += da
template <class S, int N>
struct NormalRowsBack {
  const S* gain[2];
  S *dgain[2], *dshift;
  const S* da[N];
  const S *normal[N][2], *scale[N];
  S* dz[N][2];  // one of them may be da
  // Rows of n that will be read before long, and are fetched meanwhile: what forward kept comes from far away.
  const S *next_normal[N][2], *next_gates[N];
  CELLGATE_INLINE void run(int64_t n, int norm) const {
    using V = Vec<S>;
    const NormalRowsBack at = *this;  // by value: a store of a vector may alias anything in memory
    V firsts[N][2], seconds[N][2];
#pragma GCC unroll 2
    for (int k = 0; k < N; ++k)
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) firsts[k][r] = seconds[k][r] = V::zero();
    over_units<S>(n, [&](int64_t u, int64_t m) __attribute__((always_inline)) {
      V d[N], all = get<S>(at.dshift + u, m);
#pragma GCC unroll 2
      for (int k = 0; k < N; ++k) d[k] = get<S>(at.da[k] + u, m), all = all + d[k];
      put<S>(all, at.dshift + u, m);
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) {
        const V by = get<S>(at.gain[r] + u, m);
        V sum_of_rows = get<S>(at.dgain[r] + u, m);
#pragma GCC unroll 2
        for (int k = 0; k < N; ++k) {
          __builtin_prefetch(at.next_normal[k][r] + u, 0, 2);
          const V z = get<S>(at.normal[k][r] + u, m), dn = d[k] * by;
          firsts[k][r] = firsts[k][r] + dn;
          seconds[k][r] = fma(dn, z, seconds[k][r]);
          sum_of_rows = fma(d[k], z, sum_of_rows);
        }
        put<S>(sum_of_rows, at.dgain[r] + u, m);
      }
    });
    V mean[N][2], slope[N][2], by[N][2];
#pragma GCC unroll 2
    for (int k = 0; k < N; ++k)
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) {
        mean[k][r] = norm == 1 ? V::set1(sum(firsts[k][r]) / static_cast<S>(n)) : V::zero();
        slope[k][r] = V::set1(sum(seconds[k][r]) / static_cast<S>(n));
        by[k][r] = V::set1(at.scale[k][r]);
      }
    over_units<S>(n, [&](int64_t u, int64_t m) __attribute__((always_inline)) {
      const V gains[2] = {get<S>(at.gain[0] + u, m), get<S>(at.gain[1] + u, m)};
#pragma GCC unroll 2
      for (int k = 0; k < N; ++k) {
        __builtin_prefetch(at.next_gates[k] + u, 0, 2);
        const V d = get<S>(at.da[k] + u, m);
#pragma GCC unroll 2
        for (int r = 0; r < 2; ++r)
          put<S>(by[k][r] * fnma(get<S>(at.normal[k][r] + u, m), slope[k][r], d * gains[r] - mean[k][r]),
                 at.dz[k][r] + u, m);
      }
    });
  }
};
CELLGATE_END
