// Where the arrays of a stack lie, layer by layer and direction by direction: what forward (stack.cpp), backward
// (stack_backward.cpp) and bfloat16 (half.cpp) find alike. Letters as in lstm.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lstm.h"
#include "memory.h"
#include "saved.h"
#include "stack.h"

namespace cellgate {

// The rows of a call's data: T steps of B, or N packed rows.
struct Rows {
  int64_t steps, batch, count;       // T, B, N
  const int64_t* first = nullptr;    // (T), packed data: the row at which a step begins
  const int64_t* lengths = nullptr;  // (B), or null: all T

  // `index` keeps what is found out of packed data; it must live as long as this.
  Rows(const StackForward& call, std::vector<int64_t>& index)
      : steps(call.steps), batch(call.batch), count(call.steps * call.batch), lengths(call.lengths) {
    if (!call.batch_sizes) return;
    count = call.rows;
    index.resize(static_cast<size_t>(steps + batch));
    int64_t at = 0, b = batch;
    for (int64_t t = 0; t < steps; ++t) {
      index[static_cast<size_t>(t)] = at;
      at += call.batch_sizes[t];
      for (; b > call.batch_sizes[t]; --b) index[static_cast<size_t>(steps + b - 1)] = t;
    }
    for (; b > 0; --b) index[static_cast<size_t>(steps + b - 1)] = steps;
    first = index.data();
    lengths = index.data() + steps;
  }

  // An array of whole rows of `width` scalars, seen from scalar `from` of each row on. Null stays null.
  template <class S>
  Sequence<S> of(S* p, int64_t width, int64_t from = 0) const {
    return {p ? p + from : nullptr, batch * width, width, first};
  }
  // Plane g of direction d in an array of gates (N, D, 4, H).
  template <class S>
  Sequence<S> gate(S* p, int directions, int64_t hidden, int d, int g) const {
    return of(p, directions * 4 * hidden, (d * 4 + g) * hidden);
  }
};

// The same sequence from scalar `from` of each row on. Null stays null.
template <class S>
Sequence<S> shifted(Sequence<S> sequence, int64_t from) {
  if (sequence.p) sequence.p += from;
  return sequence;
}

// One layer on the way through a stack.
struct Place {
  int layer;
  bool last;
  const LayerShape& size;
  int weight;        // index of its first direction's first weight in tables arranged as StackForward::weights
  SavedLayer saved;  // offsets in the block of saved.h
};

// Calls visit(place) for the layers from the first to the last; returns the scalars of the block of saved.h.
template <class Visit>
int64_t each_layer(const StackShape& shape, const SavedShape& kept, Visit visit) {
  const int layers = static_cast<int>(shape.layers.size());
  int64_t at = 0;
  int weight = 0;
  for (int l = 0; l < layers; ++l) {
    Place place{l, l + 1 == layers, shape.layers[static_cast<size_t>(l)], weight, {}};
    at = lay_out_saved(kept, place.size, place.last, at, place.saved);
    visit(place);
    weight += shape.directions * shape.weights_of(l);
  }
  return at;
}

// The widest output of a direction that another layer reads; 0 with one layer.
inline int64_t widest_between(const StackShape& shape) {
  int64_t widest = 0;
  for (size_t l = 0; l + 1 < shape.layers.size(); ++l) widest = std::max(widest, shape.layers[l].projection_size);
  return widest;
}

// A direction's entries in a table arranged as StackForward::weights; null: it has none.
template <class S>
struct Weights {
  S *w_ih = nullptr, *w_hh = nullptr, *b_ih = nullptr, *b_hh = nullptr, *w_hr = nullptr;
};
template <class S, class Address>
Weights<S> weights_at(const StackShape& shape, const Place& place, int d, Address* const* table) {
  Weights<S> found;
  if (!table) return found;
  table += place.weight + d * shape.weights_of(place.layer);
  auto next = [&table] { return static_cast<S*>(*table++); };
  found.w_ih = next();
  found.w_hh = next();
  if (shape.bias) {
    found.b_ih = next();
    found.b_hh = next();
  }
  if (place.size.projected) found.w_hr = next();
  return found;
}

// One entry of a table of addresses that may be absent, from scalar `from` on.
template <class S, class Address>
S* entry(Address* const* table, int index, int64_t from) {
  return table && table[index] ? static_cast<S*>(table[index]) + from : nullptr;
}

// What training keeps of a direction, in `block`; null sequences: not kept.
template <class S>
struct Kept {
  Sequence<S> gate[4], cell, raw;
  int64_t cell_every = 1;
};
template <class S>
Kept<S> kept_at(const Rows& rows, const SavedShape& shape, const Place& place, int d, S* block) {
  Kept<S> found;
  if (!block) return found;
  const int D = shape.directions;
  const int64_t H = place.size.hidden_size;
  if (place.saved.gates >= 0)
    for (int g = 0; g < 4; ++g) found.gate[g] = rows.gate(block + place.saved.gates, D, H, d, g);
  if (place.saved.cell >= 0) found.cell = rows.of(block + place.saved.cell, D * H, d * H);
  if (place.saved.raw >= 0) found.raw = rows.of(block + place.saved.raw, D * H, d * H);
  if (shape.keep == Keep::minimal) {
    found.cell.first = nullptr;  // (ceil(T / K), B, D, H), packed data or not
    found.cell_every = shape.every;
  }
  return found;
}

// Scratch for arrays between layers, which layers use turn about: one is read while the next is written.
template <class S>
class Between {
 public:
  ~Between() { scratch_done(Use::layers); }
  // `areas` of `scalars` each; false when memory is out.
  bool take(int64_t scalars, int areas) {
    areas_ = areas;
    each_ = (scalars + 31) / 32 * 32;
    if (areas > 0) block_ = static_cast<S*>(scratch(Use::layers, static_cast<size_t>(each_ * areas) * sizeof(S) + 64));
    return areas == 0 || block_;
  }
  // Null where none was taken.
  S* area(int k) const { return block_ ? block_ + std::min(k, areas_ - 1) * each_ : nullptr; }
  S* of(int layer) const { return area(layer & 1); }

 private:
  S* block_ = nullptr;
  int64_t each_ = 0;
  int areas_ = 0;
};

}  // namespace cellgate
