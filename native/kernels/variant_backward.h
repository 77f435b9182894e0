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
    const int64_t I = was_.input_size, H = was_.hidden_size, P = was_.projection_size, R = was_.recurrent_size;
    const int64_t G = plan_.G, M = rows_.memory_size();
    auto pack = [&](const S* w, int64_t depth, int64_t columns, S* to) {
      pack_panels(w, columns, depth, columns, to, first_panel(columns, me_), first_panel(columns, me_ + 1));
    };
    auto pack_transposed = [&](const S* w, int64_t depth, S* to) {
      pack_panels_transposed(w, depth, depth, G, to, first_panel(G, me_), first_panel(G, me_ + 1));
    };
    pack(was_.w_rec, G, R, plan_.packed_rec);
    if (plan_.want_dx) pack(was_.w_ih, G, I, plan_.packed_ih);
    if (plan_.projected) pack(was_.w_hr, P, H, plan_.packed_hr);
    if (plan_.again) {
      pack_transposed(was_.w_ih, I, plan_.packed_ih_t);
      pack_transposed(was_.w_rec, R, plan_.packed_rec_t);
      for (int64_t j = 0; j < G && me_ == 0; ++j)
        plan_.bias[j] = (was_.b_ih ? was_.b_ih[j] : S(0)) + (was_.b_hh ? was_.b_hh[j] : S(0));
    }
    for (int64_t j = 0; j < plan_.more_size; ++j) own_.more[j] = S(0);
    for (int64_t k = 0; k < rows_.count(me_); ++k) {
      const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k);
      S* carry = plan_.carry + place * plan_.rec_stride;
      copy_scalars<S>(call_.dh_n ? call_.dh_n + b * P : nullptr, carry, P);
      copy_scalars<S>(nullptr, carry + P, R - P);
      copy_scalars<S>(call_.dc_n ? call_.dc_n + b * M : nullptr, plan_.dmemory + place * M, M);
      if (plan_.want_dx)
        for (int64_t t = rows_.length(b); t < was_.steps; ++t) copy_scalars<S>(nullptr, call_.dx.at(t, b), I);
    }
  }

  // ---- a chunk -------------------------------------------------------------------------------------------------------
  void list_rows() {
    const VariantChunk<S>& c = *chunk_;
    const int64_t R = was_.recurrent_size, P = was_.projection_size;
    for (int64_t t = begin_; t < end_; ++t) {
      const int64_t n = rows_.active(me_, t);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t b = rows_.row(me_, k), at = place_of(t, k);
        c.x[at] = was_.x.at(t, b);
        c.rec[at] = rows_.h_before(t, b);
        if (was_.aside()) {
          rows_.write_rec(c.rec[at], plan_.sparse ? nullptr : rows_.memory_before(t, b), b, c.rec_block + at * R);
          c.rec[at] = c.rec_block + at * R;
        }
        if (plan_.want_dx) c.dx[at] = call_.dx.at(t, b);
        c.da[at] = c.da_block + at * plan_.stride;
        c.da_ih[at] = c.da_ih_block + at * plan_.stride;
        if (plan_.projected) c.dh[at] = c.dh_block + at * P;
        if (!plan_.again) continue;
        plan_.gates_at[at] = plan_.gates + at * was_.form.gate_planes() * was_.hidden_size;
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
    const int64_t I = was_.input_size, H = was_.hidden_size, R = was_.recurrent_size, G = plan_.G;
    const int64_t M = rows_.memory_size(), mine = share(count_, me_), n = share(count_, me_ + 1) - mine;
    const int64_t panels = panel_count<S>(G);
    const int norm = was_.form.norm;
    S* const* ih = (norm ? plan_.normal_ih_at : plan_.gates_at) + mine;
    S* const* rec = (norm ? plan_.normal_hh_at : plan_.gates_at) + mine;
    meet();
    rows_product<S>(c.x + mine, n, I, plan_.packed_ih_t, G, 0, panels, ih, false);
    rows_product<S>(c.rec + mine, n, R, plan_.packed_rec_t, G, 0, panels, rec, !norm);
    meet();
    for (int64_t j = 0; j < end_ - begin_; ++j) {
      const int64_t t = was_.backward_in_time ? end_ - 1 - j : begin_ + j, active = rows_.active(me_, t);
      for (int64_t k = 0; k < active; ++k) {
        const int64_t b = rows_.row(me_, k), at = place_of(t, k);
        S* a = plan_.gates_at[at];
        if (norm) {
          S *x = plan_.normal_ih_at[at], *h = plan_.normal_hh_at[at], *by = plan_.scales + 2 * at;
          normalise_rows_into<S>({x, was_.gain_ih, was_.shift_ih, x}, {h, was_.gain_hh, was_.shift_hh, h}, G, norm, a,
                                 by);
        }
        // h comes out once more, and states where they are at hand already: into scratch.
        VariantRow<S> row{a,
                          plan_.bias,
                          memory_before(t, k),
                          plan_.sparse ? plan_.cell + at * M : own_.spare,
                          a,
                          own_.dfresh,
                          at_or_none(was_.candidate, t, b),
                          at_or_none(was_.zone_c, t, b),
                          was_.peephole,
                          was_.gain_c,
                          was_.shift_c,
                          own_.fresh};
        variant_cell_forward(was_.form, row, H);
      }
    }
  }

  void step(int64_t t) {
    const VariantChunk<S>& c = *chunk_;
    const int64_t P = was_.projection_size, H = was_.hidden_size, R = was_.recurrent_size;
    const int64_t M = rows_.memory_size(), RS = plan_.rec_stride, n = rows_.active(me_, t);
    for (int64_t k = 0; k < n; ++k) complete_dh(t, k);
    if (plan_.projected) {
      for (int64_t k = 0; k < n; ++k) {
        own_.from[k] = c.dh[place_of(t, k)];
        own_.to[k] = plan_.hidden + rows_.place(me_, k) * spaced<S>(H);
      }
      rows_product<S>(own_.from, n, P, plan_.packed_hr, H, 0, panel_count<S>(H), own_.to, false);
    }
    for (int64_t k = 0; k < n; ++k) row_back(t, k);
    S* to = plan_.carries ? plan_.product : plan_.carry;
    if (plan_.shared) {
      meet();
      const int64_t all = rows_.active(t), at = plan_.base[t] - plan_.base[begin_];
      for (int64_t p = 0; p < all; ++p) own_.from[p] = c.da_block + (at + p) * plan_.stride, own_.to[p] = to + p * RS;
      rows_product<S>(own_.from, all, plan_.G, plan_.packed_rec, R, first_panel(R, me_), first_panel(R, me_ + 1),
                      own_.to, false);
      meet();
    } else {
      for (int64_t k = 0; k < n; ++k) own_.from[k] = c.da[place_of(t, k)], own_.to[k] = to + rows_.place(me_, k) * RS;
      rows_product<S>(own_.from, n, plan_.G, plan_.packed_rec, R, 0, panel_count<S>(R), own_.to, false);
    }
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k);
      S* carry = plan_.carry + place * RS;
      if (rows_.cut(t, b)) {
        copy_scalars<S>(nullptr, carry, R);
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
      copy_scalars<S>(made + P, carry + P, R - P);
    }
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

  void row_back(int64_t t, int64_t k) {
    const VariantChunk<S>& c = *chunk_;
    const int64_t H = was_.hidden_size, P = was_.projection_size, G = plan_.G, M = rows_.memory_size();
    const int64_t b = rows_.row(me_, k), place = rows_.place(me_, k), cell = t * was_.batch + b, at = place_of(t, k);
    const int64_t planes = was_.form.gate_planes() * H;
    S* out = plan_.norm ? own_.gradient : c.da[at];
    VariantRowBack<S> row{plan_.again ? plan_.gates_at[at] : was_.gates + cell * planes,
                          plan_.sparse ? plan_.cell + at * M : was_.memory + cell * M,
                          memory_before(t, k),
                          plan_.projected ? plan_.hidden + place * spaced<S>(H) : plan_.dh + place * spaced<S>(P),
                          plan_.dmemory + place * M,
                          call_.dgates ? call_.dgates + cell * planes : nullptr,
                          call_.dcell ? call_.dcell + cell * H : nullptr,
                          plan_.carry + place * plan_.rec_stride + P,
                          at_or_none(was_.candidate, t, b),
                          at_or_none(was_.zone_c, t, b),
                          was_.peephole,
                          was_.gain_c,
                          was_.shift_c,
                          out,
                          plan_.projected ? c.raw_block + at * H : nullptr,
                          plan_.peephole_of(own_),
                          plan_.gain_c_of(own_),
                          plan_.shift_c_of(own_),
                          own_.fresh,
                          own_.dfresh};
    if (was_.form.slstm)
      slstm_back(row, H);
    else
      gated_back(was_.form, row, H);
    if (!plan_.norm) return;
    const S* hh = plan_.again ? plan_.normal_hh_at[at] : was_.normal_hh + cell * G;
    const S* ih = plan_.again ? plan_.normal_ih_at[at] : was_.normal_ih + cell * G;
    const S* by = plan_.again ? plan_.scales + 2 * at : was_.scales + 2 * cell;
    normalise_rows_back<S>(out, {hh, was_.gain_hh, by[1], c.da[at], plan_.gain_hh_of(own_)},
                           {ih, was_.gain_ih, by[0], c.da_ih[at], plan_.gain_ih_of(own_)}, G, was_.form.norm,
                           plan_.sum_of(own_));
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
    for (int s = 0; s < plan_.sum_count; ++s)
      for (int64_t j = first_panel(G, me_); j < first_panel(G, me_ + 1); ++j)
        sum_product(c.sum[s].packed, c.sum[s].all(), count_, panel_in_place(c.sum[s].da, plan_.stride, G, j, true),
                    plan_.sums[s], plan_.stride, begun_);
    if (plan_.projected && call_.dw_hr)
      for (int64_t j = first_panel(H, me_); j < first_panel(H, me_ + 1); ++j)
        sum_product(c.left_hr, P, count_, panel_in_place(c.raw_block, H, H, j, false), plan_.sums_hr, H, begun_);
    begun_ = true;
  }

  static void pack_column_of_ones(S* packed, int64_t r0, int64_t r1, int64_t count, int64_t all) {
    constexpr int64_t R = V::tile_rows;
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
          put<S>(get<S>(to, m) + get<S>(carry + P + u, m), to, m);
        });
    }
  }

  void write() {
    const int64_t I = was_.input_size, H = was_.hidden_size, P = was_.projection_size, R = was_.recurrent_size;
    const int64_t G = plan_.G, stride = plan_.stride;
    constexpr int64_t W = panel_width<S>();
    const int64_t n0 = first_panel(G, me_) * W, n1 = smaller(G, first_panel(G, me_ + 1) * W);
    auto transposed = [&](const S* from, int64_t columns, S* to) {
      if (!to) return;
      if (begun_)
        copy_transposed(from, stride, columns, n0, n1, to, columns);
      else
        for (int64_t j = n0 * columns; j < n1 * columns; ++j) to[j] = S(0);
    };
    transposed(plan_.norm ? plan_.sums[1] : plan_.sums[0], I, call_.dw_ih);
    transposed(plan_.norm ? plan_.sums[0] : plan_.sums[0] + I * stride, R, call_.dw_rec);
    if (!plan_.norm && call_.db)
      copy_scalars<S>(begun_ ? plan_.sums[0] + (I + R) * stride + n0 : nullptr, call_.db + n0, n1 - n0);
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
  Team team(who.members);
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
