// One row of one step of any cell: from the sums before activation to c and h, and back. The formulas are those of
// equations/gated.py and equations/slstm.py, vector by vector; which of them hold is decided at run time by branches that
// always go the same way.
#pragma once

#include "kernels/activations.h"
#include "kernels/variant_rows.h"
#include "variant.h"

CELLGATE_BEGIN
// Where a row of a step finds and leaves its things; each pointer is at unit 0. Null: not there.
template <class S>
struct VariantRow {
  S* a;                // (4H) sums, the bias not yet added
  const S* bias;       // (4H)
  const S* memory;     // (M*H) before the step
  S* memory_out;       // (M*H)
  S* gates;            // (planes, H)
  S* h;                // (H), before a projection and before zoneout
  const S* candidate;  // (H)
  const S* zone_c;     // (H)
  const S* peephole;   // (3H)
  const S* gain;       // (H), of the normalised cell
  const S* shift;      // (H)
  S* fresh;            // (H) scratch of the row: the cell that is normalised
  S* scales;           // out: its mean and what it was multiplied with
};

// Sums before activation take part in no product with a gate that is not there.
template <class V>
CELLGATE_INLINE V soft_or_hard_sigmoid(V a, bool hard) {
  using S = typename V::Scalar;
  if (hard) return clamp(fma(a, V::set1(S(0.25)), V::set1(S(0.5))), V::zero(), V::set1(S(1)));
  return sigmoid(a);
}
template <class V>
CELLGATE_INLINE V soft_or_hard_tanh(V a, bool hard) {
  using S = typename V::Scalar;
  return hard ? clamp(a, V::set1(S(-1)), V::set1(S(1))) : tanh(a);
}
// Derivatives from the values.
template <class V>
CELLGATE_INLINE V sigmoid_slope(V y, bool hard) {
  using S = typename V::Scalar;
  if (!hard) return fnma(y, y, y);
  V slope = select_lt(V::zero(), y, V::set1(S(0.25)), V::zero());
  return select_lt(y, V::set1(S(1)), slope, V::zero());
}
template <class V>
CELLGATE_INLINE V tanh_slope(V y, bool hard) {
  using S = typename V::Scalar;
  if (!hard) return fnma(y, y, V::set1(S(1)));
  return select_lt(abs(y), V::set1(S(1)), V::set1(S(1)), V::zero());
}

template <class V>
CELLGATE_INLINE V squash(V seen, const CellForm& form) {
  using S = typename V::Scalar;
  if (form.squash == 1) return seen;
  return soft_or_hard_tanh(form.squash == 2 ? seen * V::set1(S(0.5)) : seen, form.hard);
}
template <class V>
CELLGATE_INLINE V squash_slope(V shown, const CellForm& form) {
  using S = typename V::Scalar;
  if (form.squash == 1) return V::set1(S(1));
  V slope = tanh_slope(shown, form.hard);
  return form.squash == 2 ? slope * V::set1(S(0.5)) : slope;
}

// ---- forward ----------------------------------------------------------------------------------------------------------

// log(sigmoid(a)) = min(a, 0) - log(1 + exp(-|a|)), the logarithm as 2 artanh(e / (2 + e)), of which the series converges
// like 9^-k.
template <class V>
CELLGATE_INLINE V log_sigmoid(V a) {
  using S = typename V::Scalar;
  const V zero = V::zero();
  V e = exp_clamped(clamp(-abs(a), V::set1(-ExpTerms<S>::reach), zero));
  V s = e * reciprocal(V::set1(S(2)) + e), z = s * s;
  constexpr int terms = sizeof(S) == 4 ? 8 : 17;
  V p = V::set1(S(1) / S(2 * terms + 1));
  for (int k = terms - 1; k >= 0; --k) p = fma(p, z, V::set1(S(1) / S(2 * k + 1)));
  return select_lt(a, zero, a, zero) - (s + s) * p;
}

