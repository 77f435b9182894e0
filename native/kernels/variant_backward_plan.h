// How the backward pass of any cell is laid out: chunks of steps, whose gradients of sums lie side by side without gaps for
// ragged batches and stay in cache until the large products have used them, and where everything lies in the scratch block.
#pragma once

#include "kernels/variant_plan.h"

CELLGATE_BEGIN
// One sum over all rows: [parts side by side | 1]^T da. For w_gg without the columns of g, which lie between the others.
template <class S>
struct VariantSum {
  const S* const* left[2];  // each (rows of a chunk)
  int64_t columns[2];
  bool ones;
  const S* da;  // (rows of a chunk, stride)
  bool gates;   // for w_gg
  S* packed;
  int64_t all() const { return columns[0] + columns[1] + (ones ? 1 : 0); }
};

// The rows of a chunk, by their place: step after step in the order of time, within a step as the rows are dealt.
template <class S>
struct VariantChunk {
  const S **x, **rec, **gates;  // input, r and, with w_gg, i, f and o of the step before
  S **dx, **dh;                 // where dx belongs; with a projection the complete dh
  // Gradients of the sums: of the recurrent product, of the input's own, with normalisation, and of both before it.
  S **da, **da_ih, **da_gg;
  S *da_block, *da_ih_block, *da_gg_block, *dh_block, *raw_block, *rec_block;
  VariantSum<S> sum[3];
  S* left_hr;
};

template <class S>
struct VariantBackwardPlan {
  const VariantBackward<S>& call;
  const VariantForward<S>& was;
  VariantRows<S> rows;
  int64_t G, stride, chunk_steps, chunk_rows;
  int64_t rec_stride, gg_stride;                         // of a row of carry and product; of gates_carry
  bool shared, projected, norm, want_dx, again, sparse;  // again: gates are computed again; sparse: states too
  bool carries;                                          // h has ways to the step before besides the products
  int sum_count;
  int64_t more_size;
  Epoch* arrived;
  int64_t* base;  // (T + 1) where the rows of a step begin, over all chunks
  S *packed_rec, *packed_ih, *packed_hr, *packed_ih_t, *packed_rec_t, *bias;
  S *packed_gg[2], *packed_gg_t[2];                                 // of i and f, and of o
  S *carry, *gates_carry, *product, *dmemory, *dh, *kept, *hidden;  // (B, ...) by place
  S *sums[3], *sums_hr;
  // Of one chunk: sums, then gates; states; normalised products and what each was multiplied with.
  S *gates, *cell, *normal_ih, *normal_hh, *scales;
  S **gates_at, **o_at, **normal_ih_at, **normal_hh_at;
  VariantChunk<S> chunk[2];
  struct alignas(64) Own {
    S *fresh, *dfresh, *spare;  // (own rows, H) twice, (M*H)
    VariantRow<S>* again;       // (own rows)
    VariantRowBack<S>* back;    // (own rows)
    const S** from;             // (rows)
    S** to;                     // (rows)
    S* more;                    // sums of gradients of small parameters
    uint32_t round;
  }* own;

  VariantBackwardPlan(const VariantBackward<S>& c, VariantTeam team) : call(c), was(c.was), shared(team.shared) {
    rows = {&c.was, team.members, nullptr, nullptr};
    G = 4 * was.hidden_size;
    stride = spaced<S>(G);
    rec_stride = spaced<S>(was.projection_size);
    gg_stride = spaced<S>(3 * was.hidden_size);
    projected = was.w_hr != nullptr;
    norm = was.form.norm != 0;
    want_dx = static_cast<bool>(c.dx);
    again = !was.gates;
    sparse = !was.every_memory();
    carries = was.zone_h || was.locked;
    sum_count = (norm ? 2 : 1) + (was.w_gg ? 1 : 0);
    // Peepholes (3H), gains of products (4H each), the sum of all gradients (4H), gain and shift of the cell (H each).
    more_size = 17 * was.hidden_size + 64;
    const int64_t bytes = int64_t{2} << (norm ? 19 : 20);  // of gradients, of which normalisation has two
    constexpr int64_t least = 512;                         // rows
    const int64_t most = larger(least, bytes / (stride * static_cast<int64_t>(sizeof(S))));
    chunk_steps = larger<int64_t>(1, most / was.batch);
    if (was.steps > chunk_steps)
      chunk_steps = ceil_div(was.steps, ceil_div(was.steps, chunk_steps));  // of about one size
    if (sparse) chunk_steps = round_up(chunk_steps, was.memory_every);
    chunk_steps = smaller(chunk_steps, was.steps);
    chunk_rows = chunk_steps * was.batch;
  }
  S* peephole_of(const Own& o) const { return o.more; }
  S* gain_ih_of(const Own& o) const { return o.more + 3 * was.hidden_size; }
  S* gain_hh_of(const Own& o) const { return gain_ih_of(o) + G; }
  S* sum_of(const Own& o) const { return gain_hh_of(o) + G; }
  S* gain_c_of(const Own& o) const { return sum_of(o) + G; }
  S* shift_c_of(const Own& o) const { return gain_c_of(o) + was.hidden_size; }

