// What the forward and the backward pass of any cell share: who has which rows, where the state of a row comes from, and
// scratch memory.
//
// The members of a team share batch rows, sorted by falling length and dealt one by one, so that each has its part of
// long and short sequences and those under way at a step come first. With enough rows no member waits for another inside
// the recurrence. With few rows or large weights the members share the columns of the recurrent product instead, each
// keeping its part of the weights in its own cache, and meet twice a step; cells remain with the owner of the row.
#pragma once

#include "kernels/gemm.h"
#include "kernels/hash.h"
#include "kernels/variant_cell.h"
#include "memory.h"
#include "threads.h"

CELLGATE_BEGIN
// Bump allocation, twice: once without memory to learn the size, once with.
struct Shelf {
  char* base;
  size_t used = 0;
  explicit Shelf(void* block) : base(static_cast<char*>(block)) {}
  template <class A>
  A* take(int64_t count) {
    used = (used + 63) / 64 * 64;
    A* p = base ? reinterpret_cast<A*>(base + used) : nullptr;
    used += static_cast<size_t>(count) * sizeof(A);
    return p;
  }
};

// A row of so many scalars, kept off powers of two, which would crowd few sets of a cache.
template <class S>
int64_t spaced(int64_t scalars) {
  int64_t stride = round_up(scalars, 64 / static_cast<int64_t>(sizeof(S)));
  if (stride * static_cast<int64_t>(sizeof(S)) % 512 == 0) stride += 64 / static_cast<int64_t>(sizeof(S));
  return stride;
}

// How a call is shared out.
struct VariantTeam {
  int members = 1;
  bool shared = false;  // the columns of the recurrent product are
};

// Threads that are worth their waking, by multiply-adds, and what they share: rows as long as each has enough of them for
// a tile, columns where a row's reading of the weights counts for more than two meetings a step.
template <class S>
VariantTeam variant_team(const VariantForward<S>& call, int64_t passes) {
  const int64_t columns = 4 * call.hidden_size, depth = call.projection_size, B = call.batch;
  const int64_t recurrent = columns * depth + (call.w_gg ? 9 * call.hidden_size * call.hidden_size : 0);
  const int64_t work = passes * call.steps * B * (columns * call.input_size + recurrent);
  const int most = static_cast<int>(smaller<int64_t>(call.threads, 1 + work / 12'000'000));
  const int by_rows = static_cast<int>(smaller<int64_t>(most, larger<int64_t>(1, B / 4)));
  const int64_t bytes = recurrent * static_cast<int64_t>(sizeof(S));
  // Without a second member for the rows anyway, less is worth a meeting.
  const int64_t large = by_rows == most ? int64_t{3} << 19 : int64_t{3} << 17;
  const int by_columns = static_cast<int>(smaller<int64_t>(most, panel_count<S>(depth)));
  if (by_columns > 1 && bytes > large && B < 16 * by_columns) return {by_columns, true};
  return {by_rows, false};
}

// The rows of a call.
template <class S>
struct VariantRows {
  const VariantForward<S>* call;
  int members;
  int64_t* order;  // (B) batch rows by falling length
  const S* zeros;  // as long as the longest state

  void sort() {
    if (call->lengths) return sort_by_length(call->lengths, call->batch, order);
    // Neighbours to one member: what a step keeps of a row may be less than a cache line, which two members would take
    // from each other at every step.
    int64_t b = 0;
    for (int member = 0; member < members; ++member)
      for (int64_t k = 0; k < count(member); ++k) order[place(member, k)] = b++;
  }
  int64_t length(int64_t b) const { return call->lengths ? call->lengths[b] : call->steps; }
  int64_t count(int member) const { return (call->batch - member + members - 1) / members; }
  int64_t place(int member, int64_t k) const { return member + k * members; }
  int64_t row(int member, int64_t k) const { return order[place(member, k)]; }
  // How many of all rows are under way at step t.
  int64_t active(int64_t t) const {
    int64_t low = 0, high = call->batch;
    if (!call->lengths) return high;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (length(order[middle]) > t)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }
  int64_t active(int member, int64_t t) const { return (active(t) - member + members - 1) / members; }
  // The row at a place among all.
  int64_t row_at(int64_t place) const { return order[place]; }

  // The step in forward's order.
  int64_t step(int64_t s) const { return call->backward_in_time ? call->steps - 1 - s : s; }
  bool first(int64_t t, int64_t b) const { return call->backward_in_time ? t == length(b) - 1 : t == 0; }
  int64_t before(int64_t t) const { return call->backward_in_time ? t + 1 : t - 1; }
  // Whether the state does not pass into step t.
  bool cut(int64_t t, int64_t b) const {
    if (!call->reset) return false;
    const int64_t edge = call->backward_in_time ? t + 1 : t;
    return (!call->backward_in_time || edge < length(b)) && call->reset[edge * call->batch + b];
  }
  // h and the state with which step t of a row begins, the latter where every state is kept.
  const S* h_before(int64_t t, int64_t b) const {
    if (cut(t, b)) return zeros;
    if (first(t, b)) return call->h0 ? call->h0 + b * call->projection_size : zeros;
    return call->output.at(before(t), b);
  }
  const S* memory_before(int64_t t, int64_t b) const {
    if (cut(t, b)) return zeros;
    if (first(t, b)) return initial_memory(b);
    return call->memory + (before(t) * call->batch + b) * memory_size();
  }
  const S* initial_memory(int64_t b) const { return call->c0 ? call->c0 + b * memory_size() : zeros; }
  int64_t memory_size() const { return call->form.memories() * call->hidden_size; }
  // Where the state after step t belongs, or null: it is not kept.
  S* kept_memory(int64_t t, int64_t b) const {
    const int64_t every = call->memory_every;
    if (!call->memory || t % every != (call->backward_in_time ? 0 : every - 1)) return nullptr;
    return call->memory + (t / every * call->batch + b) * memory_size();
  }
  // r of a row from its h, with a locked mask.
  void write_rec(const S* h, int64_t b, S* rec) const {
    const int64_t P = call->projection_size;
    const S* mask = call->locked + b * P;
    over_units<S>(P, [&](int64_t u, int64_t n) { put<S>(get<S>(h + u, n) * get<S>(mask + u, n), rec + u, n); });
  }
  int64_t longest_state() const {
    const VariantForward<S>& c = *call;
    return larger(larger(c.projection_size, c.input_size), 5 * c.hidden_size) + 64;
  }
};

template <class S>
CELLGATE_INLINE void copy_scalars(const S* from, S* to, int64_t n) {
  over_units<S>(n, [&](int64_t u, int64_t m) { put<S>(from ? get<S>(from + u, m) : Vec<S>::zero(), to + u, m); });
}
template <class S>
const S* at_or_none(const Sequence<const S>& sequence, int64_t t, int64_t b) {
  return sequence ? sequence.at(t, b) : nullptr;
}
CELLGATE_END
