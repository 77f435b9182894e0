// Runs stacks forward and backward for the sanitizers (scripts/sanitize): many shapes and options, every instruction set,
// one and several threads, and several callers at once. All arrays have exactly the size they need, so that an address
// sanitizer sees a step too far; results are compared with those of the scalar kernels on one thread.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "dispatch.h"
#include "stack_backward.h"

namespace {

using namespace cellgate;

struct Case {
  const char* name;
  int64_t steps, batch, inputs;
  std::vector<int64_t> hidden, proj;  // proj 0: none
  int directions;
  bool bias, lengths, reset, masks, packed;
};

const Case cases[] = {
    {"one of each", 1, 1, 1, {1}, {0}, 1, true, false, false, false, false},
    {"no input", 3, 3, 0, {17}, {0}, 1, true, false, false, false, false},
    {"one row", 40, 1, 20, {70}, {0}, 1, false, false, false, false, false},
    {"chunks", 70, 33, 5, {24}, {0}, 2, true, false, false, false, false},
    {"stack", 9, 5, 4, {33, 16, 7}, {0, 0, 0}, 2, true, false, false, true, false},
    {"ragged", 30, 19, 4, {33, 9}, {0, 0}, 2, true, true, true, false, false},
    {"packed", 30, 19, 4, {33, 9}, {0, 0}, 2, true, false, false, true, true},
    {"projected", 11, 9, 4, {35, 20}, {5, 19}, 2, true, true, true, false, false},
    {"batch split", 20, 64, 24, {96}, {0}, 1, true, true, false, false, false},
    {"directions", 21, 40, 24, {96}, {40}, 2, true, false, false, false, false},
    {"units split", 6, 8, 40, {640}, {0}, 1, true, false, false, false, false},
    {"no steps", 0, 3, 4, {5}, {0}, 1, true, false, false, false, false},
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(next() % static_cast<uint64_t>(n)); }
  double normalish() { return (static_cast<double>(next() % 20001) - 10000.0) / 5000.0; }

 private:
  uint64_t state_;
};

template <class S>
struct Arrays {
  std::vector<std::vector<S>> held;
  S* make(int64_t n, Random* random, double scale = 1.0) {
    held.emplace_back(static_cast<size_t>(n));
    for (S& s : held.back())
      s = random ? static_cast<S>(random->normalish() * scale) : std::numeric_limits<S>::quiet_NaN();
    return held.back().data();
  }
};

