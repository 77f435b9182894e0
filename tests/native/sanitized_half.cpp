// Runs stacks in bfloat16 (native/half.h) for the sanitizers: odd and even sizes, layers, directions, states, one to three
// threads, with and without what training keeps. Results are compared with the float32 kernels on the same numbers.
//
// Prints that it did nothing, with status 0, where the CPU or the build has no such kernels.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dispatch.h"
#include "half.h"
#include "stack_backward.h"

namespace {

using namespace cellgate;

uint32_t seed = 1;
float random_number() {
  seed = seed * 1664525u + 1013904223u;
  return static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
}

// Random numbers that bfloat16 can hold, in an allocation of their own, so that a sanitizer sees its ends.
struct Both {
  std::unique_ptr<Half[]> half;
  std::unique_ptr<float[]> wide;
  Both() = default;
  Both(int64_t n, float scale) : half(new Half[n]), wide(new float[n]) {
    for (int64_t k = 0; k < n; ++k) {
      const float value = scale * random_number();
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      half[k] = static_cast<Half>(bits >> 16);
      bits &= 0xffff0000u;
      std::memcpy(&wide[k], &bits, sizeof bits);
    }
  }
};

struct Sizes {
  int64_t T, B, I, H;
  int L, D;
  bool bias, states;
};

void check(const Sizes& s, int threads, bool keep) {
  StackShape shape;
  shape.directions = s.D;
  shape.bias = s.bias;
  for (int l = 0; l < s.L; ++l) shape.layers.push_back({l ? s.D * s.H : s.I, s.H, s.H, false});
  std::vector<Both> arrays;
  arrays.reserve(64);
  const void *half[64], *wide[64];
  size_t count = 0;
  auto add = [&](int64_t n, float scale) {
    arrays.emplace_back(n, scale);
    half[count] = arrays.back().half.get();
    wide[count++] = arrays.back().wide.get();
  };
  const float scale = 1.5f / std::sqrt(static_cast<float>(s.H));
  for (int l = 0; l < s.L; ++l)
    for (int d = 0; d < s.D; ++d) {
      add(4 * s.H * shape.layers[l].input_size, scale);
      add(4 * s.H * s.H, scale);
      if (s.bias) add(4 * s.H, scale);
      if (s.bias) add(4 * s.H, scale);
    }
  const size_t h_at = count;
  for (int l = 0; l < 2 * s.L; ++l) add(s.D * s.B * s.H, 1.0f);
  const Both x(s.T * s.B * s.I, 1.0f);
  const int64_t out = s.T * s.B * s.D * s.H, state = s.D * s.B * s.H;
  std::unique_ptr<Half[]> y(new Half[out]);
  std::unique_ptr<float[]> y_wide(new float[out]), y_back(new float[out]), block, block_wide;
  std::vector<std::unique_ptr<Half[]>> ends;
  std::vector<std::unique_ptr<float[]>> ends_wide;
  void *end[64], *end_wide[64];
  for (int l = 0; l < 2 * s.L; ++l) {
    ends.emplace_back(new Half[state]);
    ends_wide.emplace_back(new float[state]);
    end[l] = ends.back().get();
    end_wide[l] = ends_wide.back().get();
  }
  StackForward call;
  call.steps = s.T;
  call.batch = s.B;
  call.x_step = s.B * s.I;
  call.x_row = s.I;
  call.y_step = s.B * s.D * s.H;
  call.y_row = s.D * s.H;
  call.threads = threads;
  StackForward exact = call;
  call.x = x.half.get(), exact.x = x.wide.get();
  call.y = y.get(), exact.y = y_wide.get();
  call.weights = half, exact.weights = wide;
  if (s.states) {
    call.h0 = half + h_at, exact.h0 = wide + h_at;
    call.c0 = half + h_at + s.L, exact.c0 = wide + h_at + s.L;
  }
  call.h_n = end, exact.h_n = end_wide;
  call.c_n = end + s.L, exact.c_n = end_wide + s.L;
  const int64_t kept = saved_size(shape, s.T, s.B, 0, Keep::fast, 1, false);
  if (keep) {
    block.reset(new float[kept]), block_wide.reset(new float[kept]);
    call.saved = block.get(), exact.saved = block_wide.get();
    call.keep = exact.keep = Keep::fast;
  }
  exact.weights_change = true;
  if (!half_forward(shape, call) || !forward(shape, exact)) std::abort();
  HalfCopy copy{y.get(), y_back.get(), out};
  half_convert(true, &copy, 1, threads);
  auto compare = [&](const char* what, const float* got, const float* want, int64_t n) {
    for (int64_t k = 0; k < n; ++k) {
      // Written so that NaN fails.
      if (std::fabs(got[k] - want[k]) <= 0.04f * (1 + std::fabs(want[k]))) continue;
      std::fprintf(stderr, "T%d B%d I%d H%d L%d D%d, %d threads: %s[%d] is %g, expected %g\n", int(s.T), int(s.B),
                   int(s.I), int(s.H), s.L, s.D, threads, what, int(k), double(got[k]), double(want[k]));
      std::exit(1);
    }
  };
  compare("output", y_back.get(), y_wide.get(), out);
  for (int l = 0; l < 2 * s.L; ++l) {
    std::unique_ptr<float[]> back(new float[state]);
    HalfCopy one{end[l], back.get(), state};
    half_convert(true, &one, 1, 1);
    compare(l < s.L ? "h_n" : "c_n", back.get(), ends_wide[l].get(), state);
  }
  if (!keep) return;
  SavedLayer saved;
  int64_t at = 0;
  for (int l = 0; l < s.L; ++l) {
    at = lay_out_saved({s.T, s.B, s.T * s.B, s.D, Keep::fast, 1, false}, shape.layers[l], l + 1 == s.L, at, saved);
    compare("gates", block.get() + saved.gates, block_wide.get() + saved.gates, 4 * out);
    compare("cell", block.get() + saved.cell, block_wide.get() + saved.cell, out);
    saved = SavedLayer();
  }
  // Backward.
  const Both dy(out, 1.0f);
  StackBackward grad, grad_exact;
  grad.forward = call, grad_exact.forward = exact;
  grad.dy = dy.half.get(), grad_exact.dy = dy.wide.get();
  grad.dy_step = grad_exact.dy_step = call.y_step;
  grad.dy_row = grad_exact.dy_row = call.y_row;
  std::vector<int64_t> sizes;
  for (size_t k = 0; k < h_at; ++k) sizes.push_back(0);
  size_t at_weight = 0;
  for (int l = 0; l < s.L; ++l)
    for (int d = 0; d < s.D; ++d) {
      sizes[at_weight++] = 4 * s.H * shape.layers[l].input_size;
      sizes[at_weight++] = 4 * s.H * s.H;
      if (s.bias) sizes[at_weight++] = 4 * s.H, sizes[at_weight++] = 4 * s.H;
    }
  for (int l = 0; l < 2 * s.L; ++l) sizes.push_back(state);
  std::vector<std::unique_ptr<Half[]>> results;
  std::vector<std::unique_ptr<float[]>> results_exact;
  void *to[64], *to_exact[64];
  for (size_t k = 0; k < sizes.size(); ++k) {
    results.emplace_back(new Half[sizes[k]]);
    results_exact.emplace_back(new float[sizes[k]]);
    to[k] = results.back().get();
    to_exact[k] = results_exact.back().get();
  }
  std::unique_ptr<float[]> dx(new float[s.T * s.B * s.I]), dx_exact(new float[s.T * s.B * s.I]);
  grad.dx = dx.get(), grad_exact.dx = dx_exact.get();
  grad.dx_step = grad_exact.dx_step = call.x_step;
  grad.dx_row = grad_exact.dx_row = call.x_row;
  grad.dweights = to, grad_exact.dweights = to_exact;
  if (s.states) {
    // The initial states are arrays as good as any for gradients of the final ones.
    grad.dh_n = half + h_at, grad_exact.dh_n = wide + h_at;
    grad.dc_n = half + h_at + s.L, grad_exact.dc_n = wide + h_at + s.L;
    grad.dh0 = to + h_at, grad_exact.dh0 = to_exact + h_at;
    grad.dc0 = to + h_at + s.L, grad_exact.dc0 = to_exact + h_at + s.L;
  }
  if (!half_backward(shape, grad) || !backward(shape, grad_exact)) std::abort();
  auto compare_scaled = [&](const char* what, const float* got, const float* want, int64_t n) {
    float largest = 1;
    for (int64_t k = 0; k < n; ++k) largest = std::fmax(largest, std::fabs(want[k]));
    std::vector<float> a(static_cast<size_t>(n)), b(static_cast<size_t>(n));
    for (int64_t k = 0; k < n; ++k) a[k] = got[k] / largest, b[k] = want[k] / largest;
    compare(what, a.data(), b.data(), n);
  };
  compare_scaled("dx", dx.get(), dx_exact.get(), s.T * s.B * s.I);
  for (size_t k = 0; k < (s.states ? sizes.size() : h_at); ++k) {
    std::vector<float> back(static_cast<size_t>(sizes[k]));
    HalfCopy one{to[k], back.data(), sizes[k]};
    half_convert(true, &one, 1, 1);
    compare_scaled(k < h_at ? "gradient of a weight" : "gradient of a state", back.data(), results_exact[k].get(),
                   sizes[k]);
  }
}

// To the nearest, ties to even; what bfloat16 cannot hold becomes infinite; NaN stays.
void check_rounding() {
  const float from[] = {1.0f, 1.00390625f, 1.01171875f, -1.0040f, 3.4e38f, INFINITY, NAN, 0.0f, -0.0f};
  const Half to[] = {0x3f80, 0x3f80, 0x3f82, 0xbf81, 0x7f80, 0x7f80, 0, 0x0000, 0x8000};
  constexpr int64_t n = sizeof to / sizeof *to;
  Half got[n];
  HalfCopy copy{from, got, n};
  half_convert(false, &copy, 1, 1);
  for (int64_t k = 0; k < n; ++k) {
    const bool good = std::isnan(from[k]) ? (got[k] & 0x7fff) > 0x7f80 : got[k] == to[k];
    if (good) continue;
    std::fprintf(stderr, "%g was rounded to %04x\n", double(from[k]), got[k]);
    std::exit(1);
  }
}

}  // namespace

int main() {
  if (!half_kernels()) {
    std::printf("no kernels for bfloat16 here\n");
    return 0;
  }
  check_rounding();
  const Sizes all[] = {
      {5, 7, 4, 17, 1, 1, true, true},   {1, 1, 1, 1, 1, 1, true, false},     {9, 13, 33, 40, 2, 2, true, true},
      {3, 30, 7, 65, 3, 1, false, true}, {20, 24, 16, 64, 1, 2, true, false}, {30, 70, 5, 20, 1, 1, true, false},
  };
  for (const Sizes& s : all)
    for (int threads = 1; threads <= 3; ++threads)
      for (bool keep : {false, true}) check(s, threads, keep);
  std::printf("%s: bfloat16 is as expected\n", kernels().name);
}
