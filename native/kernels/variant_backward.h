// The backward pass of any cell, chunk by chunk (variant_backward_plan.h). First the recurrence, each member on its rows;
// then the large products for weights and input, shared by columns. Where gates were not kept, those of a chunk are
// computed again from input, h and states, and where states were kept at intervals only, these between them too.
#pragma once

#include "kernels/variant_backward_plan.h"

CELLGATE_BEGIN
// What one member of the team does.
template <class S>
class VariantBackwardMember {
 public:
  VariantBackwardMember(VariantBackwardPlan<S>& plan, int member)
      : plan_(plan), call_(plan.call), was_(plan.was), rows_(plan.rows), own_(plan.own[member]), me_(member) {}

  void run() {
    start();
    meet();
    for (int64_t q = 0, end; q < was_.steps; q = end, ++index_) {
      end = plan_.chunk_end(q);
      chunk_ = &plan_.chunk[index_ % 2];
      begin_ = was_.backward_in_time ? q : was_.steps - end;
      end_ = was_.backward_in_time ? end : was_.steps - q;
      count_ = plan_.base[end_] - plan_.base[begin_];
      if (count_ == 0) continue;
      list_rows();
      if (plan_.again) gates_again();
      for (int64_t j = 0; j < end_ - begin_; ++j) step(was_.backward_in_time ? begin_ + j : end_ - 1 - j);
      products();
    }
    finish();
    meet();
    write();
  }

 private:
  using V = Vec<S>;

  void meet() { Meeting{plan_.arrived, rows_.members}.meet(me_, ++own_.round); }
  int64_t share(int64_t count, int member) const { return member * count / rows_.members; }
  int64_t first_panel(int64_t columns, int member) const { return share(panel_count<S>(columns), member); }
  // Where a row of a step lies in its chunk.
  int64_t place_of(int64_t t, int64_t k) const { return plan_.base[t] - plan_.base[begin_] + rows_.place(me_, k); }

