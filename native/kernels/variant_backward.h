// The backward pass of any cell. First the recurrence, each member on its rows: gradients of the sums of every step under
// way lie side by side, without gaps for ragged batches. Then the large products for weights and input, chunk by chunk,
// shared by columns.
#pragma once

#include "kernels/variant_plan.h"

CELLGATE_BEGIN
// One sum over all rows: [parts side by side | 1]^T da.
template <class S>
struct VariantSum {
  const S* const* left[2];  // each (N) rows
  int64_t columns[2];
  bool ones;
  const S* da;  // (N, stride)
  S* sums;      // (all(), stride)
  S* packed[2];
  int64_t all() const { return columns[0] + columns[1] + (ones ? 1 : 0); }
};

template <class S>
struct VariantBackwardJob {
  const VariantBackward<S>& call;
  const VariantForward<S>& was;
  VariantRows<S> rows;
  int64_t G, stride, total;
  bool projected, norm, want_dx, carries;  // carries: h has ways to the step before besides the products
  static constexpr int64_t kRows = 512;    // rows of a chunk of the large products
  Epoch* arrived;
  int64_t* base;  // (T + 1) where the rows of a step begin
  S *packed_rec, *packed_ih, *packed_hr, *first_rec, *da, *da_ih, *dh_rows, *raw_rows, *sums_hr, *packed_left_hr[2];
  const S **x_at, **rec_at;
  S **dx_at, **da_at, **dh_at;
  VariantSum<S> sum[2];
  int sum_count;
  struct Own {
    S *dh, *dmemory, *carry;         // (rows, P), (rows, M*H), (rows, R)
    S *product, *hidden, *gradient;  // (rows, R), (rows, H), (G)
    S *fresh, *dfresh, *kept;        // (H), (H), (P)
    const S** da;                    // (rows)
    S** to;                          // (rows)
    S** hidden_at;                   // (rows)
    S* more;                         // sums of gradients of small parameters
  }* own;
  int64_t more_size;

  VariantBackwardJob(const VariantBackward<S>& c, int members) : call(c), was(c.was) {
    rows = {&c.was, members, nullptr, nullptr};
    G = 4 * was.hidden_size;
    stride = spaced<S>(G);
    projected = was.w_hr != nullptr;
    norm = was.form.norm != 0;
    want_dx = static_cast<bool>(c.dx);
    carries = was.zone_h || was.locked || was.form.gate_recurrence;
    // Peepholes (3H), gains of products (4H each), the sum of all gradients (4H), gain and shift of the cell (H each).
    more_size = 17 * was.hidden_size + 64;
    total = 0;
  }
  S* peephole_of(const Own& o) const { return o.more; }
  S* gain_ih_of(const Own& o) const { return o.more + 3 * was.hidden_size; }
  S* gain_hh_of(const Own& o) const { return gain_ih_of(o) + G; }
  S* sum_of(const Own& o) const { return gain_hh_of(o) + G; }
  S* gain_c_of(const Own& o) const { return sum_of(o) + G; }
  S* shift_c_of(const Own& o) const { return gain_c_of(o) + was.hidden_size; }

  // Knows the lengths only after the first pass; `rows.order` must be sorted before total is right, so sizes come from the
  // lengths themselves.
  int64_t count_rows() const {
    if (!was.lengths) return was.steps * was.batch;
    int64_t sum_of_lengths = 0;
    for (int64_t b = 0; b < was.batch; ++b) sum_of_lengths += was.lengths[b];
    return sum_of_lengths;
  }

