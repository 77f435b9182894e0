#include "threads.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>

#include "borrowed.h"
#include "crowding.h"
#include "fibers.h"
#include "phases.h"

#if defined(__linux__)
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cellgate {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// About 20 microseconds on current cores: longer than two members of a team ever drift apart while both run, shorter
// than a scheduler's time slice by two orders of magnitude.
constexpr int kSpins = 1500;
constexpr int kYields = 8;

void sleep_on(Epoch& epoch, uint32_t seen) {
#if defined(__linux__)
  // The timeout only bounds what an unforeseen lost wake-up could cost.
  timespec limit{0, 50'000'000};
  syscall(SYS_futex, &epoch.value, FUTEX_WAIT_PRIVATE, seen, &limit, nullptr, 0);
#else
  (void)epoch;
  (void)seen;
  std::this_thread::sleep_for(std::chrono::microseconds(50));
#endif
}

void wake_all(Epoch& epoch) {
#if defined(__linux__)
  syscall(SYS_futex, &epoch.value, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
#else
  (void)epoch;
#endif
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Nanoseconds that the calling thread had a CPU; 0 where the system does not say.
int64_t now_of_thread() {
#if defined(__linux__)
  timespec t;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0) return t.tv_sec * 1'000'000'000 + t.tv_nsec;
#endif
  return 0;
}

// Nanoseconds that members of the team at work waited for one another, beyond the short spin.
std::atomic<int64_t> lost{0};

struct alignas(64) Worker {
  Epoch job;   // published by the caller: a task waits
  Epoch done;  // published by the worker: it has run
};

// Never destroyed: workers are detached and die with the process.
struct Pool {
  std::atomic<bool> leased{false};
  int started = 0;  // workers running, touched by the leaseholder only
  Team::Task task = nullptr;
  void* arg = nullptr;
  int size = 0;
#if defined(__linux__)
  std::atomic<uint64_t> taken[CPU_SETSIZE / 64] = {};  // CPUs on which members of the present team run
#endif
  Crowding crowding;
  Fibers fibers;
  std::atomic<uint64_t> runs[3] = {};  // by Hands; written by the leaseholder only
  Worker workers[kMaxTeam - 1];
  // Where members meet that are not our own workers.
  Epoch arrived[kMaxTeam];
  uint32_t round = 0;
};

#if defined(__linux__)
// There and free again: the thread is moved, not pinned.
void move_to(int cpu, const cpu_set_t& allowed) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  if (sched_setaffinity(0, sizeof one, &one) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
}
#endif

// Puts the calling member on a CPU where no other member of its team runs, if there is one.
//
// A scheduler is free to leave a woken thread on the CPU of the thread that woke it. On small virtual machines (seen on
// two CPUs, Linux 6.18) half of all processes kept both members on one CPU for seconds while the other CPU idled, which
// halves the speed. Costs a read of the CPU number; two system calls only when members do collide.
void spread_out(Pool* pool) {
#if defined(__linux__)
  const int cpu = sched_getcpu();
  if (cpu < 0 || cpu >= CPU_SETSIZE) return;
  const uint64_t bit = uint64_t{1} << (cpu % 64);
  if (!(pool->taken[cpu / 64].fetch_or(bit, std::memory_order_relaxed) & bit)) return;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int other = 0; other < CPU_SETSIZE; ++other) {
    const uint64_t other_bit = uint64_t{1} << (other % 64);
    if (!CPU_ISSET(other, &allowed)) continue;
    if (pool->taken[other / 64].fetch_or(other_bit, std::memory_order_relaxed) & other_bit) continue;
    move_to(other, allowed);
    return;
  }
#else
  (void)pool;
#endif
}

// Puts the calling thread on another CPU, where there are few of them; there are always better ones to be found by the
// scheduler among many.
void move_on() {
#if defined(__linux__)
  constexpr int kFew = 4;
  const int here = sched_getcpu();
  cpu_set_t allowed;
  if (here < 0 || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  const int count = CPU_COUNT(&allowed);
  if (count < 2 || count > kFew) return;
  int other = here;
  do other = (other + 1) % CPU_SETSIZE;
  while (!CPU_ISSET(other, &allowed));
  move_to(other, allowed);
#endif
}

// Asks for short time slices, so that a woken worker may at once take the CPU from a thread that only waits: from
// Linux 6.6 a running thread keeps its CPU for 3 ms otherwise, as long as a small call takes altogether.
void ask_for_short_slices() {
#if defined(__linux__) && defined(SYS_sched_setattr) && defined(SYS_sched_getattr)
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {};
  // Niceness and policy stay as the process has them.
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH) return;
  attributes.size = sizeof attributes;
  attributes.flags = 0;
  attributes.runtime = 100'000;  // nanoseconds; the kernels before 6.12 ignore it for ordinary threads
  syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
}

void wait_idly(Epoch& epoch, uint32_t at_least);

void work(Pool* pool, int index) {
  ask_for_short_slices();
  Worker& self = pool->workers[index];
  for (uint32_t job = self.done.value + 1;; ++job) {
    if (!reached(self.job, job)) wait_idly(self.job, job);
    spread_out(pool);
    pool->task(pool->arg, index + 1, pool->size);
    publish(self.done, job);
  }
}

std::atomic<Pool*> the_pool{nullptr};

// Whose hands the user wants, crowded or not, by CELLGATE_THREADS: "borrowed" or "one". ("own" leaves no others but one.)
bool wants(const char* kind) {
  const char* wish = std::getenv("CELLGATE_THREADS");
  return wish && std::strcmp(wish, kind) == 0;
}
Hands hands_of(Crowding& crowding, int size) {
  static const bool borrowed = wants("borrowed"), one = wants("one");
  if (borrowed || one) return borrowed ? Hands::borrowed : Hands::one;
  const Hands hands = crowding.turn(now(), size);
  // Not beyond the pause: threads that sleep between calls would fail every trial.
  if (hands != Hands::borrowed) calm_borrowed(size, crowding.until());
  return hands;
}

constexpr int64_t kRegion = 30'000;  // nanoseconds that a parallel region of the runtime costs

struct BorrowedJob {
  Team::Task task;
  void* arg;
  int size;
  Pool* pool;
  uint32_t round;
  int64_t inside;  // nanoseconds between the caller's first and last step in the region
};

void run_member_borrowed(void* argument, int member) {
  BorrowedJob& job = *static_cast<BorrowedJob*>(argument);
  const int64_t start = member == 0 ? now() : 0;
  spread_out(job.pool);
  job.task(job.arg, member, job.size);
  // Meet here, where waiting is polite, before the runtime's own barrier, where it spins.
  Meeting{job.pool->arrived, job.size}.meet(member, job.round);
  if (member == 0) job.inside = now() - start;
}

#if defined(__unix__) || defined(__APPLE__)
// The child of a fork has none of the parent's threads: forget the pool (its memory is the parent's copy, a few pages).
void forget_pool_in_child() {
  the_pool.store(nullptr, std::memory_order_relaxed);
  forget_borrowed();
}
// From the time the library is loaded, not from the first call: the runtime's threads may be lost in a fork before it,
// and whoever asks for them in the child waits for ever.
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, forget_pool_in_child);
#endif

