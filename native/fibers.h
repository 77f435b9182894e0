// A team on one thread: its members take turns, each until it has to wait for another.
//
// Where a machine has more threads that want to run than CPUs, members on threads of their own wait for one another by
// time slices of some milliseconds. A short task is sooner done by the caller alone. It stays the same task in as many
// parts, so that no sum is taken in another order and no result depends on how busy the machine was.
#pragma once

#include <cstddef>

namespace cellgate {

constexpr int kMostFibers = 8;

// The stacks of the members, made when first needed and kept. One task at a time.
class Fibers {
 public:
  Fibers() = default;
  Fibers(const Fibers&) = delete;
  Fibers& operator=(const Fibers&) = delete;

  // Runs task(arg, member, size) for every member on the calling thread. False, with nothing run, where that cannot be
  // done: the system has no such contexts, memory is out, size > kMostFibers.
  using Task = void (*)(void* arg, int member, int size);
  bool run(Task task, void* arg, int size);

 private:
  char* stack_[kMostFibers] = {};
};

// Whether the calling thread is inside Fibers::run; if so, what waits must let the others go on.
bool in_fiber();
void next_fiber();

}  // namespace cellgate
