#include "half.h"

#include <algorithm>
#include <cstring>
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

bool half_forward(const StackShape& shape, const StackForward& in) {
  const int layers = static_cast<int>(shape.layers.size()), D = shape.directions;
  const int64_t T = in.steps, B = in.batch;
  // Outputs of inner layers, turn about in two areas, all rows of one width: see forward_as in stack.cpp.
  int64_t widest = 0;
  for (int l = 0; l + 1 < layers; ++l) widest = std::max(widest, D * shape.layers[l].hidden_size);
  Half* between = nullptr;
  const int areas = std::min(layers - 1, 2);
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
    const Sequence<Half> output =
        last ? Sequence<Half>{static_cast<Half*>(in.y), in.y_step, in.y_row, nullptr}
             : Sequence<Half>{between + (l & (areas - 1)) * T * B * widest, B * widest, widest, nullptr};
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
      if (saved.output >= 0) way.wide = {block + saved.output + d * H, B * D * H, D * H, nullptr};
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
