// A stack of layers as callers see it: shapes once, addresses on each call. Turns them into a ForwardCall.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lstm.h"
#include "saved.h"

namespace cellgate {

enum class Scalar : int { f32 = 0, f64 = 1 };

struct StackShape {
  Scalar scalar = Scalar::f32;
  int directions = 1;
  bool bias = true;
  std::vector<LayerShape> layers;
  // Addresses a layer and direction has: w_ih, w_hh, [b_ih, b_hh], [w_hr], in PyTorch's order.
  int weights_of(int layer) const { return 2 + (bias ? 2 : 0) + (layers[layer].projected ? 1 : 0); }
  // Those of all layers and directions.
  size_t weight_count() const {
    int count = 0;
    for (int l = 0; l < static_cast<int>(layers.size()); ++l) count += weights_of(l) * directions;
    return static_cast<size_t>(count);
  }
};

// Addresses of one call; a null address means "none". Everything is contiguous where no stride is named.
struct StackForward {
  int64_t steps = 0, batch = 0;
  int64_t rows = 0;                      // of packed data, else 0
  const int64_t* batch_sizes = nullptr;  // (T), packed data
  const int64_t* lengths = nullptr;      // (B), padded data
  const uint8_t* reset = nullptr;        // (T, B)
  const void* x = nullptr;               // (T, B, I) by strides, or packed (N, I)
  int64_t x_step = 0, x_row = 0;
  void* y = nullptr;  // (T, B, D * P) by strides, or packed (N, D * P)
  int64_t y_step = 0, y_row = 0;
  const void* const* weights = nullptr;  // by layer, direction, and weights_of()
  const void* const* h0 = nullptr;       // a layer each (D, B, P); null: zeros
  const void* const* c0 = nullptr;       // a layer each (D, B, H)
  void* const* h_n = nullptr;            // a layer each (D, B, P)
  void* const* c_n = nullptr;            // a layer each (D, B, H)
  const void* const* masks = nullptr;   // for every layer but the last: (T, B, D * P) or packed, contiguous; null: none
  const void* const* packed = nullptr;  // by layer and direction, from pack_stack(); null: from weights
  void* saved = nullptr;                // see saved.h
  Keep keep = Keep::nothing;
  int64_t every = 1;
  bool weights_change = false;
  int threads = 1;
};

// Scalars of the block of saved.h for a call.
int64_t saved_size(const StackShape& shape, int64_t steps, int64_t batch, int64_t rows, Keep keep, int64_t every,
                   bool dropout);

// The weights of a stack packed once, for callers that run it many times and know when the weights change. Packed for the
// instruction set in use at that moment.
class PackedStack {
 public:
  PackedStack(const StackShape& shape, const void* const* weights);  // throws std::bad_alloc
  ~PackedStack();
  PackedStack(const PackedStack&) = delete;
  PackedStack& operator=(const PackedStack&) = delete;
  // By layer and direction, for StackForward::packed; null when another instruction set is in use now.
  const void* const* addresses() const;

 private:
  const void* kernels_;
  std::vector<void*> packs_;
  std::vector<const void*> addresses_;
};

// False when memory is out.
bool forward(const StackShape& shape, const StackForward& call);

}  // namespace cellgate