  void place(Shelf& shelf) {
    const int64_t I = was.input_size, H = was.hidden_size, P = was.projection_size, R = was.recurrent_size;
    const int64_t M = was.form.memories() * H;
    const int members = rows.members;
    total = count_rows();
    arrived = shelf.take<Epoch>(members);
    rows.order = shelf.take<int64_t>(was.batch);
    base = shelf.take<int64_t>(was.steps + 1);
    S* zeros = shelf.take<S>(rows.longest_state());
    rows.zeros = zeros;
    packed_rec = shelf.take<S>(packed_size<S>(G, R));
    packed_ih = shelf.take<S>(want_dx ? packed_size<S>(G, I) : 0);
    packed_hr = shelf.take<S>(projected ? packed_size<S>(P, H) : 0);
    first_rec = shelf.take<S>(was.rec ? was.batch * R : 0);
    da = shelf.take<S>(total * stride + 64);
    da_ih = norm ? shelf.take<S>(total * stride + 64) : da;
    dh_rows = shelf.take<S>(projected ? total * P + 64 : 0);
    raw_rows = shelf.take<S>(projected ? total * H + 64 : 0);
    x_at = shelf.take<const S*>(total);
    rec_at = shelf.take<const S*>(total);
    dx_at = shelf.take<S*>(want_dx ? total : 0);
    da_at = shelf.take<S*>(total);
    dh_at = shelf.take<S*>(projected ? total : 0);
    sum_count = 0;
    auto add_sum = [&](VariantSum<S> s) {
      s.sums = shelf.take<S>(s.all() * stride);
      for (S*& p : s.packed) p = shelf.take<S>(packed_left_size<S>(kRows, s.all()));
      sum[sum_count++] = s;
    };
    if (norm) {
      add_sum({{rec_at, nullptr}, {R, 0}, false, da, nullptr, {}});
      add_sum({{x_at, nullptr}, {I, 0}, false, da_ih, nullptr, {}});
    } else {
      add_sum({{x_at, rec_at}, {I, R}, true, da, nullptr, {}});
    }
    sums_hr = shelf.take<S>(projected ? P * H : 0);
    for (S*& p : packed_left_hr) p = shelf.take<S>(projected ? packed_left_size<S>(kRows, P) : 0);
    own = shelf.take<Own>(members);
    for (int m = 0; m < members; ++m) {
      const int64_t n = rows.count(m);
      Own o;
      o.dh = shelf.take<S>(n * P + 64);
      o.dmemory = shelf.take<S>(n * M + 64);
      o.carry = shelf.take<S>(n * R + 64);
      o.product = shelf.take<S>(carries ? n * R + 64 : 0);
      o.hidden = shelf.take<S>(projected ? n * H + 64 : 0);
      o.gradient = shelf.take<S>(norm ? G : 0);
      o.fresh = shelf.take<S>(H);
      o.dfresh = shelf.take<S>(H);
      o.kept = shelf.take<S>(n * P + 64);
      o.da = shelf.take<const S*>(n);
      o.to = shelf.take<S*>(n);
      o.hidden_at = shelf.take<S*>(n);
      o.more = shelf.take<S>(more_size);
      if (shelf.base) own[m] = o;
    }
    if (!shelf.base) return;
    for (int m = 0; m < members; ++m) arrived[m] = Epoch{};
    for (int64_t k = 0; k < rows.longest_state(); ++k) zeros[k] = S(0);
    rows.sort();
    base[0] = 0;
    for (int64_t t = 0; t < was.steps; ++t) base[t + 1] = base[t] + rows.active(t);
  }

  int64_t share(int64_t count, int member) const { return member * count / rows.members; }

  void run(int me) {
    start(me);
    Meeting all{arrived, rows.members};
    all.meet(me, 1);
    for (int64_t s = was.steps; s-- > 0;) step(own[me], me, rows.step(s));
    finish(me);
    all.meet(me, 2);
    products(me);
    write(me);
  }

