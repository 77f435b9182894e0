#include "blocks.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace cellgate {
namespace {

constexpr size_t kPage = size_t{1} << 21;  // of a huge page
constexpr int kPlaces = 64;                // blocks that may wait: the gradients of a deep net all come at once
constexpr size_t kMost = size_t{1} << 30;  // bytes that may wait, if that is no more than an eighth of the machine's
constexpr int64_t kPatience = 10;          // seconds that a block waits, as long as others come and go
constexpr int64_t kSoon = 1;               // seconds in which the next call is expected

size_t rounded(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

#if defined(__linux__)
void* from_system(size_t bytes) {
  // A page more, so that the block can begin on a huge page.
  if (bytes > SIZE_MAX - kPage) return nullptr;
  void* got = mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  char* begin = static_cast<char*>(got);
  char* block = reinterpret_cast<char*>(rounded(reinterpret_cast<size_t>(begin)));
  if (block > begin) munmap(begin, static_cast<size_t>(block - begin));
  const size_t rest = static_cast<size_t>(begin + bytes + kPage - (block + bytes));
  if (rest > 0) munmap(block + bytes, rest);
  madvise(block, bytes, MADV_HUGEPAGE);
  return block;
}

void to_system(void* data, size_t bytes) { munmap(data, bytes); }
void let_go(void* data, size_t bytes) { madvise(data, bytes, MADV_FREE); }

size_t most() {
  static const size_t bytes = [] {
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGE_SIZE);
    if (pages <= 0 || size <= 0) return kMost / 8;
    return std::min(kMost, static_cast<size_t>(pages) / 8 * static_cast<size_t>(size));
  }();
  return bytes;
}
#else
void* from_system(size_t bytes) { return std::aligned_alloc(kPage, bytes); }
void to_system(void* data, size_t) { std::free(data); }
void let_go(void*, size_t) {}
size_t most() { return kMost / 8; }
#endif

int64_t now() {
  using namespace std::chrono;
  return duration_cast<seconds>(steady_clock::now().time_since_epoch()).count();
}

struct Waiting {
  void* data;
  size_t bytes;
  int64_t since;
  bool held;  // its pages are still ours
};

struct Store {
  std::mutex mutex;
  Waiting block[kPlaces];  // the longest waiting first
  int count = 0;
  size_t bytes = 0, held = 0;  // of those that wait
  int64_t fresh = 0, reused = 0;

  void add(void* data, size_t size) {
    block[count++] = {data, size, now(), true};
    bytes += size;
    held += size;
  }
  Waiting remove(int k) {
    Waiting found = block[k];
    std::copy(block + k + 1, block + count, block + k);
    --count;
    bytes -= found.bytes;
    if (found.held) held -= found.bytes;
    return found;
  }
  // Sends back what has waited too long, and as much as is needed to make room for one block more. Pages are let go if the
  // next call did not come soon, and not at once: to tell the other cores of it takes longer than a small step of training.
  void tidy(size_t room) {
    const int64_t time = now();
    while (count > 0 &&
           (time - block[0].since > kPatience || bytes + room > most() || (room > 0 && count == kPlaces))) {
      Waiting oldest = remove(0);
      to_system(oldest.data, oldest.bytes);
    }
    for (int k = 0; k < count; ++k) {
      if (!block[k].held) continue;
      if (time - block[k].since <= kSoon && held + room <= most() / 2) break;  // those behind it came later
      let_go(block[k].data, block[k].bytes);
      block[k].held = false;
      held -= block[k].bytes;
    }
  }
};

Store* the_store();

#if defined(__unix__) || defined(__APPLE__)
// The list is not in the midst of a change while a process forks; the child has its own copy of the blocks.
void lock_for_fork() { the_store()->mutex.lock(); }
void unlock_after_fork() { the_store()->mutex.unlock(); }
#endif

// Never destroyed: tensors that hold blocks may outlive everything else.
Store* the_store() {
  static Store* store = [] {
    Store* made = new Store;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
#endif
    return made;
  }();
  return store;
}

}  // namespace

void* block_take(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const size_t size = rounded(std::max<size_t>(bytes, 1));
  Store& store = *the_store();
  {
    std::lock_guard<std::mutex> lock(store.mutex);
    store.tidy(0);
    // Only a block of that very size: sizes repeat from call to call, and the giver knows no other size.
    for (int k = store.count; k-- > 0;) {
      if (store.block[k].bytes != size) continue;
      ++store.reused;
      return store.remove(k).data;
    }
    ++store.fresh;
  }
  void* data = from_system(size);
  if (data) return data;
  blocks_release();
  return from_system(size);
}

void block_give(void* data, size_t bytes) {
  if (!data) return;
  const size_t size = rounded(std::max<size_t>(bytes, 1));
  if (size > most()) return to_system(data, size);
  Store& store = *the_store();
  std::lock_guard<std::mutex> lock(store.mutex);
  store.tidy(size);
  store.add(data, size);
}

void blocks_release() {
  Store& store = *the_store();
  std::lock_guard<std::mutex> lock(store.mutex);
  while (store.count > 0) {
    Waiting oldest = store.remove(0);
    to_system(oldest.data, oldest.bytes);
  }
}

BlockStatistics block_statistics() {
  Store& store = *the_store();
  std::lock_guard<std::mutex> lock(store.mutex);
  return {store.count, static_cast<int64_t>(store.bytes), store.fresh, store.reused};
}

}  // namespace cellgate
