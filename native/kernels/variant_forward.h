// The forward pass of any cell: the input products of some steps at once, then step by step the recurrent product and the
// cells, row by row.
#pragma once

#include "kernels/variant_plan.h"

CELLGATE_BEGIN
template <class S>
struct VariantForwardJob {
  const VariantForward<S>& call;
  VariantRows<S> rows;
  int64_t G, stride, chunk;  // chunk: steps whose input products are made at once
  bool projected;
  Epoch* arrived;
  S *packed_ih, *packed_rec, *packed_hr, *bias, *first_rec;
  struct Own {
    const S** from;  // (chunk * rows)
    S** to;          // (chunk * rows)
    const S** h;     // (rows) r before the step
    S** product;     // (rows)
    S** raw;         // (rows)
    S** out;         // (rows)
    S *sums, *products, *hidden, *gates, *fresh;
  }* own;

  VariantForwardJob(const VariantForward<S>& c, int members) : call(c) {
    rows = {&c, members, nullptr, nullptr};
    G = 4 * c.hidden_size;
    stride = spaced<S>(G);
    projected = c.w_hr != nullptr;
    const int64_t most = ceil_div(c.batch, members);
    chunk = larger<int64_t>(1, 65536 / (stride * most));
    chunk = smaller(c.steps, larger(chunk, ceil_div(4 * Vec<S>::tile_rows, most)));
  }

  void place(Shelf& shelf) {
    const int64_t I = call.input_size, H = call.hidden_size, P = call.projection_size, R = call.recurrent_size;
    const int members = rows.members;
    arrived = shelf.take<Epoch>(members);
    rows.order = shelf.take<int64_t>(call.batch);
    S* zeros = shelf.take<S>(rows.longest_state());
    rows.zeros = zeros;
    packed_ih = shelf.take<S>(packed_size<S>(I, G));
    packed_rec = shelf.take<S>(packed_size<S>(R, G));
    packed_hr = shelf.take<S>(projected ? packed_size<S>(H, P) : 0);
    bias = shelf.take<S>(G);
    first_rec = shelf.take<S>(call.rec ? call.batch * R : 0);
    own = shelf.take<Own>(members);
    for (int m = 0; m < members; ++m) {
      const int64_t n = rows.count(m);
      Own o;
      o.from = shelf.take<const S*>(chunk * n);
      o.to = shelf.take<S*>(chunk * n);
      o.h = shelf.take<const S*>(n);
      o.product = shelf.take<S*>(n);
      o.raw = shelf.take<S*>(n);
      o.out = shelf.take<S*>(n);
      o.sums = shelf.take<S>(chunk * n * stride);
      o.products = shelf.take<S>(call.form.norm ? n * stride : 0);
      o.hidden = shelf.take<S>(projected || call.zone_h ? n * spaced<S>(H) : 0);
      o.gates = shelf.take<S>(call.gates ? 0 : 5 * H);
      o.fresh = shelf.take<S>(H);
      if (shelf.base) own[m] = o;
    }
    if (!shelf.base) return;
    for (int m = 0; m < members; ++m) arrived[m] = Epoch{};
    for (int64_t k = 0; k < rows.longest_state(); ++k) zeros[k] = S(0);
    rows.sort();
  }

  void run(int me) {
    const int64_t I = call.input_size, H = call.hidden_size, P = call.projection_size, R = call.recurrent_size;
    auto share = [&](int64_t count, int member) { return member * count / rows.members; };
    auto pack = [&](const S* w, int64_t depth, int64_t columns, S* to) {
      const int64_t panels = panel_count<S>(columns);
      pack_panels_transposed(w, depth, depth, columns, to, share(panels, me), share(panels, me + 1));
    };
    pack(call.w_ih, I, G, packed_ih);
    pack(call.w_rec, R, G, packed_rec);
    if (projected) pack(call.w_hr, H, P, packed_hr);
    if (me == 0) {
      for (int64_t j = 0; j < G; ++j) bias[j] = (call.b_ih ? call.b_ih[j] : S(0)) + (call.b_hh ? call.b_hh[j] : S(0));
    }
    if (call.rec) {
      for (int64_t k = 0; k < rows.count(me); ++k) {
        const int64_t b = rows.row(me, k), size = call.form.memories() * H;
        rows.write_rec(call.h0 ? call.h0 + b * P : rows.zeros, call.c0 ? call.c0 + b * size : rows.zeros, b,
                       first_rec + b * R);
      }
    }
    Meeting{arrived, rows.members}.meet(me, 1);
    for (int64_t s0 = 0; s0 < call.steps; s0 += chunk) run_chunk(me, s0, smaller(call.steps, s0 + chunk));
    finish(me);
  }

