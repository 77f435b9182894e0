#include "memory.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <list>
#include <mutex>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace cellgate {
namespace {

constexpr size_t kAlignment = 64;
// Two megabytes: big blocks begin on a huge page.
constexpr size_t kHuge = size_t{1} << 21;

void* allocate(size_t bytes) {
  size_t alignment = bytes >= kHuge ? kHuge : kAlignment;
  if (bytes > SIZE_MAX - alignment) return nullptr;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, bytes);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Kernels walk these blocks in long strides, which costs a look-up of the page at every step when pages are small.
  if (data && bytes >= kHuge) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

// Blocks up to this size stay with their thread.
constexpr size_t kKeep = size_t{64} << 20;

struct ThreadScratch {
  void* data = nullptr;
  size_t bytes = 0;
  ~ThreadScratch() { std::free(data); }
};
thread_local ThreadScratch scratches[static_cast<int>(Use::count)];

}  // namespace

void* scratch(Use use, size_t bytes) {
  ThreadScratch& mine = scratches[static_cast<int>(use)];
  if (bytes > mine.bytes) {
    std::free(mine.data);
    // A little more than asked for, so that slowly growing calls do not allocate each time.
    size_t wanted = bytes < kKeep ? bytes + bytes / 4 : bytes;
    mine.data = allocate(wanted);
    mine.bytes = mine.data ? wanted : 0;
  }
  return mine.data;
}

void scratch_done(Use use) {
  ThreadScratch& mine = scratches[static_cast<int>(use)];
  if (mine.bytes <= kKeep) return;
  std::free(mine.data);
  mine.data = nullptr;
  mine.bytes = 0;
}

void prefer_huge_pages(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Below this size glibc serves from memory it has touched before.
  constexpr int64_t worth = int64_t{16} << 20;
  if (!data || bytes < worth) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHuge - 1) / kHuge * kHuge;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / kHuge * kHuge;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)bytes;
#endif
}

void sort_by_length(const int64_t* lengths, int64_t count, int64_t* order) {
  for (int64_t j = 0; j < count; ++j) order[j] = j;
  // Data that is sorted already, as packed data is, costs one look.
  if (std::is_sorted(lengths, lengths + count, [](int64_t a, int64_t b) { return a > b; })) return;
  std::sort(order, order + count,
            [lengths](int64_t a, int64_t b) { return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : a < b; });
}

struct Pack {
  std::atomic<int> references{1};
  size_t bytes = 0;
  void* data = nullptr;
};

namespace {

// What the cache may hold beside the weights themselves; the least recently used go first.
constexpr int64_t kMaxBytes = int64_t{1} << 29;
constexpr int kMaxEntries = 256;

struct Entry {
  PackKey key;
  Pack* pack;
};

struct Cache {
  std::mutex mutex;
  std::list<Entry> entries;  // most recently used first
  PackStatistics statistics{0, 0, 0, 0};
};

Cache* the_cache();

#if defined(__unix__) || defined(__APPLE__)
// The cache is not in the midst of a change while a process forks, so the child inherits it whole.
void lock_for_fork() { the_cache()->mutex.lock(); }
void unlock_after_fork() { the_cache()->mutex.unlock(); }
#endif

// Never destroyed, so that threads may still use it while the process ends.
Cache* the_cache() {
  static Cache* cache = [] {
    Cache* made = new Cache;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
#endif
    return made;
  }();
  return cache;
}

bool same(const PackKey& a, const PackKey& b) {
  return a.digest[0] == b.digest[0] && a.digest[1] == b.digest[1] &&
         std::memcmp(a.shape, b.shape, sizeof a.shape) == 0 && a.packer == b.packer && a.kind == b.kind;
}

void evict(Cache& cache, int64_t max_bytes, int64_t max_entries) {
  while (!cache.entries.empty() && (cache.statistics.bytes > max_bytes || cache.statistics.entries > max_entries)) {
    Pack* oldest = cache.entries.back().pack;
    cache.statistics.bytes -= static_cast<int64_t>(oldest->bytes);
    --cache.statistics.entries;
    cache.entries.pop_back();
    pack_release(oldest);
  }
}

}  // namespace

void* pack_data(Pack* pack) { return pack->data; }

Pack* pack_find(const PackKey& key) {
  Cache& cache = *the_cache();
  std::lock_guard<std::mutex> lock(cache.mutex);
  for (auto e = cache.entries.begin(); e != cache.entries.end(); ++e) {
    if (!same(e->key, key)) continue;
    cache.entries.splice(cache.entries.begin(), cache.entries, e);
    ++cache.statistics.hits;
    e->pack->references.fetch_add(1, std::memory_order_relaxed);
    return e->pack;
  }
  ++cache.statistics.misses;
  return nullptr;
}

Pack* pack_make(size_t bytes) {
  Pack* pack = new (std::nothrow) Pack;
  if (!pack) return nullptr;
  pack->data = allocate(bytes ? bytes : 1);
  pack->bytes = bytes;
  if (pack->data) return pack;
  delete pack;
  return nullptr;
}

void pack_insert(const PackKey& key, Pack* pack) {
  Cache& cache = *the_cache();
  std::lock_guard<std::mutex> lock(cache.mutex);
  for (const Entry& e : cache.entries)
    if (same(e.key, key)) return;  // another thread was first
  try {
    cache.entries.push_front({key, pack});
  } catch (const std::bad_alloc&) {
    return;  // not cached, that is all
  }
  pack->references.fetch_add(1, std::memory_order_relaxed);
  cache.statistics.bytes += static_cast<int64_t>(pack->bytes);
  ++cache.statistics.entries;
  evict(cache, kMaxBytes, kMaxEntries);
}

void pack_release(Pack* pack) {
  if (!pack || pack->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  std::free(pack->data);
  delete pack;
}

void pack_clear() {
  Cache& cache = *the_cache();
  std::lock_guard<std::mutex> lock(cache.mutex);
  evict(cache, -1, -1);
}

PackStatistics pack_statistics() {
  Cache& cache = *the_cache();
  std::lock_guard<std::mutex> lock(cache.mutex);
  return cache.statistics;
}

}  // namespace cellgate
