// How a forward call is laid out: who does what, where the scratch space goes, and by which rule that is chosen.
#pragma once

#include "caches.h"
#include "kernels/hash.h"
#include "kernels/pieces.h"
#include "lstm.h"
#include "memory.h"
#include "phases.h"
#include "threads.h"
#include "vec/vec.h"

CELLGATE_BEGIN
// A team is a grid: directions x groups of batch rows x shares of the hidden units. Rows never wait for one another;
// the members that share the units of one group meet once a step (twice with a projection).
struct Grid {
  int directions = 1;
  int rows = 1;
  int units = 1;
  int size() const { return directions * rows * units; }
};

// What one layer and direction needs besides its pointers.
template <class S>
struct DirectionPlan {
  const S* ih = nullptr;  // gate panels of w_ih and w_hh, plain panels of w_hr
  const S* hh = nullptr;
  const S* hr = nullptr;
  S* fresh = nullptr;    // where they are packed in this call; null: they are ready
  Pack* pack = nullptr;  // reference held on a cache entry
  Pack* copy = nullptr;  // of the weights, while they are packed for the cache
  PackKey key{};
  int64_t pieces = 0;  // of the digest
};

template <class S>
struct LayerPlan {
  bool packed = true;      // false: weights are read where they are
  bool hoisted = false;    // the input product of `chunk` steps is taken at once
  bool shared = false;     // members help one another with the tiles of a step
  bool far = false;        // a step's weights come from beyond the second-level cache
  bool input_far = false;  // those of a hoisted input product do
  int64_t chunk = 1;
  DirectionPlan<S> direction[2];
};

// Hands out pieces of one block; with a null base it only counts.
struct Bump {
  char* base;
  size_t used = 0;
  template <class A>
  A* take(int64_t n) {
    used = (used + 63) & ~size_t{63};
    A* p = base ? reinterpret_cast<A*>(base + used) : nullptr;
    used += static_cast<size_t>(n) * sizeof(A);
    return p;
  }
};

// One member's own scratch.
template <class S>
struct MemberScratch {
  int64_t* row;  // batch indices of this member's group, longest first when there are lengths
  const S** x;   // pointers of one step, as in Rows
  const S** h;
  const S** c;
  S** c_out;
  S** h_out;
  S** y_out;
  S** gate[4];
  S** cell_out;
  const S** chunk_x;  // input rows of a chunk
  int64_t* chunk_at;  // where each step of the chunk begins among them
  S* bias;            // [blocks][4][lanes] of all units, of which it has set those that it may work on
  S* sums;            // [blocks][chunk rows][4][lanes]
};

template <class S>
struct Plan {
  const ForwardCall<S>* call = nullptr;
  Grid grid;
  LayerPlan<S>* layer = nullptr;
  int64_t max_hidden = 0;  // over the layers, rounded up to whole vectors
  int64_t max_rows = 0;    // of a row group
  int64_t sums_size = 0;   // scalars of MemberScratch::sums
  int64_t chunk_rows = 0;  // entries of MemberScratch::chunk_x
  int64_t max_chunk = 0;
  int64_t pieces = 0;
  bool out_of_memory = false;

  Epoch* arrived = nullptr;   // one a member: meetings of the whole team
  Epoch* progress = nullptr;  // one a member: steps done
  Taken* taken = nullptr;     // one a member: tiles of the step under way
  S* zeros = nullptr;
  S* cells[2] = {};          // (B, max_hidden): c of the step before, one a concurrent direction
  S* raw[2] = {};            // (B, max_hidden): hidden vectors before the projection
  int64_t* order = nullptr;  // (B) batch indices by falling length
  Digest* digests = nullptr;
  MemberScratch<S>* member = nullptr;
};

constexpr int64_t kPiece = 32768;  // bytes hashed at a stretch

template <class S>
int64_t blocks_of(int64_t units) {
  return ceil_div(units, Vec<S>::lanes);
}

// Scalars of the packed weights of one direction: panels of w_ih, of w_hh, of w_hr.
template <class S>
int64_t packed_size(const ForwardLayer<S>& layer, bool projected) {
  constexpr int64_t L = Vec<S>::lanes;
  int64_t gates = blocks_of<S>(layer.hidden_size) * (layer.input_size + layer.projection_size) * 4 * L;
  return gates + (projected ? ceil_div(layer.projection_size, 4 * L) * layer.hidden_size * 4 * L : 0);
}

