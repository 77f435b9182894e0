// How the backward pass of one direction of one layer is laid out: which rows there are at each step and who has them,
// how many steps make a chunk, and where in the scratch block everything lies.
//
// Steps are taken in the order opposite to forward's, in chunks. The gate gradients of a chunk stay in cache until the
// large products (weights, input) have used them; they never go to memory as a whole. Only rows that are active at a step
// take part: ragged batches cost what they hold.
#pragma once

#include "kernels/gate_gradients.h"
#include "kernels/gemm.h"
#include "kernels/narrow.h"
#include "kernels/pieces.h"
#include "lstm_backward.h"
#include "memory.h"
#include "phases.h"
#include "threads.h"

CELLGATE_BEGIN
// Bump allocation, twice: once without memory to learn the size, once with.
struct Arena {
  char* base;
  size_t used = 0;
  explicit Arena(void* block) : base(static_cast<char*>(block)) {}
  template <class A>
  A* take(int64_t count) {
    constexpr size_t line = 64;
    used = (used + line - 1) / line * line;
    A* p = base ? reinterpret_cast<A*>(base + used) : nullptr;
    used += static_cast<size_t>(count) * sizeof(A);
    return p;
  }
  // For arrays that vector instructions may read a little past the end.
  template <class A>
  A* take_padded(int64_t count) {
    return take<A>(count + 32);
  }
};

// Which batch rows each member of the team has, and how many of them are active at step t. A member's rows are sorted by
// falling length, so that the active ones come first. One share if the team splits hidden units instead.
struct RowShares {
  int shares;
  int64_t batch, steps;
  const int64_t* lengths;  // of the batch, or null
  int64_t* row;            // (B) batch row of each place; share s has places [begin(s), begin(s + 1))

  int64_t begin(int share) const { return share * batch / shares; }
  int64_t length(int64_t place) const { return lengths ? lengths[row[place]] : steps; }
  int64_t active(int share, int64_t t) const {
    int64_t low = begin(share), high = begin(share + 1), first = low;
    if (!lengths) return high - low;
    while (low < high) {
      int64_t middle = (low + high) / 2;
      if (length(middle) > t)
        low = middle + 1;
      else
        high = middle;
    }
    return low - first;
  }
  // The step before which about half of all rows lie.
  int64_t half() const {
    if (!lengths) return steps / 2;
    auto rows_before = [&](int64_t t) {
      int64_t rows = 0;
      for (int64_t b = 0; b < batch; ++b) rows += smaller(lengths[b], t);
      return rows;
    };
    const int64_t all = rows_before(steps);
    int64_t low = 0, high = steps;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (2 * rows_before(middle) < all)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  // Deals the rows, longest first, so that every share gets its part of long and short ones.
  void deal(int64_t* sorted) {
    if (lengths) {
      sort_by_length(lengths, batch, sorted);
    } else {
      for (int64_t b = 0; b < batch; ++b) sorted[b] = b;
    }
    if (shares == 1 || !lengths) {
      for (int64_t b = 0; b < batch; ++b) row[b] = sorted[b];
      return;
    }
    int64_t next = 0;
    for (int64_t round = 0; next < batch; ++round)
      for (int s = 0; s < shares; ++s)
        if (begin(s) + round < begin(s + 1)) row[begin(s) + round] = sorted[next++];
  }
};

// What one chunk holds: pointers to its rows, `count` of them, step after step and share after share.
template <class S>
struct ChunkRows {
  const S** x;                     // input of the layer
  const S** h;                     // h of the step before, a row of zeros where there is none
  S** da;                          // gate gradients (4H); when gates are recomputed, the gates first
  S** dx;                          // or unused
  S* da_block;                     // where da's rows lie
  S* left;                         // [x | h | 1], packed for the weight gradients
  S *left_da, *right_x, *right_h;  // the same for gradients written directly: da packed, x and h in whole vectors
  S** dh_row;                      // with a projection: complete dh (P) of each row
  S* dh;
  S* left_hr;  // the same, packed for the gradient of the projection
  S* raw;      // with a projection: o * tanh(c) (H) of each row
  S* cell;     // with cell checkpoints: c (H) of each row
};

// What a chunk's members share in pieces: dx, the gradients of w_ih, w_hh and biases, that of w_hr.
enum Product { kInputProduct, kWeightProduct, kProjectionProduct, kProducts };
constexpr int64_t kSpared = 2;  // pieces that are not taken from a member

// Bytes of a chunk's gate gradients, and its rows at least. A panel of few vectors reads the packed rows more often: they
// had better stay in the second-level cache.
template <class S>
int64_t chunk_bytes() {
  return fetches_further<S>() ? second_level_cache() : int64_t{2} << 20;
}
template <class S>
constexpr int64_t chunk_rows_least() {
  return fetches_further<S>() ? 128 : 512;
}
constexpr int64_t kLargeSums = int64_t{4} << 20;   // bytes of weight gradients that are better written once,
constexpr int64_t kWholeBytes = int64_t{8} << 20;  // even if all gate gradients, up to so many bytes, wait for it
constexpr int64_t kReadingsInPlace = 4;            // packing a matrix that is read so often costs more than it saves

// One direction of one layer: sizes, scratch, and the plan.
template <class S>
struct BackwardJob {
  const BackwardCall<S>* call;
  const BackwardLayer<S>* layer;
  const BackwardDirection<S>* way;
  int64_t T, B, I, H, P;
  int members;
  bool split_units;  // members share hidden units instead of batch rows, and meet at every step
  bool want_weights, want_dx, recompute, projected, checkpoints;
  int64_t chunk_steps, chunk_rows;
  int64_t stride;  // of a row of gate gradients: never a power of two, which would crowd few cache sets
  int64_t left_columns;
  bool one_chunk;
  // Few rows in all: the gradients of the weights are written where they belong. More rows are summed the other way
  // round, in `sums`, whose left operand is smaller to pack, and transposed in the end.
  bool direct;
  bool stateless;  // h of the step before is zero in every row
  bool hh_in_place, ih_in_place;
  bool narrow;  // so few inputs that dx is a product along the gates

