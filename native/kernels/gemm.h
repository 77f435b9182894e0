// Large matrix products over the vector type: packing, and loops around the register tile.
//
// Two products cover everything a backward pass needs beside its recurrence:
//   rows_product     C[m][n] (+)= sum over k of A[m][k] B[k][n]      dx = dG W_ih, gates = x W^T: rows wherever they lie
//   sum_product      C[m][n]  += sum over r of A[r][m] B[r][n]       dW^T = x^T dG: a sum over time and batch
// Rows are given as arrays of pointers, so padded, packed, strided and shifted sequences (h of the step before) need no
// copies and no cases of their own.
//
// A packed right operand is cut into panels of four vectors: panel j holds columns [j * width, ...) as [k][width]; the
// last panel has only as many vectors as it needs, its missing columns are zero. Some rows of one panel stay in the
// second-level cache while all rows of the left operand pass by: kDepth of them, or as many as kPanelDepth.
#pragma once

#include <cstring>

#include "caches.h"
#include "kernels/gemm_tile.h"

CELLGATE_BEGIN
constexpr int64_t kDepth = 512;        // k at a time: a sum of so many terms rounds little
constexpr int64_t kPanelDepth = 1024;  // where sums are few: a panel of 256 KB in float

// Scalars of a packed right operand of `depth` x `columns`.
template <class S>
constexpr int64_t packed_size(int64_t depth, int64_t columns) {
  return depth * round_up(columns, Vec<S>::lanes);
}

// Panel j of a packed right operand.
template <class S>
struct Panel {
  const S* b;
  int64_t first;  // its first column
  int vectors;
  int64_t last;    // columns of its last vector that exist
  int64_t stride;  // from row to row
  bool whole;      // reading the last vector whole is allowed
  Panel(const S* packed, int64_t depth, int64_t columns, int64_t j) : first(j * panel_width<S>()) {
    constexpr int64_t L = Vec<S>::lanes;
    int64_t width = smaller(columns - first, panel_width<S>());
    b = packed + depth * first;
    vectors = static_cast<int>(ceil_div(width, L));
    last = width - (vectors - 1) * L;
    stride = vectors * L;
    whole = true;
  }
};
// A panel of a row-major matrix as it lies. padded: its rows may be read up to a multiple of the lanes.
template <class S>
Panel<S> panel_in_place(const S* matrix, int64_t stride, int64_t columns, int64_t j, bool padded) {
  Panel<S> panel(matrix, 1, columns, j);
  panel.stride = stride;
  panel.whole = padded || panel.last == Vec<S>::lanes;
  return panel;
}
template <class S>
constexpr int64_t panel_count(int64_t columns) {
  return ceil_div(columns, panel_width<S>());
}

// A right operand of `depth` x `columns`: packed, or (stride > 0) row-major as it lies, which is best where it is read so
// few times that packing would cost more than it saves.
template <class S>
struct RightOperand {
  const S* b = nullptr;
  int64_t depth = 0, columns = 0;
  int64_t stride = 0;
  int64_t panels() const { return panel_count<S>(columns); }
  Panel<S> panel(int64_t j) const {
    return stride > 0 ? panel_in_place(b, stride, columns, j, false) : Panel<S>(b, depth, columns, j);
  }
  // Rows at a time: what many rows of the left operand pass by stays in the second-level cache, and sums round less.
  int64_t deep() const { return stride > 0 ? kDepth / 2 : kDepth; }
};

// Packs panels [first, last) of a row-major (depth, columns) matrix, rows `stride` apart.
template <class S>
void pack_panels(const S* source, int64_t stride, int64_t depth, int64_t columns, S* packed, int64_t first,
                 int64_t last) {
  using V = Vec<S>;
  constexpr int64_t L = V::lanes;
  for (int64_t j = first; j < last; ++j) {
    Panel<S> panel(packed, depth, columns, j);
    S* to = packed + depth * panel.first;
    for (int64_t k = 0; k < depth; ++k, to += panel.stride) {
      const S* from = source + k * stride + panel.first;
      for (int64_t v = 0; v + 1 < panel.vectors; ++v) V::load(from + v * L).store(to + v * L);
      int64_t v = panel.vectors - 1;
      V::load_n(from + v * L, panel.last).store(to + v * L);
    }
  }
}

