#include "half.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "dispatch.h"
#include "layout.h"
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
Half* inner_output(float* block, const Place& place) { return reinterpret_cast<Half*>(block + place.saved.output); }
}  // namespace

bool half_forward(const StackShape& shape, const StackForward& in) {
  const int layers = static_cast<int>(shape.layers.size()), D = shape.directions;
  thread_local std::vector<int64_t> index;
  const Rows rows(in, index);
  const int64_t B = rows.batch;
  const SavedShape kept_shape{rows.steps, B, rows.count, D, Keep::fast, 1, false};
  float* const block = static_cast<float*>(in.saved);

  // Outputs of inner layers, all rows of one width: see forward_as in stack.cpp.
  const int64_t widest = D * widest_between(shape);
  Between<Half> between;
  if (!block && !between.take(rows.count * widest, std::min(layers - 1, 2))) return false;

  thread_local std::vector<HalfLayer> stack;
  stack.assign(static_cast<size_t>(layers), HalfLayer{});
  Sequence<const Half> input{static_cast<const Half*>(in.x), in.x_step, in.x_row, nullptr};
  const int64_t saved_scalars = each_layer(shape, kept_shape, [&](const Place& place) {
    const int64_t H = place.size.hidden_size;
    const int l = place.layer;
    HalfLayer& layer = stack[static_cast<size_t>(l)];
    layer.input_size = place.size.input_size;
    layer.hidden_size = H;
    layer.input = input;
    layer.directions = D;
    Sequence<Half> output{static_cast<Half*>(in.y), in.y_step, in.y_row, nullptr};
    if (!place.last) output = block ? rows.of(inner_output(block, place), D * H) : rows.of(between.of(l), widest);
    for (int d = 0; d < D; ++d) {
      HalfDirection& way = layer.direction[d];
      const Weights<const Half> weights = weights_at<const Half>(shape, place, d, in.weights);
      way.w_ih = weights.w_ih;
      way.w_hh = weights.w_hh;
      way.b_ih = weights.b_ih;
      way.b_hh = weights.b_hh;
      way.h0 = entry<const Half>(in.h0, l, d * B * H);
      way.c0 = entry<const Half>(in.c0, l, d * B * H);
      way.h_n = entry<Half>(in.h_n, l, d * B * H);
      way.c_n = entry<Half>(in.c_n, l, d * B * H);
      way.output = shifted(output, d * H);
      way.backward_in_time = d == 1;
      const Kept<float> kept = kept_at(rows, kept_shape, place, d, block);
      for (int g = 0; g < 4; ++g) way.gate[g] = kept.gate[g];
      way.cell = kept.cell;
    }
    input = {output.p, output.step, output.row, nullptr};
  });
  prefer_huge_pages(in.saved, block ? saved_scalars * static_cast<int64_t>(sizeof(float)) : 0);
  HalfCall call;
  call.steps = rows.steps;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.threads = in.threads;
  return half_kernels()->forward(call);
}

bool half_backward(const StackShape& shape, const StackBackward& in) {
  const StackForward& was = in.forward;
  const int layers = static_cast<int>(shape.layers.size()), D = shape.directions;
  thread_local std::vector<int64_t> index;
  const Rows rows(was, index);
  const int64_t B = rows.batch;
  const SavedShape kept_shape{rows.steps, B, rows.count, D, Keep::fast, 1, false};
  float* const block = static_cast<float*>(was.saved);

  const int64_t widest = D * widest_between(shape);
  Between<float> between;  // dx of the layers but the first
  if (!between.take(rows.count * widest, std::min(layers - 1, 2))) return false;

  thread_local std::vector<HalfGradLayer> stack;
  stack.assign(static_cast<size_t>(layers), HalfGradLayer{});
  Sequence<const Half> input{static_cast<const Half*>(was.x), was.x_step, was.x_row, nullptr};
  each_layer(shape, kept_shape, [&](const Place& place) {
    const int64_t H = place.size.hidden_size;
    const int l = place.layer;
    HalfGradLayer& layer = stack[static_cast<size_t>(l)];
    layer.input_size = place.size.input_size;
    layer.hidden_size = H;
    layer.input = input;
    layer.directions = D;
    layer.dx = {static_cast<float*>(in.dx), in.dx_step, in.dx_row, nullptr};
    if (l > 0) layer.dx = rows.of(between.of(l), widest);
    Sequence<const Half> output{static_cast<const Half*>(was.y), was.y_step, was.y_row, nullptr};
    if (!place.last) output = rows.of<const Half>(inner_output(block, place), D * H);
    for (int d = 0; d < D; ++d) {
      HalfGradDirection& way = layer.direction[d];
      const Weights<const Half> weights = weights_at<const Half>(shape, place, d, was.weights);
      way.w_ih = weights.w_ih;
      way.w_hh = weights.w_hh;
      const Weights<Half> gradients = weights_at<Half>(shape, place, d, in.dweights);
      way.dw_ih = gradients.w_ih;
      way.dw_hh = gradients.w_hh;
      way.db_ih = gradients.b_ih;
      way.db_hh = gradients.b_hh;
      way.h0 = entry<const Half>(was.h0, l, d * B * H);
      way.c0 = entry<const Half>(was.c0, l, d * B * H);
      way.dh_n = entry<const Half>(in.dh_n, l, d * B * H);
      way.dc_n = entry<const Half>(in.dc_n, l, d * B * H);
      way.dh0 = entry<Half>(in.dh0, l, d * B * H);
      way.dc0 = entry<Half>(in.dc0, l, d * B * H);
      way.output = shifted(output, d * H);
      way.backward_in_time = d == 1;
      const Kept<const float> kept = kept_at<const float>(rows, kept_shape, place, d, block);
      for (int g = 0; g < 4; ++g) way.gate[g] = kept.gate[g];
      way.cell = kept.cell;
      if (place.last)
        way.dy = shifted(Sequence<const Half>{static_cast<const Half*>(in.dy), in.dy_step, in.dy_row, nullptr}, d * H);
      else
        way.dy_wide = rows.of<const float>(between.of(l + 1), widest, d * H);
    }
    input = output;
  });
  HalfGradCall call;
  call.steps = rows.steps;
  call.batch = B;
  call.layers = layers;
  call.layer = stack.data();
  call.threads = was.threads;
  return half_kernels()->backward(call);
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
