// The forward pass of any cell: the input products of some steps at once, then step by step the recurrent product and the
// cells, row by row.
#pragma once

#include <cstring>

#include "kernels/variant_plan.h"

CELLGATE_BEGIN
// A layer's weights as forward reads them, one after the other.
template <class S>
struct VariantPanels {
  int64_t ih, hh, gg_if, gg_o, hr;  // where each begins; w_gg in two, since what it makes lies on both sides of g
  int64_t size;
  explicit VariantPanels(const VariantForward<S>& c) {
    const int64_t G = 4 * c.hidden_size, line = 64 / static_cast<int64_t>(sizeof(S));
    ih = 0;
    const int64_t H = c.hidden_size, gates = c.w_gg ? 3 * H : 0;
    hh = ih + round_up(packed_size<S>(c.input_size, G), line);
    gg_if = hh + round_up(packed_size<S>(c.projection_size, G), line);
    gg_o = gg_if + round_up(packed_size<S>(gates, 2 * H), line);
    hr = gg_o + round_up(packed_size<S>(gates, H), line);
    size = hr + (c.w_hr ? packed_size<S>(c.hidden_size, c.projection_size) : 0);
  }
  // Packs the part of one of `members`.
  void pack(const VariantForward<S>& c, S* to, int member, int members) const {
    auto one = [&](const S* w, int64_t depth, int64_t columns, S* at) {
      const int64_t panels = panel_count<S>(columns);
      pack_panels_transposed(w, depth, depth, columns, at, member * panels / members, (member + 1) * panels / members);
    };
    const int64_t H = c.hidden_size, G = 4 * H;
    one(c.w_ih, c.input_size, G, to + ih);
    one(c.w_hh, c.projection_size, G, to + hh);
    if (c.w_gg) one(c.w_gg, 3 * H, 2 * H, to + gg_if), one(c.w_gg + 6 * H * H, 3 * H, H, to + gg_o);
    if (c.w_hr) one(c.w_hr, H, c.projection_size, to + hr);
  }
};

template <class S>
struct VariantForwardJob {
  const VariantForward<S>& call;
  VariantRows<S> rows;
  bool shared, projected;
  int64_t G, stride, chunk;  // chunk: steps whose input products are made at once
  VariantPanels<S> panels;
  Epoch* arrived;
  S* fresh;               // where weights are packed in this call, or null: `packed` is ready
  const S* packed;        // VariantPanels
  S *bias, *state, *rec;  // (4H); (B, M*H) where not every state is kept; (B, P) where r is not h: of the step before
  S *sums, *products;     // of all rows, where the product is shared
  struct alignas(64) Own {
    const S** from;      // (chunk * rows)
    S** to;              // (chunk * rows)
    const S** h;         // (rows) r before the step
    S** product;         // (rows)
    VariantRow<S>* row;  // (own rows)
    S** raw;             // (own rows)
    S** out;             // (own rows)
    S *sums, *products, *hidden, *gates, *fresh;
    uint32_t round;
  }* own;

  // ready: the packed weights, or null; where: memory to pack them in, or null: scratch.
  VariantForwardJob(const VariantForward<S>& c, VariantTeam team, const S* ready, S* where)
      : call(c), shared(team.shared), panels(c), fresh(where), packed(ready) {
    rows = {&c, team.members, nullptr, nullptr};
    G = 4 * c.hidden_size;
    stride = spaced<S>(G);
    projected = c.w_hr != nullptr;
    const int64_t most = shared ? c.batch : ceil_div(c.batch, team.members);
    chunk = larger<int64_t>(1, 65536 / (stride * most));
    chunk = smaller(c.steps, larger(chunk, ceil_div(4 * Vec<S>::gemm_rows, most)));
  }

