// The cell, backward: from dh and dc of a step to the gradients of the four sums before activation, and dc of the step
// before. With the gates after activation and tc = tanh(c):
//
//   do = dh tc                 dc += dh o (1 - tc^2)
//   di = dc g    df = dc c_prev    dg = dc i        dc_prev = dc f
//   da = (di i (1-i), df f (1-f), dg (1-g^2), do o (1-o))
//
// A trace of gates or cells that is part of the loss adds its gradients to di, df, dg, do and dc first.
#pragma once

#include "kernels/activations.h"

CELLGATE_BEGIN
// One row (t, b) of a step; each pointer is at unit 0 of the row. Null means zero, or not wanted.
template <class S>
struct CellRow {
  const S* gate[4];
  const S* cell;
  const S* cell_prev;
  const S* dy;
  const S* dy_more;
  const S* dy_mask;
  const S* dh_n;  // the row's last step: the gradient of h_n arrives here
  const S* dgate[4];
  const S* dcell;
  S* dc;     // carried from step to step; read and replaced
  S* da;     // out, four planes of H
  S* raw;    // out, o * tanh(c), for the gradient of a projection
  bool cut;  // dh and dc from the step after do not reach this one
};

// Where the row's units from u on are read and written, to `block`; returns how many places there are.
constexpr int kCellArrays = 12;
template <class S>
CELLGATE_INLINE int64_t cell_blocks(const CellRow<S>& row, int64_t u, int64_t H, const void** block) {
  int64_t count = 0;
  for (int g = 0; g < 4; ++g) block[count++] = row.gate[g] + u;
  for (int g = 0; g < 4; ++g) block[count++] = row.da + g * H + u;
  const S* const other[] = {row.cell, row.cell_prev, row.dy, row.dc};
  for (const S* array : other)
    if (array) block[count++] = array + u;
  return count;
}

// dh (n units from u on) += what reaches h from outside the recurrence. Where `cut`, what dh held does not count.
template <class S>
CELLGATE_INLINE void add_outside(const CellRow<S>& row, S* dh, int64_t u, int64_t n) {
  using V = Vec<S>;
  constexpr int64_t L = V::lanes;
  auto add = [&](int64_t v, auto load) __attribute__((always_inline)) {
    const int64_t at = u + v;
    V sum = row.cut ? V::zero() : V::load(dh + v);
    if (row.dy) {
      V y = load(row.dy + at);
      if (row.dy_mask) y = y * load(row.dy_mask + at);
      sum = sum + y;
    }
    if (row.dy_more) sum = sum + load(row.dy_more + at);
    if (row.dh_n) sum = sum + load(row.dh_n + at);
    sum.store(dh + v);
  };
  int64_t v = 0;
  for (; v + L <= n; v += L) add(v, [](const S* p) __attribute__((always_inline)) { return V::load(p); });
  if (v < n) add(v, [m = n - v](const S* p) __attribute__((always_inline)) { return V::load_n(p, m); });
}

template <class S, bool Whole>
CELLGATE_INLINE void cell_gradient(const CellRow<S>& row, Vec<S> dh, int64_t u, int64_t n, int64_t H) {
  using V = Vec<S>;
  auto load = [n](const S* p) __attribute__((always_inline)) { return Whole ? V::load(p) : V::load_n(p, n); };
  auto store = [n](V x, S* p) __attribute__((always_inline)) { Whole ? x.store(p) : x.store_n(p, n); };
  const V one = V::set1(S(1));
  V i = load(row.gate[0] + u), f = load(row.gate[1] + u), g = load(row.gate[2] + u), o = load(row.gate[3] + u);
  V tc = tanh(load(row.cell + u));
  V d_o = dh * tc;
  V dc = fma(dh * o, fnma(tc, tc, one), row.cut ? V::zero() : load(row.dc + u));
  if (row.dcell) dc = dc + load(row.dcell + u);
  V di = dc * g, dg = dc * i;
  V df = row.cell_prev ? dc * load(row.cell_prev + u) : V::zero();
  if (row.dgate[0]) di = di + load(row.dgate[0] + u);
  if (row.dgate[1]) df = df + load(row.dgate[1] + u);
  if (row.dgate[2]) dg = dg + load(row.dgate[2] + u);
  if (row.dgate[3]) d_o = d_o + load(row.dgate[3] + u);
  store(dc * f, row.dc + u);
  store(di * fnma(i, i, i), row.da + u);
  store(df * fnma(f, f, f), row.da + H + u);
  store(dg * fnma(g, g, one), row.da + 2 * H + u);
  store(d_o * fnma(o, o, o), row.da + 3 * H + u);
  if (row.raw) store(o * tc, row.raw + u);
}

// dh: n units from u on, complete. H: units of the layer.
template <class S>
CELLGATE_INLINE void cell_gradients(const CellRow<S>& row, const S* dh, int64_t u, int64_t n, int64_t H) {
  using V = Vec<S>;
  constexpr int64_t L = V::lanes;
  int64_t v = 0;
  for (; v + L <= n; v += L) cell_gradient<S, true>(row, V::load(dh + v), u + v, L, H);
  if (v < n) cell_gradient<S, false>(row, V::load(dh + v), u + v, n - v, H);
}

// Gates again from their sums before activation (4H, planes), in place. bias: two vectors (4H), or null.
template <class S>
void activate_gates(S* a, const S* b_ih, const S* b_hh, int64_t H) {
  using V = Vec<S>;
  constexpr int64_t L = V::lanes;
  for (int64_t gate = 0; gate < 4; ++gate) {
    for (int64_t u = 0; u < H; u += L) {
      int64_t n = smaller(L, H - u), at = gate * H + u;
      V x = V::load_n(a + at, n);
      if (b_ih) x = x + V::load_n(b_ih + at, n);
      if (b_hh) x = x + V::load_n(b_hh + at, n);
      (gate == 2 ? tanh(x) : sigmoid(x)).store_n(a + at, n);
    }
  }
}
CELLGATE_END
