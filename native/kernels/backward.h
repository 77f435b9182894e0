// The backward pass of a stack: chunk by chunk through time, see backward_plan.h.
//
// For each step   dh = dy + da(step after) W_hh, with the gate gradients da computed while dh is at hand;
// for each chunk  [x | h | 1]^T da summed for the weights and biases, and dx = da W_ih.
#pragma once

#include "kernels/backward_products.h"

CELLGATE_BEGIN
// Where two directions write one dx at the same time: each stores the half it reaches first, and after both have come to
// the middle, when they have done as many rows, each adds to the other's. Null: one direction after the other.
struct Halves {
  Epoch* arrived;
  int size;
};

// What one member of the team does for one direction.
template <class S>
class BackwardMember {
 public:
  BackwardMember(const BackwardJob<S>& job, int member, bool add_dx, Halves halves, int place_in_halves)
      : job_(job),
        way_(*job.way),
        me_(member),
        add_dx_(add_dx),
        halves_(halves),
        place_in_halves_(place_in_halves),
        gradients_(job, member) {
    share_ = job.split_units ? 0 : me_;
    first_place_ = job.shares.begin(share_);
    cells_ = job.cells + me_ * job.B;
  }

  void run() {
    const InKernels telling(Phase::weights);
    start();
    enter(Phase::rest);
    const int64_t middle = job_.want_dx && halves_.arrived ? middle_step() : -1;
    for (int64_t q0 = 0, q1, index = 0;; q0 = q1, ++index) {
      if (q0 == middle) {
        Meeting{halves_.arrived, halves_.size}.meet(place_in_halves_, 1);
        add_dx_ = true;
      }
      if (q0 == job_.T) break;
      q1 = chunk_end(q0, middle);
      chunk(q0, q1, index);
    }
    finish_rows(job_.T);
    if (job_.sums) meet();
    enter(Phase::dweights);
    gradients_.finish();
  }

 private:
  using V = Vec<S>;
  static constexpr int64_t kWidth = panel_width<S>();

  const BackwardJob<S>& job_;
  const BackwardDirection<S>& way_;
  int me_, share_;
  bool add_dx_;
  Halves halves_;
  int place_in_halves_;
  uint32_t round_ = 0;
  int64_t first_place_;
  CellRow<S>* cells_;
  int64_t begin_[kMaxTeam + 1];
  WeightGradients<S> gradients_;
  // Gate gradients of the step taken before the one under way, of my share.
  S* const* da_before_ = nullptr;
  int64_t active_before_ = 0;

  void meet() {
    arrive();
    wait_for_all();
  }
  void arrive() { Meeting{job_.arrived, job_.members}.arrive(me_, ++round_); }
  bool all_arrived() const { return Meeting{job_.arrived, job_.members}.complete(round_); }
  void wait_for_all() { Meeting{job_.arrived, job_.members}.wait(me_, round_); }
  int64_t part(int64_t count, int member) const { return job_.part(count, member); }
  int64_t panel_begin(int64_t columns) const { return job_.panel_begin(columns, me_); }
  int64_t panel_end(int64_t columns) const { return job_.panel_end(columns, me_); }
  int64_t active(int64_t q) const { return q < job_.T ? job_.shares.active(share_, job_.step(q)) : 0; }
  int64_t batch_row(int64_t k) const { return job_.shares.row[first_place_ + k]; }

  int64_t middle_step() const {
    // The first direction stores steps from here on, the second those before; cell states are kept there (if not all).
    const int64_t split = job_.shares.half() / way_.cell_every * way_.cell_every;
    return way_.backward_in_time ? split : job_.T - split;
  }
  int64_t chunk_end(int64_t q0, int64_t middle) const {
    int64_t q1 = smaller(job_.T, q0 + job_.chunk_steps);
    if (q0 < middle && q1 > middle) q1 = middle;
    if (job_.checkpoints && q1 < job_.T && q1 != middle) {
      // The cell state before the chunk's first step must be one that was kept.
      const int64_t K = way_.cell_every;
      q1 = way_.backward_in_time ? q1 / K * K : job_.T - round_up(job_.T - q1, K);
    }
    return q1;
  }

