// Memory of the engine: scratch space that a thread reuses from call to call, and the cache of packed weights.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cellgate {

// The calling thread's scratch block of at least `bytes` bytes, 64-byte aligned, contents undefined; null when memory
// is out. Each use has a block of its own. It stays valid until the next call with the same use on this thread;
// scratch_done() gives blocks past a limit back.
enum class Use { kernel, layers, backward, count };
void* scratch(Use use, size_t bytes);
void scratch_done(Use use);

// Asks the system for huge pages in a large block that the caller is about to write for the first time: 512 times fewer
// page faults. Does nothing for smaller blocks, which allocators reuse, and where there are no such pages.
void prefer_huge_pages(void* data, int64_t bytes);

// order = 0 .. count - 1 sorted by falling length, equal lengths in their order.
void sort_by_length(const int64_t* lengths, int64_t count, int64_t* order);

// Identity of a set of weights: what they contain, what they are packed for, and by whom.
struct PackKey {
  uint64_t digest[2];
  int64_t shape[4];
  const void* packer;  // address of the packing function's table, so that instruction sets and types do not mix
  int kind;
};

// A packed copy, shared by the cache and the calls that use it. The data are read-only once inserted.
struct Pack;
void* pack_data(Pack* pack);
Pack* pack_find(const PackKey& key);               // with a reference, or null
Pack* pack_make(size_t bytes);                     // with a reference, or null when memory is out
void pack_insert(const PackKey& key, Pack* pack);  // the cache adds a reference of its own, and evicts the oldest
void pack_release(Pack* pack);                     // null is allowed
void pack_clear();                                 // forget all
struct PackStatistics {
  int64_t entries, bytes, hits, misses;
};
PackStatistics pack_statistics();

}  // namespace cellgate
