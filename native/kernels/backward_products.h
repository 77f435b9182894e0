// What a member does once a chunk's gate gradients are complete: the gradients of weights and biases,
// [x | h | 1]^T da summed over the chunk's rows, and in the end their way to where they belong.
#pragma once

#include <cstring>

#include "kernels/backward_plan.h"

CELLGATE_BEGIN
template <class S>
void copy_row(const S* from, S* to, int64_t n) {
  using V = Vec<S>;
  for (int64_t j = 0; j < n; j += V::lanes) {
    int64_t k = smaller<int64_t>(V::lanes, n - j);
    (from ? V::load_n(from + j, k) : V::zero()).store_n(to + j, k);
  }
}
template <class S>
void clear_row(S* to, int64_t n) {
  std::memset(to, 0, static_cast<size_t>(n) * sizeof(S));
}

// One member's part. pack() and sum() belong to a chunk, with a meeting of all members between them.
template <class S>
class WeightGradients {
 public:
  WeightGradients(const BackwardJob<S>& job, int member) : job_(job), way_(*job.way), me_(member) {}

  // My rows of the chunk, as the left operand of the products.
  void pack(const ChunkRows<S>& rows, int64_t mine, int64_t end, int64_t total) {
    const int64_t I = job_.I, P = job_.P, all = job_.left_columns;
    if (job_.direct) {
      gather(rows, mine, end, total);
    } else if (job_.want_weights) {
      pack_left<S>(rows.x, mine, end, total, I, rows.left, 0, all);
      pack_left<S>(rows.h, mine, end, total, P, rows.left, I, all);
      pack_ones(rows.left, mine, end, total);
    }
    if (way_.dw_hr) pack_left<S>(rows.dh_row, mine, end, total, P, rows.left_hr, 0, P);
  }

  // Adds all rows of the chunk to my columns of the gradients.
  void sum(const ChunkRows<S>& rows, int64_t total) {
    const int64_t G = 4 * job_.H, H = job_.H, P = job_.P, all = job_.left_columns;
    const bool add = begun_;
    begun_ = true;
    if (job_.direct) {
      write_directly(rows, total, add);
    } else if (job_.want_weights) {
      for (int64_t j = job_.panel_begin(G, me_), end = job_.panel_end(G, me_); j < end; ++j) {
        const Panel<S> panel = panel_in_place(rows.da_block, job_.stride, G, j, true);
        const S* next = j + 1 < end ? panel.b + panel_width<S>() : nullptr;
        sum_product(rows.left, all, total, panel, job_.sums, job_.stride, add, next);
      }
    }
    if (way_.dw_hr) {
      for (int64_t j = job_.panel_begin(H, me_); j < job_.panel_end(H, me_); ++j)
        sum_product(rows.left_hr, P, total, panel_in_place(rows.raw, H, H, j, false), way_.dw_hr, H, add);
    }
  }

  // After the last chunk.
  void finish() {
    const int64_t G = 4 * job_.H, I = job_.I, P = job_.P, H = job_.H;
    const int64_t n0 = job_.panel_begin(G, me_) * panel_width<S>(),
                  n1 = smaller(G, job_.panel_end(G, me_) * panel_width<S>());
    if (begun_) {
      if (job_.direct) return;
      if (way_.dw_ih) copy_transposed(job_.sums, job_.stride, I, n0, n1, way_.dw_ih, I);
      if (way_.dw_hh) copy_transposed(job_.sums + I * job_.stride, job_.stride, P, n0, n1, way_.dw_hh, P);
      if (way_.db_ih) copy_row(job_.sums + (I + P) * job_.stride + n0, way_.db_ih + n0, n1 - n0);
      if (way_.db_hh) copy_row(job_.sums + (I + P) * job_.stride + n0, way_.db_hh + n0, n1 - n0);
      return;
    }
    // No row was active at any step.
    if (way_.dw_ih) clear_row(way_.dw_ih + n0 * I, (n1 - n0) * I);
    if (way_.dw_hh) clear_row(way_.dw_hh + n0 * P, (n1 - n0) * P);
    if (way_.db_ih) clear_row(way_.db_ih + n0, n1 - n0);
    if (way_.db_hh) clear_row(way_.db_hh + n0, n1 - n0);
    if (way_.dw_hr && me_ == 0) clear_row(way_.dw_hr, P * H);
  }

 private:
  using V = Vec<S>;
  const BackwardJob<S>& job_;
  const BackwardDirection<S>& way_;
  const int me_;
  static constexpr int64_t kFewRows = 128;
  bool begun_ = false;

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
    const int64_t begin = job_.part(tiles, me_), end = job_.part(tiles, me_ + 1);
    if (way_.dw_hh && job_.stateless) clear_row(way_.dw_hh + begin * R * P, (smaller(G, end * R) - begin * R) * P);
    // Tiles [first, last) of the gates' rows beside the panels of one right operand.
    auto write = [&](int64_t first, int64_t last, const S* right, int64_t width, int64_t columns, S* to) {
      const int64_t n0 = first * R, panels = panel_count<S>(columns);
      for (int64_t j = 0; j < panels; ++j) {
        const Panel<S> panel = panel_in_place(right, width, columns, j, true);
        const S* next = last - first > 1 && j + 1 < panels ? panel.b + panel_width<S>() : nullptr;
        sum_product(rows.left_da + first * left_tile_size<S>(total), smaller(G, last * R) - n0, total, panel,
                    to + n0 * columns, columns, add, next);
      }
    };
    // Few rows stay in the first-level cache whole, and a gradient is best written in order; of many a panel only stays.
    const int64_t together = total > kFewRows ? larger<int64_t>(1, end - begin) : 1;
    for (int64_t i = begin; i < end; i += together) {
      const int64_t last = smaller(end, i + together);
      if (way_.dw_ih) write(i, last, rows.right_x, job_.width_x(), I, way_.dw_ih);
      if (way_.dw_hh && !job_.stateless) write(i, last, rows.right_h, job_.width_h(), P, way_.dw_hh);
    }
    if (!way_.db_ih && !way_.db_hh) return;
    const int64_t vectors = ceil_div(G, V::lanes);
    for (int64_t v = job_.part(vectors, me_); v < job_.part(vectors, me_ + 1); ++v) {
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
};
CELLGATE_END