  // Packs my part of the weights and sets up my rows.
  void start() {
    const int64_t G = 4 * job_.H, I = job_.I, P = job_.P, H = job_.H;
    if (job_.packed_hh) pack_panels(way_.w_hh, P, G, P, job_.packed_hh, panel_begin(P), panel_end(P));
    if (job_.packed_ih) pack_panels(way_.w_ih, I, G, I, job_.packed_ih, panel_begin(I), panel_end(I));
    if (job_.narrow)
      for (int64_t k = part(G, me_); k < part(G, me_ + 1); ++k)
        for (int64_t i = 0; i < I; ++i) job_.ih_columns[i * G + k] = way_.w_ih[k * I + i];
    if (job_.packed_hr) pack_panels(way_.w_hr, H, P, H, job_.packed_hr, panel_begin(H), panel_end(H));
    if (job_.recompute) {
      pack_panels_transposed(way_.w_ih, I, I, G, job_.packed_ih_t, panel_begin(G), panel_end(G));
      pack_panels_transposed(way_.w_hh, P, P, G, job_.packed_hh_t, panel_begin(G), panel_end(G));
    }
    const bool first_of_share = !job_.split_units || me_ == 0;
    const int64_t end = job_.shares.begin(share_ + 1);
    for (int64_t place = first_place_; first_of_share && place < end; ++place) {
      int64_t b = job_.shares.row[place], length = job_.shares.length(place);
      S* dc = job_.dc + place * H;
      copy_row(way_.dc_n ? way_.dc_n + b * H : nullptr, dc, H);
      if (length == 0) {  // h_n is h0, c_n is c0
        if (way_.dh0) copy_row(way_.dh_n ? way_.dh_n + b * P : nullptr, way_.dh0 + b * P, P);
        if (way_.dc0) copy_row(dc, way_.dc0 + b * H, H);
      }
      if (job_.want_dx && job_.layer->direction == job_.way && !job_.layer->dx.first)
        for (int64_t t = length; t < job_.T; ++t) clear_row(job_.layer->dx.at(t, b), I);
    }
    meet();
  }

  void chunk(int64_t q0, int64_t q1, int64_t index) {
    const ChunkRows<S>& rows = job_.chunk[index % 2];
    // Rows of the chunk: member m has [begin_[m], begin_[m + 1]), within a share step after step.
    int64_t total = 0;
    for (int s = 0; s < job_.shares.shares; ++s) {
      begin_[s] = total;
      for (int64_t q = q0; q < q1; ++q) total += job_.shares.active(s, job_.step(q));
    }
    begin_[job_.shares.shares] = total;
    if (!job_.split_units || me_ == 0) list_rows(rows, q0, q1, begin_[share_]);
    if (job_.split_units) {
      meet();
      for (int m = 0; m <= job_.members; ++m) begin_[m] = part(total, m);
    }
    const int64_t mine = begin_[me_], mine_end = begin_[me_ + 1];
    if (job_.recompute) {
      enter(Phase::again);
      gates_again(rows, q0, q1, mine, mine_end);
      enter(Phase::rest);
    }
    int64_t at = job_.split_units ? 0 : mine;
    for (int64_t q = q0; q < q1; ++q) {
      step(rows, q, q + 1 < q1, at);
      at += active(q);
    }
    if (!job_.want_weights && !job_.want_dx && !job_.projected) {
      meet();  // nobody runs so far ahead that it writes rows which a slower member still reads
      return;
    }
    Taken* const* taken = job_.taken[index % 2];
    enter(Phase::dweights);
    gradients_.pack(rows, mine, mine_end, total);
    enter(Phase::dx);
    if (job_.want_dx && job_.narrow)
      narrow_product<S>(rows.da + mine, mine_end - mine, 4 * job_.H, job_.ih_columns, 4 * job_.H, job_.I,
                        rows.dx + mine, add_dx_);
    // One meeting is enough: a member that runs ahead writes the other buffer. While it waits, it begins with dx of its
    // own rows.
    arrive();
    if (shares_dx())
      for (int64_t piece;
           !all_arrived() && (piece = take_piece(taken[kInputProduct][me_], dx_pieces(me_), true, 0)) >= 0;)
        input_gradients(rows, me_, piece);
    wait_for_all();
    // All have left the chunk before this one: its counts can begin anew for the next.
    for (Taken* of_product : job_.taken[(index + 1) % 2]) open_pieces(of_product[me_]);
    if (shares_dx())
      share_pieces(
          taken[kInputProduct], job_.members, me_, kSpared, [&](int m) { return dx_pieces(m); },
          [&](int m, int64_t piece) { input_gradients(rows, m, piece); });
    enter(Phase::dweights);
    if (total > 0) gradients_.sum(rows, taken, total);
    enter(Phase::rest);
  }