template <class S>
void slstm_forward(const VariantRow<S> row, int64_t H) {
  using V = Vec<S>;
  const V zero = V::zero(), reach = V::set1(-ExpTerms<S>::reach);
  over_units<S>(H, [&](int64_t u, int64_t n) {
    auto sum_of = [&](int g) { return get<S>(row.a + g * H + u, n) + get<S>(row.bias + g * H + u, n); };
    V a_i = sum_of(0), a_f = sum_of(1), g = tanh(sum_of(2)), o = sigmoid(sum_of(3));
    V c_prev = get<S>(row.memory + u, n), n_prev = get<S>(row.memory + H + u, n);
    V kept = log_sigmoid(a_f) + get<S>(row.memory + 2 * H + u, n);
    V m = select_lt(kept, a_i, a_i, kept);
    m = select_lt(zero, abs(n_prev), m, a_i);  // an empty state has no scale yet
    V i = exp_clamped(clamp(a_i - m, reach, zero));
    V f = select_lt(zero, abs(n_prev), exp_clamped(clamp(kept - m, reach, zero)), zero);
    V fresh = row.candidate ? g * get<S>(row.candidate + u, n) : g;
    V c = fma(f, c_prev, i * fresh), norm = fma(f, n_prev, i);
    put<S>(c, row.memory_out + u, n);
    put<S>(norm, row.memory_out + H + u, n);
    put<S>(m, row.memory_out + 2 * H + u, n);
    V inverse = reciprocal(abs(norm));
    inverse = select_lt(norm, zero, -inverse, inverse);
    put<S>(o * (c * inverse), row.h + u, n);
    put<S>(i, row.gates + u, n);
    put<S>(f, row.gates + H + u, n);
    put<S>(g, row.gates + 2 * H + u, n);
    put<S>(o, row.gates + 3 * H + u, n);
    put<S>(sigmoid(a_f), row.gates + 4 * H + u, n);
  });
}

template <class S>
void gated_forward(const CellForm form, const VariantRow<S> row, int64_t H) {
  using V = Vec<S>;
  const V one = V::set1(S(1)), half = V::set1(S(0.5)), two = V::set1(S(2)), clip = V::set1(static_cast<S>(form.clip));
  const bool hard = form.hard;
  S* const shown = form.norm ? row.fresh : row.h;
  over_units<S>(H, [&](int64_t u, int64_t n) {
    auto sum_of = [&](int g) { return get<S>(row.a + g * H + u, n) + get<S>(row.bias + g * H + u, n); };
    V c_prev = get<S>(row.memory + u, n);
    V a_i = sum_of(0), a_f = sum_of(1), a_g = sum_of(2), a_o = sum_of(3);
    if (row.peephole) {
      a_i = fma(get<S>(row.peephole + u, n), c_prev, a_i);
      a_f = fma(get<S>(row.peephole + H + u, n), c_prev, a_f);
    }
    V i = form.input ? one : soft_or_hard_sigmoid(a_i, hard);
    V f = form.forget == 0 ? soft_or_hard_sigmoid(a_f, hard) : form.forget == 1 ? one : one - i;
    V g = form.candidate == 1   ? a_g
          : form.candidate == 2 ? two * soft_or_hard_tanh(a_g * half, hard)
                                : soft_or_hard_tanh(a_g, hard);
    V fresh = fma(f, c_prev, i * (row.candidate ? g * get<S>(row.candidate + u, n) : g));
    if (form.clip > 0) fresh = clamp(fresh, -clip, clip);
    if (row.peephole) a_o = fma(get<S>(row.peephole + 2 * H + u, n), fresh, a_o);
    V o = form.output ? one : soft_or_hard_sigmoid(a_o, hard);
    V c = fresh;
    if (row.zone_c) {
      V z = get<S>(row.zone_c + u, n);
      c = fma(z, c_prev, (one - z) * fresh);
    }
    put<S>(c, row.memory_out + u, n);
    if (form.gate_recurrence) {
      put<S>(i, row.memory_out + H + u, n);
      put<S>(f, row.memory_out + 2 * H + u, n);
      put<S>(o, row.memory_out + 3 * H + u, n);
    }
    put<S>(i, row.gates + u, n);
    put<S>(f, row.gates + H + u, n);
    put<S>(g, row.gates + 2 * H + u, n);
    put<S>(o, row.gates + 3 * H + u, n);
    put<S>(fresh, shown + u, n);
  });
  if (form.norm) return;
  // In a pass of its own, as in cell.h.
  over_units<S>(H, [&](int64_t u, int64_t n) {
    put<S>(get<S>(row.gates + 3 * H + u, n) * squash(get<S>(row.h + u, n), form), row.h + u, n);
  });
}

