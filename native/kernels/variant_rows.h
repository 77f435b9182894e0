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

// z[n] normalised, in place; returns its scale.
template <class S>
S normalise_row(S* z, int64_t n, int norm) {
  const RowScale<S> by(z, n, norm);
  over_units<S>(n, [&](int64_t u, int64_t m) { put<S>(by.of(get<S>(z + u, m)), z + u, m); });
  return by.scale;
}

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

// dz[n] from the gradient of the value, da, given the normalised z: dz = scale (d - mean(d) - z mean(d z)), d = da gain.
// dgain += da z; dshift += da where wanted.
template <class S>
void normalise_row_back(const S* da, const S* normal, const S* gain, S scale, int64_t n, int norm, S* dz, S* dgain,
                        S* dshift) {
  using V = Vec<S>;
  V firsts[4] = {V::zero(), V::zero(), V::zero(), V::zero()}, seconds[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  over_units_in_chains<S>(n, [&](int64_t u, int64_t m, int j) __attribute__((always_inline)) {
    V a = get<S>(da + u, m), z = get<S>(normal + u, m), d = a * get<S>(gain + u, m);
    firsts[j] = firsts[j] + d;
    seconds[j] = fma(d, z, seconds[j]);
    put<S>(fma(a, z, get<S>(dgain + u, m)), dgain + u, m);
    if (dshift) put<S>(get<S>(dshift + u, m) + a, dshift + u, m);
  });
  const V first = sum_of_chains(firsts), second = sum_of_chains(seconds);
  const V mean = norm == 1 ? V::set1(sum(first) / static_cast<S>(n)) : V::zero();
  const V slope = V::set1(sum(second) / static_cast<S>(n)), by = V::set1(scale);
  over_units<S>(n, [&](int64_t u, int64_t m) {
    V d = get<S>(da + u, m) * get<S>(gain + u, m);
    put<S>(by * fnma(get<S>(normal + u, m), slope, d - mean), dz + u, m);
  });
}

// A normalised product on the way back: its values before gain and shift, what they were multiplied with, and where the
// gradients belong.
template <class S>
struct NormalRowBack {
  const S *normal, *gain;
  S scale;
  S *dz, *dgain;
};

// normalise_row_back of both products, which have the gradient da, and dshift, in common.
template <class S>
void normalise_rows_back(const S* da, const NormalRowBack<S>& a, const NormalRowBack<S>& b, int64_t n, int norm,
                         S* dshift) {
  using V = Vec<S>;
  const NormalRowBack<S> rows[2] = {a, b};
  V firsts[2][2], seconds[2][2];
  for (int r = 0; r < 2; ++r)
    for (int j = 0; j < 2; ++j) firsts[r][j] = seconds[r][j] = V::zero();
  over_units_in_chains<S>(n, [&](int64_t u, int64_t m, int j) __attribute__((always_inline)) {
    V d = get<S>(da + u, m);
    put<S>(get<S>(dshift + u, m) + d, dshift + u, m);
    for (int r = 0; r < 2; ++r) {
      V z = get<S>(rows[r].normal + u, m), dn = d * get<S>(rows[r].gain + u, m);
      firsts[r][j % 2] = firsts[r][j % 2] + dn;
      seconds[r][j % 2] = fma(dn, z, seconds[r][j % 2]);
      put<S>(fma(d, z, get<S>(rows[r].dgain + u, m)), rows[r].dgain + u, m);
    }
  });
  V mean[2], slope[2], by[2];
  for (int r = 0; r < 2; ++r) {
    mean[r] = norm == 1 ? V::set1(sum(firsts[r][0] + firsts[r][1]) / static_cast<S>(n)) : V::zero();
    slope[r] = V::set1(sum(seconds[r][0] + seconds[r][1]) / static_cast<S>(n));
    by[r] = V::set1(rows[r].scale);
  }
  over_units<S>(n, [&](int64_t u, int64_t m) {
    V d = get<S>(da + u, m);
    for (int r = 0; r < 2; ++r) {
      V dn = d * get<S>(rows[r].gain + u, m);
      put<S>(by[r] * fnma(get<S>(rows[r].normal + u, m), slope[r], dn - mean[r]), rows[r].dz + u, m);
    }
  });
}
CELLGATE_END
