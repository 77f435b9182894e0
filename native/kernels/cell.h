// The LSTM cell: from the sums before activation to c and h, for R rows and one block of hidden units.
#pragma once

#include "kernels/activations.h"
#include "phases.h"
#include "vec/vec.h"

CELLGATE_BEGIN
// Where the rows of a step find and leave their things; each entry points at unit 0 of a row.
template <class S>
struct Rows {
  const S** x;   // input of the layer
  const S** h;   // h of the step before
  const S** c;   // c of the step before
  S** c_out;     // c of this step; may equal c
  S** h_out;     // h of this step (with a projection: the hidden vector before it)
  S** y_out;     // with a projection: h of this step, else unused
  S** gate[4];   // gate[0] null: gates are not kept
  S** cell_out;  // null: cell states are not kept
};

// Where R rows of a block are written that no cache near holds yet, to `line` (6 R entries): a store that waits for its
// line holds up those after it. Returns how many there are.
template <class S>
CELLGATE_INLINE int64_t lines_written(int R, const Rows<S>& rows, int64_t j, int64_t u, const void** line) {
  int64_t count = 0;
  for (int r = 0; r < R; ++r) line[count++] = rows.h_out[j + r] + u;
  if (!rows.gate[0]) return count;
  for (int r = 0; r < R; ++r) {
    for (int g = 0; g < 4; ++g) line[count++] = rows.gate[g][j + r] + u;
    if (rows.cell_out && rows.cell_out[j + r]) line[count++] = rows.cell_out[j + r] + u;
  }
  return count;
}

// i, f, g and o before activation lie at pre + r * row + k * gate, for k = 0 .. 3, a whole vector each can be read; u is
// the first unit, n <= lanes how many of them exist. j: the first row.
//
// First every row's gates and c, then every row's tanh(c): one after the other they are a chain of a hundred cycles, of
// which a CPU has too few at a time before it to fill its units.
template <int R, class S>
CELLGATE_INLINE void cells(const S* pre, int64_t row, int64_t gate, const Rows<S>& rows, int64_t j, int64_t u,
                           int64_t n) {
  using V = Vec<S>;
  constexpr int L = V::lanes;
  enter(Phase::cells);
  alignas(64) S state[R][2][L];  // c and o
  for (int r = 0; r < R; ++r, pre += row) {
    V i = sigmoid(V::load(pre)), f = sigmoid(V::load(pre + gate));
    V g = tanh(V::load(pre + 2 * gate)), o = sigmoid(V::load(pre + 3 * gate));
    const S* c_in = rows.c[j + r] + u;
    V c = fma(f, n == L ? V::load(c_in) : V::load_n(c_in, n), i * g);
    c.store(state[r][0]);
    o.store(state[r][1]);
    c.store_n(rows.c_out[j + r] + u, n);
    if (rows.gate[0]) {
      i.store_n(rows.gate[0][j + r] + u, n);
      f.store_n(rows.gate[1][j + r] + u, n);
      g.store_n(rows.gate[2][j + r] + u, n);
      o.store_n(rows.gate[3][j + r] + u, n);
    }
    if (rows.cell_out && rows.cell_out[j + r]) c.store_n(rows.cell_out[j + r] + u, n);
  }
  for (int r = 0; r < R; ++r) {
    V h = V::load(state[r][1]) * tanh(V::load(state[r][0]));
    if (n == L) {
      h.store(rows.h_out[j + r] + u);
    } else {
      h.store_n(rows.h_out[j + r] + u, n);
    }
  }
  enter(Phase::products);
}
CELLGATE_END
