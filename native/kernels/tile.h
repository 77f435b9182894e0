// The inner products: R rows of input against one panel of weights, accumulated in R x N vectors.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
// Independent chains of accumulators, so that few rows still hide the latency of the multiply-adds: eight of them or more,
// and no more than there are registers for.
template <class S, int R, int N>
constexpr int chains() {
  constexpr bool many = Vec<S>::registers > 16;
  return R * N >= (many ? 12 : 8) ? 1 : R * N >= (many ? 6 : 4) ? 2 : 4;
}

// Roundings of a sum grow with the number of terms that are added one after the other, those of a sum of stretches hardly:
// the length of nearly equal ones, in whole turns of the loop below.
constexpr int64_t stretch_of(int64_t terms) {
  return terms <= 256 ? larger<int64_t>(terms, 1) : round_up(ceil_div(terms, ceil_div(terms, int64_t{384})), 8);
}

// Memory that will be needed soon, asked for line by line while the arithmetic runs: all at once they would hold up its
// loads.
struct Lines {
  const void* const* line = nullptr;  // where the tile will write
  int64_t count = 0;
  const char* weights = nullptr;  // what comes after this panel, to be read from beyond the second-level cache
  const char* end = nullptr;
  template <class S, int N>
  CELLGATE_INLINE void fetch() {
    for (int k = 0; k < N && count > 0; ++k) __builtin_prefetch(line[--count], 1, 3);
    if constexpr (fetches_further<S>()) {
      if (weights < end) {
#pragma GCC unroll 4
        for (int k = 0; k < N; ++k) __builtin_prefetch(weights + k * 64, 0, 2);
        weights += N * 64;
      }
    }
  }
};

// So many k in one turn of the loop: with few registers a tile has few multiply-adds for each k, beside which counting,
// comparing and asking for lines weigh, above all where another thread has half of the core's way in.
template <class S>
constexpr int turn() {
  return Vec<S>::registers > 16 ? 2 : 8;
}

// acc[r][j] += sum over k of row[r][k] * panel(k, j), j < N. The panel is [K][N][lanes], one of four vectors in two halves,
// as pack.h has it: [2][K][2][lanes].
template <int R, int N, class S>
CELLGATE_INLINE void accumulate(Vec<S> (&acc)[R][N], const S* const* row, int64_t K, const S* panel,
                                Lines* ahead = nullptr) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  constexpr int C = chains<S, R, N>();
  constexpr int W = N == 4 ? 2 : N;  // vectors that lie side by side
  const S* a[R];
  for (int r = 0; r < R; ++r) a[r] = row[r];
  const S* part_of[N / W];
  for (int h = 0; h < N / W; ++h) part_of[h] = panel + h * K * W * L;
  // Vector j of the c-th k from where the panel has come to.
  auto weights = [&](int c, int j)
                     __attribute__((always_inline)) { return V::load(part_of[j / W] + (c * W + j % W) * L); };
  auto go_on = [&](int count) __attribute__((always_inline)) {
    for (int h = 0; h < N / W; ++h) part_of[h] += count * W * L;
  };
  if constexpr (C == 1) {
    constexpr int U = turn<S>();
    auto step = [&](int64_t k, int c) __attribute__((always_inline)) {
      V w[N];
      for (int j = 0; j < N; ++j) w[j] = weights(c, j);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        V x = V::set1(a[r][k + c]);
        for (int j = 0; j < N; ++j) add_product(acc[r][j], x, w[j]);
      }
    };
    auto run = [&](int64_t k, int64_t end) __attribute__((always_inline)) {
      for (; k + U <= end; k += U) {
        if (ahead) ahead->fetch<S, U / 2>();
#pragma GCC unroll 8
        for (int c = 0; c < U; ++c) step(k, c);
        go_on(U);
      }
      for (; k < end; ++k, go_on(1)) step(k, 0);
    };
    // What was there, and the sums of all stretches but the last; a single stretch is added to what was there.
    V total[R][N];
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < N; ++j) total[r][j] = acc[r][j];
    const int64_t stretch = stretch_of(K);
    if (stretch < K) {
      for (int r = 0; r < R; ++r)
        for (int j = 0; j < N; ++j) acc[r][j] = V::zero();
    }
    for (int64_t k = 0;; k += stretch) {
      run(k, smaller(K, k + stretch));
      if (k + stretch >= K) break;
      for (int r = 0; r < R; ++r)
        for (int j = 0; j < N; ++j) {
          total[r][j] = total[r][j] + acc[r][j];
          acc[r][j] = V::zero();
        }
    }
    if (stretch < K) {
      for (int r = 0; r < R; ++r)
        for (int j = 0; j < N; ++j) acc[r][j] = total[r][j] + acc[r][j];
    }
  } else {
    V part[C][R][N];
    for (int c = 0; c < C; ++c)
      for (int r = 0; r < R; ++r)
        for (int j = 0; j < N; ++j) part[c][r][j] = c ? V::zero() : acc[r][j];
    int64_t k = 0;
    for (; k + C <= K; k += C) {
      if (ahead) ahead->fetch<S, 1>();
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          V x = V::set1(a[r][k + c]);
          for (int j = 0; j < N; ++j) part[c][r][j] = fma(x, weights(c, j), part[c][r][j]);
        }
      }
      go_on(C);
    }
    for (; k < K; ++k) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        V x = V::set1(a[r][k]);
        for (int j = 0; j < N; ++j) part[0][r][j] = fma(x, weights(0, j), part[0][r][j]);
      }
      go_on(1);
    }
    for (int r = 0; r < R; ++r) {
      for (int j = 0; j < N; ++j) {
        V s = part[0][r][j];
        for (int c = 1; c < C; ++c) s = s + part[c][r][j];
        acc[r][j] = s;
      }
    }
  }
}

