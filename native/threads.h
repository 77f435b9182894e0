// Threads of the engine: one small pool for the process, teams leased from it, and the counters teams wait on.
//
// A call leases a Team, runs one task on all its members at once (the caller is member 0), and gives it back. Inside
// the task members meet through Epochs: a member publishes how far it has come, others wait for that. There is no fork
// and join per time step, and no lock on the way.
//
// Waiting is bounded: a short spin, a few yields, then sleep until woken. A partner that the scheduler has taken off
// its core therefore costs no more than its own absence.
//
// Where the machine is so crowded that members wait for one another most of the time, a short task is run by the caller
// for all members in turn (crowding.h, fibers.h), with the same result.
//
// Safe after fork (the child makes its own pool), and from several threads at once: when the pool is leased, a further
// caller gets a team of one, itself.
#pragma once

#include <cstdint>

namespace cellgate {

// A counter on a cache line of its own. Zero-initialise before use; one writer, any number of waiters.
struct alignas(64) Epoch {
  uint32_t value = 0;
  uint32_t sleepers = 0;
};

// Makes everything written before visible to whoever sees `value`.
void publish(Epoch& epoch, uint32_t value);
void wait_slowly(Epoch& epoch, uint32_t at_least);
inline bool reached(const Epoch& epoch, uint32_t at_least) {
  // The difference, not the values, so that counters may wrap.
  return static_cast<int32_t>(__atomic_load_n(&epoch.value, __ATOMIC_ACQUIRE) - at_least) >= 0;
}
inline void wait_for(Epoch& epoch, uint32_t at_least) {
  if (!reached(epoch, at_least)) wait_slowly(epoch, at_least);
}

constexpr int kMaxTeam = 256;

class Team {
 public:
  // A team of at most `wanted` members, fewer when there are fewer CPUs, the pool is leased or threads cannot be made;
  // never less than one.
  // `allowed`: how many the user allows, where the work is for fewer.
  explicit Team(int wanted, int allowed = 1);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Runs task(arg, member, size()) on every member and returns true when all have finished. Tasks must not throw.
  // False, with nothing run, in the rare case that the threads promised are no longer to be had: go on with a team of
  // one.
  using Task = void (*)(void* arg, int member, int size);
  bool run(Task task, void* arg);

 private:
  // Threads of an OpenMP runtime that is in the process anyway, our own, our own because there is no such runtime, or the
  // caller's for all members (borrowed.h, threads.cpp, fibers.h).
  enum class Kind { borrowed, own, only_own, fibers };
  int size_;
  bool leased_;
  Kind kind_;
};

// Where `size` members meet, any number of times. Zero-initialise `arrived` (size entries).
struct Meeting {
  Epoch* arrived;
  int size;
  // `round` counts 1, 2, 3, ... and is the same for all members.
  void meet(int member, uint32_t round) {
    arrive(member, round);
    wait(member, round);
  }
  // The same in two parts, for those that have something to do meanwhile.
  void arrive(int member, uint32_t round) {
    if (size > 1) publish(arrived[member], round);
  }
  bool complete(uint32_t round) const {
    for (int m = 0; m < size && size > 1; ++m)
      if (!reached(arrived[m], round)) return false;
    return true;
  }
  void wait(int member, uint32_t round) {
    for (int m = 0; m < size; ++m)
      if (m != member) wait_for(arrived[m], round);
  }
};

// Tasks that teams of several members ran since the process began (or was forked), by whose threads the members were.
struct TeamRuns {
  uint64_t borrowed, own, one;
};
TeamRuns team_runs();

// Members that a team may have: as many as there are CPUs, which is looked up now and then.
int most_members();

// CPUs this process may run on: those of the calling thread, or of the OpenMP runtime where that has more.
int available_cpus();

}  // namespace cellgate
