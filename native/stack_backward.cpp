#include "stack_backward.h"

#include <algorithm>
#include <vector>

#include "dispatch.h"
#include "memory.h"

namespace cellgate {
namespace {

template <class S>
bool run(const BackwardCall<S>& call);
template <>
bool run(const BackwardCall<float>& call) {
  return kernels().backward_f32(call);
}
template <>
bool run(const BackwardCall<double>& call) {
  return kernels().backward_f64(call);
}

// One entry of a table of addresses that may be absent, from a scalar offset on.
template <class S>
const S* entry(const void* const* table, int index, int64_t offset = 0) {
  return table && table[index] ? static_cast<const S*>(table[index]) + offset : nullptr;
}
template <class S>
S* entry(void* const* table, int index, int64_t offset = 0) {
  return table && table[index] ? static_cast<S*>(table[index]) + offset : nullptr;
}

template <class S>
bool backward_as(const StackShape& shape, const StackBackward& in) {
  const StackForward& was = in.forward;
  const int layers = static_cast<int>(shape.layers.size());
  const int D = shape.directions;
  const bool packed_data = was.batch_sizes != nullptr;
  const int64_t T = was.steps, B = was.batch, N = packed_data ? was.rows : T * B;

  // Packed data: where each step begins, and how long each sequence is.
  std::vector<int64_t> index;
  const int64_t *first = nullptr, *lengths = was.lengths;
  if (packed_data) {
    index.assign(static_cast<size_t>(T + B), 0);
    int64_t at = 0;
    for (int64_t t = 0; t < T; ++t) {
      index[static_cast<size_t>(t)] = at;
      at += was.batch_sizes[t];
      for (int64_t b = 0; b < was.batch_sizes[t]; ++b) index[static_cast<size_t>(T + b)] = t + 1;
    }
    first = index.data();
    lengths = index.data() + T;
  }

  // dx of the layers but the first, turn about: one is read while the next is written.
  int64_t widest = 0;
  for (int l = 0; l + 1 < layers; ++l) widest = std::max(widest, shape.layers[l].projection_size);
  S* between[2] = {nullptr, nullptr};
  if (layers > 1) {
    int64_t each = N * D * widest;
    S* block =
        static_cast<S*>(scratch(Use::layers, static_cast<size_t>(each * std::min(layers - 1, 2)) * sizeof(S) + 64));
    if (!block) return false;
    between[0] = block;
    between[1] = block + (layers > 2 ? each : 0);
  }

  std::vector<BackwardLayer<S>> stack(static_cast<size_t>(layers));
  const SavedShape saved_shape{T, B, N, D, was.keep, was.every, was.masks != nullptr};
  const S* block = static_cast<const S*>(was.saved);
  int64_t saved_at = 0;
  int weight = 0;
  Sequence<const S> input{static_cast<const S*>(was.x), was.x_step, was.x_row, first};
  for (int l = 0; l < layers; ++l) {
    const LayerShape& size = shape.layers[l];
    const int64_t I = size.input_size, H = size.hidden_size, P = size.projection_size;
    const bool last = l + 1 == layers;
    // Whole rows of the layer's width n: (T, B, n) contiguous, or packed.
    auto rows = [&](auto* p, int64_t n) { return Sequence<std::remove_pointer_t<decltype(p)>>{p, B * n, n, first}; };
    BackwardLayer<S>& layer = stack[static_cast<size_t>(l)];
    layer.input_size = I;
    layer.hidden_size = H;
    layer.projection_size = P;
    layer.input = input;
    layer.directions = D;
    if (l > 0)
      layer.dx = rows(between[l & 1], I);
    else if (in.dx)
      layer.dx = {static_cast<S*>(in.dx), in.dx_step, in.dx_row, first};

    SavedLayer saved;
    saved_at = lay_out_saved(saved_shape, size, last, saved_at, saved);
    Sequence<const S> output{static_cast<const S*>(was.y), was.y_step, was.y_row, first};
    Sequence<const S> dy{static_cast<const S*>(in.dy), in.dy_step, in.dy_row, first};
    Sequence<const S> mask;
    if (!last) {
      output = rows(block + saved.output, D * P);
      dy = rows(static_cast<const S*>(between[(l + 1) & 1]), D * P);
      if (was.masks && was.masks[l]) mask = rows(static_cast<const S*>(was.masks[l]), D * P);
    }
    const TraceGradient trace = in.trace ? in.trace[l] : TraceGradient{};
    for (int d = 0; d < D; ++d) {
      BackwardDirection<S>& way = layer.direction[d];
      auto shifted = [](auto sequence, int64_t by) {
        if (sequence.p) sequence.p += by;
        return sequence;
      };
      int w = weight;
      auto next = [&](const S*& value, S*& gradient) {
        value = static_cast<const S*>(was.weights[w]);
        gradient = entry<S>(in.dweights, w);
        ++w;
      };
      next(way.w_ih, way.dw_ih);
      next(way.w_hh, way.dw_hh);
      if (shape.bias) {
        next(way.b_ih, way.db_ih);
        next(way.b_hh, way.db_hh);
      }
      if (size.projected) next(way.w_hr, way.dw_hr);
      weight = w;
      way.h0 = entry<S>(was.h0, l, d * B * P);
      way.c0 = entry<S>(was.c0, l, d * B * H);
      way.dh_n = entry<S>(in.dh_n, l, d * B * P);
      way.dc_n = entry<S>(in.dc_n, l, d * B * H);
      way.dh0 = entry<S>(in.dh0, l, d * B * P);
      way.dc0 = entry<S>(in.dc0, l, d * B * H);
      way.output = shifted(output, d * P);
      way.dy = shifted(dy, d * P);
      way.dy_mask = shifted(mask, d * P);
      way.backward_in_time = d == 1;
      for (int g = 0; g < 4; ++g) {
        const int64_t plane = (d * 4 + g) * H;
        if (saved.gates >= 0) way.gate[g] = shifted(rows(block + saved.gates, D * 4 * H), plane);
        way.dgate[g] = shifted(rows(static_cast<const S*>(trace.gates), D * 4 * H), plane);
      }
      way.cell = shifted(rows(block + saved.cell, D * H), d * H);
      if (was.keep == Keep::minimal) {
        way.cell.first = nullptr;
        way.cell_every = was.every;
      }
      way.dcell = shifted(rows(static_cast<const S*>(trace.cell), D * H), d * H);
      way.dy_more = shifted(rows(static_cast<const S*>(trace.output), D * P), d * P);
    }
    input = last ? input : rows(block + (saved.dropped >= 0 ? saved.dropped : saved.output), D * P);
  }

  const int64_t width = shape.layers.front().input_size;
  if (in.dx_row == width || in.dx_step == width) prefer_huge_pages(in.dx, N * width * static_cast<int64_t>(sizeof(S)));

  BackwardCall<S> call;
  call.steps = T;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.lengths = lengths;
  call.reset = was.reset;
  call.threads = was.threads;
  bool done = run(call);
  scratch_done(Use::layers);
  return done;
}

}  // namespace

bool backward(const StackShape& shape, const StackBackward& call) {
  return shape.scalar == Scalar::f64 ? backward_as<double>(shape, call) : backward_as<float>(shape, call);
}

}  // namespace cellgate
