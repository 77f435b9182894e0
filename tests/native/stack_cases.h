// Stacks for the drivers of the core without Python: shapes and options, arrays that notice a step too far, and the ways
// to run them (training in each save mode, inference through the cache of packed weights, weights packed before, one step
// at a time).
//
// Inputs are the same numbers in float and double, so that results of every instruction set, type and way can be compared
// with one run of the scalar kernels in double.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "stack_backward.h"

namespace cellgate {

struct Case {
  const char* name;
  int64_t steps, batch, inputs;
  std::vector<int64_t> hidden, proj;  // proj 0: none
  int directions = 1;
  bool bias = true, lengths = false, reset = false, masks = false, packed = false;
  bool traced = false;  // gradients of gates, cell states and inner outputs are part of the loss
  bool bare = false;    // no initial state, no gradient of the final one; dx is not wanted; dy is one row for all
  bool frozen = false;  // of the gradients only those of the initial state are wanted
};

inline std::vector<Case> all_cases() {
  auto with = [](Case c, void (*change)(Case&)) {
    change(c);
    return c;
  };
  return {
      {"one of each", 1, 1, 1, {1}, {0}},
      with({"no input", 3, 3, 0, {17}, {0}}, [](Case& c) { c.bare = true; }),
      with({"one row", 40, 1, 20, {70}, {0}}, [](Case& c) { c.bias = false; }),
      {"chunks", 70, 33, 5, {24}, {0}, 2},
      with({"stack", 9, 5, 4, {33, 16, 7}, {0, 0, 0}, 2}, [](Case& c) { c.masks = true; }),
      with({"ragged", 30, 19, 4, {33, 9}, {0, 0}, 2}, [](Case& c) { c.lengths = c.reset = true; }),
      with({"packed", 30, 19, 4, {33, 9}, {0, 0}, 2}, [](Case& c) { c.packed = c.masks = true; }),
      with({"projected", 11, 9, 4, {35, 20}, {5, 19}, 2}, [](Case& c) { c.lengths = c.reset = true; }),
      with({"traced", 8, 5, 4, {17, 9}, {0, 0}, 2}, [](Case& c) { c.traced = c.lengths = true; }),
      with({"traced and packed", 8, 5, 4, {17, 9}, {3, 0}, 2}, [](Case& c) { c.traced = c.packed = c.masks = true; }),
      with({"batch split", 20, 64, 24, {96}, {0}}, [](Case& c) { c.lengths = true; }),
      {"directions", 21, 40, 24, {96}, {40}, 2},
      with({"directions, ragged", 12, 40, 24, {96}, {0}, 2}, [](Case& c) { c.lengths = c.bare = true; }),
      {"units split", 6, 8, 40, {640}, {0}},
      with({"units split, ragged", 7, 21, 40, {520}, {0}}, [](Case& c) { c.lengths = c.reset = true; }),
      with({"units split, chunks", 13, 20, 8, {520}, {0}}, [](Case& c) { c.bare = true; }),
      with({"units split, projected", 4, 4, 9, {520}, {260}}, [](Case& c) { c.reset = true; }),
      with({"frozen, ragged", 400, 24, 4, {32}, {0}}, [](Case& c) { c.frozen = c.lengths = true; }),
      {"no steps", 0, 3, 4, {5}, {0}},
      with({"no rows", 3, 0, 4, {5}, {0}, 2}, [](Case& c) { c.lengths = true; }),
      with({"all lengths zero", 3, 1, 4, {5}, {0}}, [](Case& c) { c.lengths = true; }),
  };
}

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
  // Between -2 and 2, the same number in float and double.
  float value(double scale) {
    return static_cast<float>((static_cast<double>(next() % 20001) - 10000.0) / 5000.0 * scale);
  }

 private:
  uint64_t state_;
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Arrays in allocations of their own, between guards: scalars of a pattern that no call may change. The guard before is
// odd, so arrays lie at a multiple of their scalar only. Under an address sanitizer there is no guard after: the array
// ends where its allocation ends, and the first scalar past it is caught when read, too.
template <class S>
class Arrays {
 public:
  S* make(int64_t n, Random* random, double scale = 1.0) {
    held_.emplace_back(static_cast<size_t>(kBefore + n + kAfter), kPattern);
    std::vector<S>& a = held_.back();
    for (int64_t j = kBefore; j < kBefore + n; ++j)
      a[static_cast<size_t>(j)] = random ? static_cast<S>(random->value(scale)) : std::numeric_limits<S>::quiet_NaN();
    return a.data() + kBefore;
  }
  void check(const char* name) const {
    for (const std::vector<S>& a : held_)
      for (size_t j = 0; j < a.size(); j += j + 1 == kBefore ? a.size() - kAfter - kBefore + 1 : 1)
        if (a[j] != kPattern) {
          std::fprintf(stderr, "%s: a guard of an array was written over\n", name);
          std::exit(1);
        }
  }
  std::vector<std::vector<double>> values() const {
    std::vector<std::vector<double>> all;
    for (const std::vector<S>& a : held_) all.emplace_back(a.begin() + kBefore, a.end() - kAfter);
    return all;
  }

