// Sigmoid and tanh of floats for AVX2: the one with fewer operations than the general one, the other with a smaller error.
// They keep its rules: NaN in gives NaN out, large arguments give the ends exactly. Included by activations.h only.
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

// Of |x|, with the sign of x: m / (m + 2) for m = exp(2|x|) - 1 = 2^n (exp(r) - 1) + (2^n - 1). Where tanh is near one, and
// 1 - tanh^2 small, the error of m hardly counts, and near zero m is r and little more.
CELLGATE_INLINE VecF tanh(VecF x) {
  using E = ExpTerms<float>;
  const VecF magic = VecF::set1(12582912.0f + 127.0f);  // as above
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const VecF a = {_mm256_min_ps(_mm256_set1_ps(9.75f), _mm256_andnot_ps(sign, x.v))};  // NaN stays
  const VecF shifted = fma(a, VecF::set1(2 * E::log2_e), magic);
  const VecF n = shifted - magic;
  VecF r = fnma(n, VecF::set1(E::ln2_high), a + a);
  r = fnma(n, VecF::set1(E::ln2_low), r);
  const VecF power = {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted.v), 23))};
  VecF p = VecF::set1(E::poly[0]);
  for (int j = 1; j < E::count; ++j) p = fma(p, r, VecF::set1(E::poly[j]));
  p = fma(p * r, r, r);
  const VecF m = fma(p, power, power - VecF::set1(1.0f));
  const __m256 y = _mm256_div_ps(m.v, (m + VecF::set1(2.0f)).v);
  return {_mm256_or_ps(y, _mm256_and_ps(sign, x.v))};
}
CELLGATE_END
