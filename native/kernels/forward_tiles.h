// The tiles of the forward pass: some rows of x and h against one block of hidden units, from the weights to c and h.
#pragma once

#include "kernels/cell.h"
#include "kernels/tile.h"

CELLGATE_BEGIN
// What tiles of rows need for one block of units.
template <class S>
struct TileJob {
  const Rows<S>* rows;
  int64_t I, P, H;
  const S* ih;  // panel of I inputs, or (unpacked) the whole w_ih; null: the input product is in `start`
  const S* hh;
  const S* start;      // what the sums start from: [N][lanes] of biases, or [rows][N][lanes] of sums
  int64_t start_row;   // distance from row to row in start: 0 for biases
  int64_t u, n, gate;  // as in GateBlock
  int64_t next = 0;    // how many blocks further the panels lie that are read after these, where they should be fetched
  int64_t count = 0;   // rows that pass by these
};

// Has tiles of rows [j, j + R) of `count`, while they read a panel of `size` scalars, fetch their part of the one at `next`.
template <class S>
CELLGATE_INLINE void fetch_further(Lines& lines, const S* next, int64_t size, int64_t j, int R, int64_t count) {
  const char* further = reinterpret_cast<const char*>(next);
  const int64_t bytes = size * static_cast<int64_t>(sizeof(S));
  lines.weights = further + j * bytes / count / 64 * 64;
  lines.end = further + (j + R) * bytes / count;
}

// N vectors of weights for each input, as GateBlock::vectors.
template <int R, int N, class S>
void run_tile(const TileJob<S>& job, int64_t j) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  const void* line[R * 6];
  Lines ahead{line, lines_written(R, *job.rows, j, job.u, line)};
  V acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < N; ++g) acc[r][g] = V::load(job.start + (j + r) * job.start_row + g * L);
  auto add = [&](const S* const* row, int64_t K, const S* panel) __attribute__((always_inline)) {
    if (job.next != 0) fetch_further(ahead, panel + job.next * K * 4 * L, K * N * L, j, R, job.count);
    accumulate(acc, row + j, K, panel, &ahead);
  };
  if (job.ih) add(job.rows->x, job.I, job.ih);
  add(job.rows->h, job.P, job.hh);
  alignas(64) S pre[(R * N + (N < 4)) * L];  // gates that are not whole vectors are read as such, past the last row
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < N; ++g) acc[r][g].store(pre + (r * N + g) * L);
  if constexpr (N < 4) V::zero().store(pre + R * N * L);
  cells<R>(pre, N * L, N < 4 ? job.gate : L, *job.rows, j, job.u, job.n);
}

// The same for a panel of four vectors and more rows than so many accumulators allow: two gates at a time. The weights
// come from further away once for twice as many rows.
template <int R, class S>
void run_tall_tile(const TileJob<S>& job, int64_t j) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  const void* line[R * 6];
  Lines ahead{line, lines_written(R, *job.rows, j, job.u, line)};
  alignas(64) S pre[R * 4 * L];
  for (int g = 0; g < 4; g += 2) {
    V acc[R][2];
    for (int r = 0; r < R; ++r)
      for (int k = 0; k < 2; ++k) acc[r][k] = V::load(job.start + (j + r) * job.start_row + (g + k) * L);
    auto add = [&](const S* const* row, int64_t K, const S* panel) __attribute__((always_inline)) {
      const S* half = panel + g * K * L;
      if (job.next != 0) fetch_further(ahead, half + job.next * K * 4 * L, K * 2 * L, j, R, job.count);
      accumulate(acc, row + j, K, half, &ahead);
    };
    if (job.ih) add(job.rows->x, job.I, job.ih);
    add(job.rows->h, job.P, job.hh);
    for (int r = 0; r < R; ++r)
      for (int k = 0; k < 2; ++k) acc[r][k].store(pre + (r * 4 + g + k) * L);
  }
  cells<R>(pre, 4 * L, L, *job.rows, j, job.u, job.n);
}