Pool* pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found) return found;
  Pool* made = new (std::nothrow) Pool;
  if (made && !the_pool.compare_exchange_strong(found, made, std::memory_order_acq_rel)) {
    delete made;
    return found;
  }
  return made;
}

}  // namespace

void publish(Epoch& epoch, uint32_t value) {
  // Sequentially consistent on both sides: either we see the sleeper, or the sleeper sees the value.
  __atomic_store_n(&epoch.value, value, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&epoch.sleepers, __ATOMIC_SEQ_CST) != 0) wake_all(epoch);
}

namespace {

bool spin_for(const Epoch& epoch, uint32_t at_least) {
  static const bool spin = available_cpus() > 1;
  if (!spin) return false;
  for (int i = 0; i < kSpins; ++i) {
    if (reached(epoch, at_least)) return true;
    pause_briefly();
  }
  return false;
}

void wait_politely(Epoch& epoch, uint32_t at_least) {
  for (int i = 0; i < kYields; ++i) {
    if (reached(epoch, at_least)) return;
    std::this_thread::yield();
  }
  __atomic_fetch_add(&epoch.sleepers, 1, __ATOMIC_SEQ_CST);
  for (;;) {
    uint32_t seen = __atomic_load_n(&epoch.value, __ATOMIC_SEQ_CST);
    if (static_cast<int32_t>(seen - at_least) >= 0) break;
    sleep_on(epoch, seen);
  }
  __atomic_fetch_sub(&epoch.sleepers, 1, __ATOMIC_SEQ_CST);
}

// Between the jobs of a worker, where waiting is no loss.
void wait_idly(Epoch& epoch, uint32_t at_least) {
  if (!spin_for(epoch, at_least)) wait_politely(epoch, at_least);
}

}  // namespace