  void place(Shelf& shelf) {
    const int64_t H = call.hidden_size, B = call.batch, members = rows.members;
    const bool norm = call.form.norm != 0;
    arrived = shelf.take<Epoch>(members);
    rows.order = shelf.take<int64_t>(B);
    S* zeros = shelf.take<S>(rows.longest_state());
    rows.zeros = zeros;
    if (!packed) {
      S* scratch_panels = shelf.take<S>(fresh ? 0 : panels.size);
      if (!fresh && shelf.base) fresh = scratch_panels;
    }
    bias = shelf.take<S>(G);
    state = shelf.take<S>(call.every_memory() ? 0 : B * rows.memory_size());
    rec = shelf.take<S>(call.locked ? B * call.projection_size : 0);
    sums = shelf.take<S>(shared ? chunk * B * stride : 0);
    products = shelf.take<S>(shared && norm ? B * stride : 0);
    own = shelf.take<Own>(members);
    for (int m = 0; m < members; ++m) {
      const int64_t mine = rows.count(m), n = shared ? B : mine;
      Own o;
      o.from = shelf.take<const S*>(chunk * n);
      o.to = shelf.take<S*>(chunk * n);
      o.h = shelf.take<const S*>(n);
      o.product = shelf.take<S*>(n);
      o.row = shelf.take<VariantRow<S>>(mine);
      o.raw = shelf.take<S*>(mine);
      o.out = shelf.take<S*>(mine);
      o.sums = shared ? sums : shelf.take<S>(chunk * n * stride);
      o.products = shared ? products : shelf.take<S>(norm ? n * stride : 0);
      o.hidden = shelf.take<S>(projected || call.zone_h ? mine * spaced<S>(H) : 0);
      o.gates = shelf.take<S>(call.gates ? 0 : mine * spaced<S>(5 * H));
      o.fresh = shelf.take<S>(norm ? mine * spaced<S>(H) : 0);
      o.round = 0;
      if (shelf.base) own[m] = o;
    }
    if (!shelf.base) return;
    for (int m = 0; m < members; ++m) arrived[m] = Epoch{};
    for (int64_t k = 0; k < rows.longest_state(); ++k) zeros[k] = S(0);
    rows.sort();
  }

  void meet(int me) { Meeting{arrived, rows.members}.meet(me, ++own[me].round); }
  const S* panels_of(int64_t offset) const { return (packed ? packed : fresh) + offset; }
  // My panels of so many columns, of a product that all members make together.
  int64_t first_panel(int64_t columns, int me) const { return me * panel_count<S>(columns) / rows.members; }

  void run(int me) {
    const int64_t P = call.projection_size;
    if (!packed) panels.pack(call, fresh, me, rows.members);
    if (me == 0) {
      for (int64_t j = 0; j < G; ++j) bias[j] = (call.b_ih ? call.b_ih[j] : S(0)) + (call.b_hh ? call.b_hh[j] : S(0));
    }
    for (int64_t k = 0; k < rows.count(me); ++k) {
      const int64_t b = rows.row(me, k);
      if (!call.every_memory())
        copy_scalars<S>(rows.initial_memory(b), state + b * rows.memory_size(), rows.memory_size());
      if (call.locked) rows.write_rec(call.h0 ? call.h0 + b * P : rows.zeros, b, rec + b * P);
    }
    meet(me);
    for (int64_t s0 = 0; s0 < call.steps; s0 += chunk) run_chunk(me, s0, smaller(call.steps, s0 + chunk));
    finish(me);
  }

  // to (+)= some rows times packed weights (depth, columns), my columns of them where products are shared.
  void product(int me, const S* const* from, int64_t count, int64_t depth, int64_t packed_at, int64_t columns,
               S* const* to, bool add) const {
    rows_product<S>(from, count, depth, panels_of(packed_at), columns, shared ? first_panel(columns, me) : 0,
                    shared ? first_panel(columns, me + 1) : panel_count<S>(columns), to, add);
  }

