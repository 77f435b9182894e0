// Work that a team shares by who comes first. Cores are never equally fast for long: the host of a virtual machine, or
// another program, takes one away for a while, and parts are never quite equal. So a member does its part in pieces, one
// after another, and then the last of those that others have not begun. Whoever does a piece does it the same way:
// results do not depend on it.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
// How many of one member's pieces have been taken: by itself, from the first on, in the lower half, by others, from the
// last on, in the upper. Closed until the member opens it.
constexpr uint64_t kClosed = uint64_t{1} << 31;
struct alignas(64) Taken {
  uint64_t count = kClosed;
};

// About how many multiply-adds make a piece of a large product.
constexpr int64_t kPieceWork = 4'000'000;
inline int64_t pieces_of(int64_t work, int64_t most) {
  return smaller(larger<int64_t>(1, work / kPieceWork), larger<int64_t>(1, most));
}

// From here on pieces may be taken. Between closing and opening nobody may still be at those of the time before.
inline void open_pieces(Taken& taken) { __atomic_store_n(&taken.count, 0, __ATOMIC_RELEASE); }
inline void close_pieces(Taken& taken) { __atomic_store_n(&taken.count, kClosed, __ATOMIC_RELAXED); }

// One of a member's `count` pieces, or -1. Another than the member itself leaves it the last `spared`: what they read may
// have to come from its cache.
inline int64_t take_piece(Taken& taken, int64_t count, bool own, int64_t spared) {
  constexpr uint64_t low = 0xffffffff;
  auto left = [count](uint64_t n) { return count - static_cast<int64_t>(n & low) - static_cast<int64_t>(n >> 32); };
  if (left(__atomic_load_n(&taken.count, __ATOMIC_RELAXED)) <= (own ? 0 : spared)) return -1;
  const uint64_t before = __atomic_fetch_add(&taken.count, own ? 1 : low + 1, __ATOMIC_ACQUIRE);
  if (left(before) <= 0) return -1;
  return static_cast<int64_t>(own ? before & low : static_cast<uint64_t>(count - 1) - (before >> 32));
}

// Calls work(m, piece) for the pieces of every member m, count(m) of them, until all are taken or spared. Those that
// others took may still be under way when this returns: meet before using them.
template <class Count, class Work>
void share_pieces(Taken* taken, int members, int me, int64_t spared, const Count& count, const Work& work) {
  for (int k = 0; k < members; ++k) {
    const int m = me + k < members ? me + k : me + k - members;
    const int64_t its = count(m);
    for (int64_t piece; (piece = take_piece(taken[m], its, m == me, spared)) >= 0;) work(m, piece);
  }
}
CELLGATE_END