void wait_slowly(Epoch& epoch, uint32_t at_least) {
  if (in_fiber()) {
    while (!reached(epoch, at_least)) next_fiber();
    return;
  }
  const Phase before = enter(Phase::waiting);
  if (!spin_for(epoch, at_least)) {
    const int64_t since = now();
    wait_politely(epoch, at_least);
    lost.fetch_add(now() - since, std::memory_order_relaxed);
  }
  enter(before);
}

namespace {
// Starts workers until there are `wanted`, or the system grants no more; returns how many there are.
int start_workers(Pool* p, int wanted) {
  while (p->started < wanted) {
    try {
      std::thread(work, p, p->started).detach();
    } catch (const std::system_error&) {
      break;
    }
    ++p->started;
  }
  return p->started;
}

#if defined(__linux__)
// Nanoseconds that the calling thread could have run and had no CPU, since it began; -1 where the system does not say.
int64_t waited_for_cpu() {
  const int file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  char text[96];
  const ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  if (size <= 0) return -1;
  text[size] = 0;
  long long ran = 0, waited = 0;
  return std::sscanf(text, "%lld %lld", &ran, &waited) == 2 ? waited : -1;
}
#endif

// A call that needs no more than its own thread: every so often, whether its thread has to wait for a CPU. Where it has, the
// runtime's teams, which PyTorch's operators use between our calls, are kept from spinning.
void look_around(int allowed) {
#if defined(__linux__)
  constexpr uint32_t kCalls = 16;  // between two looks at the clock
  thread_local Alone alone;
  thread_local uint32_t calls = 0;
  if (++calls % kCalls != 0) return;
  const int64_t time = now();
  if (!alone.due(time)) return;
  const int64_t waited = waited_for_cpu();
  if (waited >= 0 && alone.judge(time, waited)) calm_borrowed(allowed, alone.until());
#else
  (void)allowed;
#endif
}
}  // namespace

// Members of a team meet at almost every step: one that has no CPU of its own holds up all others for a time slice each
// time. So there are no more than CPUs, unless CELLGATE_THREADS says whose threads they are to be, as tests do.
int most_members() {
  constexpr uint32_t kCalls = 64;  // between two looks: CPUs are taken away and given rarely
  static const bool as_told = std::getenv("CELLGATE_THREADS") != nullptr;
  thread_local int most = 0;
  thread_local uint32_t calls = 0;
  if (as_told) return kMaxTeam;
  if (calls++ % kCalls == 0) most = std::min(available_cpus(), kMaxTeam);
  return most;
}

