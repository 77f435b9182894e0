#include "stack.h"

#include <algorithm>
#include <new>
#include <vector>

#include "dispatch.h"
#include "memory.h"

namespace cellgate {
namespace {

int64_t round_to_line(int64_t scalars) { return (scalars + 31) / 32 * 32; }

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

template <class S>
bool forward_as(const StackShape& shape, const StackForward& in) {
  const int layers = static_cast<int>(shape.layers.size());
  const int D = shape.directions;
  const bool packed_data = in.batch_sizes != nullptr;
  const int64_t T = in.steps, B = in.batch, N = packed_data ? in.rows : T * B;

  // Packed data: where each step begins, and how long each sequence is.
  thread_local std::vector<int64_t> index;
  const int64_t *first = nullptr, *lengths = in.lengths;
  if (packed_data) {
    index.resize(static_cast<size_t>(T + B));
    int64_t at = 0, b = B;
    for (int64_t t = 0; t < T; ++t) {
      index[static_cast<size_t>(t)] = at;
      at += in.batch_sizes[t];
      for (; b > in.batch_sizes[t]; --b) index[static_cast<size_t>(T + b - 1)] = t;
    }
    for (; b > 0; --b) index[static_cast<size_t>(T + b - 1)] = T;
    first = index.data();
    lengths = index.data() + T;
  }

  // Outputs of inner layers: in the saved block, or turn about in two scratch areas. All layers have rows of the same
  // distance there: threads that share the batch do not wait for each other between layers, so one may write a row of
  // layer l + 1 where another still reads its own rows of layer l.
  int64_t widest = 0;
  for (int l = 0; l + 1 < layers; ++l) widest = std::max(widest, shape.layers[l].projection_size);
  S* between[3] = {nullptr, nullptr, nullptr};  // the third for inputs after dropout
  if (layers > 1 && !in.saved) {
    int64_t each = round_to_line(N * D * widest);
    int areas = in.masks ? 3 : layers > 2 ? 2 : 1;
    S* block = static_cast<S*>(scratch(Use::layers, static_cast<size_t>(each * areas) * sizeof(S) + 64));
    if (!block) return false;
    for (int a = 0; a < areas; ++a) between[a] = block + a * each;
  }

  thread_local std::vector<ForwardLayer<S>> stack;
  stack.assign(static_cast<size_t>(layers), ForwardLayer<S>{});
  SavedShape saved_shape{T, B, N, D, in.keep, in.every, in.masks != nullptr};
  S* saved_block = static_cast<S*>(in.saved);
  int64_t saved_at = 0, weight = 0;
  Sequence<const S> input{static_cast<const S*>(in.x), in.x_step, in.x_row, first};
  const S* mask = nullptr;
  S* dropped = nullptr;
  for (int l = 0; l < layers; ++l) {
    const LayerShape& size = shape.layers[l];
    const int64_t I = size.input_size, H = size.hidden_size, P = size.projection_size;
    const bool last = l + 1 == layers;
    ForwardLayer<S>& layer = stack[static_cast<size_t>(l)];
    layer.input_size = I;
    layer.hidden_size = H;
    layer.projection_size = P;
    layer.input = input;
    if (mask) {
      const int64_t row = dropped == between[2] ? D * widest : I;
      layer.mask = {mask, B * I, I, first};
      layer.dropped = {dropped, B * row, row, first};
    }
    layer.directions = D;

    SavedLayer saved;
    if (saved_block) saved_at = lay_out_saved(saved_shape, size, last, saved_at, saved);
    Sequence<S> output{static_cast<S*>(in.y), in.y_step, in.y_row, first};
    if (!last) {
      const int64_t row = saved_block ? D * P : D * widest;
      output = {saved_block ? saved_block + saved.output : between[l & 1], B * row, row, first};
    }
    for (int d = 0; d < D; ++d) {
      ForwardDirection<S>& way = layer.direction[d];
      const void* const* w = in.weights + weight;
      weight += shape.weights_of(l);
      way.w_ih = static_cast<const S*>(w[0]);
      way.w_hh = static_cast<const S*>(w[1]);
      if (shape.bias) {
        way.b_ih = static_cast<const S*>(w[2]);
        way.b_hh = static_cast<const S*>(w[3]);
      }
      if (size.projected) way.w_hr = static_cast<const S*>(w[shape.bias ? 4 : 2]);
      if (in.h0) way.h0 = static_cast<const S*>(in.h0[l]) + d * B * P;
      if (in.c0) way.c0 = static_cast<const S*>(in.c0[l]) + d * B * H;
      way.h_n = static_cast<S*>(in.h_n[l]) + d * B * P;
      way.c_n = static_cast<S*>(in.c_n[l]) + d * B * H;
      way.output = output;
      way.output.p += d * P;
      way.backward_in_time = d == 1;
      if (in.packed) way.packed = static_cast<const S*>(in.packed[l * D + d]);
      if (saved.gates >= 0)
        for (int g = 0; g < 4; ++g)
          way.gate[g] = {saved_block + saved.gates + (d * 4 + g) * H, B * D * 4 * H, D * 4 * H, first};
      if (saved.cell >= 0) {
        way.cell = {saved_block + saved.cell + d * H, B * D * H, D * H, in.keep == Keep::minimal ? nullptr : first};
        way.cell_every = in.keep == Keep::minimal ? in.every : 1;
      }
      if (saved.raw >= 0) way.raw = {saved_block + saved.raw + d * H, B * D * H, D * H, first};
    }
    input = {output.p, output.step, output.row, first};
    mask = !last && in.masks ? static_cast<const S*>(in.masks[l]) : nullptr;
    dropped = !mask ? nullptr : saved.dropped >= 0 ? saved_block + saved.dropped : between[2];
  }

  prefer_huge_pages(in.saved, saved_at * static_cast<int64_t>(sizeof(S)));
  const int64_t width = D * shape.layers.back().projection_size;
  if (in.y_row == width) prefer_huge_pages(in.y, N * width * static_cast<int64_t>(sizeof(S)));

  ForwardCall<S> call;
  call.steps = T;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.lengths = lengths;
  call.reset = in.reset;
  call.weights_change = in.weights_change;
  call.threads = in.threads;
  bool done = run(call);
  scratch_done(Use::layers);
  return done;
}

}  // namespace

int64_t saved_size(const StackShape& shape, int64_t steps, int64_t batch, int64_t rows, Keep keep, int64_t every,
                   bool dropout) {
  SavedShape saved{steps, batch, rows ? rows : steps * batch, shape.directions, keep, every, dropout};
  int64_t at = 0;
  for (size_t l = 0; l < shape.layers.size(); ++l) {
    SavedLayer ignored;
    at = lay_out_saved(saved, shape.layers[l], l + 1 == shape.layers.size(), at, ignored);
  }
  return at;
}

namespace {

template <class S>
Pack* pack_one(const LayerShape& size, const void* const* w, bool bias) {
  const Kernels& k = kernels();
  ForwardLayer<S> layer;
  layer.input_size = size.input_size;
  layer.hidden_size = size.hidden_size;
  layer.projection_size = size.projection_size;
  ForwardDirection<S> way;
  way.w_ih = static_cast<const S*>(w[0]);
  way.w_hh = static_cast<const S*>(w[1]);
  if (size.projected) way.w_hr = static_cast<const S*>(w[bias ? 4 : 2]);
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
  for (int l = 0; l < static_cast<int>(shape.layers.size()); ++l) {
    for (int d = 0; d < shape.directions; ++d, weights += shape.weights_of(l)) {
      const LayerShape& size = shape.layers[static_cast<size_t>(l)];
      Pack* pack = shape.scalar == Scalar::f64 ? pack_one<double>(size, weights, shape.bias)
                                               : pack_one<float>(size, weights, shape.bias);
      if (!pack) {
        for (void* made : packs_) pack_release(static_cast<Pack*>(made));
        throw std::bad_alloc();
      }
      packs_.push_back(pack);
      addresses_.push_back(pack_data(pack));
    }
  }
}

PackedStack::~PackedStack() {
  for (void* pack : packs_) pack_release(static_cast<Pack*>(pack));
}

const void* const* PackedStack::addresses() const { return kernels_ == &kernels() ? addresses_.data() : nullptr; }

bool forward(const StackShape& shape, const StackForward& call) {
  return shape.scalar == Scalar::f64 ? forward_as<double>(shape, call) : forward_as<float>(shape, call);
}

}  // namespace cellgate
