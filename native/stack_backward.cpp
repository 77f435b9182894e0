#include "stack_backward.h"

#include <algorithm>
#include <vector>

#include "dispatch.h"
#include "layout.h"
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

template <class S>
bool backward_as(const StackShape& shape, const StackBackward& in) {
  const StackForward& was = in.forward;
  const int layers = static_cast<int>(shape.layers.size());
  const int D = shape.directions;
  std::vector<int64_t> index;
  const Rows rows(was, index);
  const int64_t B = rows.batch;
  const SavedShape kept_shape{rows.steps, B, rows.count, D, was.keep, was.every, was.masks != nullptr};
  const S* const block = static_cast<const S*>(was.saved);

  Between<S> between;  // dx of the layers but the first
  if (!between.take(rows.count * D * widest_between(shape), std::min(layers - 1, 2))) return false;

  std::vector<BackwardLayer<S>> stack(static_cast<size_t>(layers));
  Sequence<const S> input{static_cast<const S*>(was.x), was.x_step, was.x_row, rows.first};
  each_layer(shape, kept_shape, [&](const Place& place) {
    const LayerShape& size = place.size;
    const SavedLayer& saved = place.saved;
    const int64_t H = size.hidden_size, P = size.projection_size;
    const int l = place.layer;
    BackwardLayer<S>& layer = stack[static_cast<size_t>(l)];
    layer.input_size = size.input_size;
    layer.hidden_size = H;
    layer.projection_size = P;
    layer.input = input;
    layer.directions = D;
    if (l > 0)
      layer.dx = rows.of(between.of(l), size.input_size);
    else if (in.dx)
      layer.dx = {static_cast<S*>(in.dx), in.dx_step, in.dx_row, rows.first};

    Sequence<const S> output{static_cast<const S*>(was.y), was.y_step, was.y_row, rows.first};
    Sequence<const S> dy{static_cast<const S*>(in.dy), in.dy_step, in.dy_row, rows.first};
    Sequence<const S> mask;
    if (!place.last) {
      output = rows.of(block + saved.output, D * P);
      dy = rows.of<const S>(between.of(l + 1), D * P);
      mask = rows.of(entry<const S>(was.masks, l, 0), D * P);
    }
    const TraceGradient trace = in.trace ? in.trace[l] : TraceGradient{};
    for (int d = 0; d < D; ++d) {
      BackwardDirection<S>& way = layer.direction[d];
      const Weights<const S> weights = weights_at<const S>(shape, place, d, was.weights);
      way.w_ih = weights.w_ih;
      way.w_hh = weights.w_hh;
      way.b_ih = weights.b_ih;
      way.b_hh = weights.b_hh;
      way.w_hr = weights.w_hr;
      const Weights<S> gradients = weights_at<S>(shape, place, d, in.dweights);
      way.dw_ih = gradients.w_ih;
      way.dw_hh = gradients.w_hh;
      way.db_ih = gradients.b_ih;
      way.db_hh = gradients.b_hh;
      way.dw_hr = gradients.w_hr;
      way.h0 = entry<const S>(was.h0, l, d * B * P);
      way.c0 = entry<const S>(was.c0, l, d * B * H);
      way.dh_n = entry<const S>(in.dh_n, l, d * B * P);
      way.dc_n = entry<const S>(in.dc_n, l, d * B * H);
      way.dh0 = entry<S>(in.dh0, l, d * B * P);
      way.dc0 = entry<S>(in.dc0, l, d * B * H);
      way.output = shifted(output, d * P);
      way.dy = shifted(dy, d * P);
      way.dy_mask = shifted(mask, d * P);
      way.backward_in_time = d == 1;
      const Kept<const S> kept = kept_at(rows, kept_shape, place, d, block);
      for (int g = 0; g < 4; ++g) {
        way.gate[g] = kept.gate[g];
        way.dgate[g] = rows.gate(static_cast<const S*>(trace.gates), D, H, d, g);
      }
      way.cell = kept.cell;
      way.cell_every = kept.cell_every;
      way.dcell = rows.of(static_cast<const S*>(trace.cell), D * H, d * H);
      way.dy_more = rows.of(static_cast<const S*>(trace.output), D * P, d * P);
    }
    if (!place.last) input = rows.of(block + (saved.dropped >= 0 ? saved.dropped : saved.output), D * P);
  });

  const int64_t width = shape.layers.front().input_size;
  if (in.dx_row == width || in.dx_step == width)
    prefer_huge_pages(in.dx, rows.count * width * static_cast<int64_t>(sizeof(S)));

  BackwardCall<S> call;
  call.steps = rows.steps;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.lengths = rows.lengths;
  call.reset = was.reset;
  call.threads = was.threads;
  return run(call);
}

}  // namespace

bool backward(const StackShape& shape, const StackBackward& call) {
  return shape.scalar == Scalar::f64 ? backward_as<double>(shape, call) : backward_as<float>(shape, call);
}

}  // namespace cellgate
