// A forward call from its beginning to its end: the plan, the team, and what is packed beforehand.
#pragma once

#include "kernels/forward.h"

CELLGATE_BEGIN
// All panels of one direction into `packed`, packed_size() scalars.
template <class S>
void pack_weights(const ForwardLayer<S>& layer, const ForwardDirection<S>& from, S* packed) {
  constexpr int64_t L = Vec<S>::lanes;
  const int64_t H = layer.hidden_size, I = layer.input_size, P = layer.projection_size;
  for (int64_t block = 0; block < blocks_of<S>(H); ++block, packed += I * 4 * L)
    pack_gate_panel(from.w_ih, H, I, block, packed);
  for (int64_t block = 0; block < blocks_of<S>(H); ++block, packed += P * 4 * L)
    pack_gate_panel(from.w_hh, H, P, block, packed);
  if (!from.w_hr) return;
  for (int64_t block = 0; block < ceil_div(P, 4 * L); ++block, packed += H * 4 * L)
    pack_plain_panel(from.w_hr, P, H, block, packed);
}

// A team that came out smaller than was wanted may be larger than the grid that is best for its size.
template <class S>
void run_forward_member(void* plan, int member, int) {
  Plan<S>& its = *static_cast<Plan<S>*>(plan);
  if (member < its.grid.size()) ForwardMember<S>(its, member).run();
}

// Runs the call. Returns false when memory is out; nothing is promised of the outputs then.
template <class S>
bool forward(const ForwardCall<S>& call, int threads) {
  if (call.batch == 0 || call.layers == 0) return true;
  Grid grid = threads > 1 ? choose_grid(call, threads) : Grid{};
  Team team(grid.size(), call.threads);
  if (team.size() < grid.size()) grid = choose_grid(call, team.size());
  Plan<S> plan;
  plan.call = &call;
  plan.grid = grid;
  plan.max_rows = ceil_div(call.batch, grid.rows);
  size_t fresh = 0;  // scalars of weights packed for this call only
  for (int l = 0; l < call.layers; ++l) {
    const ForwardLayer<S>& layer = call.layer[l];
    plan.max_hidden = larger(plan.max_hidden, round_up(larger(layer.hidden_size, layer.projection_size), 16));
  }
  // The plan of the layers lies in the scratch block, whose size depends on it: go through the layers twice.
  auto plan_layers = [&](LayerPlan<S>* to, S* packed_at) {
    plan.pieces = 0;
    for (int l = 0; l < call.layers; ++l) {
      const ForwardLayer<S>& layer = call.layer[l];
      LayerPlan<S> how;
      bool given = layer.direction[0].packed != nullptr;
      how.packed = given || !reads_unpacked(call, grid);
      how.hoisted = how.packed && hoists(call, layer, grid);
      how.shared = tiles_are_shared(layer, how, grid, plan.max_rows);
      if (fetches_further<S>()) {
        how.far = lies_far(layer, layer.projection_size + (how.hoisted ? 0 : layer.input_size), grid);
        how.input_far = how.hoisted && lies_far(layer, layer.input_size, grid);
      }
      if (how.hoisted) {
        // A chunk's sums stay in about half of the second-level cache.
        int64_t columns = ceil_div(blocks_of<S>(layer.hidden_size), grid.units) * 4 * Vec<S>::lanes;
        int64_t fit = second_level_cache() * 2 / 5 / (columns * static_cast<int64_t>(sizeof(S)) * plan.max_rows);
        how.chunk = smaller(call.steps, larger<int64_t>(fit, ceil_div(4 * Vec<S>::gemm_rows, plan.max_rows)));
        plan.sums_size = larger(plan.sums_size, how.chunk * plan.max_rows * columns);
        plan.chunk_rows = larger(plan.chunk_rows, how.chunk * plan.max_rows);
        plan.max_chunk = larger(plan.max_chunk, how.chunk);
      }
      for (int d = 0; d < layer.directions; ++d) {
        DirectionPlan<S>& way = how.direction[d];
        if (!how.packed) continue;
        int64_t size = packed_size(layer, layer.direction[d].w_hr != nullptr);
        if (given) {
          ForwardWeights<S>::set_panels(layer, way, layer.direction[d].packed);
        } else if (call.weights_change) {
          if (!to) fresh += static_cast<size_t>(round_up(size, 64 / static_cast<int64_t>(sizeof(S))));
          if (to) {
            way.fresh = packed_at;
            ForwardWeights<S>::set_panels(layer, way, packed_at);
            packed_at += round_up(size, 64 / static_cast<int64_t>(sizeof(S)));
          }
        } else {
          constexpr int64_t step = kPiece / static_cast<int64_t>(sizeof(S));
          int64_t rows = 4 * layer.hidden_size;
          way.pieces = ceil_div(rows * layer.input_size, step) + ceil_div(rows * layer.projection_size, step);
          if (layer.direction[d].w_hr) way.pieces += ceil_div(layer.projection_size * layer.hidden_size, step);
          plan.pieces += way.pieces;
        }
      }
      if (to) to[l] = how;
    }
  };
  plan_layers(nullptr, nullptr);
  Bump count{nullptr};
  lay_out(plan, count);
  count.take<S>(static_cast<int64_t>(fresh));
  char* block = static_cast<char*>(scratch(Use::kernel, count.used + 64));
  if (!block) return false;
  Bump bump{block};
  lay_out(plan, bump);
  plan_layers(plan.layer, bump.take<S>(static_cast<int64_t>(fresh)));
  for (int m = 0; m < grid.size(); ++m) {
    plan.arrived[m] = plan.progress[m] = Epoch{};
    plan.taken[m] = Taken{};
  }
  for (int64_t k = 0; k < plan.max_hidden; ++k) plan.zeros[k] = S(0);
  if (call.lengths) sort_by_length(call.lengths, call.batch, plan.order);

  const bool ran = team.run(run_forward_member<S>, &plan);

  for (int l = 0; l < call.layers; ++l)
    for (int d = 0; d < call.layer[l].directions; ++d) {
      pack_release(plan.layer[l].direction[d].pack);
      pack_release(plan.layer[l].direction[d].copy);
    }
  scratch_done(Use::kernel);
  if (!ran) return forward(call, 1);
  return !plan.out_of_memory;
}

template <class S>
bool forward(const ForwardCall<S>& call) {
  return forward(call, call.threads > 1 ? smaller(call.threads, most_members()) : 1);
}
CELLGATE_END