// Runs a case and returns every output: y, final states, all gradients.
template <class S>
std::vector<std::vector<S>> run(const Case& c, Keep keep, int threads) {
  Random random(7);
  Arrays<S> in, out;
  in.held.reserve(200), out.held.reserve(200);
  const int layers = static_cast<int>(c.hidden.size());
  const int64_t T = c.steps, B = c.batch, D = c.directions;
  StackShape shape;
  shape.scalar = sizeof(S) == 8 ? Scalar::f64 : Scalar::f32;
  shape.directions = c.directions;
  shape.bias = c.bias;
  int64_t width = c.inputs;
  for (int l = 0; l < layers; ++l) {
    const int64_t P = c.proj[l] ? c.proj[l] : c.hidden[l];
    shape.layers.push_back({width, c.hidden[l], P, c.proj[l] != 0});
    width = P * D;
  }
  std::vector<int64_t> lengths(static_cast<size_t>(B)), batch_sizes(static_cast<size_t>(T));
  std::vector<uint8_t> reset(static_cast<size_t>(T * B));
  for (int64_t b = 0; b < B; ++b) lengths[static_cast<size_t>(b)] = random.below(T + 1);
  for (uint8_t& r : reset) r = random.below(5) == 0;
  int64_t N = T * B;
  if (c.packed) {
    N = 0;
    for (int64_t t = 0; t < T; ++t) N += batch_sizes[static_cast<size_t>(t)] = B - t * (B - 1) / T;
  }
  std::vector<const void*> weights, masks;
  std::vector<void*> dweights;
  std::vector<const void*> h0, c0, dh_n, dc_n;
  std::vector<void*> h_n, c_n, dh0, dc0;
  for (int l = 0; l < layers; ++l) {
    const LayerShape& layer = shape.layers[static_cast<size_t>(l)];
    const int64_t H = layer.hidden_size, P = layer.projection_size, I = layer.input_size;
    std::vector<int64_t> sizes{4 * H * I, 4 * H * P};
    if (c.bias) sizes.insert(sizes.end(), {4 * H, 4 * H});
    if (layer.projected) sizes.push_back(P * H);
    for (int64_t d = 0; d < D; ++d)
      for (int64_t n : sizes) {
        weights.push_back(in.make(n, &random, 1 / std::sqrt(static_cast<double>(H))));
        dweights.push_back(out.make(n, nullptr));
      }
    h0.push_back(in.make(D * B * P, &random));
    c0.push_back(in.make(D * B * H, &random));
    dh_n.push_back(in.make(D * B * P, &random));
    dc_n.push_back(in.make(D * B * H, &random));
    h_n.push_back(out.make(D * B * P, nullptr));
    c_n.push_back(out.make(D * B * H, nullptr));
    dh0.push_back(out.make(D * B * P, nullptr));
    dc0.push_back(out.make(D * B * H, nullptr));
    if (c.masks && l + 1 < layers) masks.push_back(in.make(N * D * P, &random));
  }
  StackBackward call;
  StackForward& f = call.forward;
  f.steps = T, f.batch = B, f.threads = threads;
  if (c.packed) f.rows = N, f.batch_sizes = batch_sizes.data();
  if (c.lengths) f.lengths = lengths.data();
  if (c.reset) f.reset = reset.data();
  f.x = in.make(N * c.inputs, &random);
  f.x_step = B * c.inputs, f.x_row = c.inputs;
  f.y = out.make(N * width, nullptr);
  f.y_step = B * width, f.y_row = width;
  f.weights = weights.data();
  f.h0 = h0.data(), f.c0 = c0.data(), f.h_n = h_n.data(), f.c_n = c_n.data();
  if (c.masks) f.masks = masks.data();
  f.keep = keep;
  f.every = keep == Keep::minimal ? 4 : 1;
  f.weights_change = true;
  Arrays<S> saved;
  f.saved = saved.make(saved_size(shape, T, B, c.packed ? N : 0, keep, f.every, c.masks), nullptr);
  call.dy = in.make(N * width, &random);
  call.dy_step = f.y_step, call.dy_row = f.y_row;
  call.dh_n = dh_n.data(), call.dc_n = dc_n.data();
  call.dx = out.make(N * c.inputs, nullptr);
  call.dx_step = f.x_step, call.dx_row = f.x_row;
  call.dweights = dweights.data(), call.dh0 = dh0.data(), call.dc0 = dc0.data();
  if (!forward(shape, f) || !backward(shape, call)) {
    std::fprintf(stderr, "%s: out of memory\n", c.name);
    std::exit(2);
  }
  return out.held;
}

template <class S>
void compare(const Case& c, const char* how, const std::vector<std::vector<S>>& got,
             const std::vector<std::vector<S>>& want) {
  const double limit = sizeof(S) == 8 ? 1e-12 : 1e-4;
  for (size_t a = 0; a < want.size(); ++a) {
    double largest = 1;
    for (S w : want[a]) largest = std::fmax(largest, std::fabs(static_cast<double>(w)));
    for (size_t j = 0; j < want[a].size(); ++j) {
      // Written so that NaN fails.
      if (std::fabs(static_cast<double>(got[a][j] - want[a][j])) <= limit * largest) continue;
      std::fprintf(stderr, "%s, %s: output %zu[%zu] is %g, expected %g\n", c.name, how, a, j,
                   static_cast<double>(got[a][j]), static_cast<double>(want[a][j]));
      std::exit(1);
    }
  }
}

// Names of the cases to run; none: all.
std::vector<const char*> wanted;

template <class S>
void check_all(int threads) {
  for (const Case& c : cases) {
    bool chosen = wanted.empty();
    for (const char* name : wanted) chosen = chosen || std::strcmp(name, c.name) == 0;
    if (!chosen) continue;
    force_kernels("scalar");
    auto want = run<S>(c, Keep::fast, 1);
    for (const char* const* isa = built_isas(); *isa; ++isa) {
      const char* why = nullptr;
      if (!find_kernels(*isa, &why)) continue;
      force_kernels(*isa);
      for (Keep keep : {Keep::fast, Keep::lean, Keep::minimal})
        for (int n = 1; n <= threads; ++n) compare(c, *isa, run<S>(c, keep, n), want);
    }
  }
}

// Several threads call at the same time, as Python threads do that each hold a model.
void check_callers() {
  const Case& c = cases[8];
  auto want = run<float>(c, Keep::fast, 1);
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&] {
      for (int k = 0; k < 5; ++k) compare(c, "several callers", run<float>(c, Keep::fast, 2), want);
    });
  for (std::thread& caller : callers) caller.join();
}

}  // namespace

int main(int count, char** arguments) {
  wanted.assign(arguments + 1, arguments + count);
  check_all<float>(3);
  check_all<double>(2);
  check_callers();
  std::puts("native stacks: forward and backward agree on every instruction set");
}
