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

  // Adds all rows of the chunk to the gradients, piece by piece.
  void sum(const ChunkRows<S>& rows, Taken* const* taken, int64_t total) {
    const int64_t G = 4 * job_.H, H = job_.H, P = job_.P;
    const bool add = begun_;
    begun_ = true;
    if (job_.direct) {
      write_directly(rows, taken[kWeightProduct], total, add);
    } else if (job_.want_weights) {
      sum_columns(taken[kWeightProduct], rows.left, job_.left_columns, total, rows.da_block, job_.stride, G, true,
                  job_.sums, add);
    }
    if (way_.dw_hr)
      sum_columns(taken[kProjectionProduct], rows.left_hr, P, total, rows.raw, H, H, false, way_.dw_hr, add);
  }

  // After the last chunk, and a meeting.
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

  // sum_product() with every panel of a matrix of `total` rows as it lies, `stride` apart, as is c. A piece is some tiles of
  // the left operand beside one panel.
  void sum_columns(Taken* taken, const S* left, int64_t left_columns, int64_t total, const S* right, int64_t stride,
                   int64_t columns, bool padded, S* c, bool add) {
    constexpr int64_t R = V::gemm_rows;
    const int64_t tiles = ceil_div(left_columns, R);
    const Cuts groups(tiles, ceil_div(tiles, pieces_of(left_columns * panel_width<S>() * total, tiles)));
    const int64_t all = panel_count<S>(columns) * groups.parts;
    auto count = [&](int m) { return job_.part(all, m + 1) - job_.part(all, m); };
    share_pieces(taken, job_.members, me_, kSpared, count, [&](int m, int64_t piece) {
      piece += job_.part(all, m);
      const int64_t j = piece / groups.parts, part = piece % groups.parts;
      const int64_t first = groups.begin(part), last = groups.begin(part + 1);
      const Panel<S> panel = panel_in_place(right, stride, columns, j, padded);
      const bool more = part + 1 == groups.parts && piece + 1 < job_.part(all, m + 1);
      sum_product(left + first * left_tile_size<S>(total), smaller(left_columns, last * R) - first * R, total, panel,
                  c + first * R * stride, stride, add, more ? panel.b + panel_width<S>() : nullptr);
    });
  }

  // Few rows: da^T x and da^T h straight to where the gradients belong.
  void write_directly(const ChunkRows<S>& rows, Taken* taken, int64_t total, bool add) {
    constexpr int64_t R = V::gemm_rows;
    const int64_t G = 4 * job_.H, I = job_.I, P = job_.P, tiles = ceil_div(G, R);
    const bool from_h = way_.dw_hh && !job_.stateless;
    const int64_t panels_x = way_.dw_ih ? panel_count<S>(I) : 0, panels_h = from_h ? panel_count<S>(P) : 0;
    if (way_.dw_hh && job_.stateless) {
      const int64_t begin = job_.part(tiles, me_) * R, end = smaller(G, job_.part(tiles, me_ + 1) * R);
      clear_row(way_.dw_hh + begin * P, (end - begin) * P);
    }
    sum_biases(rows, total, add);
    // Tiles [first, last) of the gates' rows beside panel j of x or, after all of those, of h.
    auto write = [&](int64_t first, int64_t last, int64_t j) {
      const bool x = j < panels_x;
      const int64_t n0 = first * R, width = x ? job_.width_x() : job_.width_h(), columns = x ? I : P;
      if (!x) j -= panels_x;
      const Panel<S> panel = panel_in_place(x ? rows.right_x : rows.right_h, width, columns, j, true);
      const S* next = last - first > 1 && j + 1 < panel_count<S>(columns) ? panel.b + panel_width<S>() : nullptr;
      sum_product(rows.left_da + first * left_tile_size<S>(total), smaller(G, last * R) - n0, total, panel,
                  (x ? way_.dw_ih : way_.dw_hh) + n0 * columns, columns, add, next);
    };
    const int64_t panels = panels_x + panels_h;
    // Few rows stay in the first-level cache whole, and a gradient is best written in order; of many a panel only stays.
    const bool in_order = total <= kFewRows;
    const int64_t width = in_order ? I + P : panel_width<S>();
    auto groups = [&](int m) {
      const int64_t its = job_.part(tiles, m + 1) - job_.part(tiles, m);
      return Cuts(its, ceil_div(its, pieces_of(its * R * width * total, its)));
    };
    auto count = [&](int m) { return panels == 0 ? 0 : groups(m).parts * (in_order ? 1 : panels); };
    share_pieces(taken, job_.members, me_, kSpared, count, [&](int m, int64_t piece) {
      const Cuts its = groups(m);
      const int64_t part = piece % its.parts, begin = job_.part(tiles, m);
      const int64_t first = begin + its.begin(part), last = begin + its.begin(part + 1);
      if (!in_order) return write(first, last, piece / its.parts);
      for (int64_t i = first; i < last; ++i)
        for (int64_t j = 0; j < panels; ++j) write(i, i + 1, j);
    });
  }

  // The gradients of my part of the biases, for write_directly().
  void sum_biases(const ChunkRows<S>& rows, int64_t total, bool add) {
    constexpr int64_t N = 4;  // vectors at a time: cache lines side by side
    S* const to = way_.db_ih ? way_.db_ih : way_.db_hh;
    if (!to) return;
    const int64_t G = 4 * job_.H, blocks = ceil_div(G, N * V::lanes);
    for (int64_t block = job_.part(blocks, me_); block < job_.part(blocks, me_ + 1); ++block) {
      const int64_t n0 = block * N * V::lanes, count = smaller(N * V::lanes, G - n0);
      call_with_size<N>(ceil_div(count, V::lanes), [&](auto vectors) {
        constexpr int64_t n = decltype(vectors)::value;
        const int64_t last = count - (n - 1) * V::lanes;
        V sum[n];
        for (int64_t v = 0; v < n; ++v)
          sum[v] = add ? V::load_n(to + n0 + v * V::lanes, v + 1 < n ? V::lanes : last) : V::zero();
        for (int64_t r = 0; r < total; ++r) {
          const S* from = rows.da[r] + n0;
          for (int64_t v = 0; v + 1 < n; ++v) sum[v] = sum[v] + V::load(from + v * V::lanes);
          sum[n - 1] = sum[n - 1] + V::load_n(from + (n - 1) * V::lanes, last);
        }
        for (int64_t v = 0; v < n; ++v) {
          const int64_t at = n0 + v * V::lanes, have = v + 1 < n ? V::lanes : last;
          if (way_.db_ih) sum[v].store_n(way_.db_ih + at, have);
          if (way_.db_hh) sum[v].store_n(way_.db_hh + at, have);
        }
      });
    }
  }

  // The last column of the left operand: its product with da is the sum of da, the gradient of the biases.
  void pack_ones(S* left, int64_t r0, int64_t r1, int64_t total) {
    constexpr int64_t R = V::gemm_rows;
    const int64_t column = job_.left_columns - 1, tile = column / R * R, width = column - tile + 1;
    for (int64_t r = r0; r < r1; ++r) left[tile / R * left_tile_size<S>(total) + r * width + width - 1] = S(1);
  }
};
CELLGATE_END