// h from the normalised cell, which gated_forward leaves in `fresh`. A pass of its own over some rows: they then wait for
// their sums side by side.
template <class S>
void normalised_h(const CellForm form, const VariantRow<S> row, int64_t H) {
  const RowScale<S> by(row.fresh, H, form.norm);
  if (row.scales) row.scales[0] = by.mean, row.scales[1] = by.scale;
  over_units<S>(H, [&](int64_t u, int64_t n) {
    Vec<S> seen = by.of(get<S>(row.fresh + u, n)) * get<S>(row.gain + u, n);
    if (row.shift) seen = seen + get<S>(row.shift + u, n);
    put<S>(get<S>(row.gates + 3 * H + u, n) * squash(seen, form), row.h + u, n);
  });
}

// Rows that pass after pass goes over: enough to wait side by side, few enough to stay in the first-level cache.
constexpr int64_t kRowsAtOnce = 4;

template <class S>
void variant_cell_forward(const CellForm& form, const VariantRow<S>* rows, int64_t count, int64_t H) {
  for (int64_t first = 0; first < count; first += kRowsAtOnce) {
    const int64_t end = smaller(count, first + kRowsAtOnce);
    for (int64_t k = first; k < end; ++k) form.slstm ? slstm_forward(rows[k], H) : gated_forward(form, rows[k], H);
    for (int64_t k = first; k < end && form.norm; ++k) normalised_h(form, rows[k], H);
  }
}

// ---- backward ---------------------------------------------------------------------------------------------------------

template <class S>
struct VariantRowBack {
  const S* gates;       // (planes, H)
  const S* memory;      // (M*H) after the step
  const S* before;      // (M*H) before it
  const S* dh;          // (H) gradient of h before projection and zoneout
  S* dmemory;           // (M*H) gradient of the state; read, and replaced by that of the state before
  const S* dgates;      // (4, H) or null
  const S* dcell;       // (H) or null
  const S* dgates_rec;  // (3H) of i, f, o from the step after, by full gate recurrence; or null
  const S* candidate;
  const S* zone_c;
  const S* peephole;
  const S* gain;
  const S* shift;
  S* da;            // out (4H)
  S* raw;           // out (H): h before projection, or null
  S* dpeephole;     // (3H) added to, or null
  S* dgain;         // (H) added to, with normalisation
  S* dshift;        // (H) added to, or null
  const S* scales;  // mean and scale of the normalised cell
  S* fresh;         // (H) scratch: the cell, normalised
  S* dfresh;        // (H) scratch: the gradient of its value times the gain
  S mean, slope;    // scratch: means over it, alone and times the cell
};

template <class S>
void slstm_back(const VariantRowBack<S> row, int64_t H) {
  using V = Vec<S>;
  const V zero = V::zero(), one = V::set1(S(1)), half = V::set1(S(0.5));
  over_units<S>(H, [&](int64_t u, int64_t n) {
    V i = get<S>(row.gates + u, n), f = get<S>(row.gates + H + u, n), g = get<S>(row.gates + 2 * H + u, n),
      o = get<S>(row.gates + 3 * H + u, n), open = get<S>(row.gates + 4 * H + u, n);
    V c = get<S>(row.memory + u, n), norm = get<S>(row.memory + H + u, n);
    V c_prev = get<S>(row.before + u, n), n_prev = get<S>(row.before + H + u, n);
    V dh = get<S>(row.dh + u, n);
    V inverse = reciprocal(select_lt(zero, abs(norm), abs(norm), one));
    inverse = select_lt(norm, zero, -inverse, inverse);
    V seen = c * inverse, d_o = dh * seen;
    if (row.raw) put<S>(o * seen, row.raw + u, n);
    V dc = fma(dh * o, inverse, get<S>(row.dmemory + u, n));
    if (row.dcell) dc = dc + get<S>(row.dcell + u, n);
    V dn = get<S>(row.dmemory + H + u, n) - dh * o * seen * inverse;
    V dm = get<S>(row.dmemory + 2 * H + u, n);
    V mask = row.candidate ? get<S>(row.candidate + u, n) : one;
    V di = fma(dc * g, mask, dn), df = fma(dc, c_prev, dn * n_prev), dg = dc * i * mask;
    if (row.dgates) {
      di = di + get<S>(row.dgates + u, n);
      df = df + get<S>(row.dgates + H + u, n);
      dg = dg + get<S>(row.dgates + 2 * H + u, n);
      d_o = d_o + get<S>(row.dgates + 3 * H + u, n);
    }
    put<S>(dc * f, row.dmemory + u, n);
    put<S>(dn * f, row.dmemory + H + u, n);
    // The stabiliser took the larger of two, whose exponential is then one.
    V through_i = di * i, through_f = df * f;
    dm = dm - through_i - through_f;
    V share = select_lt(f, i, one, select_lt(i, f, zero, half));
    V da_i = fma(dm, share, through_i), dkept = fma(dm, one - share, through_f);
    put<S>(dkept, row.dmemory + 2 * H + u, n);
    put<S>(da_i, row.da + u, n);
    put<S>(dkept * (one - open), row.da + H + u, n);
    put<S>(dg * fnma(g, g, one), row.da + 2 * H + u, n);
    put<S>(d_o * fnma(o, o, o), row.da + 3 * H + u, n);
  });
}

