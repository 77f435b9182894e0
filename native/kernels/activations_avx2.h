// Sigmoid and tanh of floats for AVX2, with fewer operations than the general ones, whose rules they keep: NaN in gives NaN
// out, large arguments give the ends exactly. Included by activations.h only.
#pragma once

CELLGATE_BEGIN
// exp(-x) = 2^n * exp(-s), |s| <= ln 2 / 2. Half of exp(-s) is multiplied by 2^(n + 1): where n is 127 that is infinite, and
// the sigmoid zero, which is below -87.7.
CELLGATE_INLINE VecF sigmoid(VecF x) {
  using E = ExpTerms<float>;
  // Added to a number, it leaves an integer, and this plus 128 in the last bits.
  const VecF magic = VecF::set1(12582912.0f + 128.0f);
  const VecF one = VecF::set1(1.0f);
  const VecF y = clamp(x, VecF::set1(-88.0f), VecF::set1(E::reach));
  const VecF shifted = fma(y, VecF::set1(-E::log2_e), magic);
  const VecF n = shifted - magic;
  VecF s = fma(n, VecF::set1(E::ln2_high), y);
  s = fma(n, VecF::set1(E::ln2_low), s);
  const VecF power = {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted.v), 23))};
  VecF p = VecF::set1(0.5f * E::poly[0]);
  for (int j = 1; j < E::count; ++j) p = fma(p, s, VecF::set1((j % 2 ? -0.5f : 0.5f) * E::poly[j]));
  p = fma(p, s, VecF::set1(-0.5f));
  p = fma(p, s, VecF::set1(0.5f));
  return {_mm256_div_ps(one.v, fma(p, power, one).v)};
}

// The same quotient as in the general one, of |x|: one clamp less on each side.
CELLGATE_INLINE VecF tanh(VecF x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const VecF a = {_mm256_min_ps(_mm256_set1_ps(9.75f), _mm256_andnot_ps(sign, x.v))};  // NaN stays
  VecF p, q;
  tanh_quotient(a * a, p, q);
  const __m256 y = _mm256_min_ps(_mm256_set1_ps(1.0f), _mm256_div_ps((a * p).v, q.v));
  return {_mm256_or_ps(y, _mm256_and_ps(sign, x.v))};
}
CELLGATE_END