  void run_chunk(int me, int64_t s0, int64_t s1) {
    Own& o = own[me];
    const int64_t I = call.input_size, B = call.batch;
    int64_t total = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t t = rows.step(s), n = rows.active(me, t);
      for (int64_t k = 0; k < n; ++k, ++total) {
        o.from[total] = call.x.at(t, rows.row(me, k));
        o.to[total] = o.sums + total * stride;
      }
    }
    rows_product<S>(o.from, total, I, packed_ih, G, 0, panel_count<S>(G), o.to, false);
    int64_t at = 0;
    for (int64_t s = s0; s < s1; ++s) {
      const int64_t t = rows.step(s), n = rows.active(me, t);
      if (call.form.norm) {
        for (int64_t k = 0; k < n; ++k) {
          const int64_t cell = t * B + rows.row(me, k);
          const S by = normalise_row_into<S>(o.to[at + k], G, call.form.norm, call.gain_ih, call.shift_ih,
                                             call.normal_ih ? call.normal_ih + cell * G : nullptr, o.to[at + k], false);
          if (call.scales) call.scales[2 * cell] = by;
        }
      }
      run_step(o, me, t, n, o.to + at);
      at += n;
    }
  }

  void run_step(Own& o, int me, int64_t t, int64_t n, S* const* sums) {
    const int64_t H = call.hidden_size, P = call.projection_size, R = call.recurrent_size, B = call.batch;
    const int64_t M = call.form.memories() * H, planes = call.form.gate_planes() * H;
    const bool aside = projected || call.zone_h;  // h of the cells is not yet the output
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows.row(me, k);
      o.h[k] = rows.rec_before(t, b, first_rec);
      o.out[k] = call.output.at(t, b);
      o.raw[k] = aside ? o.hidden + k * spaced<S>(H) : o.out[k];
      if (call.form.norm) o.product[k] = o.products + k * stride;
    }
    rows_product<S>(o.h, n, R, packed_rec, G, 0, panel_count<S>(G), call.form.norm ? o.product : sums, !call.form.norm);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = rows.row(me, k), cell = t * B + b;
      if (call.form.norm) {
        const S by = normalise_row_into<S>(o.product[k], G, call.form.norm, call.gain_hh, call.shift_hh,
                                           call.normal_hh ? call.normal_hh + cell * G : nullptr, sums[k], true);
        if (call.scales) call.scales[2 * cell + 1] = by;
      }
      VariantRow<S> row{sums[k],
                        bias,
                        rows.memory_before(t, b),
                        call.memory + cell * M,
                        call.gates ? call.gates + cell * planes : o.gates,
                        o.raw[k],
                        at_or_none(call.candidate, t, b),
                        at_or_none(call.zone_c, t, b),
                        call.peephole,
                        call.gain_c,
                        call.shift_c,
                        o.fresh};
      if (call.form.slstm)
        slstm_forward(row, H);
      else
        gated_forward(call.form, row, H);
    }
    if (projected) {
      rows_product<S>(const_cast<const S* const*>(o.raw), n, H, packed_hr, P, 0, panel_count<S>(P), o.out, false);
    }
    for (int64_t k = 0; k < n && (call.zone_h || call.rec); ++k) {
      const int64_t b = rows.row(me, k), cell = t * B + b;
      if (call.zone_h) {
        const S *made = projected ? o.out[k] : o.raw[k], *old = rows.h_before(t, b), *zone = call.zone_h.at(t, b);
        over_units<S>(P, [&](int64_t u, int64_t m) {
          Vec<S> z = get<S>(zone + u, m);
          put<S>(fma(z, get<S>(old + u, m), (Vec<S>::set1(S(1)) - z) * get<S>(made + u, m)), o.out[k] + u, m);
        });
      }
      if (call.rec) rows.write_rec(o.out[k], call.memory + cell * M, b, call.rec + cell * R);
    }
  }

  void finish(int me) {
    const int64_t P = call.projection_size, M = call.form.memories() * call.hidden_size;
    for (int64_t k = 0; k < rows.count(me); ++k) {
      const int64_t b = rows.row(me, k), len = rows.length(b), last = call.backward_in_time ? 0 : len - 1;
      copy_scalars<S>(len > 0 ? call.output.at(last, b) : call.h0 ? call.h0 + b * P : nullptr, call.h_n + b * P, P);
      copy_scalars<S>(len > 0   ? call.memory + (last * call.batch + b) * M
                      : call.c0 ? call.c0 + b * M
                                : nullptr,
                      call.c_n + b * M, M);
      for (int64_t t = len; t < call.steps; ++t) copy_scalars<S>(nullptr, call.output.at(t, b), P);
    }
  }

  static void task(void* job, int member, int) { static_cast<VariantForwardJob*>(job)->run(member); }
};

// False when memory is out.
template <class S>
bool variant_forward(const VariantForward<S>& call) {
  const int64_t work = call.steps * call.batch * 4 * call.hidden_size * (call.input_size + call.recurrent_size);
  Team team(variant_members(call.batch, work, call.threads));
  auto run = [&call](int members, Team* with, bool& memory) {
    VariantForwardJob<S> job(call, members);
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
  if (!run(team.size(), &team, memory)) run(1, nullptr, memory);
  scratch_done(Use::kernel);
  return memory;
}
CELLGATE_END
