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

// to[n] = z normalised * gain + shift, added to `to` where `add`; z normalised also goes to `normal`. Null: none. `to` may
// be z. Returns the scale.
template <class S>
S normalise_row_into(const S* z, int64_t n, int norm, const S* gain, const S* shift, S* normal, S* to, bool add) {
  const RowScale<S> by(z, n, norm);
  over_units<S>(n, [&](int64_t u, int64_t m) {
    Vec<S> v = by.of(get<S>(z + u, m));
    if (normal) put<S>(v, normal + u, m);
    v = v * get<S>(gain + u, m);
    if (shift) v = v + get<S>(shift + u, m);
    put<S>(add ? v + get<S>(to + u, m) : v, to + u, m);
  });
  return by.scale;
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
CELLGATE_END
