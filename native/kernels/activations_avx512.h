// Sigmoid and tanh of floats where vectors have table look-up and masks, with fewer operations than the general ones.
// Same rules: NaN in gives NaN out, large arguments give the ends exactly. Included by activations.h only.
#pragma once

CELLGATE_BEGIN
// exp(-x) = 2^n * exp(-s): n a multiple of 1/16, its fraction looked up, |s| <= ln 2 / 32.
CELLGATE_INLINE VecF sigmoid(VecF x) {
  // 2^(j / 16), less j in the place that the shift by 19 below brings it to: the sum has the whole exponent.
  static constexpr uint32_t steps[16] = {0x3f800000u, 0x3f7daac3u, 0x3f7b95c2u, 0x3f79c3d3u, 0x3f7837f0u, 0x3f76f532u,
                                         0x3f75fed7u, 0x3f75583fu, 0x3f7504f3u, 0x3f7508a4u, 0x3f75672au, 0x3f76248cu,
                                         0x3f7744fdu, 0x3f78ccdfu, 0x3f7ac0c7u, 0x3f7d257du};
  const __m512i table = _mm512_loadu_si512(steps);
  // Added to a number, it leaves multiples of 1/16, and these as an integer in the last bits.
  const VecF magic = VecF::set1(786432.0f);
  const VecF reach = VecF::set1(ExpTerms<float>::reach);
  const VecF one = VecF::set1(1.0f);
  VecF y = {_mm512_min_ps(reach.v, x.v)};  // NaN stays; below -reach anything may come out
  const VecF shifted = fma(y, VecF::set1(-ExpTerms<float>::log2_e), magic);
  const VecF n = shifted - magic;
  VecF s = fma(n, VecF::set1(ExpTerms<float>::ln2_high), y);
  s = fma(n, VecF::set1(ExpTerms<float>::ln2_low), s);
  const __m512i bits = _mm512_castps_si512(shifted.v);
  const VecF power = {
      _mm512_castsi512_ps(_mm512_add_epi32(_mm512_permutexvar_epi32(bits, table), _mm512_slli_epi32(bits, 19)))};
  // exp(-s) to the third power; the fourth, s^4 / 24, is about its share of s^2 over so short a range.
  VecF p = fma(s, VecF::set1(-0.166666667f), VecF::set1(0.500019550f));
  p = fma(p, s, VecF::set1(-1.0f));
  // The denominator is power + rest; its rounded sum serves for a first guess only.
  const VecF rest = fma(power * s, p, one);
  const VecF r = {_mm512_rcp14_ps((power + rest).v)};
  const VecF e = fnma(rest, r, fnma(power, r, one));
  // Zero below -reach; NaN is not below.
  const __mmask16 open = _mm512_cmp_ps_mask(x.v, _mm512_set1_ps(-ExpTerms<float>::reach), _CMP_NLT_UQ);
  return {_mm512_maskz_fmadd_ps(open, r.v, e.v, r.v)};
}

// The same quotient as in the general one, of |x|: one clamp less on each side.
CELLGATE_INLINE VecF tanh(VecF x) {
  const VecF one = VecF::set1(1.0f);
  const VecF a = {_mm512_min_ps(_mm512_set1_ps(9.75f), abs(x).v)};  // NaN stays
  VecF p, q;
  tanh_quotient(a * a, p, q);
  p = a * p;
  const VecF r = {_mm512_rcp14_ps(q.v)};
  const VecF t = p * r;
  const VecF y = {_mm512_min_ps(one.v, fma(t, fnma(q, r, one), t).v)};
  // With the sign of x: y | (x & sign).
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(y.v), _mm512_castps_si512(x.v),
                                                        _mm512_set1_epi32(INT32_MIN), 0xf8))};
}
CELLGATE_END
