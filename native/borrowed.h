// The threads of an OpenMP runtime that is in the process anyway.
//
// PyTorch's own operators run on such a runtime, whose threads keep spinning for milliseconds after each of them. A
// second pool would compete with those threads for the CPUs, and lose half of them or a time slice of 3 ms at the start
// of a call. So if the process has an OpenMP runtime of the GNU interface, a team may be made of its threads; nothing is
// linked.
#pragma once

#include <cstdint>

namespace cellgate {

// Whether the calling thread may have a team of `size` from the runtime: tried once a thread, for limits that the user
// set. False where there is no runtime, in the child of a fork, within a parallel region, and with CELLGATE_THREADS=own.
bool can_borrow(int size);

// Runs body(arg, member) for every member of a team of `size`, the caller being member 0. False, with nothing run, where
// the runtime gives fewer threads. Only after can_borrow(size).
using BorrowedBody = void (*)(void* arg, int member);
bool run_borrowed(int size, BorrowedBody body, void* arg);

// Keeps the runtime's threads from spinning until a moment of the steady clock, in nanoseconds. After each parallel operator
// of PyTorch they spin for some milliseconds, which is CPU time that somebody needs where the machine is crowded. The GNU
// runtime lets them sleep almost at once as long as it has more threads than CPUs (its manual, under GOMP_SPINCOUNT), so
// until then one more, asleep, is in its charge. `size`: of the teams it has.
void calm_borrowed(int size, int64_t until);

// CPUs that the runtime knows of; 0 where there is none. Where it binds its threads (OMP_PROC_BIND), the caller has but one.
int runtime_cpus();

// To be called in the child of a fork: the runtime's threads do not survive it.
void forget_borrowed();

}  // namespace cellgate