// The rule of choice: a rough time, in nanoseconds, that one layer and direction takes on a grid. The figures are those
// of current server cores; only their proportions matter.
struct Cost {
  static constexpr double l2_rate = 110;  // bytes a nanosecond and core
  static constexpr double l3_rate = 32;
  // Both rather high: a second thread that gains little on a quiet machine loses much on a busy one.
  static constexpr double sync = 700;   // one meeting of the members that share units
  static constexpr double wake = 8000;  // bringing a team together
  static constexpr double l1_share = 32e3;
  // Bytes of weights that stay in the second-level cache.
  static double l2_share() { return 0.67 * static_cast<double>(second_level_cache()); }
};

template <class S>
double step_cost(const ForwardCall<S>& call, const ForwardLayer<S>& layer, const Grid& grid) {
  constexpr int64_t L = Vec<S>::lanes;
  constexpr int64_t R = Vec<S>::tile_rows;
  const double flops = 14.0 * L;  // a nanosecond: two multiply-adds a cycle at 3.5 GHz
  int64_t rows = ceil_div(call.batch, grid.rows);
  int64_t blocks = ceil_div(blocks_of<S>(layer.hidden_size), grid.units);
  double tiles = static_cast<double>(ceil_div(rows, R));
  double K = static_cast<double>(layer.input_size + layer.projection_size);
  bool projected = layer.direction[0].w_hr != nullptr;
  double extra = projected ? static_cast<double>(layer.projection_size) / (4.0 * grid.units) : 0;
  double columns = static_cast<double>(blocks * 4 * L);
  double bytes = sizeof(S) * (K * columns + extra * static_cast<double>(layer.hidden_size));
  // A tile of few rows cannot use both multipliers fully.
  double busy = static_cast<double>(rows) + (rows < 2 ? 1.0 : 0.0);
  double work = 2 * busy * (K * columns + extra * static_cast<double>(layer.hidden_size)) / flops;
  double memory = 0;
  if (bytes > Cost::l2_share()) {
    memory = bytes / Cost::l3_rate;
  } else if (bytes > Cost::l1_share) {
    memory = bytes / Cost::l2_rate * (K * 4 * L * sizeof(S) > Cost::l1_share ? tiles : 1.0);
  }
  double activations = static_cast<double>(rows * blocks) * 13.0;
  double meetings = grid.units > 1 ? Cost::sync * (projected ? 2 : 1) : 0;
  return (work > memory ? work : memory) + activations + meetings;
}

template <class S>
double call_cost(const ForwardCall<S>& call, const Grid& grid) {
  double total = 0;
  for (int l = 0; l < call.layers; ++l) {
    const ForwardLayer<S>& layer = call.layer[l];
    double one = step_cost(call, layer, grid) * static_cast<double>(call.steps);
    total += one * ceil_div(layer.directions, grid.directions);
    if (grid.size() > 1) total += Cost::sync;
  }
  return total + (grid.size() > 1 ? Cost::wake : 0);
}

// The cheapest grid of at most `threads` members.
template <class S>
Grid choose_grid(const ForwardCall<S>& call, int threads) {
  Grid best;
  double least = call_cost(call, best);
  int directions = call.layer[0].directions;
  for (int l = 1; l < call.layers; ++l) directions = smaller(directions, call.layer[l].directions);
  for (int d = 1; d <= directions; ++d) {
    for (int u = 1; d * u <= threads; ++u) {
      int r = smaller<int64_t>(threads / (d * u), call.batch);
      if (r < 1) continue;
      Grid grid{d, r, u};
      double cost = call_cost(call, grid);
      if (cost < least) {
        least = cost;
        best = grid;
      }
    }
  }
  return best;
}

// Whether to read the weights where they are: for a few steps of a few rows, hashing or packing costs as much as the
// step.
template <class S>
bool reads_unpacked(const ForwardCall<S>& call, const Grid& grid) {
  int64_t passes = ceil_div(ceil_div(call.batch, grid.rows), 4) * call.steps;
  return passes <= (call.weights_change ? 6 : 4);
}

