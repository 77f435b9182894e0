#include "borrowed.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <system_error>
#include <thread>

#include "threads.h"

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace cellgate {
namespace {

struct OpenMp {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*thread)() = nullptr;
  int (*threads)() = nullptr;
  int (*in_parallel)() = nullptr;
  int (*cpus)() = nullptr;
};

std::atomic<bool> forked{false};

const OpenMp& openmp() {
  static const OpenMp found = [] {
    OpenMp f;
#if defined(__unix__) && !defined(CELLGATE_NO_OPENMP)
    f.cpus = reinterpret_cast<decltype(f.cpus)>(dlsym(RTLD_DEFAULT, "omp_get_num_procs"));
    const char* wish = std::getenv("CELLGATE_THREADS");
    if (wish && std::strcmp(wish, "own") == 0) return f;
    f.parallel = reinterpret_cast<decltype(f.parallel)>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    f.thread = reinterpret_cast<decltype(f.thread)>(dlsym(RTLD_DEFAULT, "omp_get_thread_num"));
    f.threads = reinterpret_cast<decltype(f.threads)>(dlsym(RTLD_DEFAULT, "omp_get_num_threads"));
    f.in_parallel = reinterpret_cast<decltype(f.in_parallel)>(dlsym(RTLD_DEFAULT, "omp_in_parallel"));
    if (!f.thread || !f.threads || !f.in_parallel) f.parallel = nullptr;
#endif
    return f;
  }();
  return found;
}

struct Job {
  BorrowedBody body;  // null: a trial
  void* arg;
  int size;
  bool granted;  // whether the runtime gave as many threads as asked for
};

void run_member(void* argument) {
  Job& job = *static_cast<Job*>(argument);
  const int member = openmp().thread();
  if (openmp().threads() != job.size) {
    if (member == 0) job.granted = false;
    return;
  }
  if (job.body) job.body(job.arg, member);
}

// Whether something keeps the runtime calm (calm_borrowed), and until when.
using Clock = std::chrono::steady_clock;
std::atomic<bool> calm{false};
std::atomic<int64_t> calm_until{0};

// More threads than this are too many to keep asleep.
constexpr int kMostCalming = 4;

void do_nothing(void*) {}

// Whether so many threads can be made at once. The runtime ends the process where it cannot make one, as it may where
// memory is short; the stacks of those that were made here are kept by the C library for the next.
bool can_make_threads(int count) {
  std::atomic<bool> go{false};
  std::unique_ptr<std::thread[]> made(new (std::nothrow) std::thread[static_cast<size_t>(count)]);
  if (!made) return false;
  int k = 0;
  try {
    for (; k < count; ++k) {
      made[k] = std::thread([&go] {
        while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      });
    }
  } catch (const std::system_error&) {
  }
  go.store(true, std::memory_order_release);
  for (int j = 0; j < k; ++j) made[j].join();
  return k == count;
}

}  // namespace

bool can_borrow(int size) {
  if (!openmp().parallel || forked.load(std::memory_order_relaxed) || openmp().in_parallel()) return false;
  thread_local int tried = 0;
  if (tried != size) {
    if (!can_make_threads(size - 1) || !run_borrowed(size, nullptr, nullptr)) return false;
    tried = size;
  }
  return true;
}

bool run_borrowed(int size, BorrowedBody body, void* arg) {
  Job job{body, arg, size, true};
  openmp().parallel(run_member, &job, static_cast<unsigned>(size), 0);
  return job.granted;
}

void calm_borrowed(int size, int64_t until) {
  const int more = available_cpus() - size + 1;  // beside the caller of this team of the runtime's own
  if (!openmp().parallel || forked.load(std::memory_order_relaxed) || more < 1 || more > kMostCalming) return;
  calm_until.store(until, std::memory_order_relaxed);
  if (calm.exchange(true)) return;
  auto stay = [more] {
    if (can_make_threads(more)) openmp().parallel(do_nothing, nullptr, static_cast<unsigned>(more + 1), 0);
    for (;;) {
      const std::chrono::nanoseconds end(calm_until.load(std::memory_order_relaxed));
      if (end <= Clock::now().time_since_epoch()) break;
      std::this_thread::sleep_until(Clock::time_point(std::chrono::duration_cast<Clock::duration>(end)));
    }
    calm.store(false);  // the runtime dismisses the team of a thread that ends
  };
  try {
    std::thread(stay).detach();
  } catch (const std::system_error&) {
    calm.store(false);
  }
}

int runtime_cpus() { return openmp().cpus ? openmp().cpus() : 0; }

void forget_borrowed() { forked.store(true, std::memory_order_relaxed); }

}  // namespace cellgate