  void run_chunk(int me, int64_t s0, int64_t s1) {
    Own& o = own[me];
    int64_t total = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t t = rows.step(s), n = shared ? rows.active(t) : rows.active(me, t);
      for (int64_t k = 0; k < n; ++k, ++total) {
        o.from[total] = call.x.at(t, shared ? rows.row_at(k) : rows.row(me, k));
        o.to[total] = o.sums + total * stride;
      }
    }
    product(me, o.from, total, call.input_size, panels.ih, G, o.to, false);
    if (shared && call.form.norm) meet(me);  // else the sums are not looked at before the meeting of the step
    int64_t at = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t t = rows.step(s);
      run_step(o, me, t, o.to + at);
      at += shared ? rows.active(t) : rows.active(me, t);
    }
  }

  // r and the state before the step, of row b.
  const S* rec_before(int64_t t, int64_t b) const {
    if (!call.locked) return rows.h_before(t, b);
    return rows.cut(t, b) ? rows.zeros : rec + b * call.projection_size;
  }
  const S* memory_before(int64_t t, int64_t b) const {
    if (call.every_memory()) return rows.memory_before(t, b);
    return rows.cut(t, b) ? rows.zeros : state + b * rows.memory_size();
  }

  // Adds what the gates of the step before make to the sums of i, f and o; the columns of g have no part in it.
  void gate_product(Own& o, int me, int64_t t, int64_t all, S* const* sums_of) {
    const int64_t H = call.hidden_size;
    for (int64_t k = 0; k < all; ++k) {
      o.h[k] = memory_before(t, shared ? rows.row_at(k) : rows.row(me, k)) + H;
      o.product[k] = sums_of[k] + 3 * H;
    }
    product(me, o.h, all, 3 * H, panels.gg_if, 2 * H, sums_of, true);
    product(me, o.h, all, 3 * H, panels.gg_o, H, o.product, true);
  }

  void run_step(Own& o, int me, int64_t t, S* const* sums_of) {
    const int64_t H = call.hidden_size, P = call.projection_size, B = call.batch;
    const int64_t M = rows.memory_size(), planes = call.form.gate_planes() * H;
    const int64_t n = rows.active(me, t), all = shared ? rows.active(t) : n;
    const bool aside = projected || call.zone_h,
               norm = call.form.norm != 0;  // aside: h of the cells is not yet the output
    for (int64_t k = 0; k < all; ++k) {
      o.h[k] = rec_before(t, shared ? rows.row_at(k) : rows.row(me, k));
      if (norm) o.product[k] = o.products + k * stride;
    }
    product(me, o.h, all, P, panels.hh, G, norm ? o.product : sums_of, !norm);
    if (norm) {
      if (shared) meet(me);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t cell = t * B + rows.row(me, k), at = shared ? rows.place(me, k) : k;
        S* const normal_ih = call.normal_ih ? call.normal_ih + cell * G : nullptr;
        S* const normal_hh = call.normal_hh ? call.normal_hh + cell * G : nullptr;
        normalise_rows_into<S>({sums_of[at], call.gain_ih, call.shift_ih, normal_ih},
                               {o.product[at], call.gain_hh, call.shift_hh, normal_hh}, G, call.form.norm, sums_of[at],
                               call.scales ? call.scales + 4 * cell : nullptr);
      }
    }
    if (call.w_gg) {
      if (shared) meet(me);  // its columns are shared out otherwise
      gate_product(o, me, t, all, sums_of);
    }
    if (shared && (!norm || call.w_gg)) meet(me);
    const bool dense = call.every_memory();
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows.row(me, k), cell = t * B + b;
      o.out[k] = call.output.at(t, b);
      o.raw[k] = aside ? o.hidden + k * spaced<S>(H) : o.out[k];
      o.row[k] = {sums_of[shared ? rows.place(me, k) : k],
                  bias,
                  memory_before(t, b),
                  dense ? call.memory + cell * M : state + b * M,
                  call.gates ? call.gates + cell * planes : o.gates + k * spaced<S>(5 * H),
                  o.raw[k],
                  at_or_none(call.candidate, t, b),
                  at_or_none(call.zone_c, t, b),
                  call.peephole,
                  call.gain_c,
                  call.shift_c,
                  o.fresh + k * spaced<S>(H),
                  call.scales ? call.scales + 4 * cell + 2 : nullptr};
    }
    variant_cell_forward(call.form, o.row, n, H);
    for (int64_t k = 0; k < n && !dense; ++k)
      if (S* kept = rows.kept_memory(t, rows.row(me, k))) copy_scalars<S>(o.row[k].memory_out, kept, M);
    if (projected) {
      rows_product<S>(const_cast<const S* const*>(o.raw), n, H, panels_of(panels.hr), P, 0, panel_count<S>(P), o.out,
                      false);
    }
    for (int64_t k = 0; k < n && (call.zone_h || call.locked); ++k) {
      const int64_t b = rows.row(me, k);
      if (call.zone_h) {
        const S *made = projected ? o.out[k] : o.raw[k], *old = rows.h_before(t, b), *zone = call.zone_h.at(t, b);
        over_units<S>(P, [&](int64_t u, int64_t m) {
          Vec<S> z = get<S>(zone + u, m);
          put<S>(fma(z, get<S>(old + u, m), (Vec<S>::set1(S(1)) - z) * get<S>(made + u, m)), o.out[k] + u, m);
        });
      }
      if (call.locked) rows.write_rec(o.out[k], b, rec + b * P);
    }
    if (shared) meet(me);
  }

  void finish(int me) {
    const int64_t P = call.projection_size, M = rows.memory_size();
    for (int64_t k = 0; k < rows.count(me); ++k) {
      const int64_t b = rows.row(me, k), len = rows.length(b), last = call.backward_in_time ? 0 : len - 1;
      copy_scalars<S>(len > 0 ? call.output.at(last, b) : call.h0 ? call.h0 + b * P : nullptr, call.h_n + b * P, P);
      copy_scalars<S>(!call.every_memory() ? state + b * M
                      : len > 0            ? call.memory + (last * call.batch + b) * M
                                           : rows.initial_memory(b),
                      call.c_n + b * M, M);
      for (int64_t t = len; t < call.steps; ++t) copy_scalars<S>(nullptr, call.output.at(t, b), P);
    }
  }

  static void task(void* job, int member, int) { static_cast<VariantForwardJob*>(job)->run(member); }
};

