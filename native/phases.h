// Where the time of calls goes: what each thread of the engine is at. Off unless asked for; then the kernels tell when they
// go from one thing to the next, which costs some ten nanoseconds each time.
#pragma once

#include <cstdint>

namespace cellgate {

enum class Phase : int {
  outside,   // of the kernels; not counted
  weights,   // digests and packing
  input,     // input products, taken for many steps at once
  products,  // those of a step
  cells,     // activations and states, or their gradients
  again,     // gates computed again for the backward pass
  dx,        // the gradient of the input
  dweights,  // the gradients of weights and biases
  waiting,   // for other members of the team
  rest,      // addresses, copies, final states
  count
};
const char* name_of(Phase phase);

extern bool phases_told;
Phase tell_phase(Phase phase);

// The calling thread is at `phase` from now on. Returns what it was at; `outside` while nothing is told.
inline Phase enter(Phase phase) {
  return __atomic_load_n(&phases_told, __ATOMIC_RELAXED) ? tell_phase(phase) : Phase::outside;
}

// Leaves the kernels at the end of its scope.
struct InKernels {
  explicit InKernels(Phase phase) { enter(phase); }
  ~InKernels() { enter(Phase::outside); }
  InKernels(const InKernels&) = delete;
  InKernels& operator=(const InKernels&) = delete;
};

// From begin to end everything is told, of all threads of the process together. In ticks of a steady clock.
struct PhaseTimes {
  uint64_t elapsed;
  uint64_t at[static_cast<int>(Phase::count)];
};
void begin_phases();
PhaseTimes end_phases();

}  // namespace cellgate