  void place(Shelf& shelf) {
    const int64_t I = was.input_size, H = was.hidden_size, P = was.projection_size;
    const int64_t M = rows.memory_size(), B = was.batch, N = chunk_rows, planes = was.form.gate_planes() * H;
    const int members = rows.members;
    const bool gg = was.w_gg != nullptr;
    auto wanted = [&](bool yes, int64_t count) { return shelf.take<S>(yes ? count + 64 : 0); };
    arrived = shelf.take<Epoch>(members);
    rows.order = shelf.take<int64_t>(B);
    base = shelf.take<int64_t>(was.steps + 1);
    S* zeros = shelf.take<S>(rows.longest_state());
    rows.zeros = zeros;
    packed_rec = shelf.take<S>(packed_size<S>(G, P));
    packed_ih = wanted(want_dx, packed_size<S>(G, I));
    packed_hr = wanted(projected, packed_size<S>(P, H));
    packed_ih_t = wanted(again, packed_size<S>(I, G));
    packed_rec_t = wanted(again, packed_size<S>(P, G));
    for (int part = 0; part < 2; ++part) {
      packed_gg[part] = wanted(gg, packed_size<S>((2 - part) * H, 3 * H));
      packed_gg_t[part] = wanted(gg && again, packed_size<S>(3 * H, (2 - part) * H));
    }
    bias = wanted(again, G);
    carry = shelf.take<S>(B * rec_stride + 64);
    gates_carry = wanted(gg, B * gg_stride);
    product = wanted(carries, B * rec_stride);
    dmemory = shelf.take<S>(B * M + 64);
    dh = shelf.take<S>(B * spaced<S>(P) + 64);
    kept = wanted(static_cast<bool>(was.zone_h), B * P);
    hidden = wanted(projected, B * spaced<S>(H));
    gates = wanted(again, N * planes);
    cell = wanted(sparse, N * M);
    normal_ih = wanted(again && norm, N * G);
    normal_hh = wanted(again && norm, N * G);
    scales = wanted(again && norm, 4 * N);
    gates_at = shelf.take<S*>(again ? N : 0);
    o_at = shelf.take<S*>(again && gg ? N : 0);
    normal_ih_at = shelf.take<S*>(again && norm ? N : 0);
    normal_hh_at = shelf.take<S*>(again && norm ? N : 0);
    for (int s = 0; s < (norm ? 2 : 1); ++s) sums[s] = shelf.take<S>((I + P + 1) * stride);
    if (gg) sums[sum_count - 1] = shelf.take<S>(3 * H * gg_stride);
    sums_hr = wanted(projected, P * H);
    for (VariantChunk<S>& c : chunk) {
      if (&c != chunk && chunk_steps >= was.steps) break;  // there is one only
      c.x = shelf.take<const S*>(N);
      c.rec = shelf.take<const S*>(N);
      c.gates = shelf.take<const S*>(gg ? N : 0);
      c.dx = shelf.take<S*>(want_dx ? N : 0);
      c.dh = shelf.take<S*>(projected ? N : 0);
      c.da = shelf.take<S*>(N);
      c.da_ih = norm ? shelf.take<S*>(N) : c.da;
      c.da_block = shelf.take<S>(N * stride + 64);
      c.da_ih_block = norm ? shelf.take<S>(N * stride + 64) : c.da_block;
      c.da_gg = norm && gg ? shelf.take<S*>(N) : c.da;
      c.da_gg_block = norm && gg ? shelf.take<S>(N * stride + 64) : c.da_block;
      c.dh_block = wanted(projected, N * P);
      c.raw_block = wanted(projected, N * H);
      c.rec_block = wanted(was.locked != nullptr, N * P);
      auto add = [&](int s, VariantSum<S> made) {
        made.packed = shelf.take<S>(packed_left_size<S>(N, made.all()));
        c.sum[s] = made;
      };
      if (norm) {
        add(0, {{c.rec, nullptr}, {P, 0}, false, c.da_block, false, nullptr});
        add(1, {{c.x, nullptr}, {I, 0}, false, c.da_ih_block, false, nullptr});
      } else {
        add(0, {{c.x, c.rec}, {I, P}, true, c.da_block, false, nullptr});
      }
      if (gg) add(sum_count - 1, {{c.gates, nullptr}, {3 * H, 0}, false, c.da_gg_block, true, nullptr});
      c.left_hr = wanted(projected, packed_left_size<S>(N, P));
    }
    own = shelf.take<Own>(members);
    for (int m = 0; m < members; ++m) {
      const int64_t mine = rows.count(m), n = shared ? B : mine;
      Own o;
      o.fresh = shelf.take<S>(norm ? mine * spaced<S>(H) : 0);
      o.dfresh = shelf.take<S>(norm || again ? mine * spaced<S>(H) : 0);
      o.spare = shelf.take<S>(again ? larger(M, H) : 0);
      o.again = shelf.take<VariantRow<S>>(again ? mine : 0);
      o.back = shelf.take<VariantRowBack<S>>(mine);
      o.from = shelf.take<const S*>(n);
      o.to = shelf.take<S*>(n);
      o.more = shelf.take<S>(more_size);
      o.round = 0;
      if (shelf.base) own[m] = o;
    }
    if (!shelf.base) return;
    for (int m = 0; m < members; ++m) arrived[m] = Epoch{};
    for (int64_t k = 0; k < rows.longest_state(); ++k) zeros[k] = S(0);
    rows.sort();
    base[0] = 0;
    for (int64_t t = 0; t < was.steps; ++t) base[t + 1] = base[t] + rows.active(t);
  }

  // Where the chunk ends that begins at step q in backward's order. The state before its last step must be a kept one.
  int64_t chunk_end(int64_t q) const {
    const int64_t T = was.steps, K = was.memory_every, end = smaller(T, q + chunk_steps);
    if (!sparse || end == T) return end;
    return was.backward_in_time ? end / K * K : T - round_up(T - end, K);
  }
};
CELLGATE_END
