#include "phases.h"

#include <atomic>
#include <chrono>

namespace cellgate {

bool phases_told = false;

namespace {

constexpr int kPhases = static_cast<int>(Phase::count);

// One thread's; of very many threads several share one, and none of their times is lost.
struct alignas(64) Slot {
  std::atomic<uint64_t> at[kPhases] = {};
};
constexpr unsigned kSlots = 64;
Slot slots[kSlots];
std::atomic<unsigned> next_slot{0};
std::atomic<uint64_t> begun{0};

struct Mine {
  Slot& slot = slots[next_slot.fetch_add(1, std::memory_order_relaxed) % kSlots];
  Phase phase = Phase::outside;
  uint64_t since = 0;
};

uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t count;
  asm volatile("mrs %0, cntvct_el0" : "=r"(count));
  return count;
#else
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

}  // namespace

const char* name_of(Phase phase) {
  static constexpr const char* names[kPhases] = {"outside", "weights", "input",    "products", "cells",
                                                 "again",   "dx",      "dweights", "waiting",  "rest"};
  return names[static_cast<int>(phase)];
}

Phase tell_phase(Phase phase) {
  thread_local Mine mine;
  const uint64_t now = ticks();
  const Phase before = mine.phase;
  // A thread that was at something when telling ended, or began, has not told since when.
  if (before != Phase::outside && mine.since >= begun.load(std::memory_order_relaxed))
    mine.slot.at[static_cast<int>(before)].fetch_add(now - mine.since, std::memory_order_relaxed);
  mine.phase = phase;
  mine.since = now;
  return before;
}

void begin_phases() {
  for (Slot& slot : slots)
    for (auto& at : slot.at) at.store(0, std::memory_order_relaxed);
  begun.store(ticks(), std::memory_order_relaxed);
  __atomic_store_n(&phases_told, true, __ATOMIC_RELAXED);
}

PhaseTimes end_phases() {
  __atomic_store_n(&phases_told, false, __ATOMIC_RELAXED);
  PhaseTimes times{ticks() - begun.load(std::memory_order_relaxed), {}};
  for (const Slot& slot : slots)
    for (int p = 0; p < kPhases; ++p) times.at[p] += slot.at[p].load(std::memory_order_relaxed);
  return times;
}

}  // namespace cellgate
