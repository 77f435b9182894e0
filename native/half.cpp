#include "half.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "dispatch.h"
#include "memory.h"
#include "threads.h"

namespace cellgate {

#if CELLGATE_HAVE_AVX512_BF16
namespace avx512_bf16 {
const HalfKernels& half_table();
}
#endif

const HalfKernels* half_kernels() {
#if CELLGATE_HAVE_AVX512_BF16
  static const bool present = __builtin_cpu_supports("avx512bf16");
  if (present && std::strcmp(kernels().name, "avx512") == 0) return &avx512_bf16::half_table();
#endif
  return nullptr;
}

namespace {
// The output of an inner layer in what training keeps, of which it takes half the room.
Half* inner_output(float* block, const SavedLayer& saved) { return reinterpret_cast<Half*>(block + saved.output); }
}  // namespace

bool half_forward(const StackShape& shape, const StackForward& in) {
  const int layers = static_cast<int>(shape.layers.size()), D = shape.directions;
  const int64_t T = in.steps, B = in.batch;
  // Outputs of inner layers, turn about in two areas, all rows of one width: see forward_as in stack.cpp.
  int64_t widest = 0;
  for (int l = 0; l + 1 < layers; ++l) widest = std::max(widest, D * shape.layers[l].hidden_size);
  Half* between = nullptr;
  const int areas = in.saved ? 0 : std::min(layers - 1, 2);
  if (areas > 0) {
    between = static_cast<Half*>(scratch(Use::layers, static_cast<size_t>(T * B * widest * areas) * sizeof(Half) + 64));
    if (!between) return false;
  }
  thread_local std::vector<HalfLayer> stack;
  stack.assign(static_cast<size_t>(layers), HalfLayer{});
  const SavedShape saved_shape{T, B, T * B, D, Keep::fast, 1, false};
  float* block = static_cast<float*>(in.saved);
  int64_t saved_at = 0, weight = 0;
  Sequence<const Half> input{static_cast<const Half*>(in.x), in.x_step, in.x_row, nullptr};
  for (int l = 0; l < layers; ++l) {
    const int64_t H = shape.layers[l].hidden_size;
    const bool last = l + 1 == layers;
    HalfLayer& layer = stack[static_cast<size_t>(l)];
    layer.input_size = shape.layers[l].input_size;
    layer.hidden_size = H;
    layer.input = input;
    layer.directions = D;
    SavedLayer saved;
    if (block) saved_at = lay_out_saved(saved_shape, shape.layers[l], last, saved_at, saved);
    Sequence<Half> output{static_cast<Half*>(in.y), in.y_step, in.y_row, nullptr};
    if (!last && block)
      output = {inner_output(block, saved), B * D * H, D * H, nullptr};
    else if (!last)
      output = {between + (l & (areas - 1)) * T * B * widest, B * widest, widest, nullptr};
    for (int d = 0; d < D; ++d) {
      HalfDirection& way = layer.direction[d];
      const void* const* w = in.weights + weight;
      weight += shape.weights_of(l);
      way.w_ih = static_cast<const Half*>(w[0]);
      way.w_hh = static_cast<const Half*>(w[1]);
      if (shape.bias) {
        way.b_ih = static_cast<const Half*>(w[2]);
        way.b_hh = static_cast<const Half*>(w[3]);
      }
      if (in.h0) way.h0 = static_cast<const Half*>(in.h0[l]) + d * B * H;
      if (in.c0) way.c0 = static_cast<const Half*>(in.c0[l]) + d * B * H;
      way.h_n = static_cast<Half*>(in.h_n[l]) + d * B * H;
      way.c_n = static_cast<Half*>(in.c_n[l]) + d * B * H;
      way.output = output;
      way.output.p += d * H;
      way.backward_in_time = d == 1;
      if (!block) continue;
      for (int g = 0; g < 4; ++g)
        way.gate[g] = {block + saved.gates + (d * 4 + g) * H, B * D * 4 * H, D * 4 * H, nullptr};
      way.cell = {block + saved.cell + d * H, B * D * H, D * H, nullptr};
    }
    input = {output.p, output.step, output.row, nullptr};
  }
  prefer_huge_pages(in.saved, saved_at * static_cast<int64_t>(sizeof(float)));
  HalfCall call;
  call.steps = T;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.threads = in.threads;
  const bool done = half_kernels()->forward(call);
  scratch_done(Use::layers);
  return done;
}

bool half_backward(const StackShape& shape, const StackBackward& in) {
  const StackForward& was = in.forward;
  const int layers = static_cast<int>(shape.layers.size()), D = shape.directions;
  const int64_t T = was.steps, B = was.batch;
  // dx of the inner layers, turn about in two areas.
  int64_t widest = 0;
  for (int l = 1; l < layers; ++l) widest = std::max(widest, shape.layers[l].input_size);
  const int areas = std::min(layers - 1, 2);
  float* between = nullptr;
  if (areas > 0) {
    between =
        static_cast<float*>(scratch(Use::layers, static_cast<size_t>(T * B * widest * areas) * sizeof(float) + 64));
    if (!between) return false;
  }
  thread_local std::vector<HalfGradLayer> stack;
  stack.assign(static_cast<size_t>(layers), HalfGradLayer{});
  const SavedShape saved_shape{T, B, T * B, D, Keep::fast, 1, false};
  float* block = static_cast<float*>(was.saved);
  int64_t saved_at = 0, weight = 0;
  Sequence<const Half> input{static_cast<const Half*>(was.x), was.x_step, was.x_row, nullptr};
  for (int l = 0; l < layers; ++l) {
    const int64_t H = shape.layers[l].hidden_size, I = shape.layers[l].input_size;
    const bool last = l + 1 == layers;
    HalfGradLayer& layer = stack[static_cast<size_t>(l)];
    layer.input_size = I;
    layer.hidden_size = H;
    layer.input = input;
    layer.directions = D;
    if (l == 0) {
      layer.dx = {static_cast<float*>(in.dx), in.dx_step, in.dx_row, nullptr};
    } else {
      layer.dx = {between + (l & (areas - 1)) * T * B * widest, B * widest, widest, nullptr};
    }
    SavedLayer saved;
    saved_at = lay_out_saved(saved_shape, shape.layers[l], last, saved_at, saved);
    Sequence<const Half> output{static_cast<const Half*>(was.y), was.y_step, was.y_row, nullptr};
    if (!last) output = {inner_output(block, saved), B * D * H, D * H, nullptr};
    for (int d = 0; d < D; ++d) {
      HalfGradDirection& way = layer.direction[d];
      const void* const* w = was.weights + weight;
      void* const* dw = in.dweights ? in.dweights + weight : nullptr;
      weight += shape.weights_of(l);
      way.w_ih = static_cast<const Half*>(w[0]);
      way.w_hh = static_cast<const Half*>(w[1]);
      if (dw) {
        way.dw_ih = static_cast<Half*>(dw[0]);
        way.dw_hh = static_cast<Half*>(dw[1]);
        if (shape.bias) way.db_ih = static_cast<Half*>(dw[2]), way.db_hh = static_cast<Half*>(dw[3]);
      }
      const int64_t state = d * B * H;
      auto part = [&](auto* const* arrays) {
        using To = std::conditional_t<std::is_const_v<std::remove_pointer_t<std::decay_t<decltype(*arrays)>>>,
                                      const Half, Half>;
        return arrays && arrays[l] ? static_cast<To*>(arrays[l]) + state : nullptr;
      };
      way.h0 = part(was.h0);
      way.c0 = part(was.c0);
      way.dh_n = part(in.dh_n);
      way.dc_n = part(in.dc_n);
      way.dh0 = part(in.dh0);
      way.dc0 = part(in.dc0);
      way.output = output;
      way.output.p += d * H;
      way.backward_in_time = d == 1;
      for (int g = 0; g < 4; ++g)
        way.gate[g] = {block + saved.gates + (d * 4 + g) * H, B * D * 4 * H, D * 4 * H, nullptr};
      way.cell = {block + saved.cell + d * H, B * D * H, D * H, nullptr};
      if (last && in.dy) way.dy = {static_cast<const Half*>(in.dy) + d * H, in.dy_step, in.dy_row, nullptr};
      if (!last)
        way.dy_wide = {between + ((l + 1) & (areas - 1)) * T * B * widest + d * H, B * widest, widest, nullptr};
    }
    input = output;
  }
  HalfGradCall call;
  call.steps = T;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.threads = was.threads;
  const bool done = half_kernels()->backward(call);
  scratch_done(Use::layers);
  return done;
}

namespace {

struct Conversion {
  bool widen;
  const HalfCopy* copies;
  int64_t count;
};

void convert_share(void* argument, int member, int size) {
  const Conversion& job = *static_cast<const Conversion*>(argument);
  const HalfKernels& k = *half_kernels();
  for (int64_t a = 0; a < job.count; ++a) {
    const HalfCopy& copy = job.copies[a];
    // Shares begin at multiples of 64 scalars, so that no two members write to one cache line.
    const int64_t lines = (copy.n + 63) / 64;
    const int64_t begin = lines * member / size * 64, end = std::min(copy.n, lines * (member + 1) / size * 64);
    if (begin >= end) continue;
    if (job.widen) {
      k.widen(static_cast<const Half*>(copy.from) + begin, static_cast<float*>(copy.to) + begin, end - begin);
    } else {
      k.narrow(static_cast<const float*>(copy.from) + begin, static_cast<Half*>(copy.to) + begin, end - begin);
    }
  }
}

}  // namespace

void half_convert(bool widen, const HalfCopy* copies, int64_t count, int threads) {
  int64_t all = 0;
  for (int64_t a = 0; a < count; ++a) all += copies[a].n;
  Conversion job{widen, copies, count};
  Team team(all < 400000 ? 1 : threads);
  if (!team.run(convert_share, &job)) convert_share(&job, 0, 1);
}

}  // namespace cellgate