// As accumulate, against weights as PyTorch keeps them, w (4H, K) row-major, without packing: for units u .. u + U - 1,
// acc[(r * U + i) * 4 + g] += row[r][k] * w[g * H + u + i][k], to be summed over lanes by the caller.
// Some vectors of a row follow on one another: the second-level cache gives lines that lie side by side twice as fast as
// lines of other rows in turn.
template <int R, int U, class S>
CELLGATE_INLINE void accumulate_rows(Vec<S> (&acc)[R * U * 4], const S* const* row, int64_t K, const S* w, int64_t H,
                                     int64_t u) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  constexpr int C = R == 1 ? 4 : 1;  // with more rows there are not as many lines to wait for
  const S* base[4];
  for (int g = 0; g < 4; ++g) base[g] = w + (g * H + u) * K;
  // The last of `count` vectors by `load`.
  auto stretch = [&](auto count, int64_t k, auto load) __attribute__((always_inline)) {
    constexpr int N = decltype(count)::value;
    V x[R][N];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c + 1 < N; ++c) x[r][c] = V::load(row[r] + k + c * L);
      x[r][N - 1] = load(row[r] + k + (N - 1) * L);
    }
#pragma GCC unroll 4
    for (int i = 0; i < U; ++i) {
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const S* p = base[g] + i * K + k;
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) {
          const V v = c + 1 < N ? V::load(p + c * L) : load(p + c * L);
          for (int r = 0; r < R; ++r) acc[(r * U + i) * 4 + g] = fma(x[r][c], v, acc[(r * U + i) * 4 + g]);
        }
      }
    }
  };
  int64_t k = 0;
  for (; k + C * L <= K; k += C * L)
    stretch(Constant<C>{}, k, [](const S* p) __attribute__((always_inline)) { return V::load(p); });
  if (k == K) return;
  call_with_size<C>(ceil_div(K - k, L), [&](auto count) __attribute__((always_inline)) {
    const int64_t n = K - k - (decltype(count)::value - 1) * L;
    stretch(count, k, [n](const S* p) __attribute__((always_inline)) { return V::load_n(p, n); });
  });
}
CELLGATE_END