  void start(int me) {
    const int64_t I = was.input_size, H = was.hidden_size, P = was.projection_size, R = was.recurrent_size;
    const int64_t M = was.form.memories() * H;
    auto pack = [&](const S* w, int64_t depth, int64_t columns, S* to) {
      const int64_t panels = panel_count<S>(columns);
      pack_panels(w, columns, depth, columns, to, share(panels, me), share(panels, me + 1));
    };
    pack(was.w_rec, G, R, packed_rec);
    if (want_dx) pack(was.w_ih, G, I, packed_ih);
    if (projected) pack(was.w_hr, P, H, packed_hr);
    Own& o = own[me];
    for (int64_t j = 0; j < more_size; ++j) o.more[j] = S(0);
    for (int64_t k = 0; k < rows.count(me); ++k) {
      const int64_t b = rows.row(me, k);
      copy_scalars<S>(call.dh_n ? call.dh_n + b * P : nullptr, o.carry + k * R, P);
      copy_scalars<S>(nullptr, o.carry + k * R + P, R - P);
      copy_scalars<S>(call.dc_n ? call.dc_n + b * M : nullptr, o.dmemory + k * M, M);
      if (was.rec)
        rows.write_rec(was.h0 ? was.h0 + b * P : rows.zeros, was.c0 ? was.c0 + b * M : rows.zeros, b,
                       first_rec + b * R);
      if (want_dx)
        for (int64_t t = rows.length(b); t < was.steps; ++t) copy_scalars<S>(nullptr, call.dx.at(t, b), I);
    }
  }

