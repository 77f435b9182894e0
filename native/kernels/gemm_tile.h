// The inner product of every large matrix product: a tile of rows x vectors that stays in registers while k runs.
//
//   out[r][n] (= or +=) sum over k of A(r, k) * B(k, n)       r < Rows, n < Vectors * lanes
//
// A has one of two forms:
//   packed   a[k * Rows + r]: the rows of a tile beside each other, for products that sum over time and batch
//   rows     row[r][k]: rows wherever they lie, for products that sum over units
// Six rows of four vectors load ten times for 24 multiply-adds, so the arithmetic is the limit, not the loads.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
template <class S>
constexpr int64_t panel_width() {
  return Vec<S>::gemm_vectors * Vec<S>::lanes;
}

// The left operand of a tile.
template <class S, bool Packed>
struct TileLeft;
template <class S>
struct TileLeft<S, true> {
  const S* a;
};
template <class S>
struct TileLeft<S, false> {
  const S* const* row;
  int64_t offset;  // of the first k in each row
};

template <class S>
struct TileTarget {
  S* const* row;
  int64_t column;  // where the tile begins in each row
  int64_t last;    // lanes of the last vector that exist, 1 to lanes
  bool add;        // += instead of =
};

// Memory that will be needed soon: blocks of one panel's width, fetched during the last of a tile's arithmetic, as far as
// that is long enough.
struct Ahead {
  const void* const* block = nullptr;
  int64_t count = 0;
  // What of B comes after this panel, to be read from beyond the second-level cache.
  const char* further = nullptr;
  const char* end = nullptr;
};
template <class S>
CELLGATE_INLINE void fetch_block(const void* block) {
  constexpr int64_t bytes = panel_width<S>() * static_cast<int64_t>(sizeof(S));
  for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(static_cast<const char*>(block) + at, 0, 2);
}

// Whole: the last vector of a row of B may be read whole, though fewer lanes of it may count.
template <class S, int Rows, int Vectors, bool Packed, bool Whole>
__attribute__((noinline)) void gemm_tile(TileLeft<S, Packed> left, const S* __restrict b, int64_t stride, int64_t count,
                                         const TileTarget<S>& out, Ahead ahead) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  // Below eight accumulators the latency of a multiply-add shows; even and odd k then go to accumulators of their own.
  constexpr int Ways = Rows * Vectors < 8 ? 2 : 1;
  V acc[Ways][Rows][Vectors];
#pragma GCC unroll 2
  for (int w = 0; w < Ways; ++w)
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) acc[w][r][v] = V::zero();
  const S* a[Rows];
  if constexpr (Packed) {
    a[0] = left.a;
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) a[r] = left.row[r] + left.offset;
  }
  auto step = [&](int64_t k, int w) __attribute__((always_inline)) {
    V bv[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v)
      bv[v] = Whole || v + 1 < Vectors ? V::load(b + v * L) : V::load_n(b + v * L, out.last);
    b += stride;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      V av = V::set1(Packed ? a[0][k * Rows + r] : a[Packed ? 0 : r][k]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) acc[w][r][v] = fma(av, bv[v], acc[w][r][v]);
    }
  };
  int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    if (4 * ahead.count >= count - k) fetch_block<S>(ahead.block[--ahead.count]);
    if constexpr (fetches_further<S>()) {
      if (ahead.further < ahead.end) {
        __builtin_prefetch(ahead.further, 0, 2);
        __builtin_prefetch(ahead.further + 64, 0, 2);
        ahead.further += 128;
      }
    }
    step(k, 0);
    step(k + 1, 1 % Ways);
    step(k + 2, 0);
    step(k + 3, 1 % Ways);
  }
  for (; k < count; ++k) step(k, 0);

#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
    S* to = out.row[r] + out.column;
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) {
      V sum = Ways == 2 ? acc[0][r][v] + acc[Ways - 1][r][v] : acc[0][r][v];
      S* p = to + v * L;
      if (v == Vectors - 1 && out.last < L) {
        if (out.add) sum = sum + V::load_n(p, out.last);
        sum.store_n(p, out.last);
      } else {
        if (out.add) sum = sum + V::load(p);
        sum.store(p);
      }
    }
  }
}

// The tile for a number of rows and vectors known at run time.
template <class S, bool Packed, bool Whole>
struct GemmTiles {
  using Function = void (*)(TileLeft<S, Packed>, const S*, int64_t, int64_t, const TileTarget<S>&, Ahead);
  static constexpr int max_rows = Vec<S>::gemm_rows, max_vectors = Vec<S>::gemm_vectors;
  template <int R>
  static Function of_vectors(int vectors) {
    switch (vectors) {
      case 1:
        return gemm_tile<S, R, 1, Packed, Whole>;
      case 2:
        return gemm_tile<S, R, smaller(2, max_vectors), Packed, Whole>;
      case 3:
        return gemm_tile<S, R, smaller(3, max_vectors), Packed, Whole>;
      default:
        return gemm_tile<S, R, smaller(4, max_vectors), Packed, Whole>;
    }
  }
  static Function get(int rows, int vectors) {
    switch (rows) {
      case 1:
        return of_vectors<1>(vectors);
      case 2:
        return of_vectors<2>(vectors);
      case 3:
        return of_vectors<smaller(3, max_rows)>(vectors);
      case 4:
        return of_vectors<smaller(4, max_rows)>(vectors);
      case 5:
        return of_vectors<smaller(5, max_rows)>(vectors);
      default:
        return of_vectors<smaller(6, max_rows)>(vectors);
    }
  }
};

// Cuts rows into tiles of nearly one size, none above the register tile: 20 rows become 5 + 5 + 5 + 5.
struct Cuts {
  int64_t count, parts;
  Cuts(int64_t rows, int64_t most) : count(rows), parts(rows > 0 ? ceil_div(rows, most) : 0) {}
  int64_t begin(int64_t part) const { return part * count / parts; }
};
CELLGATE_END