 private:
  static constexpr int kBefore = 17, kAfter = kSanitized ? 0 : 17;
  static constexpr S kPattern = S(12345);
  std::vector<std::vector<S>> held_;  // growing moves the vectors, not what they hold
};

// What a run returned: y, then h_n and c_n of each layer; after training dx (if wanted), then dw.., dh0 and dc0 of each layer.
using Results = std::vector<std::vector<double>>;

template <class S>
class Problem {
 public:
  explicit Problem(const Case& c);
  Results train(Keep keep, int threads) const;
  Results infer(int threads, const PackedStack* packed = nullptr) const;
  // One step a call, the state handed on; only where streamable().
  Results stream(int threads, const PackedStack* packed) const;
  bool streamable() const { return case_.directions == 1 && !case_.lengths && !case_.packed && !case_.masks; }
  PackedStack pack() const { return PackedStack(shape_, weights_.data()); }

 private:
  struct Outputs {
    Arrays<S> held;
    S* y;
    std::vector<void*> h_n, c_n;
  };
  void make_outputs(Outputs& out) const;
  StackForward call(Outputs& out, int threads) const;
  void poison_padding(S* rows, int64_t width);

  Case case_;
  StackShape shape_;
  int64_t rows_ = 0, width_ = 0;  // N, and D * P of the last layer
  Arrays<S> held_;
  S *x_ = nullptr, *dy_ = nullptr;
  std::vector<const void*> weights_, masks_, h0_, c0_, dh_n_, dc_n_;
  std::vector<int64_t> weight_sizes_;
  std::vector<TraceGradient> trace_;
  std::vector<int64_t> lengths_, batch_sizes_;
  std::vector<uint8_t> reset_;
};

template <class S>
Problem<S>::Problem(const Case& c) : case_(c) {
  Random random(7);
  const int layers = static_cast<int>(c.hidden.size());
  const int64_t T = c.steps, B = c.batch, D = c.directions;
  shape_.scalar = sizeof(S) == 8 ? Scalar::f64 : Scalar::f32;
  shape_.directions = c.directions;
  shape_.bias = c.bias;
  width_ = c.inputs;
  for (int l = 0; l < layers; ++l) {
    const int64_t P =
        c.proj[static_cast<size_t>(l)] ? c.proj[static_cast<size_t>(l)] : c.hidden[static_cast<size_t>(l)];
    shape_.layers.push_back({width_, c.hidden[static_cast<size_t>(l)], P, c.proj[static_cast<size_t>(l)] != 0});
    width_ = P * D;
  }
  lengths_.resize(static_cast<size_t>(B));
  batch_sizes_.resize(static_cast<size_t>(T));
  reset_.resize(static_cast<size_t>(T * B));
  for (int64_t& length : lengths_) length = B == 1 ? 0 : random.below(T + 1);
  for (uint8_t& r : reset_) r = random.below(5) == 0;
  rows_ = T * B;
  if (c.packed) {
    rows_ = 0;
    for (int64_t t = 0; t < T; ++t) rows_ += batch_sizes_[static_cast<size_t>(t)] = B - t * (B - 1) / T;
  }
  for (int l = 0; l < layers; ++l) {
    const LayerShape& layer = shape_.layers[static_cast<size_t>(l)];
    const int64_t H = layer.hidden_size, P = layer.projection_size, I = layer.input_size;
    std::vector<int64_t> sizes{4 * H * I, 4 * H * P};
    if (c.bias) sizes.insert(sizes.end(), {4 * H, 4 * H});
    if (layer.projected) sizes.push_back(P * H);
    for (int64_t d = 0; d < D; ++d)
      for (int64_t n : sizes) {
        weights_.push_back(held_.make(n, &random, 1 / std::sqrt(static_cast<double>(H))));
        weight_sizes_.push_back(n);
      }
    h0_.push_back(held_.make(D * B * P, &random));
    c0_.push_back(held_.make(D * B * H, &random));
    dh_n_.push_back(held_.make(D * B * P, &random));
    dc_n_.push_back(held_.make(D * B * H, &random));
    const bool last = l + 1 == layers;
    if (c.masks && !last) masks_.push_back(held_.make(rows_ * D * P, &random));
    if (c.traced) {
      TraceGradient trace;
      trace.gates = held_.make(rows_ * D * 4 * H, &random);
      trace.cell = held_.make(rows_ * D * H, &random);
      if (!last) trace.output = held_.make(rows_ * D * P, &random);
      trace_.push_back(trace);
    }
  }
  x_ = held_.make(rows_ * c.inputs, &random);
  dy_ = held_.make(c.bare ? width_ : rows_ * width_, &random);
  if (c.lengths) {
    poison_padding(x_, c.inputs);
    if (!c.bare) poison_padding(dy_, width_);
  }
}

// Nothing past a length is read, so NaN there reaches no result.
template <class S>
void Problem<S>::poison_padding(S* rows, int64_t width) {
  for (int64_t b = 0; b < case_.batch; ++b)
    for (int64_t t = lengths_[static_cast<size_t>(b)]; t < case_.steps; ++t)
      for (int64_t j = 0; j < width; ++j) rows[(t * case_.batch + b) * width + j] = std::numeric_limits<S>::quiet_NaN();
}

template <class S>
void Problem<S>::make_outputs(Outputs& out) const {
  const int64_t B = case_.batch, D = case_.directions;
  out.y = out.held.make(rows_ * width_, nullptr);
  for (const LayerShape& layer : shape_.layers) {
    out.h_n.push_back(out.held.make(D * B * layer.projection_size, nullptr));
    out.c_n.push_back(out.held.make(D * B * layer.hidden_size, nullptr));
  }
}

template <class S>
StackForward Problem<S>::call(Outputs& out, int threads) const {
  StackForward f;
  f.steps = case_.steps, f.batch = case_.batch, f.threads = threads;
  if (case_.packed) f.rows = rows_, f.batch_sizes = batch_sizes_.data();
  if (case_.lengths) f.lengths = lengths_.data();
  if (case_.reset) f.reset = reset_.data();
  f.x = x_, f.x_step = case_.batch * case_.inputs, f.x_row = case_.inputs;
  f.y = out.y, f.y_step = case_.batch * width_, f.y_row = width_;
  f.weights = weights_.data();
  if (!case_.bare) f.h0 = h0_.data(), f.c0 = c0_.data();
  f.h_n = out.h_n.data(), f.c_n = out.c_n.data();
  if (case_.masks) f.masks = masks_.data();
  return f;
}

inline void require(bool done, const char* name) {
  if (done) return;
  std::fprintf(stderr, "%s: out of memory\n", name);
  std::exit(2);
}

template <class S>
Results Problem<S>::train(Keep keep, int threads) const {
  const int64_t B = case_.batch, D = case_.directions;
  Outputs out;
  make_outputs(out);
  StackBackward back;
  back.forward = call(out, threads);
  StackForward& f = back.forward;
  f.keep = keep;
  f.every = keep == Keep::minimal ? 4 : 1;
  f.weights_change = true;
  Arrays<S> saved;
  const int64_t packed_rows = case_.packed ? rows_ : 0;
  f.saved = saved.make(saved_size(shape_, f.steps, B, packed_rows, keep, f.every, case_.masks), nullptr);
  back.dy = dy_;
  if (!case_.bare) {
    back.dy_step = f.y_step, back.dy_row = f.y_row;
    back.dh_n = dh_n_.data(), back.dc_n = dc_n_.data();
    if (!case_.frozen) back.dx = out.held.make(rows_ * case_.inputs, nullptr);
    back.dx_step = f.x_step, back.dx_row = f.x_row;
  }
  if (case_.traced) back.trace = trace_.data();
  std::vector<void*> dweights, dh0, dc0;
  for (int64_t n : weight_sizes_) dweights.push_back(case_.frozen ? nullptr : out.held.make(n, nullptr));
  for (const LayerShape& layer : shape_.layers) {
    dh0.push_back(out.held.make(D * B * layer.projection_size, nullptr));
    dc0.push_back(out.held.make(D * B * layer.hidden_size, nullptr));
  }
  back.dweights = dweights.data(), back.dh0 = dh0.data(), back.dc0 = dc0.data();
  require(forward(shape_, f) && backward(shape_, back), case_.name);
  out.held.check(case_.name);
  saved.check(case_.name);
  held_.check(case_.name);
  return out.held.values();
}

template <class S>
Results Problem<S>::infer(int threads, const PackedStack* packed) const {
  Outputs out;
  make_outputs(out);
  StackForward f = call(out, threads);
  if (packed) f.packed = packed->addresses();
  require(forward(shape_, f), case_.name);
  out.held.check(case_.name);
  held_.check(case_.name);
  return out.held.values();
}

template <class S>
Results Problem<S>::stream(int threads, const PackedStack* packed) const {
  Outputs out, other;
  make_outputs(out);
  make_outputs(other);
  StackForward f = call(out, threads);
  if (packed) f.packed = packed->addresses();
  f.steps = 1;
  for (int64_t t = 0; t < case_.steps; ++t) {
    // The last step leaves its state in `out`.
    Outputs& to = (case_.steps - t) % 2 ? out : other;
    f.h_n = to.h_n.data(), f.c_n = to.c_n.data();
    f.x = x_ + t * f.x_step, f.y = out.y + t * f.y_step;
    if (case_.reset) f.reset = reset_.data() + t * case_.batch;
    require(forward(shape_, f), case_.name);
    f.h0 = const_cast<const void* const*>(to.h_n.data()), f.c0 = const_cast<const void* const*>(to.c_n.data());
  }
  out.held.check(case_.name);
  other.held.check(case_.name);
  held_.check(case_.name);
  return out.held.values();
}

}  // namespace cellgate