Team::Team(int wanted, int allowed) : size_(1), leased_(false), kind_(Kind::own) {
  if (wanted <= 1) {
    if (allowed > 1) look_around(allowed);
    return;
  }
  wanted = std::min(wanted, most_members());
  Pool* p = wanted > 1 ? pool() : nullptr;
  if (!p || p->leased.exchange(true, std::memory_order_acquire)) return;
  leased_ = true;
  const Hands hands = hands_of(p->crowding, wanted);
  kind_ = hands == Hands::one && wanted <= kMostFibers     ? Kind::fibers
          : hands == Hands::borrowed && can_borrow(wanted) ? Kind::borrowed
          : hands == Hands::borrowed                       ? Kind::only_own
                                                           : Kind::own;
  const bool ready = kind_ == Kind::fibers || kind_ == Kind::borrowed;
  size_ = ready ? wanted : std::min(start_workers(p, wanted - 1) + 1, wanted);
  if (size_ == 1) {
    leased_ = false;
    p->leased.store(false, std::memory_order_release);
  }
}

Team::~Team() {
  if (leased_) pool()->leased.store(false, std::memory_order_release);
}

bool Team::run(Task task, void* arg) {
  if (size_ == 1) {
    task(arg, 0, 1);
    return true;
  }
  Pool* p = pool();
  p->task = task;
  p->arg = arg;
  p->size = size_;
#if defined(__linux__)
  for (auto& word : p->taken) word.store(0, std::memory_order_relaxed);
#endif
  const int64_t start = now(), had = now_of_thread();
  lost.store(0, std::memory_order_relaxed);
  auto judge = [&](Hands hands, int64_t more_lost) {
    const int64_t end = now(), took = end - start, waited = lost.load(std::memory_order_relaxed) + more_lost;
    p->crowding.judge(hands, end, took, waited, had ? now_of_thread() - had : took - waited / size_, size_);
  };
  auto count = [&](Hands hands) { p->runs[static_cast<int>(hands)].fetch_add(1, std::memory_order_relaxed); };
  if (kind_ == Kind::fibers) {
    if (!p->fibers.run(task, arg, size_)) return false;
    judge(Hands::one, 0);
    if (p->crowding.moves_on()) move_on();
    count(Hands::one);
    return true;
  }
  if (kind_ == Kind::borrowed) {
    BorrowedJob job{task, arg, size_, p, ++p->round, 0};
    if (run_borrowed(size_, run_member_borrowed, &job)) {
      // What the runtime's own barriers took beyond their usual time was waiting too.
      judge(Hands::borrowed, std::max<int64_t>(0, now() - start - job.inside - kRegion) * (size_ - 1));
      count(Hands::borrowed);
      return true;
    }
    // Limits of the runtime changed since the trial.
    if (start_workers(p, size_ - 1) < size_ - 1) return false;
  }
  spread_out(p);
  for (int i = 0; i < size_ - 1; ++i) publish(p->workers[i].job, p->workers[i].job.value + 1);
  task(arg, 0, size_);
  for (int i = 0; i < size_ - 1; ++i) wait_for(p->workers[i].done, p->workers[i].job.value);
  // With no others to be had, our own threads are the usual ones, by which a crowd is known.
  judge(kind_ == Kind::only_own ? Hands::borrowed : Hands::own, 0);
  count(Hands::own);
  return true;
}

TeamRuns team_runs() {
  const Pool* p = the_pool.load(std::memory_order_acquire);
  auto of = [p](Hands hands) { return p ? p->runs[static_cast<int>(hands)].load(std::memory_order_relaxed) : 0; };
  return {of(Hands::borrowed), of(Hands::own), of(Hands::one)};
}

int available_cpus() {
  int n = runtime_cpus();
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) n = std::max(n, CPU_COUNT(&set));
#endif
  if (n <= 0) n = static_cast<int>(std::thread::hardware_concurrency());
  return std::max(n, 1);
}

}  // namespace cellgate
