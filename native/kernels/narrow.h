// A product with very few columns: a vector of columns would be nearly empty, so the vectors run along the sum instead.
//
//   C[m][n] (+)= sum over k of A[m][k] B[k][n]       n < columns <= kNarrow
//
// as dx = dG W_ih for the one or two inputs of a time series. B is given transposed, (columns, depth) row-major.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
constexpr int64_t kNarrow = 4;

// Rows of A at a time: with the columns, sixteen sums where there are registers for them, else eight.
template <class S, int Columns>
constexpr int narrow_rows() {
  return (Vec<S>::registers > 16 ? 16 : 8) / Columns;
}

template <int Columns, class S>
void narrow_tiles(const S* const* a, int64_t rows, int64_t depth, const S* b, int64_t stride, S* const* c, bool add) {
  using V = Vec<S>;
  constexpr int R = narrow_rows<S, Columns>();
  constexpr int64_t L = V::lanes;
  for (int64_t m = 0; m < rows; m += R) {
    const int64_t have = smaller<int64_t>(R, rows - m);
    const S* row[R];
    for (int r = 0; r < R; ++r) row[r] = a[m + smaller<int64_t>(r, have - 1)];
    V acc[R * Columns];
    for (int i = 0; i < R * Columns; ++i) acc[i] = V::zero();
    auto step = [&](int64_t k, auto load) __attribute__((always_inline)) {
      V weight[Columns];
      for (int n = 0; n < Columns; ++n) weight[n] = load(b + n * stride + k);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        V x = load(row[r] + k);
        for (int n = 0; n < Columns; ++n) acc[r * Columns + n] = fma(x, weight[n], acc[r * Columns + n]);
      }
    };
    int64_t k = 0;
    for (; k + L <= depth; k += L) step(k, [](const S* p) __attribute__((always_inline)) { return V::load(p); });
    if (k < depth) {
      const int64_t n = depth - k;
      step(k, [n](const S* p) __attribute__((always_inline)) { return V::load_n(p, n); });
    }
    S sums[R * Columns];
    reduce_rows<R * Columns>(acc, sums);
    for (int64_t r = 0; r < have; ++r)
      for (int n = 0; n < Columns; ++n) {
        S* to = c[m + r] + n;
        *to = add ? *to + sums[r * Columns + n] : sums[r * Columns + n];
      }
  }
}

// a, c: `rows` pointers; b: `columns` rows of `depth` scalars, `stride` apart.
template <class S>
void narrow_product(const S* const* a, int64_t rows, int64_t depth, const S* b, int64_t stride, int64_t columns,
                    S* const* c, bool add) {
  call_with_size<kNarrow>(columns,
                          [&](auto n) { narrow_tiles<decltype(n)::value>(a, rows, depth, b, stride, c, add); });
}
CELLGATE_END