  RowShares shares;
  Epoch* arrived;
  int64_t* sorted;
  S* zeros;       // a row of zeros
  S* ih_columns;  // w_ih transposed (I, 4H), where narrow
  S *packed_hh, *packed_ih, *packed_hr, *packed_ih_t, *packed_hh_t;
  RightOperand<S> hh, ih, hr;  // w_hh (4H, P), w_ih (4H, I), w_hr (P, H)
  S* dc;                       // (B, H) by place
  S* sums;                     // [x | h | 1]^T da: (I + P + 1, stride)
  S* tile_sums;                // (members, B, panel): sums of a panel that is read in pieces
  CellRow<S>* cells;           // (members, B): the rows of the step under way
  Taken* taken[2][kProducts];  // (members) each: pieces of a chunk's products, for chunks in turn
  ChunkRows<S> chunk[2];

  // Few rows against weights that overflow a core's own cache: better that each core keeps its part of the weights.
  static bool may_split_units(int64_t B, int64_t H, int64_t P, int team) {
    const int64_t weights = 4 * H * P * static_cast<int64_t>(sizeof(S));
    return team > 1 && weights > (int64_t{3} << 19) && B < 16 * team && panel_count<S>(H) >= team;
  }
  // Fewer rows to a member than these leave a tile's broadcasts and loads idle.
  static int row_members(int64_t B) { return static_cast<int>(smaller<int64_t>(kMaxTeam, larger<int64_t>(1, B / 4))); }

  // together: another direction of the layer runs at the same time.
  void lay_out(const BackwardCall<S>& c, const BackwardLayer<S>& l, const BackwardDirection<S>& w, int team,
               bool together) {
    call = &c, layer = &l, way = &w;
    T = c.steps, B = c.batch, I = l.input_size, H = l.hidden_size, P = l.projection_size;
    want_weights = w.dw_ih || w.dw_hh || w.db_ih || w.db_hh;
    want_dx = static_cast<bool>(l.dx);
    recompute = !w.gate[0];
    projected = w.w_hr != nullptr;
    checkpoints = w.cell_every > 1;
    split_units = may_split_units(B, H, P, team);
    members = split_units ? team : smaller(team, row_members(B));
    stride = round_up(4 * H, Vec<S>::lanes);
    if ((stride * sizeof(S)) % 512 == 0) stride += larger<int64_t>(Vec<S>::lanes, 64 / sizeof(S));
    left_columns = I + P + 1;
    const int64_t G = 4 * H;
    const bool few = want_weights && (G <= left_columns || all_rows() * (G - left_columns) <= 2 * G * left_columns);
    const int64_t size = static_cast<int64_t>(sizeof(S));
    int64_t rows = larger(chunk_rows_least<S>(), chunk_bytes<S>() / (stride * size));
    if (few && left_columns * stride * size > kLargeSums && all_rows() * stride * size <= kWholeBytes)
      rows = all_rows();
    chunk_steps = larger<int64_t>(1, rows / larger<int64_t>(1, B));
    if (T > chunk_steps) chunk_steps = ceil_div(T, ceil_div(T, chunk_steps));  // all of about one size
    if (checkpoints) chunk_steps = round_up(chunk_steps, w.cell_every);
    chunk_steps = smaller(chunk_steps, larger<int64_t>(1, T + (checkpoints ? w.cell_every : 0)));
    chunk_rows = chunk_steps * B;
    one_chunk = chunk_steps >= T && !(together && want_dx);  // else dx is stored in halves
    direct = few && chunk_steps >= T;
    stateless = T == 1 && !w.h0;
    const int64_t a_step = ceil_div(ceil_div(B, split_units ? 1 : members), Vec<S>::gemm_rows);
    const int64_t readings = a_step * (T - 1 + (w.dh0 ? 1 : 0));
    hh_in_place = readings <= kReadingsInPlace;
    narrow = want_dx && I > 0 && I <= kNarrow;
    ih_in_place = narrow || ceil_div(ceil_div(all_rows(), members), Vec<S>::gemm_rows) <= kReadingsInPlace;
  }
  int64_t all_rows() const { return T * B; }
  int64_t width_x() const { return round_up(I, Vec<S>::lanes); }
  int64_t width_h() const { return round_up(P, Vec<S>::lanes); }