// With weights in PyTorch's layout, so many rows at most: sixteen accumulators, or twelve.
template <class S>
constexpr int unpacked_rows() {
  return Vec<S>::registers > 16 ? 4 : 3;
}
template <int R, class S>
void run_unpacked(const TileJob<S>& job, int64_t j) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  // Units at a time, for as many accumulators as there are registers for.
  constexpr int U = smaller(unpacked_rows<S>() == 4 ? (R == 1 ? 4 : R == 2 ? 2 : 1) : (R == 1 ? 2 : 1), L);
  // Sums unit by unit, four gates each, as the groups give them; turned into vectors of a gate at the end.
  alignas(64) S dots[R][L * 4];
  auto group = [&](auto count, int64_t i) __attribute__((always_inline)) {
    constexpr int N = decltype(count)::value;
    V acc[R * N * 4];
    for (int a = 0; a < R * N * 4; ++a) acc[a] = V::zero();
    if (job.ih) accumulate_rows<R, N>(acc, job.rows->x + j, job.I, job.ih, job.H, job.u + i);
    accumulate_rows<R, N>(acc, job.rows->h + j, job.P, job.hh, job.H, job.u + i);
    if constexpr (R == 1) {
      reduce_rows<N * 4>(acc, dots[0] + i * 4);
    } else {
      S sums[R * N * 4];
      reduce_rows<R * N * 4>(acc, sums);
      for (int r = 0; r < R; ++r)
        for (int k = 0; k < N * 4; ++k) dots[r][i * 4 + k] = sums[r * N * 4 + k];
    }
  };
  int64_t i = 0;
  for (; i + U <= job.n; i += U) group(Constant<U>{}, i);
  for (; i < job.n; ++i) group(Constant<1>{}, i);
  alignas(64) S pre[R * 4 * L];
  for (int r = 0; r < R; ++r) {
    for (int64_t k = job.n * 4; k < L * 4; ++k) dots[r][k] = S(0);
    for (int g = 0; g < 4; ++g)
      for (int k = 0; k < L; ++k) pre[(r * 4 + g) * L + k] = job.start[g * L + k] + dots[r][k * 4 + g];
  }
  cells<R>(pre, 4 * L, L, *job.rows, j, job.u, job.n);
}

// R rows of h_out against one plain panel of w_hr, into y_out.
template <int R, class S>
void run_projection(const Rows<S>& rows, int64_t j, int64_t H, const S* panel, int64_t p, int64_t n) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  V acc[R][4];
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < 4; ++g) acc[r][g] = V::zero();
  accumulate(acc, const_cast<const S* const*>(rows.h_out) + j, H, panel);
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < 4; ++g) {
      int64_t m = larger<int64_t>(0, smaller<int64_t>(L, n - g * L));
      acc[r][g].store_n(rows.y_out[j + r] + p + g * L, m);
    }
}

// R rows of input against N vectors of a gate panel of `all`, into sums [R][all][lanes].
template <int R, int N, class S>
void run_input(const S* const* x, int64_t I, const S* panel, const S* bias, S* sums, int64_t all, Lines ahead) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  V acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < N; ++g) acc[r][g] = V::load(bias + g * L);
  accumulate(acc, x, I, panel, fetches_further<S>() ? &ahead : nullptr);
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < N; ++g) acc[r][g].store(sums + (r * all + g) * L);
}

// Calls body(Constant<R>{}, j) over tiles of nearly equal size, at most MAX rows each; those of one of several parts.
template <int MAX, class Body>
CELLGATE_INLINE void over_tiles(int64_t n, const Body& body, int64_t part = 0, int64_t parts = 1) {
  int64_t tiles = ceil_div(n, MAX);
  if (tiles == 0) return;
  int64_t base = n / tiles, longer = n % tiles;
  int64_t k = part * tiles / parts, j = k * base + smaller(k, longer);
  for (const int64_t end = (part + 1) * tiles / parts; k < end; ++k) {
    int64_t size = base + (k < longer ? 1 : 0);
    call_with_size<MAX>(size, body, j);
    j += size;
  }
}
CELLGATE_END
