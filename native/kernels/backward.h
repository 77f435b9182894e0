// The backward pass of a stack: chunk by chunk through time, see backward_plan.h.
//
// For each step   dh = dy + da(step after) W_hh, with the gate gradients da computed while dh is at hand;
// for each chunk  [x | h | 1]^T da summed for the weights and biases, and dx = da W_ih.
#pragma once

#include "kernels/backward_plan.h"

CELLGATE_BEGIN
// Where two directions write one dx at the same time: each stores the half it reaches first, and after both have come to
// the middle each adds to the other's. Null: one direction after the other.
struct Halves {
  Epoch* arrived;
  int size;
};

// What one member of the team does for one direction.
template <class S>
class BackwardMember {
 public:
  BackwardMember(const BackwardJob<S>& job, int member, bool add_dx, Halves halves, int place_in_halves)
      : job_(job), way_(*job.way), me_(member), add_dx_(add_dx), halves_(halves), place_in_halves_(place_in_halves) {
    share_ = job.split_units ? 0 : me_;
    first_place_ = job.shares.begin(share_);
    cells_ = job.cells + me_ * job.B;
    ahead_ = job.ahead + me_ * job.B;
  }

  void run() {
    start();
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
    write_weights();
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
  RowAhead* ahead_;
  bool have_ahead_ = false;
  bool sums_begun_ = false;
  // Gate gradients of the step taken before the one under way, of my share.
  S* const* da_before_ = nullptr;
  int64_t active_before_ = 0;

  void meet() { Meeting{job_.arrived, job_.members}.meet(me_, ++round_); }
  int64_t part(int64_t count, int member) const { return member * count / job_.members; }
  // My panels of so many columns.
  int64_t panel_begin(int64_t columns) const { return part(panel_count<S>(columns), me_); }
  int64_t panel_end(int64_t columns) const { return part(panel_count<S>(columns), me_ + 1); }
  int64_t active(int64_t q) const { return q < job_.T ? job_.shares.active(share_, job_.step(q)) : 0; }
  int64_t batch_row(int64_t k) const { return job_.shares.row[first_place_ + k]; }

  int64_t middle_step() const {
    // The first direction stores steps from here on, the second those before; cell states are kept there (if not all).
    int64_t split = job_.T / 2 / way_.cell_every * way_.cell_every;
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

  static void copy_row(const S* from, S* to, int64_t n) {
    for (int64_t j = 0; j < n; j += V::lanes) {
      int64_t k = smaller<int64_t>(V::lanes, n - j);
      (from ? V::load_n(from + j, k) : V::zero()).store_n(to + j, k);
    }
  }

  // Packs my part of the weights and sets up my rows.
  void start() {
    const int64_t G = 4 * job_.H, I = job_.I, P = job_.P, H = job_.H;
    if (job_.packed_hh) pack_panels(way_.w_hh, P, G, P, job_.packed_hh, panel_begin(P), panel_end(P));
    if (job_.packed_ih) pack_panels(way_.w_ih, I, G, I, job_.packed_ih, panel_begin(I), panel_end(I));
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
        for (int64_t t = length; t < job_.T; ++t) copy_row(nullptr, job_.layer->dx.at(t, b), I);
    }
    meet();
  }

  void chunk(int64_t q0, int64_t q1, int64_t index) {
    const ChunkRows<S>& rows = job_.chunk[index % 2];
    // Rows of the chunk: mine are [mine, mine_end), share after share, within a share step after step.
    int64_t mine = 0, total = 0, mine_end = 0;
    for (int s = 0; s < job_.shares.shares; ++s) {
      if (s == share_) mine = total;
      for (int64_t q = q0; q < q1; ++q) total += job_.shares.active(s, job_.step(q));
      if (s == share_) mine_end = total;
    }
    if (!job_.split_units || me_ == 0) list_rows(rows, q0, q1, mine);
    if (job_.split_units) {
      meet();
      mine = part(total, me_), mine_end = part(total, me_ + 1);
    }
    if (job_.recompute) gates_again(rows, q0, q1, mine, mine_end);
    int64_t at = job_.split_units ? 0 : mine;
    for (int64_t q = q0; q < q1; ++q) {
      step(rows, q, q + 1 < q1, at);
      at += active(q);
    }
    if (job_.want_weights || job_.want_dx || job_.projected) products(rows, mine, mine_end, total);
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

  // What step q will read of the n rows of the step before it. Gates and cell states that are computed again are at hand.
  void set_ahead(int64_t q, int64_t n) {
    have_ahead_ = q < job_.T && !job_.checkpoints;
    if (!have_ahead_) return;
    const int64_t t = job_.step(q);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t b = batch_row(k), place = first_place_ + k, before = job_.before(t, place);
      const bool active = t < job_.shares.length(place);
      for (int g = 0; g < 4; ++g) ahead_[k].array[g] = job_.recompute || !active ? nullptr : way_.gate[g].at(t, b);
      ahead_[k].array[4] = active && before >= 0 ? way_.cell.at(before, b) : nullptr;
      ahead_[k].array[5] = active ? at_or_null(way_.dy, t, b) : nullptr;
    }
  }

  // sums[r] = rows k + r of `left` times the panel, for r < count.
  static void product_tile(const S* const* left, int64_t count, const Panel<S>& panel, int64_t depth, S (*sums)[kWidth],
                           Ahead ahead) {
    S* to[V::tile_rows];
    for (int64_t r = 0; r < count; ++r) to[r] = sums[r];
    auto run = rows_tile(static_cast<int>(count), panel);
    run({left, 0}, panel.b, panel.stride, depth, {to, 0, V::lanes, false}, ahead);
  }

  // Calls visit(k, sums, panel) for every row k < n and each of my panels, sums holding the row's product with the panel of
  // `right`; rows from `fresh` on have none, their sums are zero.
  template <class Visit>
  void for_tiles(const S* const* left, const RightOperand<S>& right, int64_t fresh, int64_t n, bool fetch,
                 Visit visit) {
    alignas(64) S sums[V::tile_rows][kWidth];
    const int64_t depth = right.depth, columns = right.columns;
    int64_t j0 = 0, j1 = right.panels();
    if (job_.split_units) j0 = panel_begin(columns), j1 = panel_end(columns);
    for (int64_t j = j0; j < j1; ++j) {
      const Panel<S> panel = right.panel(j);
      Cuts cuts(fresh, V::tile_rows);
      for (int64_t p = 0; p < cuts.parts; ++p) {
        const int64_t k = cuts.begin(p), count = cuts.begin(p + 1) - k;
        const void* blocks[V::tile_rows * kAheadArrays];
        Ahead ahead{blocks, 0};
        if (fetch) {
          for (int64_t r = 0; r < count; ++r)
            for (const void* array : ahead_[k + r].array)
              if (array) blocks[ahead.count++] = static_cast<const S*>(array) + panel.first;
        }
        product_tile(left + k, count, panel, depth, sums, ahead);
        for (int64_t r = 0; r < count; ++r) visit(k + r, sums[r], panel);
      }
      for (int64_t k = fresh; k < n; ++k) {
        for (int64_t v = 0; v < panel.vectors; ++v) V::zero().store(sums[0] + v * V::lanes);
        visit(k, sums[0], panel);
      }
    }
  }

  static int64_t columns_of(const Panel<S>& panel) { return (panel.vectors - 1) * V::lanes + panel.last; }

  void step(const ChunkRows<S>& rows, int64_t q, bool in_chunk, int64_t at) {
    const int64_t n = active(q), fresh = smaller(n, active_before_), H = job_.H;
    if (n < active_before_) finish_rows(q);
    set_cells(rows, q, in_chunk, at, n, fresh);
    set_ahead(q + 1, n);
    if (!job_.projected) {
      for_tiles(da_before_, job_.hh, fresh, n, have_ahead_, [&](int64_t k, S* dh, const Panel<S>& panel) {
        add_outside(cells_[k], dh, panel.first, columns_of(panel));
        cell_gradients(cells_[k], dh, panel.first, columns_of(panel), H);
      });
    } else {
      for_tiles(da_before_, job_.hh, fresh, n, false, [&](int64_t k, S* dh, const Panel<S>& panel) {
        add_outside(cells_[k], dh, panel.first, columns_of(panel));
        copy_row(dh, rows.dh_row[at + k] + panel.first, columns_of(panel));
      });
      if (job_.split_units) meet();
      for_tiles(rows.dh_row + at, job_.hr, n, n, have_ahead_, [&](int64_t k, S* dm, const Panel<S>& panel) {
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

  // The large products of a finished chunk. One meeting is enough: a member that runs ahead writes the other buffer.
  void products(const ChunkRows<S>& rows, int64_t mine, int64_t end, int64_t total) {
    const int64_t G = 4 * job_.H, H = job_.H, I = job_.I, P = job_.P, all = job_.left_columns;
    if (job_.direct) {
      gather(rows, mine, end, total);
    } else if (job_.want_weights) {
      pack_left<S>(rows.x, mine, end, total, I, rows.left, 0, all);
      pack_left<S>(rows.h, mine, end, total, P, rows.left, I, all);
      pack_ones(rows.left, mine, end, total);
    }
    if (way_.dw_hr) pack_left<S>(rows.dh_row, mine, end, total, P, rows.left_hr, 0, P);
    if (job_.want_dx)
      rows_product<S>(rows.da + mine, end - mine, job_.ih, 0, job_.ih.panels(), rows.dx + mine, add_dx_);
    meet();
    if (total == 0) return;
    const bool add = sums_begun_;
    sums_begun_ = true;
    if (job_.direct) {
      write_directly(rows, total, add);
    } else if (job_.want_weights) {
      for (int64_t j = panel_begin(G); j < panel_end(G); ++j)
        sum_product(rows.left, all, total, panel_in_place(rows.da_block, job_.stride, G, j, true), job_.sums,
                    job_.stride, add);
    }
    if (way_.dw_hr) {
      for (int64_t j = panel_begin(H); j < panel_end(H); ++j)
        sum_product(rows.left_hr, P, total, panel_in_place(rows.raw, H, H, j, false), way_.dw_hr, H, add);
    }
  }

  // My rows of a chunk, for write_directly(): da packed as the left operand, x and h in rows of whole vectors.
  void gather(const ChunkRows<S>& rows, int64_t mine, int64_t end, int64_t total) {
    const int64_t G = 4 * job_.H;
    pack_left<S>(rows.da, mine, end, total, G, rows.left_da, 0, G);
    for (int64_t r = mine; r < end; ++r) {
      if (way_.dw_ih) copy_row(rows.x[r], rows.right_x + r * job_.width_x(), job_.I);
      if (way_.dw_hh && !job_.stateless) copy_row(rows.h[r], rows.right_h + r * job_.width_h(), job_.P);
    }
  }

  // Few rows: da^T x and da^T h, my rows of them, straight to where the gradients belong.
  void write_directly(const ChunkRows<S>& rows, int64_t total, bool add) {
    constexpr int64_t R = V::tile_rows;
    const int64_t G = 4 * job_.H, I = job_.I, P = job_.P, tiles = ceil_div(G, R);
    for (int64_t i = part(tiles, me_); i < part(tiles, me_ + 1); ++i) {
      const S* left = rows.left_da + i * left_tile_size<S>(total);
      const int64_t n0 = i * R, count = smaller(R, G - n0);
      auto write = [&](const S* right, int64_t width, int64_t columns, S* to) {
        for (int64_t j = 0; j < panel_count<S>(columns); ++j)
          sum_product(left, count, total, panel_in_place(right, width, columns, j, true), to + n0 * columns, columns,
                      add);
      };
      if (way_.dw_ih) write(rows.right_x, job_.width_x(), I, way_.dw_ih);
      if (way_.dw_hh) {
        if (job_.stateless)
          copy_row(nullptr, way_.dw_hh + n0 * P, count * P);
        else
          write(rows.right_h, job_.width_h(), P, way_.dw_hh);
      }
    }
    if (!way_.db_ih && !way_.db_hh) return;
    const int64_t vectors = ceil_div(G, V::lanes);
    for (int64_t v = part(vectors, me_); v < part(vectors, me_ + 1); ++v) {
      const int64_t n0 = v * V::lanes, count = smaller<int64_t>(V::lanes, G - n0);
      V sum = add ? V::load_n((way_.db_ih ? way_.db_ih : way_.db_hh) + n0, count) : V::zero();
      for (int64_t r = 0; r < total; ++r) sum = sum + V::load_n(rows.da[r] + n0, count);
      if (way_.db_ih) sum.store_n(way_.db_ih + n0, count);
      if (way_.db_hh) sum.store_n(way_.db_hh + n0, count);
    }
  }

  // The last column of the left operand: its product with da is the sum of da, the gradient of the biases.
  void pack_ones(S* left, int64_t r0, int64_t r1, int64_t total) {
    constexpr int64_t R = V::tile_rows;
    const int64_t column = job_.left_columns - 1, tile = column / R * R, width = column - tile + 1;
    for (int64_t r = r0; r < r1; ++r) left[tile / R * left_tile_size<S>(total) + r * width + width - 1] = S(1);
  }

  void write_weights() {
    const int64_t G = 4 * job_.H, I = job_.I, P = job_.P, H = job_.H;
    const int64_t n0 = panel_begin(G) * kWidth, n1 = smaller(G, panel_end(G) * kWidth);
    if (sums_begun_) {
      if (job_.direct) return;
      if (way_.dw_ih) copy_transposed(job_.sums, job_.stride, I, n0, n1, way_.dw_ih, I);
      if (way_.dw_hh) copy_transposed(job_.sums + I * job_.stride, job_.stride, P, n0, n1, way_.dw_hh, P);
      if (way_.db_ih) copy_row(job_.sums + (I + P) * job_.stride + n0, way_.db_ih + n0, n1 - n0);
      if (way_.db_hh) copy_row(job_.sums + (I + P) * job_.stride + n0, way_.db_hh + n0, n1 - n0);
      return;
    }
    // No row was active at any step.
    if (way_.dw_ih) copy_row(nullptr, way_.dw_ih + n0 * I, (n1 - n0) * I);
    if (way_.dw_hh) copy_row(nullptr, way_.dw_hh + n0 * P, (n1 - n0) * P);
    if (way_.db_ih) copy_row(nullptr, way_.db_ih + n0, n1 - n0);
    if (way_.db_hh) copy_row(nullptr, way_.db_hh + n0, n1 - n0);
    if (way_.dw_hr && me_ == 0) copy_row(nullptr, way_.dw_hr, P * H);
  }
};

// One layer, by all members of a team.
template <class S>
struct BackwardTask {
  BackwardJob<S> job[2];
  bool together;  // two directions at the same time, the members of the first before those of the second
  Epoch* halves;

  static void run(void* arg, int member, int) {
    BackwardTask& task = *static_cast<BackwardTask*>(arg);
    if (task.together) {
      const int first = task.job[0].members, both = first + task.job[1].members;
      const int way = member < first ? 0 : 1;
      const int me = member - way * first;
      if (member < both) BackwardMember<S>(task.job[way], me, false, {task.halves, both}, member).run();
      return;
    }
    for (int way = 0; way < task.job[0].layer->directions; ++way)
      if (member < task.job[way].members) BackwardMember<S>(task.job[way], member, way > 0, {nullptr, 0}, 0).run();
  }
};

// About how many multiply-adds are worth a second thread: they take longer than waking it. Writing the gradient of a
// weight, and reading the weight, takes as long as kWeightTraffic of them.
constexpr int64_t kWorthThread = 4'000'000;
constexpr int64_t kWeightTraffic = 4;

template <class S>
int backward_threads(const BackwardCall<S>& call) {
  int64_t work = 0;
  int most = 1;
  for (int l = 0; l < call.layers; ++l) {
    const BackwardLayer<S>& layer = call.layer[l];
    const int64_t weights = layer.directions * 4 * layer.hidden_size * (layer.input_size + layer.projection_size);
    work += weights * (2 * call.steps * call.batch + kWeightTraffic);
    const bool split =
        BackwardJob<S>::may_split_units(call.batch, layer.hidden_size, layer.projection_size, call.threads);
    most = larger(most, split ? call.threads : layer.directions * BackwardJob<S>::row_members(call.batch));
  }
  return static_cast<int>(smaller<int64_t>(smaller(call.threads, most), 1 + work / kWorthThread));
}

// One layer by `size` members; a null team is the calling thread alone.
template <class S>
bool backward_layer(const BackwardCall<S>& call, const BackwardLayer<S>& layer, Team* team, int size, bool& memory) {
  BackwardTask<S> task;
  task.together = layer.directions == 2 && size > 1;
  for (int way = 0; way < layer.directions; ++way) {
    const int members = !task.together ? size : way == 0 ? (size + 1) / 2 : size / 2;
    task.job[way].lay_out(call, layer, layer.direction[way], members, task.together);
  }
  auto place = [&](Arena& arena) {
    task.halves = arena.take<Epoch>(size);
    for (int way = 0; way < layer.directions; ++way) task.job[way].place(arena);
  };
  Arena sizes(nullptr);
  place(sizes);
  void* block = scratch(Use::backward, sizes.used);
  memory = block != nullptr;
  if (!block) return true;
  Arena arena(block);
  place(arena);
  for (int m = 0; m < size; ++m) task.halves[m] = Epoch();
  for (int way = 0; way < layer.directions; ++way) task.job[way].prepare();
  if (team) return team->run(BackwardTask<S>::run, &task);
  BackwardTask<S>::run(&task, 0, 1);
  return true;
}

// Runs the call. False: out of memory, and nothing has been written that counts.
template <class S>
bool backward(const BackwardCall<S>& call) {
  Team team(backward_threads(call));
  bool memory = true;
  for (int l = call.layers; l-- > 0 && memory;) {
    if (!backward_layer(call, call.layer[l], &team, team.size(), memory))
      backward_layer(call, call.layer[l], static_cast<Team*>(nullptr), 1, memory);
  }
  scratch_done(Use::backward);
  return memory;
}
CELLGATE_END