  void step(Own& o, int me, int64_t t) {
    using V = Vec<S>;
    const int64_t H = was.hidden_size, P = was.projection_size, R = was.recurrent_size, B = was.batch;
    const int64_t M = was.form.memories() * H, planes = was.form.gate_planes() * H;
    const int64_t n = rows.active(me, t);
    // dh, complete; with zoneout a part of it goes to the step before at once.
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows.row(me, k), at = base[t] + rows.place(me, k);
      const S *dy = at_or_none(call.dy, t, b), *zone = at_or_none(was.zone_h, t, b), *carry = o.carry + k * R;
      S* dh = projected ? dh_rows + at * P : o.dh + k * P;
      over_units<S>(P, [&](int64_t u, int64_t m) {
        V d = get<S>(carry + u, m);
        if (dy) d = d + get<S>(dy + u, m);
        if (zone) {
          V old = get<S>(zone + u, m) * d;
          put<S>(old, o.kept + k * P + u, m);
          d = d - old;
        }
        put<S>(d, dh + u, m);
      });
      if (projected) {
        dh_at[at] = dh;
        o.da[k] = dh;
        o.hidden_at[k] = o.hidden + k * H;
      }
    }
    if (projected) rows_product<S>(o.da, n, P, packed_hr, H, 0, panel_count<S>(H), o.hidden_at, false);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows.row(me, k), cell = t * B + b, at = base[t] + rows.place(me, k);
      x_at[at] = was.x.at(t, b);
      rec_at[at] = rows.rec_before(t, b, first_rec);
      if (want_dx) dx_at[at] = call.dx.at(t, b);
      da_at[at] = da_ih + at * stride;
      S* out = norm ? o.gradient : da + at * stride;
      VariantRowBack<S> row{was.gates + cell * planes,
                            was.memory + cell * M,
                            rows.memory_before(t, b),
                            projected ? o.hidden_at[k] : o.dh + k * P,
                            o.dmemory + k * M,
                            call.dgates ? call.dgates + cell * planes : nullptr,
                            call.dcell ? call.dcell + cell * H : nullptr,
                            o.carry + k * R + P,
                            at_or_none(was.candidate, t, b),
                            at_or_none(was.zone_c, t, b),
                            was.peephole,
                            was.gain_c,
                            was.shift_c,
                            out,
                            projected ? raw_rows + at * H : nullptr,
                            peephole_of(o),
                            gain_c_of(o),
                            shift_c_of(o),
                            o.fresh,
                            o.dfresh};
      if (was.form.slstm)
        slstm_back(row, H);
      else
        gated_back(was.form, row, H);
      if (norm) {
        normalise_row_back<S>(out, was.normal_hh + cell * G, was.gain_hh, was.scales[2 * cell + 1], G, was.form.norm,
                              da + at * stride, gain_hh_of(o), sum_of(o));
        normalise_row_back<S>(out, was.normal_ih + cell * G, was.gain_ih, was.scales[2 * cell], G, was.form.norm,
                              da_ih + at * stride, gain_ih_of(o), nullptr);
      }
      o.da[k] = da + at * stride;
      o.to[k] = (carries ? o.product : o.carry) + k * R;
    }
    rows_product<S>(o.da, n, G, packed_rec, R, 0, panel_count<S>(R), o.to, false);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows.row(me, k);
      if (rows.cut(t, b)) {
        copy_scalars<S>(nullptr, o.carry + k * R, R);
        copy_scalars<S>(nullptr, o.dmemory + k * M, M);
        continue;
      }
      if (!carries) continue;
      const S* mask = was.locked ? was.locked + b * P : nullptr;
      over_units<S>(R, [&](int64_t u, int64_t m) { put<S>(get<S>(o.to[k] + u, m), o.carry + k * R + u, m); });
      over_units<S>(P, [&](int64_t u, int64_t m) {
        V d = get<S>(o.to[k] + u, m);
        if (mask) d = d * get<S>(mask + u, m);
        if (was.zone_h) d = d + get<S>(o.kept + k * P + u, m);
        put<S>(d, o.carry + k * R + u, m);
      });
    }
  }

  void finish(int me) {
    const int64_t H = was.hidden_size, P = was.projection_size, R = was.recurrent_size;
    const int64_t M = was.form.memories() * H;
    Own& o = own[me];
    for (int64_t k = 0; k < rows.count(me); ++k) {
      const int64_t b = rows.row(me, k);
      if (call.dh0) copy_scalars<S>(o.carry + k * R, call.dh0 + b * P, P);
      if (!call.dc0) continue;
      copy_scalars<S>(o.dmemory + k * M, call.dc0 + b * M, M);
      if (was.form.gate_recurrence)
        over_units<S>(3 * H, [&](int64_t u, int64_t m) {
          S* to = call.dc0 + b * M + H + u;
          put<S>(get<S>(to, m) + get<S>(o.carry + k * R + P + u, m), to, m);
        });
    }
  }

  // One meeting a chunk is enough: a member that runs ahead packs into the other buffer.
  void products(int me) {
    const int64_t I = was.input_size, H = was.hidden_size, P = was.projection_size;
    uint32_t round = 2;
    int64_t index = 0;
    for (int64_t r0 = 0; r0 < total; r0 += kRows, ++index) {
      const int64_t count = smaller(kRows, total - r0);
      const int64_t mine = share(count, me), end = share(count, me + 1);
      for (int s = 0; s < sum_count; ++s) {
        VariantSum<S>& g = sum[s];
        S* packed = g.packed[index % 2];
        int64_t column = 0;
        for (int part = 0; part < 2; ++part) {
          if (g.columns[part] == 0) continue;
          pack_left<S>(g.left[part] + r0, mine, end, count, g.columns[part], packed, column, g.all());
          column += g.columns[part];
        }
        if (g.ones) pack_column_of_ones(packed, mine, end, count, g.all());
      }
      if (projected) pack_left<S>(dh_at + r0, mine, end, count, P, packed_left_hr[index % 2], 0, P);
      if (want_dx)
        rows_product<S>(const_cast<const S* const*>(da_at) + r0 + mine, end - mine, G, packed_ih, I, 0,
                        panel_count<S>(I), dx_at + r0 + mine, false);
      Meeting{arrived, rows.members}.meet(me, ++round);
      const int64_t panels = panel_count<S>(G);
      for (int s = 0; s < sum_count; ++s)
        for (int64_t j = share(panels, me); j < share(panels, me + 1); ++j)
          sum_product(sum[s].packed[index % 2], sum[s].all(), count,
                      panel_in_place(sum[s].da + r0 * stride, stride, G, j, true), sum[s].sums, stride, r0 > 0);
      if (projected && call.dw_hr) {
        const int64_t parts = panel_count<S>(H);
        for (int64_t j = share(parts, me); j < share(parts, me + 1); ++j)
          sum_product(packed_left_hr[index % 2], P, count, panel_in_place(raw_rows + r0 * H, H, H, j, false), sums_hr,
                      H, r0 > 0);
      }
    }
  }

  static void pack_column_of_ones(S* packed, int64_t r0, int64_t r1, int64_t count, int64_t all) {
    constexpr int64_t R = Vec<S>::tile_rows;
    const int64_t column = all - 1, tile = column / R * R, width = column - tile + 1;
    for (int64_t r = r0; r < r1; ++r) packed[tile / R * left_tile_size<S>(count) + r * width + width - 1] = S(1);
  }

  void write(int me) {
    const int64_t I = was.input_size, H = was.hidden_size, P = was.projection_size, R = was.recurrent_size;
    constexpr int64_t W = panel_width<S>();
    const int64_t panels = panel_count<S>(G);
    const int64_t n0 = share(panels, me) * W, n1 = smaller(G, share(panels, me + 1) * W);
    auto transposed = [&](const S* from, int64_t columns, S* to) {
      if (!to) return;
      if (total > 0)
        copy_transposed(from, stride, columns, n0, n1, to, columns);
      else
        for (int64_t j = n0 * columns; j < n1 * columns; ++j) to[j] = S(0);
    };
    transposed(norm ? sum[1].sums : sum[0].sums, I, call.dw_ih);
    transposed(norm ? sum[0].sums : sum[0].sums + I * stride, R, call.dw_rec);
    if (!norm && call.db)
      copy_scalars<S>(total > 0 ? sum[0].sums + (I + R) * stride + n0 : nullptr, call.db + n0, n1 - n0);
    if (projected && call.dw_hr) {
      const int64_t parts = panel_count<S>(H), h0 = share(parts, me) * W, h1 = smaller(H, share(parts, me + 1) * W);
      for (int64_t p = 0; p < P; ++p)
        copy_scalars<S>(total > 0 ? sums_hr + p * H + h0 : nullptr, call.dw_hr + p * H + h0, h1 - h0);
    }
    if (me != 0) return;
    // All members have met in the products, or after their rows.
    auto gather = [&](S* to, int64_t offset, int64_t n) {
      if (!to) return;
      for (int64_t j = 0; j < n; ++j) {
        S sum_of_members = 0;
        for (int m = 0; m < rows.members; ++m) sum_of_members += own[m].more[offset + j];
        to[j] = sum_of_members;
      }
    };
    gather(call.dpeephole, 0, 3 * H);
    gather(call.dgain_ih, 3 * H, G);
    gather(call.dgain_hh, 3 * H + G, G);
    if (norm) gather(call.db, 3 * H + 2 * G, G);
    gather(call.dgain_c, 3 * H + 3 * G, H);
    gather(call.dshift_c, 4 * H + 3 * G, H);
  }

  static void task(void* job, int member, int) { static_cast<VariantBackwardJob*>(job)->run(member); }
};

// False when memory is out.
template <class S>
bool variant_backward(const VariantBackward<S>& call) {
  const VariantForward<S>& was = call.was;
  const int64_t work = 2 * was.steps * was.batch * 4 * was.hidden_size * (was.input_size + was.recurrent_size);
  Team team(variant_members(was.batch, work, was.threads));
  auto run = [&call](int members, Team* with, bool& memory) {
    VariantBackwardJob<S> job(call, members);
    Shelf sizes(nullptr);
    job.place(sizes);
    void* block = scratch(Use::backward, sizes.used + 64);
    memory = block != nullptr;
    if (!block) return true;
    Shelf shelf(block);
    job.place(shelf);
    if (with) return with->run(VariantBackwardJob<S>::task, &job);
    job.run(0);
    return true;
  };
  bool memory = true;
  if (!run(team.size(), &team, memory)) run(1, nullptr, memory);
  scratch_done(Use::backward);
  return memory;
}
CELLGATE_END