// The same for the transpose of a row-major (columns, depth) matrix: packed(k, n) = source[n * stride + k].
template <class S>
void pack_panels_transposed(const S* source, int64_t stride, int64_t depth, int64_t columns, S* packed, int64_t first,
                            int64_t last) {
  using V = Vec<S>;
  constexpr int64_t L = V::lanes;
  for (int64_t j = first; j < last; ++j) {
    Panel<S> panel(packed, depth, columns, j);
    S* to = packed + depth * panel.first;
    for (int64_t v = 0; v < panel.vectors; ++v) {
      int64_t n0 = panel.first + v * L;
      int64_t have = smaller(L, columns - n0);
      for (int64_t k = 0; k < depth; k += L) {
        int64_t deep = smaller(L, depth - k);
        V block[L];
        for (int64_t n = 0; n < L; ++n)
          block[n] = n < have ? V::load_n(source + (n0 + n) * stride + k, deep) : V::zero();
        transpose(block);
        for (int64_t d = 0; d < deep; ++d) block[d].store(to + (k + d) * panel.stride + v * L);
      }
    }
  }
}

// Has one of `tiles` that pass by rows [k0, k1) of a packed panel fetch its part of as much that lies after them: that is
// read next. Only of operands that no second-level cache holds.
template <class S>
void fetch_after(Ahead& ahead, const RightOperand<S>& b, const Panel<S>& panel, int64_t k0, int64_t k1, int64_t tile,
                 int64_t tiles) {
  if (!fetches_further<S>() || b.stride > 0 || tiles < 2) return;
  if (b.depth * b.columns * static_cast<int64_t>(sizeof(S)) < second_level_cache()) return;
  const int64_t bytes = (k1 - k0) * panel.stride * static_cast<int64_t>(sizeof(S));
  const char* after = reinterpret_cast<const char*>(panel.b + k1 * panel.stride);
  ahead.further = after + tile * bytes / tiles / 64 * 64;
  ahead.end = after + (tile + 1) * bytes / tiles;
}

// The tile for a panel, its left operand given as rows.
template <class S>
typename GemmTiles<S, false, true>::Function rows_tile(int count, const Panel<S>& panel) {
  return panel.whole ? GemmTiles<S, false, true>::get(count, panel.vectors)
                     : GemmTiles<S, false, false>::get(count, panel.vectors);
}

// C[m][n] (+)= sum over k < depth of A[m][k] B[k][n] for rows [0, rows) and panels [first, last) of B.
//
//   a      rows pointers, each to depth scalars
//   c      rows pointers, each to columns scalars; may not overlap a
template <class S>
void rows_product(const S* const* a, int64_t rows, const RightOperand<S>& b, int64_t first, int64_t last, S* const* c,
                  bool add) {
  if (rows == 0) return;
  const int64_t depth = b.depth, most = b.deep();
  Cuts cuts(rows, Vec<S>::gemm_rows);
  for (int64_t j = first; j < last; ++j) {
    const Panel<S> panel = b.panel(j);
    for (int64_t k = 0; k == 0 || k < depth; k += most) {
      int64_t deep = smaller(most, depth - k);
      for (int64_t part = 0; part < cuts.parts; ++part) {
        int64_t m = cuts.begin(part);
        auto run = rows_tile(static_cast<int>(cuts.begin(part + 1) - m), panel);
        Ahead ahead;
        fetch_after(ahead, b, panel, k, k + deep, part, cuts.parts);
        run({a + m, k}, panel.b + k * panel.stride, panel.stride, deep, {c + m, panel.first, panel.last, add || k > 0},
            ahead);
      }
    }
  }
}

// The same with a packed B of `depth` x `columns`.
template <class S>
void rows_product(const S* const* a, int64_t rows, int64_t depth, const S* packed, int64_t columns, int64_t first,
                  int64_t last, S* const* c, bool add) {
  rows_product<S>(a, rows, RightOperand<S>{packed, depth, columns, 0}, first, last, c, add);
}

// Left operand of sum_product, packed: tile i of gemm_rows columns (the last one of what remains) as [r][its columns].
// Several sources lie side by side in it. Tiles begin left_tile_size() apart, a cache line more than they hold, so that
// their beginnings do not crowd one set of the cache.
template <class S>
constexpr int64_t left_tile_size(int64_t count) {
  return round_up(Vec<S>::gemm_rows * count, 64 / sizeof(S)) + 64 / sizeof(S);
}
template <class S>
constexpr int64_t packed_left_size(int64_t count, int64_t columns) {
  return ceil_div(columns, Vec<S>::gemm_rows) * left_tile_size<S>(count);
}