  void start() {
    const int64_t I = was_.input_size, H = was_.hidden_size, P = was_.projection_size;
    const int64_t G = plan_.G, M = rows_.memory_size();
    auto pack = [&](const S* w, int64_t depth, int64_t columns, S* to) {
      pack_panels(w, columns, depth, columns, to, first_panel(columns, me_), first_panel(columns, me_ + 1));
    };
    auto pack_transposed = [&](const S* w, int64_t depth, int64_t columns, S* to) {
      pack_panels_transposed(w, depth, depth, columns, to, first_panel(columns, me_), first_panel(columns, me_ + 1));
    };
    pack(was_.w_hh, G, P, plan_.packed_rec);
    if (plan_.want_dx) pack(was_.w_ih, G, I, plan_.packed_ih);
    if (plan_.projected) pack(was_.w_hr, P, H, plan_.packed_hr);
    if (plan_.again) {
      pack_transposed(was_.w_ih, I, G, plan_.packed_ih_t);
      pack_transposed(was_.w_hh, P, G, plan_.packed_rec_t);
      for (int64_t j = 0; j < G && me_ == 0; ++j)
        plan_.bias[j] = (was_.b_ih ? was_.b_ih[j] : S(0)) + (was_.b_hh ? was_.b_hh[j] : S(0));
    }
    for (int part = 0; part < 2 && was_.w_gg; ++part) {
      const S* w = was_.w_gg + part * 6 * H * H;
      pack(w, (2 - part) * H, 3 * H, plan_.packed_gg[part]);
      if (plan_.again) pack_transposed(w, 3 * H, (2 - part) * H, plan_.packed_gg_t[part]);
    }
    for (int64_t j = 0; j < plan_.more_size; ++j) own_.more[j] = S(0);
    for (int64_t k = 0; k < rows_.count(me_); ++k) {
      const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k);
      S* carry = plan_.carry + place * plan_.rec_stride;
      copy_scalars<S>(call_.dh_n ? call_.dh_n + b * P : nullptr, carry, P);
      if (was_.w_gg) copy_scalars<S>(nullptr, plan_.gates_carry + place * plan_.gg_stride, 3 * H);
      copy_scalars<S>(call_.dc_n ? call_.dc_n + b * M : nullptr, plan_.dmemory + place * M, M);
      if (plan_.want_dx)
        for (int64_t t = rows_.length(b); t < was_.steps; ++t) copy_scalars<S>(nullptr, call_.dx.at(t, b), I);
    }
  }

  // ---- a chunk -------------------------------------------------------------------------------------------------------
  void list_rows() {
    const VariantChunk<S>& c = *chunk_;
    const int64_t P = was_.projection_size;
    for (int64_t t = begin_; t < end_; ++t) {
      const int64_t n = rows_.active(me_, t);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t b = rows_.row(me_, k), at = place_of(t, k);
        c.x[at] = was_.x.at(t, b);
        c.rec[at] = rows_.h_before(t, b);
        if (was_.locked) {
          rows_.write_rec(c.rec[at], b, c.rec_block + at * P);
          c.rec[at] = c.rec_block + at * P;
        }
        if (was_.w_gg) {
          c.gates[at] = rows_.memory_before(t, b) + was_.hidden_size;
          c.da_gg[at] = c.da_gg_block + at * plan_.stride;
        }
        if (plan_.want_dx) c.dx[at] = call_.dx.at(t, b);
        c.da[at] = c.da_block + at * plan_.stride;
        c.da_ih[at] = c.da_ih_block + at * plan_.stride;
        if (plan_.projected) c.dh[at] = c.dh_block + at * P;
        if (!plan_.again) continue;
        plan_.gates_at[at] = plan_.gates + at * was_.form.gate_planes() * was_.hidden_size;
        if (was_.w_gg) plan_.o_at[at] = plan_.gates_at[at] + 3 * was_.hidden_size;
        if (plan_.norm) {
          plan_.normal_ih_at[at] = plan_.normal_ih + at * plan_.G;
          plan_.normal_hh_at[at] = plan_.normal_hh + at * plan_.G;
        }
      }
    }
  }

  // The state before step t of my row k.
  const S* memory_before(int64_t t, int64_t k) const {
    const int64_t b = rows_.row(me_, k), M = rows_.memory_size();
    if (!plan_.sparse) return rows_.memory_before(t, b);
    if (rows_.cut(t, b)) return rows_.zeros;
    if (rows_.first(t, b)) return rows_.initial_memory(b);
    const int64_t before = rows_.before(t);
    return before >= begin_ && before < end_ ? plan_.cell + place_of(before, k) * M : rows_.kept_memory(before, b);
  }

  void gates_again() {
    const VariantChunk<S>& c = *chunk_;
    const int64_t I = was_.input_size, H = was_.hidden_size, P = was_.projection_size, G = plan_.G;
    const int64_t M = rows_.memory_size(), mine = share(count_, me_), n = share(count_, me_ + 1) - mine;
    const int norm = was_.form.norm;
    auto product = [&](const S* const* from, int64_t depth, const S* packed, int64_t columns, S* const* to, bool add) {
      rows_product<S>(from + mine, n, depth, packed, columns, 0, panel_count<S>(columns), to + mine, add);
    };
    meet();
    product(c.x, I, plan_.packed_ih_t, G, norm ? plan_.normal_ih_at : plan_.gates_at, false);
    product(c.rec, P, plan_.packed_rec_t, G, norm ? plan_.normal_hh_at : plan_.gates_at, !norm);
    for (int64_t at = mine; at < mine + n && norm; ++at) {
      S *x = plan_.normal_ih_at[at], *h = plan_.normal_hh_at[at];
      normalise_rows_into<S>({x, was_.gain_ih, was_.shift_ih, x}, {h, was_.gain_hh, was_.shift_hh, h}, G, norm,
                             plan_.gates_at[at], plan_.scales + 4 * at);
    }
    if (was_.w_gg) {
      product(c.gates, 3 * H, plan_.packed_gg_t[0], 2 * H, plan_.gates_at, true);
      product(c.gates, 3 * H, plan_.packed_gg_t[1], H, plan_.o_at, true);
    }
    meet();
    for (int64_t j = 0; j < end_ - begin_; ++j) {
      const int64_t t = was_.backward_in_time ? end_ - 1 - j : begin_ + j, active = rows_.active(me_, t);
      for (int64_t k = 0; k < active; ++k) {
        const int64_t b = rows_.row(me_, k), at = place_of(t, k);
        S* a = plan_.gates_at[at];
        // h comes out once more, and states where they are at hand already: into scratch.
        own_.again[k] = {a,
                         plan_.bias,
                         memory_before(t, k),
                         plan_.sparse ? plan_.cell + at * M : own_.spare,
                         a,
                         own_.dfresh + k * spaced<S>(H),
                         at_or_none(was_.candidate, t, b),
                         at_or_none(was_.zone_c, t, b),
                         was_.peephole,
                         was_.gain_c,
                         was_.shift_c,
                         own_.fresh + k * spaced<S>(H),
                         norm ? plan_.scales + 4 * at + 2 : nullptr};
      }
      variant_cell_forward(was_.form, own_.again, active, H);
    }
  }

  void step(int64_t t) {
    const VariantChunk<S>& c = *chunk_;
    const int64_t P = was_.projection_size, H = was_.hidden_size, M = rows_.memory_size();
    const int64_t RS = plan_.rec_stride, GS = plan_.gg_stride, n = rows_.active(me_, t);
    for (int64_t k = 0; k < n; ++k) complete_dh(t, k);
    if (plan_.projected) {
      for (int64_t k = 0; k < n; ++k) {
        own_.from[k] = c.dh[place_of(t, k)];
        own_.to[k] = plan_.hidden + rows_.place(me_, k) * spaced<S>(H);
      }
      rows_product<S>(own_.from, n, P, plan_.packed_hr, H, 0, panel_count<S>(H), own_.to, false);
    }
    rows_back(t, n);
    if (plan_.shared) meet();
    back_product(t, n, c.da_block, plan_.packed_rec, plan_.G, P, plan_.carries ? plan_.product : plan_.carry, RS,
                 false);
    if (was_.w_gg) {
      back_product(t, n, c.da_gg_block, plan_.packed_gg[0], 2 * H, 3 * H, plan_.gates_carry, GS, false);
      back_product(t, n, c.da_gg_block + 3 * H, plan_.packed_gg[1], H, 3 * H, plan_.gates_carry, GS, true);
    }
    if (plan_.shared) meet();
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k);
      S* carry = plan_.carry + place * RS;
      if (rows_.cut(t, b)) {
        copy_scalars<S>(nullptr, carry, P);
        if (was_.w_gg) copy_scalars<S>(nullptr, plan_.gates_carry + place * GS, 3 * H);
        copy_scalars<S>(nullptr, plan_.dmemory + place * M, M);
        continue;
      }
      if (!plan_.carries) continue;
      const S *made = plan_.product + place * RS, *mask = was_.locked ? was_.locked + b * P : nullptr;
      over_units<S>(P, [&](int64_t u, int64_t m) {
        V d = get<S>(made + u, m);
        if (mask) d = d * get<S>(mask + u, m);
        if (was_.zone_h) d = d + get<S>(plan_.kept + place * P + u, m);
        put<S>(d, carry + u, m);
      });
    }
  }

  // to(place) (+)= `depth` columns of da, a block of the chunk, times packed weights, for the rows of step t: my n, or my
  // columns of all.
  void back_product(int64_t t, int64_t n, const S* da, const S* packed, int64_t depth, int64_t columns, S* to,
                    int64_t stride, bool add) {
    const int64_t count = plan_.shared ? rows_.active(t) : n, base = plan_.base[t] - plan_.base[begin_];
    for (int64_t k = 0; k < count; ++k) {
      const int64_t place = plan_.shared ? k : rows_.place(me_, k);
      own_.from[k] = da + (base + place) * plan_.stride;
      own_.to[k] = to + place * stride;
    }
    rows_product<S>(own_.from, count, depth, packed, columns, plan_.shared ? first_panel(columns, me_) : 0,
                    plan_.shared ? first_panel(columns, me_ + 1) : panel_count<S>(columns), own_.to, add);
  }

  // dh of my row k; with zoneout a part of it goes to the step before at once.
  void complete_dh(int64_t t, int64_t k) {
    const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k), P = was_.projection_size;
    const S *dy = at_or_none(call_.dy, t, b), *zone = at_or_none(was_.zone_h, t, b);
    const S* carry = plan_.carry + place * plan_.rec_stride;
    S* dh = plan_.projected ? chunk_->dh[place_of(t, k)] : plan_.dh + place * spaced<S>(P);
    over_units<S>(P, [&](int64_t u, int64_t m) {
      V d = get<S>(carry + u, m);
      if (dy) d = d + get<S>(dy + u, m);
      if (zone) {
        V old = get<S>(zone + u, m) * d;
        put<S>(old, plan_.kept + place * P + u, m);
        d = d - old;
      }
      put<S>(d, dh + u, m);
    });
  }

  // The cells of my n rows of step t.
  void rows_back(int64_t t, int64_t n) {
    const VariantChunk<S>& c = *chunk_;
    const int64_t H = was_.hidden_size, P = was_.projection_size, M = rows_.memory_size();
    const int64_t planes = was_.form.gate_planes() * H;
    S** const out = was_.w_gg ? c.da_gg : c.da;
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k), cell = t * was_.batch + b, at = place_of(t, k);
      const S* scales = !plan_.norm ? nullptr : plan_.again ? plan_.scales + 4 * at : was_.scales + 4 * cell;
      own_.back[k] = {plan_.again ? plan_.gates_at[at] : was_.gates + cell * planes,
                      plan_.sparse ? plan_.cell + at * M : was_.memory + cell * M,
                      memory_before(t, k),
                      plan_.projected ? plan_.hidden + place * spaced<S>(H) : plan_.dh + place * spaced<S>(P),
                      plan_.dmemory + place * M,
                      call_.dgates ? call_.dgates + cell * planes : nullptr,
                      call_.dcell ? call_.dcell + cell * H : nullptr,
                      was_.w_gg ? plan_.gates_carry + place * plan_.gg_stride : nullptr,
                      at_or_none(was_.candidate, t, b),
                      at_or_none(was_.zone_c, t, b),
                      was_.peephole,
                      was_.gain_c,
                      was_.shift_c,
                      out[at],
                      plan_.projected ? c.raw_block + at * H : nullptr,
                      plan_.peephole_of(own_),
                      plan_.gain_c_of(own_),
                      plan_.shift_c_of(own_),
                      scales ? scales + 2 : nullptr,
                      own_.fresh + k * spaced<S>(H),
                      own_.dfresh + k * spaced<S>(H),
                      S(0),
                      S(0)};
    }
    for (int64_t k = 0; k < n; k += kRowsAtOnce) {
      const int64_t end = smaller(n, k + kRowsAtOnce);
      variant_cell_back(was_.form, own_.back + k, end - k, H);
      if (!plan_.norm) continue;
      int64_t j = k;
      for (; j + 2 <= end; j += 2) products_back<2>(t, j, n);
      for (; j < end; ++j) products_back<1>(t, j, n);
    }
  }

  // The normalised products of my rows k to k + N, of n in this step.
  template <int N>
  void products_back(int64_t t, int64_t k, int64_t n) {
    const VariantChunk<S>& c = *chunk_;
    NormalRowsBack<S, N> rows;
    rows.gain[0] = was_.gain_ih, rows.gain[1] = was_.gain_hh;
    rows.dgain[0] = plan_.gain_ih_of(own_), rows.dgain[1] = plan_.gain_hh_of(own_), rows.dshift = plan_.sum_of(own_);
    for (int j = 0; j < N; ++j) {
      const int64_t at = place_of(t, k + j), cell = t * was_.batch + rows_.row(me_, k + j);
      rows.da[j] = own_.back[k + j].da;
      rows.normal[j][0] = plan_.again ? plan_.normal_ih_at[at] : was_.normal_ih + cell * plan_.G;
      rows.normal[j][1] = plan_.again ? plan_.normal_hh_at[at] : was_.normal_hh + cell * plan_.G;
      rows.scale[j] = plan_.again ? plan_.scales + 4 * at : was_.scales + 4 * cell;
      rows.dz[j][0] = c.da_ih[at], rows.dz[j][1] = c.da[at];
      rows.next_normal[j][0] = rows.normal[j][0], rows.next_normal[j][1] = rows.normal[j][1];
      rows.next_gates[j] = own_.back[k + j].gates;
      if (plan_.again) continue;
      const int64_t later = k + j + kRowsAtOnce < n ? 0 : was_.backward_in_time ? 1 : -1, next = t + later;
      if (next < 0 || next >= was_.steps) continue;
      const int64_t row = rows_.row(me_, later ? (k + j) % kRowsAtOnce % n : k + j + kRowsAtOnce),
                    its = next * was_.batch + row;
      rows.next_normal[j][0] = was_.normal_ih + its * plan_.G, rows.next_normal[j][1] = was_.normal_hh + its * plan_.G;
      rows.next_gates[j] = was_.gates + its * was_.form.gate_planes() * was_.hidden_size;
    }
    rows.run(plan_.G, was_.form.norm);
  }

  // Two meetings a chunk: all rows are there; their packed copies are. A member that runs ahead into the next chunk finds
  // other memory, and in the one after that all others have left this one.
  void products() {
    const VariantChunk<S>& c = *chunk_;
    const int64_t I = was_.input_size, H = was_.hidden_size, P = was_.projection_size, G = plan_.G;
    const int64_t mine = share(count_, me_), end = share(count_, me_ + 1);
    meet();
    for (int s = 0; s < plan_.sum_count; ++s) {
      const VariantSum<S>& g = c.sum[s];
      int64_t column = 0;
      for (int part = 0; part < 2; ++part) {
        if (g.columns[part] == 0) continue;
        pack_left<S>(g.left[part], mine, end, count_, g.columns[part], g.packed, column, g.all());
        column += g.columns[part];
      }
      if (g.ones) pack_column_of_ones(g.packed, mine, end, count_, g.all());
    }
    if (plan_.projected) pack_left<S>(c.dh, mine, end, count_, P, c.left_hr, 0, P);
    if (plan_.want_dx)
      rows_product<S>(c.da_ih + mine, end - mine, G, plan_.packed_ih, I, 0, panel_count<S>(I), c.dx + mine, false);
    meet();
    auto sum_columns = [&](const VariantSum<S>& g, int64_t first, int64_t columns, S* to, int64_t stride) {
      for (int64_t j = first_panel(columns, me_); j < first_panel(columns, me_ + 1); ++j)
        sum_product(g.packed, g.all(), count_, panel_in_place(g.da + first, plan_.stride, columns, j, true), to, stride,
                    begun_);
    };
    for (int s = 0; s < plan_.sum_count; ++s) {
      if (!c.sum[s].gates) {
        sum_columns(c.sum[s], 0, G, plan_.sums[s], plan_.stride);
        continue;
      }
      sum_columns(c.sum[s], 0, 2 * H, plan_.sums[s], plan_.gg_stride);
      sum_columns(c.sum[s], 3 * H, H, plan_.sums[s] + 2 * H, plan_.gg_stride);
    }
    if (plan_.projected && call_.dw_hr)
      for (int64_t j = first_panel(H, me_); j < first_panel(H, me_ + 1); ++j)
        sum_product(c.left_hr, P, count_, panel_in_place(c.raw_block, H, H, j, false), plan_.sums_hr, H, begun_);
    begun_ = true;
  }

  static void pack_column_of_ones(S* packed, int64_t r0, int64_t r1, int64_t count, int64_t all) {
    constexpr int64_t R = V::gemm_rows;
    const int64_t column = all - 1, tile = column / R * R, width = column - tile + 1;
    for (int64_t r = r0; r < r1; ++r) packed[tile / R * left_tile_size<S>(count) + r * width + width - 1] = S(1);
  }

  // ---- the end -------------------------------------------------------------------------------------------------------
  void finish() {
    const int64_t H = was_.hidden_size, P = was_.projection_size, M = rows_.memory_size();
    for (int64_t k = 0; k < rows_.count(me_); ++k) {
      const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k);
      const S* carry = plan_.carry + place * plan_.rec_stride;
      if (call_.dh0) copy_scalars<S>(carry, call_.dh0 + b * P, P);
      if (!call_.dc0) continue;
      copy_scalars<S>(plan_.dmemory + place * M, call_.dc0 + b * M, M);
      if (was_.form.gate_recurrence)
        over_units<S>(3 * H, [&](int64_t u, int64_t m) {
          S* to = call_.dc0 + b * M + H + u;
          put<S>(get<S>(to, m) + get<S>(plan_.gates_carry + place * plan_.gg_stride + u, m), to, m);
        });
    }
  }

  void write() {
    const int64_t I = was_.input_size, H = was_.hidden_size, P = was_.projection_size;
    const int64_t G = plan_.G, stride = plan_.stride;
    constexpr int64_t W = panel_width<S>();
    // to (n, columns) = from (columns, n)^T, my part of n.
    auto transposed = [&](const S* from, int64_t from_stride, int64_t n, int64_t columns, S* to) {
      const int64_t n0 = first_panel(n, me_) * W, n1 = smaller(n, first_panel(n, me_ + 1) * W);
      if (!to) return;
      if (begun_)
        copy_transposed(from, from_stride, columns, n0, n1, to, columns);
      else
        for (int64_t j = n0 * columns; j < n1 * columns; ++j) to[j] = S(0);
    };
    transposed(plan_.norm ? plan_.sums[1] : plan_.sums[0], stride, G, I, call_.dw_ih);
    transposed(plan_.norm ? plan_.sums[0] : plan_.sums[0] + I * stride, stride, G, P, call_.dw_hh);
    if (was_.w_gg) transposed(plan_.sums[plan_.sum_count - 1], plan_.gg_stride, 3 * H, 3 * H, call_.dw_gg);
    const int64_t n0 = first_panel(G, me_) * W, n1 = smaller(G, first_panel(G, me_ + 1) * W);
    if (!plan_.norm && call_.db)
      copy_scalars<S>(begun_ ? plan_.sums[0] + (I + P) * stride + n0 : nullptr, call_.db + n0, n1 - n0);
    if (plan_.projected && call_.dw_hr) {
      const int64_t h0 = first_panel(H, me_) * W, h1 = smaller(H, first_panel(H, me_ + 1) * W);
      for (int64_t p = 0; p < P; ++p)
        copy_scalars<S>(begun_ ? plan_.sums_hr + p * H + h0 : nullptr, call_.dw_hr + p * H + h0, h1 - h0);
    }
    if (me_ != 0) return;
    auto gather = [&](S* to, int64_t offset, int64_t n) {
      if (!to) return;
      for (int64_t j = 0; j < n; ++j) {
        S sum_of_members = 0;
        for (int m = 0; m < rows_.members; ++m) sum_of_members += plan_.own[m].more[offset + j];
        to[j] = sum_of_members;
      }
    };
    gather(call_.dpeephole, 0, 3 * H);
    gather(call_.dgain_ih, 3 * H, G);
    gather(call_.dgain_hh, 3 * H + G, G);
    if (plan_.norm) gather(call_.db, 3 * H + 2 * G, G);
    gather(call_.dgain_c, 3 * H + 3 * G, H);
    gather(call_.dshift_c, 4 * H + 3 * G, H);
  }

  VariantBackwardPlan<S>& plan_;
  const VariantBackward<S>& call_;
  const VariantForward<S>& was_;
  const VariantRows<S>& rows_;
  typename VariantBackwardPlan<S>::Own& own_;
  const int me_;
  // The chunk under way: its steps in time, its rows.
  const VariantChunk<S>* chunk_ = nullptr;
  int64_t begin_ = 0, end_ = 0, count_ = 0, index_ = 0;
  bool begun_ = false;  // the sums of the weights hold something
};

template <class S>
void run_variant_backward_member(void* plan, int member, int) {
  VariantBackwardMember<S>(*static_cast<VariantBackwardPlan<S>*>(plan), member).run();
}

// False when memory is out.
template <class S>
bool variant_backward(const VariantBackward<S>& call) {
  VariantTeam who = variant_team(call.was, 2);
  Team team(who.members, call.was.threads);
  who.members = team.size();
  who.shared = who.shared && who.members > 1;
  auto run = [&call](VariantTeam by, Team* with, bool& memory) {
    VariantBackwardPlan<S> plan(call, by);
    Shelf sizes(nullptr);
    plan.place(sizes);
    void* block = scratch(Use::backward, sizes.used + 64);
    memory = block != nullptr;
    if (!block) return true;
    Shelf shelf(block);
    plan.place(shelf);
    if (with) return with->run(run_variant_backward_member<S>, &plan);
    run_variant_backward_member<S>(&plan, 0, 1);
    return true;
  };
  bool memory = true;
  if (!run(who, &team, memory)) run({}, nullptr, memory);
  scratch_done(Use::backward);
  return memory;
}
CELLGATE_END