  bool shares_dx() const { return job_.want_dx && !job_.narrow; }

  // dx of some of a member's rows beside one panel of w_ih is a piece. The rows of a piece read a panel from the cache it
  // came to for the first of them; fewer would wait for it most of the time.
  Cuts dx_groups(int m) const {
    constexpr int64_t least = 16 * V::gemm_rows;
    const int64_t rows = begin_[m + 1] - begin_[m];
    const int64_t parts = pieces_of(rows * job_.ih.depth * kWidth, rows / least);
    return Cuts(rows, round_up(ceil_div(rows, parts), V::gemm_rows));
  }
  int64_t dx_pieces(int m) const { return dx_groups(m).parts * job_.ih.panels(); }
  void input_gradients(const ChunkRows<S>& rows, int m, int64_t piece) {
    const Cuts groups = dx_groups(m);
    const int64_t j = piece / groups.parts, part = piece % groups.parts;
    const int64_t from = begin_[m] + groups.begin(part), end = begin_[m] + groups.begin(part + 1);
    rows_product<S>(rows.da + from, end - from, job_.ih, j, j + 1, rows.dx + from, add_dx_);
  }

  void list_rows(const ChunkRows<S>& rows, int64_t q0, int64_t q1, int64_t at) {
    const Sequence<const S>& h = way_.output;
    for (int64_t q = q0; q < q1; ++q) {
      const int64_t t = job_.step(q), n = active(q);
      for (int64_t k = 0; k < n; ++k, ++at) {
        const int64_t place = first_place_ + k, b = batch_row(k), before = job_.before(t, place);
        rows.x[at] = job_.layer->input.at(t, b);
        rows.da[at] = rows.da_block + at * job_.stride;
        if (job_.want_dx) rows.dx[at] = job_.layer->dx.at(t, b);
        if (job_.projected) rows.dh_row[at] = rows.dh + at * job_.P;
        const S* state = before >= 0 ? h.at(before, b) : way_.h0 ? way_.h0 + b * job_.P : nullptr;
        rows.h[at] = state && !job_.is_cut(t, place) ? state : job_.zeros;
      }
    }
  }

  // The gates of the chunk from its input and the finished h, and the cell states from the gates and a checkpoint.
  void gates_again(const ChunkRows<S>& rows, int64_t q0, int64_t q1, int64_t mine, int64_t end) {
    const int64_t G = 4 * job_.H, H = job_.H;
    const int64_t panels = panel_count<S>(G);
    rows_product<S>(rows.x + mine, end - mine, job_.I, job_.packed_ih_t, G, 0, panels, rows.da + mine, false);
    rows_product<S>(rows.h + mine, end - mine, job_.P, job_.packed_hh_t, G, 0, panels, rows.da + mine, true);
    for (int64_t at = mine; at < end; ++at) activate_gates(rows.da[at], way_.b_ih, way_.b_hh, H);
    if (job_.split_units) meet();
    if (!job_.checkpoints) return;
    if (!job_.split_units || me_ == 0) {
      int64_t at = job_.split_units ? 0 : mine;
      for (int64_t q = q0; q < q1; ++q) at += active(q);
      for (int64_t q = q1; q-- > q0;) {
        const int64_t t = job_.step(q), n = active(q), after = at;
        at -= n;
        for (int64_t k = 0; k < n; ++k) {
          const S* before = cell_before(rows, q + 1 < q1, t, k, after);
          const S* a = rows.da[at + k];
          S* c = rows.cell + (at + k) * H;
          for (int64_t u = 0; u < H; u += V::lanes) {
            int64_t m = smaller<int64_t>(V::lanes, H - u);
            V fresh = V::load_n(a + u, m) * V::load_n(a + 2 * H + u, m);
            if (before) fresh = fma(V::load_n(a + H + u, m), V::load_n(before + u, m), fresh);
            fresh.store_n(c + u, m);
          }
        }
      }
    }
    if (job_.split_units) meet();
  }

