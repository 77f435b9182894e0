// Large blocks of memory that come and go with every call: what a training forward keeps, the gradients of large weights,
// what a trace records.
//
// A block fresh from the system costs a page fault for every page, and the system writes each page full of zeros first:
// for a trace of some hundred megabytes that takes longer than the LSTM. So blocks given back wait here for the next
// call. What waits is bounded. As blocks come and go, those that have waited for a second are marked so that the system may
// take their pages whenever it is short of memory (MADV_FREE), and those that have waited for ten go back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cellgate {

// Below this, allocators keep memory themselves, and there is nothing to gain.
constexpr size_t kBlockMin = size_t{1} << 20;

// A block of at least `bytes` bytes that begins on a huge page, contents undefined; null when memory is out.
void* block_take(size_t bytes);
// Gives it back; `bytes` as it was asked for. From any thread.
void block_give(void* data, size_t bytes);
// Returns all waiting blocks to the system.
void blocks_release();

struct BlockStatistics {
  int64_t waiting, waiting_bytes, fresh, reused;  // the last two count calls of block_take()
};
BlockStatistics block_statistics();

}  // namespace cellgate