// Scalars of a call's packed weights, and the packing, for callers that keep them.
template <class S>
int64_t variant_packed_size(const VariantForward<S>& call) {
  return VariantPanels<S>(call).size;
}
template <class S>
void variant_pack(const VariantForward<S>& call, S* packed) {
  VariantPanels<S>(call).pack(call, packed, 0, 1);
}

// Calls visit(w, scalars) for every matrix of weights.
template <class Call, class Visit>
void each_variant_weight(Call& c, const Visit& visit) {
  visit(c.w_ih, 4 * c.hidden_size * c.input_size);
  visit(c.w_hh, 4 * c.hidden_size * c.projection_size);
  if (c.w_gg) visit(c.w_gg, 9 * c.hidden_size * c.hidden_size);
  if (c.w_hr) visit(c.w_hr, c.projection_size * c.hidden_size);
}

// Lets a call read copies of its weights, which no other thread writes. Null when memory is out.
template <class S>
Pack* copy_weights(VariantForward<S>& call) {
  int64_t all = 0;
  each_variant_weight(call, [&](const S*, int64_t scalars) { all += scalars; });
  Pack* copy = pack_make(static_cast<size_t>(all) * sizeof(S));
  if (!copy) return nullptr;
  S* to = static_cast<S*>(pack_data(copy));
  each_variant_weight(call, [&](const S*& w, int64_t scalars) {
    std::memcpy(to, w, static_cast<size_t>(scalars) * sizeof(S));
    w = to;
    to += scalars;
  });
  return copy;
}

// What a call's weights are found by among packed ones.
template <class S>
PackKey variant_key(const VariantForward<S>& c) {
  Digest whole{0, 0};
  uint64_t part = 0;
  auto take = [&](const S* const& w, int64_t count) {
    const Digest one = hash_bytes(w, count * static_cast<int64_t>(sizeof(S)), ++part);
    absorb(whole, one.a);
    absorb(whole, one.b);
  };
  each_variant_weight(c, take);
  PackKey key{};
  key.digest[0] = whole.a, key.digest[1] = whole.b;
  key.shape[0] = c.input_size, key.shape[1] = c.hidden_size, key.shape[2] = c.projection_size;
  key.shape[3] = (c.w_gg ? 2 : 0) + (c.w_hr ? 1 : 0);
  key.packer = reinterpret_cast<const void*>(&variant_pack<S>);
  key.kind = 1;
  return key;
}

// False when memory is out.
template <class S>
bool variant_forward(const VariantForward<S>& given) {
  VariantTeam plan = variant_team(given, 1);
  Team team(plan.members, given.threads);
  plan.members = team.size();
  plan.shared = plan.shared && plan.members > 1;
  // Weights that stay as they are from call to call are packed once, and found again by their contents.
  PackKey key{};
  Pack *pack = nullptr, *copy = nullptr;
  VariantForward<S> call = given;
  bool found = false;
  if (!call.packed && !call.weights_change) {
    pack = pack_find(variant_key(call));
    found = pack != nullptr;
    if (!found) {
      // Another thread may write the weights meanwhile: what is filed is what was read once.
      copy = copy_weights(call);
      if (copy) pack = pack_make(static_cast<size_t>(variant_packed_size(call)) * sizeof(S));
      if (!pack) {
        pack_release(copy);
        return false;
      }
      key = variant_key(call);
    }
  }
  S* data = pack ? static_cast<S*>(pack_data(pack)) : nullptr;
  auto run = [&](VariantTeam who, Team* with, bool& memory) {
    VariantForwardJob<S> job(call, who, found ? data : call.packed, found ? nullptr : data);
    Shelf sizes(nullptr);
    job.place(sizes);
    void* block = scratch(Use::kernel, sizes.used + 64);
    memory = block != nullptr;
    if (!block) return true;
    Shelf shelf(block);
    job.place(shelf);
    if (with) return with->run(VariantForwardJob<S>::task, &job);
    job.run(0);
    return true;
  };
  bool memory = true;
  if (!run(plan, &team, memory)) run({}, nullptr, memory);
  scratch_done(Use::kernel);
  if (pack && !found && memory) pack_insert(key, pack);
  pack_release(pack);
  pack_release(copy);
  return memory;
}
CELLGATE_END