  // c of the step before t, for row k of my share, or null: zero. With checkpoints it is in the chunk, at row `after` + k,
  // unless t is the chunk's first step in forward's order.
  const S* cell_before(const ChunkRows<S>& rows, bool in_chunk, int64_t t, int64_t k, int64_t after) const {
    const int64_t place = first_place_ + k, b = batch_row(k), before = job_.before(t, place);
    if (job_.is_cut(t, place)) return nullptr;
    if (before < 0) return way_.c0 ? way_.c0 + b * job_.H : nullptr;
    if (job_.checkpoints && in_chunk) return rows.cell + (after + k) * job_.H;
    return way_.cell.at(before / way_.cell_every, b);
  }

  static const S* at_or_null(const Sequence<const S>& sequence, int64_t t, int64_t b) {
    return sequence ? sequence.at(t, b) : nullptr;
  }

  // Everything the cells of a step need, row by row. `at`: the chunk's row of k = 0; k >= fresh: forward's last step of the row.
  void set_cells(const ChunkRows<S>& rows, int64_t q, bool in_chunk, int64_t at, int64_t n, int64_t fresh) {
    const int64_t t = job_.step(q), H = job_.H;
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = batch_row(k);
      CellRow<S>& row = cells_[k];
      for (int g = 0; g < 4; ++g) {
        row.gate[g] = job_.recompute ? rows.da[at + k] + g * H : way_.gate[g].at(t, b);
        row.dgate[g] = at_or_null(way_.dgate[g], t, b);
      }
      row.cell = job_.checkpoints ? rows.cell + (at + k) * H : way_.cell.at(t, b);
      row.cell_prev = cell_before(rows, in_chunk, t, k, at + n);
      row.dy = at_or_null(way_.dy, t, b);
      row.dy_more = at_or_null(way_.dy_more, t, b);
      row.dy_mask = at_or_null(way_.dy_mask, t, b);
      row.dcell = at_or_null(way_.dcell, t, b);
      row.dh_n = k >= fresh && way_.dh_n ? way_.dh_n + b * job_.P : nullptr;
      row.dc = job_.dc + (first_place_ + k) * H;
      row.da = rows.da[at + k];
      row.raw = job_.projected ? rows.raw + (at + k) * H : nullptr;
      row.cut = k < fresh && job_.is_cut(job_.step(q - 1), first_place_ + k);
    }
  }

  // Calls visit(k, sums, panel) for every row k < n and each of my panels, sums holding the row's product with the panel of
  // `right`; rows from `fresh` on have none, their sums are zero. fetch: visit computes the cells of these rows and units.
  template <class Visit>
  void for_tiles(const S* const* left, const RightOperand<S>& right, int64_t fresh, int64_t n, bool fetch,
                 Visit visit) {
    enter(Phase::products);
    alignas(64) S few[V::gemm_rows * kWidth];
    const int64_t depth = right.depth, columns = right.columns;
    const Cuts cuts(fresh, V::gemm_rows);
    // What all tiles read of a panel must fit the second-level cache.
    const Cuts deep(depth, cuts.parts > 1 && depth > kPanelDepth ? kPanelDepth : depth);
    S* const many = deep.parts > 1 ? job_.tile_sums + me_ * job_.B * kWidth : nullptr;
    int64_t j0 = 0, j1 = right.panels();
    if (job_.split_units) j0 = panel_begin(columns), j1 = panel_end(columns);
    for (int64_t j = j0; j < j1; ++j) {
      const Panel<S> panel = right.panel(j);
      for (int64_t d = 0; d < deep.parts; ++d) {
        const int64_t k0 = deep.begin(d), k1 = deep.begin(d + 1);
        for (int64_t p = 0; p < cuts.parts; ++p) {
          const int64_t k = cuts.begin(p), count = cuts.begin(p + 1) - k;
          const void* blocks[V::gemm_rows * kCellArrays];
          Ahead ahead{blocks};
          fetch_after(ahead, right, panel, k0, k1, p, cuts.parts);
          if (fetch && k1 == depth) {
            for (int64_t r = count; r-- > 0;)  // the last of them is fetched first
              ahead.count += cell_blocks(cells_[k + r], panel.first, job_.H, blocks + ahead.count);
          }
          S* sums[V::gemm_rows];
          for (int64_t r = 0; r < count; ++r) sums[r] = many ? many + (k + r) * kWidth : few + r * kWidth;
          auto run = rows_tile(static_cast<int>(count), panel);
          run({left + k, k0}, panel.b + k0 * panel.stride, panel.stride, k1 - k0, {sums, 0, V::lanes, d > 0}, ahead);
          if (k1 < depth) continue;
          enter(Phase::cells);
          for (int64_t r = 0; r < count; ++r) visit(k + r, sums[r], panel);
          enter(Phase::products);
        }
      }
      for (int64_t k = fresh; k < n; ++k) {
        for (int64_t v = 0; v < panel.vectors; ++v) V::zero().store(few + v * V::lanes);
        visit(k, few, panel);
      }
    }
    enter(Phase::rest);
  }

  static int64_t columns_of(const Panel<S>& panel) { return (panel.vectors - 1) * V::lanes + panel.last; }

  void step(const ChunkRows<S>& rows, int64_t q, bool in_chunk, int64_t at) {
    const int64_t n = active(q), fresh = smaller(n, active_before_), H = job_.H;
    if (n < active_before_) finish_rows(q);
    set_cells(rows, q, in_chunk, at, n, fresh);
    if (!job_.projected) {
      for_tiles(da_before_, job_.hh, fresh, n, true, [&](int64_t k, S* dh, const Panel<S>& panel) {
        add_outside(cells_[k], dh, panel.first, columns_of(panel));
        cell_gradients(cells_[k], dh, panel.first, columns_of(panel), H);
      });
    } else {
      for_tiles(da_before_, job_.hh, fresh, n, false, [&](int64_t k, S* dh, const Panel<S>& panel) {
        add_outside(cells_[k], dh, panel.first, columns_of(panel));
        copy_row(dh, rows.dh_row[at + k] + panel.first, columns_of(panel));
      });
      if (job_.split_units) meet();
      for_tiles(rows.dh_row + at, job_.hr, n, n, true, [&](int64_t k, S* dm, const Panel<S>& panel) {
        cell_gradients(cells_[k], dm, panel.first, columns_of(panel), H);
      });
    }
    if (job_.split_units) meet();
    da_before_ = rows.da + at;
    active_before_ = n;
  }

  // Rows that were active at the step before q and are not at q have come to forward's first step: dh0 and dc0.
  void finish_rows(int64_t q) {
    const int64_t n = active(q), H = job_.H, count = active_before_ - n;
    if (count <= 0) return;
    const int64_t t = job_.step(q - 1);
    if (way_.dh0) {
      for_tiles(da_before_ + n, job_.hh, count, count, false, [&](int64_t k, S* dh, const Panel<S>& panel) {
        const bool cut = job_.is_cut(t, first_place_ + n + k);
        copy_row(cut ? nullptr : dh, way_.dh0 + batch_row(n + k) * job_.P + panel.first, columns_of(panel));
      });
    }
    if (way_.dc0 && (!job_.split_units || me_ == 0)) {
      for (int64_t k = n; k < n + count; ++k) {
        const bool cut = job_.is_cut(t, first_place_ + k);
        copy_row(cut ? nullptr : job_.dc + (first_place_ + k) * H, way_.dc0 + batch_row(k) * H, H);
      }
    }
  }
};
CELLGATE_END
