// Logistic sigmoid and tanh over Vec: no branches, a few units in the last place, NaN in gives NaN out.
// The polynomial and rational coefficients are minimax fits of our own (iterated weighted least squares in 50 digits).
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
template <class S>
struct ExpTerms;

// exp(x), |x| at most ExpTerms<S>::reach: x = n ln 2 + r with |r| <= ln 2 / 2, exp(x) = 2^n * poly(r).
template <>
struct ExpTerms<float> {
  static constexpr float log2_e = 1.44269504089f;
  // ln 2 in two parts; n times the first is exact, so no fused multiply-add is needed.
  static constexpr float ln2_high = 0.693359375f;
  static constexpr float ln2_low = -2.12194440055e-4f;
  static constexpr float reach = 87.0f;
  static constexpr int count = 5;
  static constexpr float poly[count] = {0.00138436345733f, 0.00837416508681f, 0.0416680028542f, 0.166664311443f,
                                        0.499999942037f};
};

template <>
struct ExpTerms<double> {
  static constexpr double log2_e = 1.4426950408889634074;
  static constexpr double ln2_high = 6.93147180369123816490e-01;
  static constexpr double ln2_low = 1.90821492927058770002e-10;
  static constexpr double reach = 708.0;
  static constexpr int count = 10;
  static constexpr double poly[count] = {
      2.499037750067636045518e-8, 2.763101791746530706696e-7, 2.755762994526370813608e-6, 2.480149068470494090561e-5,
      1.984126943193059744171e-4, 1.388888894630486634724e-3, 8.333333333551442797674e-3, 4.1666666666517999911e-2,
      1.666666666666621358684e-1, 5.000000000000012479386e-1};
};

template <class V>
CELLGATE_INLINE V exp_clamped(V x) {
  using S = typename V::Scalar;
  using E = ExpTerms<S>;
  V n = round(x * V::set1(E::log2_e));
  V r = fnma(n, V::set1(E::ln2_high), x);
  r = fnma(n, V::set1(E::ln2_low), r);
  V p = V::set1(E::poly[0]);
  for (int j = 1; j < E::count; ++j) p = fma(p, r, V::set1(E::poly[j]));
  p = fma(p, r, V::set1(S(1)));
  p = fma(p, r, V::set1(S(1)));
  return scale2(p, n);
}

// 1 / (1 + exp(-x)). Below -reach, where it leaves the normal numbers, it is zero: a gate that is shut must not let
// through what is large enough.
template <class V>
CELLGATE_INLINE V sigmoid(V x) {
  using S = typename V::Scalar;
  const S reach = ExpTerms<S>::reach;
  V e = exp_clamped(clamp(-x, V::set1(-reach), V::set1(reach)));
  // NaN compares false and stays.
  return select_lt(x, V::set1(-reach), V::zero(), reciprocal(V::set1(S(1)) + e));
}

// tanh(x) = x p / q for z = x^2, up to x = 9.04, where it passes one as tanh in float does. At 9.75 it stands so far above
// one that no rounding brings it back: large arguments, clamped there, give one exactly, and the slope there is zero.
CELLGATE_INLINE void tanh_quotient(Vec<float> z, Vec<float>& p, Vec<float>& q) {
  using V = Vec<float>;
  p = V::set1(1.33227567369e-8f);
  p = fma(p, z, V::set1(2.05863337513e-5f));
  p = fma(p, z, V::set1(0.00349421514933f));
  p = fma(p, z, V::set1(0.133798720663f));
  p = fma(p, z, V::set1(0.999999979436f));
  q = V::set1(7.76358637433e-7f);
  q = fma(q, z, V::set1(0.00032833833248f));
  q = fma(q, z, V::set1(0.0258717667609f));
  q = fma(q, z, V::set1(0.467131874478f));
  q = fma(q, z, V::set1(1.0f));
}
CELLGATE_END

#if defined(CELLGATE_USE_AVX512)
#include "kernels/activations_avx512.h"
#elif defined(CELLGATE_USE_AVX2)
#include "kernels/activations_avx2.h"
#else
CELLGATE_BEGIN
CELLGATE_INLINE Vec<float> tanh(Vec<float> x) {
  using V = Vec<float>;
  x = clamp(x, V::set1(-9.75f), V::set1(9.75f));
  V p, q;
  tanh_quotient(x * x, p, q);
  return clamp(x * p * reciprocal(q), V::set1(-1.0f), V::set1(1.0f));
}
CELLGATE_END
#endif

CELLGATE_BEGIN
// Near zero x + x^3 p/q, elsewhere from exp(-2|x|).
CELLGATE_INLINE Vec<double> tanh(Vec<double> x) {
  using V = Vec<double>;
  V a = abs(x);
  V z = x * x;
  V p = V::set1(-1.991733003705580766346e-4);
  p = fma(p, z, V::set1(-2.049869268711343455919e-2));
  p = fma(p, z, V::set1(-3.333333333333333270996e-1));
  V q = V::set1(2.065286571607377951035e-4);
  q = fma(q, z, V::set1(2.329118922099128187198e-2));
  q = fma(q, z, V::set1(4.614960780613367958631e-1));
  q = fma(q, z, V::set1(1.0));
  V near = fma(x * z, p * reciprocal(q), x);
  V e = exp_clamped(clamp(a, V::set1(0.0), V::set1(20.0)) * V::set1(-2.0));
  V far = (V::set1(1.0) - e) * reciprocal(V::set1(1.0) + e);
  V zero = V::zero();
  far = select_lt(x, zero, -far, far);
  // NaN compares false and takes the far branch, which carries it.
  return select_lt(a, V::set1(0.625), near, far);
}

template <class S>
void apply_sigmoid(const S* x, S* y, int64_t n) {
  using V = Vec<S>;
  for (int64_t j = 0; j < n; j += V::lanes) {
    int64_t m = smaller<int64_t>(V::lanes, n - j);
    sigmoid(V::load_n(x + j, m)).store_n(y + j, m);
  }
}

template <class S>
void apply_tanh(const S* x, S* y, int64_t n) {
  using V = Vec<S>;
  for (int64_t j = 0; j < n; j += V::lanes) {
    int64_t m = smaller<int64_t>(V::lanes, n - j);
    tanh(V::load_n(x + j, m)).store_n(y + j, m);
  }
}
CELLGATE_END
