#include "fibers.h"

#if defined(__linux__) && defined(__GLIBC__) && !defined(CELLGATE_NO_FIBERS)
#define CELLGATE_FIBERS 1
#include <sys/mman.h>
#include <ucontext.h>
#endif

// Sanitizers must be told when the stack changes under them.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CELLGATE_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CELLGATE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define CELLGATE_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CELLGATE_TSAN 1
#endif
#if defined(CELLGATE_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(CELLGATE_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace cellgate {

#if CELLGATE_FIBERS
namespace {

#if defined(CELLGATE_ASAN) || defined(CELLGATE_TSAN)
constexpr size_t kStack = size_t{4} << 20;
#else
constexpr size_t kStack = size_t{1} << 18;
#endif
constexpr size_t kGuard = 4096 * 4;  // of no access, below the stack

struct Member {
  ucontext_t context;
  const void* bottom = nullptr;
  size_t bytes = 0;
  void* fake = nullptr;     // AddressSanitizer's
  void* tracked = nullptr;  // ThreadSanitizer's
  bool finished = false;
};

struct Crew {
  Fibers::Task task;
  void* arg;
  int size, now = 0, before = 0, unfinished;
  Member member[kMostFibers];
};

thread_local Crew* crew = nullptr;

// After a switch, on the stack of the member that is now at work.
void arrived([[maybe_unused]] Crew& c) {
#if defined(CELLGATE_ASAN)
  // Tells where the stack left behind lies, which of the caller's is not known otherwise.
  Member& last = c.member[c.before];
  __sanitizer_finish_switch_fiber(c.member[c.now].fake, &last.bottom, &last.bytes);
#endif
}

void switch_to(Crew& c, int to) {
  Member &me = c.member[c.now], &other = c.member[to];
  c.before = c.now;
  c.now = to;
#if defined(CELLGATE_ASAN)
  // A finished member has no use for its stack any more.
  __sanitizer_start_switch_fiber(me.finished ? nullptr : &me.fake, other.bottom, other.bytes);
#endif
#if defined(CELLGATE_TSAN)
  __tsan_switch_to_fiber(other.tracked, 0);
#endif
  swapcontext(&me.context, &other.context);
  arrived(c);
}

// The next member, in a circle, that has not finished.
int next_of(const Crew& c) {
  int to = c.now;
  do {
    to = to + 1 == c.size ? 0 : to + 1;
  } while (c.member[to].finished && to != c.now);
  return to;
}

void member_life() {
  Crew& c = *crew;
  arrived(c);
  c.task(c.arg, c.now, c.size);
  c.member[c.now].finished = true;
  --c.unfinished;
  switch_to(c, next_of(c));  // for good
}

char* make_stack() {
  void* made = mmap(nullptr, kStack + kGuard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (made == MAP_FAILED) return nullptr;
  mprotect(made, kGuard, PROT_NONE);
  return static_cast<char*>(made) + kGuard;
}

}  // namespace

bool Fibers::run(Task task, void* arg, int size) {
  if (size > kMostFibers || crew) return false;
  for (int m = 1; m < size; ++m)
    if (!stack_[m] && !(stack_[m] = make_stack())) return false;
  Crew c;
  c.task = task;
  c.arg = arg;
  c.size = size;
  c.unfinished = size - 1;
  for (int m = 1; m < size; ++m) {
    Member& member = c.member[m];
    if (getcontext(&member.context) != 0) return false;
    member.context.uc_stack.ss_sp = stack_[m];
    member.context.uc_stack.ss_size = kStack;
    member.context.uc_link = nullptr;
    makecontext(&member.context, member_life, 0);
    member.bottom = stack_[m];
    member.bytes = kStack;
  }
#if defined(CELLGATE_TSAN)
  c.member[0].tracked = __tsan_get_current_fiber();
  for (int m = 1; m < size; ++m) c.member[m].tracked = __tsan_create_fiber(0);
#endif
  crew = &c;
  task(arg, 0, size);
  while (c.unfinished > 0) next_fiber();
  crew = nullptr;
#if defined(CELLGATE_TSAN)
  for (int m = 1; m < size; ++m) __tsan_destroy_fiber(c.member[m].tracked);
#endif
  return true;
}

bool in_fiber() { return crew != nullptr; }

void next_fiber() {
  Crew& c = *crew;
  const int to = next_of(c);
  if (to != c.now) switch_to(c, to);
}

#else

bool Fibers::run(Task, void*, int) { return false; }
bool in_fiber() { return false; }
void next_fiber() {}

#endif

}  // namespace cellgate
