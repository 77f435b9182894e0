// What this CPU can do at most: multiply-adds on registers alone, and reading memory in order. Benchmarks divide by it.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
// Multiply-adds in one call of fma_chain: `rounds` times this many vectors. Twelve, a and b fit sixteen registers.
constexpr int kChains = 12;

// kChains independent chains x = a * x + b, enough to hide the latency of a multiply-add on every CPU we know. The
// chains converge to b / (1 - a), so no number ever becomes slow (denormal) or infinite. Returns their sum, so that
// nothing can be left out.
template <class S>
S fma_chain(int64_t rounds) {
  using V = Vec<S>;
  const V a = V::set1(S(0.5)), b = V::set1(S(1));
  V x[kChains];
  for (int j = 0; j < kChains; ++j) x[j] = V::set1(S(j));
  for (int64_t r = 0; r < rounds; ++r) {
    for (int j = 0; j < kChains; ++j) x[j] = fma(a, x[j], b);
  }
  V total = V::zero();
  for (int j = 0; j < kChains; ++j) total = total + x[j];
  return sum(total);
}

// Reads n floats in order with whole vectors, n a multiple of 8 vectors; p on a cache line, or loads straddle two. Returns their sum.
inline float read_in_order(const float* p, int64_t n) {
  using V = Vec<float>;
  V s[8];
  for (int j = 0; j < 8; ++j) s[j] = V::zero();
  for (int64_t k = 0; k < n; k += 8 * V::lanes) {
    for (int j = 0; j < 8; ++j) s[j] = s[j] + V::load(p + k + j * V::lanes);
  }
  V total = V::zero();
  for (int j = 0; j < 8; ++j) total = total + s[j];
  return sum(total);
}
CELLGATE_END