// The new cell before its limit.
template <class S>
CELLGATE_INLINE Vec<S> cell_made(const VariantRowBack<S>& row, int64_t H, int64_t u, int64_t n) {
  Vec<S> drive = get<S>(row.gates + u, n) * get<S>(row.gates + 2 * H + u, n);
  if (row.candidate) drive = drive * get<S>(row.candidate + u, n);
  return fma(get<S>(row.gates + H + u, n), get<S>(row.before + u, n), drive);
}

// What the normalisation of the cell needs to know of all its units; a pass of its own, as forward's.
template <class S>
void normalised_h_back(const CellForm form, VariantRowBack<S>& to, int64_t H) {
  const VariantRowBack<S> row = to;
  using V = Vec<S>;
  const V clip = V::set1(static_cast<S>(form.clip)), cell_mean = V::set1(row.scales[0]), by = V::set1(row.scales[1]);
  V firsts[4] = {V::zero(), V::zero(), V::zero(), V::zero()}, seconds[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  over_units_in_chains<S>(H, [&](int64_t u, int64_t n, int j) __attribute__((always_inline)) {
    V fresh = cell_made(row, H, u, n);
    if (form.clip > 0) fresh = clamp(fresh, -clip, clip);
    const V z = (fresh - cell_mean) * by, gain = get<S>(row.gain + u, n);
    V seen = z * gain;
    if (row.shift) seen = seen + get<S>(row.shift + u, n);
    const V shown = squash(seen, form), o = get<S>(row.gates + 3 * H + u, n), dh = get<S>(row.dh + u, n);
    if (row.raw) put<S>(o * shown, row.raw + u, n);
    put<S>(dh * shown, row.da + 3 * H + u, n);  // of o, for the pass below
    const V dseen = dh * o * squash_slope(shown, form), d = dseen * gain;
    put<S>(fma(dseen, z, get<S>(row.dgain + u, n)), row.dgain + u, n);
    if (row.dshift) put<S>(get<S>(row.dshift + u, n) + dseen, row.dshift + u, n);
    put<S>(z, row.fresh + u, n);
    put<S>(d, row.dfresh + u, n);
    firsts[j] = firsts[j] + d;
    seconds[j] = fma(d, z, seconds[j]);  // beyond the last unit d is zero
  });
  to.mean = form.norm == 1 ? sum(sum_of_chains(firsts)) / static_cast<S>(H) : S(0);
  to.slope = sum(sum_of_chains(seconds)) / static_cast<S>(H);
}

template <class S>
void gated_back(const CellForm form, const VariantRowBack<S> row, int64_t H) {
  using V = Vec<S>;
  const V zero = V::zero(), one = V::set1(S(1)), half = V::set1(S(0.5)), clip = V::set1(static_cast<S>(form.clip));
  const V mean = V::set1(row.mean), slope = V::set1(row.slope), by = V::set1(row.scales ? row.scales[1] : S(1));
  const bool hard = form.hard;
  over_units<S>(H, [&](int64_t u, int64_t n) {
    V i = get<S>(row.gates + u, n), f = get<S>(row.gates + H + u, n), g = get<S>(row.gates + 2 * H + u, n),
      o = get<S>(row.gates + 3 * H + u, n), c_prev = get<S>(row.before + u, n);
    V unlimited = cell_made(row, H, u, n), fresh = form.clip > 0 ? clamp(unlimited, -clip, clip) : unlimited;
    V d_o, dfresh;
    if (form.norm) {
      d_o = get<S>(row.da + 3 * H + u, n);
      dfresh = by * fnma(get<S>(row.fresh + u, n), slope, get<S>(row.dfresh + u, n) - mean);
    } else {
      V shown = squash(fresh, form), dh = get<S>(row.dh + u, n);
      if (row.raw) put<S>(o * shown, row.raw + u, n);
      d_o = dh * shown;
      dfresh = dh * o * squash_slope(shown, form);
    }
    V di = zero, df = zero, dg = zero;
    if (row.dgates) {
      di = get<S>(row.dgates + u, n);
      df = get<S>(row.dgates + H + u, n);
      dg = get<S>(row.dgates + 2 * H + u, n);
      d_o = d_o + get<S>(row.dgates + 3 * H + u, n);
    }
    if (form.gate_recurrence) {
      // The gates are part of the state, and of the next step's sums.
      di = di + get<S>(row.dmemory + H + u, n) + get<S>(row.dgates_rec + u, n);
      df = df + get<S>(row.dmemory + 2 * H + u, n) + get<S>(row.dgates_rec + H + u, n);
      d_o = d_o + get<S>(row.dmemory + 3 * H + u, n) + get<S>(row.dgates_rec + 2 * H + u, n);
      put<S>(zero, row.dmemory + H + u, n);
      put<S>(zero, row.dmemory + 2 * H + u, n);
      put<S>(zero, row.dmemory + 3 * H + u, n);
    }
    V da_o = form.output ? zero : d_o * sigmoid_slope(o, hard);
    V p_i = zero, p_f = zero;
    if (row.peephole) {
      p_i = get<S>(row.peephole + u, n), p_f = get<S>(row.peephole + H + u, n);
      dfresh = fma(da_o, get<S>(row.peephole + 2 * H + u, n), dfresh);
      put<S>(fma(da_o, fresh, get<S>(row.dpeephole + 2 * H + u, n)), row.dpeephole + 2 * H + u, n);
    }
    V dc = get<S>(row.dmemory + u, n);
    if (row.dcell) dc = dc + get<S>(row.dcell + u, n);
    V dc_prev = zero;
    if (row.zone_c) {
      V z = get<S>(row.zone_c + u, n);
      dc_prev = z * dc;
      dc = dc - dc_prev;
    }
    dfresh = dfresh + dc;
    if (form.clip > 0) dfresh = select_lt(clip, abs(unlimited), zero, dfresh);
    V mask = row.candidate ? get<S>(row.candidate + u, n) : one;
    di = fma(dfresh * g, mask, di);
    df = fma(dfresh, c_prev, df);
    dg = fma(dfresh * i, mask, dg);
    dc_prev = fma(dfresh, f, dc_prev);
    V da_f = zero;
    if (form.forget == 0) da_f = df * sigmoid_slope(f, hard);
    if (form.forget == 2) di = di - df;
    V da_i = form.input ? zero : di * sigmoid_slope(i, hard);
    V da_g = form.candidate == 1   ? dg
             : form.candidate == 2 ? dg * tanh_slope(g * half, hard)
                                   : dg * tanh_slope(g, hard);
    if (row.peephole) {
      dc_prev = fma(da_i, p_i, fma(da_f, p_f, dc_prev));
      put<S>(fma(da_i, c_prev, get<S>(row.dpeephole + u, n)), row.dpeephole + u, n);
      put<S>(fma(da_f, c_prev, get<S>(row.dpeephole + H + u, n)), row.dpeephole + H + u, n);
    }
    put<S>(dc_prev, row.dmemory + u, n);
    put<S>(da_i, row.da + u, n);
    put<S>(da_f, row.da + H + u, n);
    put<S>(da_g, row.da + 2 * H + u, n);
    put<S>(da_o, row.da + 3 * H + u, n);
  });
}

template <class S>
void variant_cell_back(const CellForm& form, VariantRowBack<S>* rows, int64_t count, int64_t H) {
  for (int64_t k = 0; k < count && form.norm; ++k) normalised_h_back(form, rows[k], H);
  for (int64_t k = 0; k < count; ++k) form.slstm ? slstm_back(rows[k], H) : gated_back(form, rows[k], H);
}
CELLGATE_END