  void place(Arena& arena) {
    arrived = arena.take<Epoch>(members);
    sorted = arena.take<int64_t>(B);
    shares = {split_units ? 1 : members, B, T, call->lengths, arena.take<int64_t>(B)};
    zeros = arena.take_padded<S>(larger(larger(I, P), H));
    packed_hh = hh_in_place ? nullptr : arena.take<S>(packed_size<S>(4 * H, P));
    packed_ih = want_dx && !ih_in_place ? arena.take<S>(packed_size<S>(4 * H, I)) : nullptr;
    ih_columns = narrow ? arena.take<S>(I * round_up(4 * H, Vec<S>::lanes)) : nullptr;
    packed_hr = projected ? arena.take<S>(packed_size<S>(P, H)) : nullptr;
    hh = {hh_in_place ? way->w_hh : packed_hh, 4 * H, P, hh_in_place ? P : 0};
    ih = {ih_in_place ? way->w_ih : packed_ih, 4 * H, I, ih_in_place ? I : 0};
    hr = {packed_hr, P, H, 0};
    packed_ih_t = recompute ? arena.take<S>(packed_size<S>(I, 4 * H)) : nullptr;
    packed_hh_t = recompute ? arena.take<S>(packed_size<S>(P, 4 * H)) : nullptr;
    dc = arena.take<S>(B * H);
    sums = want_weights && !direct ? arena.take<S>(left_columns * stride) : nullptr;
    tile_sums = 4 * H > kPanelDepth ? arena.take<S>(members * B * panel_width<S>()) : nullptr;
    cells = arena.take<CellRow<S>>(members * B);
    for (auto& of_chunk : taken)
      for (Taken*& of_product : of_chunk) of_product = arena.take<Taken>(members);
    for (ChunkRows<S>& rows : chunk) {
      if (&rows != chunk && one_chunk) break;
      rows.x = arena.take<const S*>(chunk_rows);
      rows.h = arena.take<const S*>(chunk_rows);
      rows.da = arena.take<S*>(chunk_rows);
      rows.dx = arena.take<S*>(chunk_rows);
      rows.da_block = arena.take<S>(chunk_rows * stride);
      rows.left_da = direct ? arena.take<S>(packed_left_size<S>(chunk_rows, 4 * H)) : nullptr;
      rows.right_x = direct ? arena.take<S>(chunk_rows * width_x()) : nullptr;
      rows.right_h = direct && !stateless ? arena.take<S>(chunk_rows * width_h()) : nullptr;
      rows.left = want_weights && !direct ? arena.take<S>(packed_left_size<S>(chunk_rows, left_columns)) : nullptr;
      rows.dh_row = projected ? arena.take<S*>(chunk_rows) : nullptr;
      rows.dh = projected ? arena.take_padded<S>(chunk_rows * P) : nullptr;
      rows.left_hr = projected ? arena.take<S>(packed_left_size<S>(chunk_rows, P)) : nullptr;
      rows.raw = projected ? arena.take_padded<S>(chunk_rows * H) : nullptr;
      rows.cell = checkpoints ? arena.take<S>(chunk_rows * H) : nullptr;
    }
  }

  // Where a member's part of so many things begins, and where its panels of so many columns do.
  int64_t part(int64_t count, int member) const { return member * count / members; }
  int64_t panel_begin(int64_t columns, int member) const { return part(panel_count<S>(columns), member); }
  int64_t panel_end(int64_t columns, int member) const { return part(panel_count<S>(columns), member + 1); }

  void prepare() {
    for (int m = 0; m < members; ++m) {
      arrived[m] = Epoch();
      for (auto& of_chunk : taken)
        for (Taken* of_product : of_chunk) open_pieces(of_product[m]);
    }
    const int64_t n = larger(larger(I, P), H);
    for (int64_t j = 0; j < n; ++j) zeros[j] = S(0);
    shares.deal(sorted);
  }

  // The steps in backward's order: q = 0 is the last that forward took.
  int64_t step(int64_t q) const { return way->backward_in_time ? q : T - 1 - q; }
  // Whether the state does not pass between step t and the step that forward took before it.
  bool is_cut(int64_t t, int64_t place) const {
    if (!call->reset) return false;
    int64_t b = shares.row[place];
    if (!way->backward_in_time) return call->reset[t * B + b];
    return t + 1 < shares.length(place) && call->reset[(t + 1) * B + b];
  }
  // The step before t in forward's order, or -1: the initial state.
  int64_t before(int64_t t, int64_t place) const {
    if (!way->backward_in_time) return t - 1;
    return t + 1 < shares.length(place) ? t + 1 : -1;
  }
};
CELLGATE_END
