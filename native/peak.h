// The limits of this machine, measured: what benchmarks state their share of.
#pragma once

#include <cstdint>

namespace cellgate {

// Floating-point operations a second (a multiply-add counts two) of `threads` threads that work on registers alone,
// with the instruction set in use; in double precision if `is_double`. Takes about `seconds`.
double measure_fma_peak(int threads, bool is_double, double seconds);

// Bytes a second that `threads` threads read in order, each again and again from a share of bytes / threads of its own,
// so that each share stays in the smallest cache it fits. Takes about `seconds`. Throws std::bad_alloc.
double measure_read_bandwidth(int64_t bytes, int threads, double seconds);

// Logistic functions of float32 a second, of `threads` threads on numbers in the first-level cache.
double measure_activation_rate(int threads, double seconds);

// Seconds that a number takes from one member of a team of `threads` to the next; 0 where there is but one.
double measure_handover(int threads);

}  // namespace cellgate