// Whether the input product is taken for many steps at once: when tiles of a single step would be thin, or when w_hh
// stays in the second-level cache only if w_ih is out of the way.
template <class S>
bool hoists(const ForwardCall<S>& call, const ForwardLayer<S>& layer, const Grid& grid) {
  if (layer.input_size <= 4 || call.steps < 4) return false;
  constexpr int64_t R = Vec<S>::tile_rows;
  int64_t rows = ceil_div(call.batch, grid.rows);
  if (rows < R - 1) return true;
  int64_t columns = ceil_div(blocks_of<S>(layer.hidden_size), grid.units) * 4 * Vec<S>::lanes;
  double both =
      static_cast<double>(sizeof(S)) * static_cast<double>(columns * (layer.input_size + layer.projection_size));
  double own = static_cast<double>(sizeof(S)) * static_cast<double>(columns * layer.projection_size);
  const double most = Cost::l2_share();
  return both > most && (own <= most || rows < 4 * Vec<S>::gemm_rows);
}

// Whether a member's share of the weights of so many inputs is more than the second-level cache keeps.
template <class S>
bool lies_far(const ForwardLayer<S>& layer, int64_t inputs, const Grid& grid) {
  const int64_t columns = ceil_div(blocks_of<S>(layer.hidden_size), grid.units) * 4 * Vec<S>::lanes;
  return static_cast<double>(columns * inputs * static_cast<int64_t>(sizeof(S))) > Cost::l2_share();
}

// Whether members that share units help one another with single tiles: only where a tile takes much longer than getting
// hold of it, and what it reads, from another core.
template <class S>
bool tiles_are_shared(const ForwardLayer<S>& layer, const LayerPlan<S>& how, const Grid& grid, int64_t rows) {
  constexpr int64_t least = 250'000;  // multiply-adds
  constexpr int64_t R = larger(Vec<S>::tile_rows, Vec<S>::tall_rows);
  const int64_t inputs = layer.projection_size + (how.hoisted ? 0 : layer.input_size);
  const int64_t tile = ceil_div(rows, ceil_div(rows, R));
  return grid.units > 1 && how.packed && rows > Vec<S>::tile_rows && tile * inputs * 4 * Vec<S>::lanes >= least;
}

template <class S>
void lay_out(Plan<S>& plan, Bump& bump) {
  const ForwardCall<S>& call = *plan.call;
  int size = plan.grid.size();
  plan.arrived = bump.take<Epoch>(size);
  plan.progress = bump.take<Epoch>(size);
  plan.taken = bump.take<Taken>(size);
  plan.layer = bump.take<LayerPlan<S>>(call.layers);
  plan.zeros = bump.take<S>(plan.max_hidden);
  for (int d = 0; d < plan.grid.directions; ++d) {
    plan.cells[d] = bump.take<S>(call.batch * plan.max_hidden);
    plan.raw[d] = bump.take<S>(call.batch * plan.max_hidden);
  }
  plan.order = bump.take<int64_t>(call.lengths ? call.batch : 0);
  plan.digests = bump.take<Digest>(plan.pieces);
  plan.member = bump.take<MemberScratch<S>>(size);
  int64_t rows = plan.max_rows;
  for (int m = 0; m < size; ++m) {
    MemberScratch<S> own;
    own.row = bump.take<int64_t>(rows);
    own.x = bump.take<const S*>(rows);
    own.h = bump.take<const S*>(rows);
    own.c = bump.take<const S*>(rows);
    own.c_out = bump.take<S*>(rows);
    own.h_out = bump.take<S*>(rows);
    own.y_out = bump.take<S*>(rows);
    for (int g = 0; g < 4; ++g) own.gate[g] = bump.take<S*>(rows);
    own.cell_out = bump.take<S*>(rows);
    own.chunk_x = bump.take<const S*>(plan.chunk_rows);
    own.chunk_at = bump.take<int64_t>(plan.max_chunk + 1);
    own.bias = bump.take<S>(4 * plan.max_hidden);
    own.sums = bump.take<S>(plan.sums_size);
    if (bump.base) plan.member[m] = own;
  }
}
CELLGATE_END