// Packs the rows [r0, r1) of one source.
//
//   rows     count pointers, each to `columns` scalars
//   column0  where this source's columns begin among the `all` columns
template <class S>
void pack_left(const S* const* rows, int64_t r0, int64_t r1, int64_t count, int64_t columns, S* packed, int64_t column0,
               int64_t all) {
  constexpr int64_t R = Vec<S>::gemm_rows;
  const int64_t tile_size = left_tile_size<S>(count);
  for (int64_t r = r0; r < r1; ++r) {
    const S* from = rows[r];
    if (r + 2 < r1)
      for (int64_t m = 0; m < columns; m += 64 / sizeof(S)) __builtin_prefetch(rows[r + 2] + m, 0, 2);
    int64_t tile = column0 / R, lane = column0 % R;
    for (int64_t m = 0; m < columns; ++tile, lane = 0) {
      const int64_t width = smaller(R, all - tile * R), n = smaller(width - lane, columns - m);
      S* to = packed + tile * tile_size + r * width + lane;
      if (n == R) {
        std::memcpy(to, from + m, R * sizeof(S));  // of known size: two moves, where stores under a mask are slow
      } else {
        for (int64_t e = 0; e < n; ++e) to[e] = from[m + e];
      }
      m += n;
    }
  }
}

// C[m][n] (+)= sum over r < count of A(r, m) B(r, n), A packed by pack_left with `columns` columns in all, B one panel.
//
//   c      `columns` rows of `stride` scalars, of which those of the panel are touched
//   next   the panel that will be read after this one, at the same distances, or null: it is fetched meanwhile, since its
//          rows may lie in the cache of another core
template <class S>
void sum_product(const S* left, int64_t columns, int64_t count, const Panel<S>& panel, S* c, int64_t stride, bool add,
                 const S* next = nullptr) {
  constexpr int64_t R = Vec<S>::gemm_rows;
  constexpr int64_t kMostAhead = 128;
  const int64_t tiles = ceil_div(columns, R);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t m = i * R;
    const int have = static_cast<int>(smaller(R, columns - m));
    S* rows[R];
    for (int r = 0; r < have; ++r) rows[r] = c + (m + r) * stride;
    const void* blocks[kMostAhead + R];
    Ahead ahead{blocks};
    // Where the next tile goes: its stores would wait for lines of large sums one after another.
    for (int64_t r = m + R; r < smaller(columns, m + 2 * R); ++r) blocks[ahead.count++] = c + r * stride + panel.first;
    if (next) {
      const int64_t end = smaller((i + 1) * count / tiles, i * count / tiles + kMostAhead);
      for (int64_t r = i * count / tiles; r < end; ++r) blocks[ahead.count++] = next + r * panel.stride;
    }
    auto run = panel.whole ? GemmTiles<S, true, true>::get(have, panel.vectors)
                           : GemmTiles<S, true, false>::get(have, panel.vectors);
    run({left + i * left_tile_size<S>(count)}, panel.b, panel.stride, count, {rows, panel.first, panel.last, add},
        ahead);
  }
}

// to[n * to_stride + m] = from[m * from_stride + n] for m < rows, n in [n0, n1).
template <class S>
void copy_transposed(const S* from, int64_t from_stride, int64_t rows, int64_t n0, int64_t n1, S* to,
                     int64_t to_stride) {
  using V = Vec<S>;
  constexpr int64_t L = V::lanes;
  for (int64_t n = n0; n < n1; n += L) {
    int64_t wide = smaller(L, n1 - n);
    for (int64_t m = 0; m < rows; m += L) {
      int64_t deep = smaller(L, rows - m);
      V block[L];
      for (int64_t k = 0; k < L; ++k)
        block[k] = k < deep ? V::load_n(from + (m + k) * from_stride + n, wide) : V::zero();
      transpose(block);
      for (int64_t k = 0; k < wide; ++k) block[k].store_n(to + (n + k) * to_stride + m, deep);
    }
  }
}
CELLGATE_END
