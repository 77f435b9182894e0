#include "stack.h"

#include <new>
#include <vector>

#include "dispatch.h"
#include "layout.h"
#include "memory.h"

namespace cellgate {
namespace {

template <class S>
bool run(const ForwardCall<S>& call);
template <>
bool run(const ForwardCall<float>& call) {
  return kernels().forward_f32(call);
}
template <>
bool run(const ForwardCall<double>& call) {
  return kernels().forward_f64(call);
}

// Layers run one after another. Were layer l to take step t while layer l + 1 takes step t - 1, members would meet once a
// step for all layers and not once for each; but the weights of all layers would then compete for the second-level cache
// at every step, and input products could no longer be taken for many steps at once.
template <class S>
bool forward_as(const StackShape& shape, const StackForward& in) {
  const int layers = static_cast<int>(shape.layers.size());
  const int D = shape.directions;
  thread_local std::vector<int64_t> index;
  const Rows rows(in, index);
  const int64_t B = rows.batch;
  const SavedShape kept_shape{rows.steps, B, rows.count, D, in.keep, in.every, in.masks != nullptr};
  S* const block = static_cast<S*>(in.saved);

  // Outputs of inner layers: in the saved block, or turn about in two scratch areas, with a third for inputs after
  // dropout. All layers have rows of the same distance there: threads that share the batch do not wait for each other
  // between layers, so one may write a row of layer l + 1 where another still reads its own rows of layer l.
  const int64_t widest = D * widest_between(shape);
  Between<S> between;
  if (layers > 1 && !block && !between.take(rows.count * widest, in.masks ? 3 : layers > 2 ? 2 : 1)) return false;

  thread_local std::vector<ForwardLayer<S>> stack;
  stack.assign(static_cast<size_t>(layers), ForwardLayer<S>{});
  Sequence<const S> input{static_cast<const S*>(in.x), in.x_step, in.x_row, rows.first};
  Sequence<const S> mask;
  Sequence<S> dropped;
  const int64_t saved_scalars = each_layer(shape, kept_shape, [&](const Place& place) {
    const LayerShape& size = place.size;
    const int64_t H = size.hidden_size, P = size.projection_size;
    const int l = place.layer;
    ForwardLayer<S>& layer = stack[static_cast<size_t>(l)];
    layer.input_size = size.input_size;
    layer.hidden_size = H;
    layer.projection_size = P;
    layer.input = input;
    layer.mask = mask;
    layer.dropped = dropped;
    layer.directions = D;
    Sequence<S> output{static_cast<S*>(in.y), in.y_step, in.y_row, rows.first};
    if (!place.last) output = block ? rows.of(block + place.saved.output, D * P) : rows.of(between.of(l), widest);
    for (int d = 0; d < D; ++d) {
      ForwardDirection<S>& way = layer.direction[d];
      const Weights<const S> weights = weights_at<const S>(shape, place, d, in.weights);
      way.w_ih = weights.w_ih;
      way.w_hh = weights.w_hh;
      way.b_ih = weights.b_ih;
      way.b_hh = weights.b_hh;
      way.w_hr = weights.w_hr;
      way.h0 = entry<const S>(in.h0, l, d * B * P);
      way.c0 = entry<const S>(in.c0, l, d * B * H);
      way.h_n = entry<S>(in.h_n, l, d * B * P);
      way.c_n = entry<S>(in.c_n, l, d * B * H);
      way.output = shifted(output, d * P);
      way.backward_in_time = d == 1;
      if (in.packed) way.packed = static_cast<const S*>(in.packed[l * D + d]);
      const Kept<S> kept = kept_at(rows, kept_shape, place, d, block);
      for (int g = 0; g < 4; ++g) way.gate[g] = kept.gate[g];
      way.cell = kept.cell;
      way.cell_every = kept.cell_every;
      way.raw = kept.raw;
    }
    input = {output.p, output.step, output.row, rows.first};
    mask = {};
    dropped = {};
    if (!place.last && in.masks && in.masks[l]) {
      mask = rows.of(static_cast<const S*>(in.masks[l]), D * P);
      dropped = block ? rows.of(block + place.saved.dropped, D * P) : rows.of(between.area(2), widest);
    }
  });

  prefer_huge_pages(in.saved, block ? saved_scalars * static_cast<int64_t>(sizeof(S)) : 0);
  const int64_t width = D * shape.layers.back().projection_size;
  if (in.y_row == width) prefer_huge_pages(in.y, rows.count * width * static_cast<int64_t>(sizeof(S)));

  ForwardCall<S> call;
  call.steps = rows.steps;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.lengths = rows.lengths;
  call.reset = in.reset;
  call.weights_change = in.weights_change;
  call.threads = in.threads;
  return run(call);
}

}  // namespace

int64_t saved_size(const StackShape& shape, int64_t steps, int64_t batch, int64_t rows, Keep keep, int64_t every,
                   bool dropout) {
  const SavedShape kept{steps, batch, rows ? rows : steps * batch, shape.directions, keep, every, dropout};
  return each_layer(shape, kept, [](const Place&) {});
}

namespace {

template <class S>
Pack* pack_one(const LayerShape& size, const Weights<const S>& weights) {
  const Kernels& k = kernels();
  ForwardLayer<S> layer;
  layer.input_size = size.input_size;
  layer.hidden_size = size.hidden_size;
  layer.projection_size = size.projection_size;
  ForwardDirection<S> way;
  way.w_ih = weights.w_ih;
  way.w_hh = weights.w_hh;
  way.w_hr = weights.w_hr;
  int64_t scalars;
  if constexpr (sizeof(S) == 4) {
    scalars = k.packed_size_f32(layer, size.projected);
  } else {
    scalars = k.packed_size_f64(layer, size.projected);
  }
  Pack* pack = pack_make(static_cast<size_t>(scalars) * sizeof(S));
  if (!pack) return nullptr;
  if constexpr (sizeof(S) == 4) {
    k.pack_f32(layer, way, static_cast<S*>(pack_data(pack)));
  } else {
    k.pack_f64(layer, way, static_cast<S*>(pack_data(pack)));
  }
  return pack;
}

}  // namespace

PackedStack::PackedStack(const StackShape& shape, const void* const* weights) : kernels_(&kernels()) {
  each_layer(shape, SavedShape{}, [&](const Place& place) {
    for (int d = 0; d < shape.directions; ++d) {
      Pack* pack = shape.scalar == Scalar::f64
                       ? pack_one<double>(place.size, weights_at<const double>(shape, place, d, weights))
                       : pack_one<float>(place.size, weights_at<const float>(shape, place, d, weights));
      if (!pack) {
        for (void* made : packs_) pack_release(static_cast<Pack*>(made));
        throw std::bad_alloc();
      }
      packs_.push_back(pack);
      addresses_.push_back(pack_data(pack));
    }
  });
}

PackedStack::~PackedStack() {
  for (void* pack : packs_) pack_release(static_cast<Pack*>(pack));
}

const void* const* PackedStack::addresses() const { return kernels_ == &kernels() ? addresses_.data() : nullptr; }

bool forward(const StackShape& shape, const StackForward& call) {
  return shape.scalar == Scalar::f64 ? forward_as<double>(shape, call) : forward_as<float>(shape, call);
}

}  // namespace cellgate
