// Vec for AVX2 with FMA. Included by vec.h only. Sixteen registers: twelve accumulators, 3 x 4 or 6 x 2 vectors.
#pragma once

#include <immintrin.h>

CELLGATE_BEGIN
// A window of eight (four) entries starting at 8 - n (4 - n) has its first n lanes set.
alignas(32) static const int32_t kMask32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
alignas(32) static const int64_t kMask64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr int lanes = 8;
  static constexpr int registers = 16, tile_rows = 3, tall_rows = 6, gemm_rows = 6, gemm_vectors = 2;
  static constexpr int reduced_at_once = 8;
  __m256 v;

  static CELLGATE_INLINE __m256i first(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask32 + 8 - n));
  }
  static CELLGATE_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
  static CELLGATE_INLINE Vec set1(float s) { return {_mm256_set1_ps(s)}; }
  static CELLGATE_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static CELLGATE_INLINE Vec load_n(const float* p, int64_t n) { return {_mm256_maskload_ps(p, first(n))}; }
  CELLGATE_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  CELLGATE_INLINE void store_n(float* p, int64_t n) const { _mm256_maskstore_ps(p, first(n), v); }
};

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr int lanes = 4;
  static constexpr int registers = 16, tile_rows = 3, tall_rows = 6, gemm_rows = 6, gemm_vectors = 2;
  static constexpr int reduced_at_once = 0;
  __m256d v;

  static CELLGATE_INLINE __m256i first(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask64 + 4 - n));
  }
  static CELLGATE_INLINE Vec zero() { return {_mm256_setzero_pd()}; }
  static CELLGATE_INLINE Vec set1(double s) { return {_mm256_set1_pd(s)}; }
  static CELLGATE_INLINE Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static CELLGATE_INLINE Vec load_n(const double* p, int64_t n) { return {_mm256_maskload_pd(p, first(n))}; }
  CELLGATE_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
  CELLGATE_INLINE void store_n(double* p, int64_t n) const { _mm256_maskstore_pd(p, first(n), v); }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

CELLGATE_INLINE VecF operator+(VecF a, VecF b) { return {_mm256_add_ps(a.v, b.v)}; }
CELLGATE_INLINE VecF operator-(VecF a, VecF b) { return {_mm256_sub_ps(a.v, b.v)}; }
CELLGATE_INLINE VecF operator*(VecF a, VecF b) { return {_mm256_mul_ps(a.v, b.v)}; }
CELLGATE_INLINE VecF operator-(VecF a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
CELLGATE_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
// Said in so many words, as the compiler would rather change the registers of sums from turn to turn, and with sixteen of
// them soon has to keep some in memory.
CELLGATE_INLINE void add_product(VecF& sum, VecF a, VecF b) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(sum.v) : "x"(a.v), "x"(b.v));
}
CELLGATE_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
CELLGATE_INLINE VecF abs(VecF a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
// min and max return the second operand when either is NaN, so x stands second.
CELLGATE_INLINE VecF clamp(VecF x, VecF lo, VecF hi) { return {_mm256_min_ps(hi.v, _mm256_max_ps(lo.v, x.v))}; }
CELLGATE_INLINE VecF round(VecF x) { return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
CELLGATE_INLINE VecF scale2(VecF x, VecF n) {
  __m256i e = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23);
  return {_mm256_mul_ps(x.v, _mm256_castsi256_ps(e))};
}
CELLGATE_INLINE VecF reciprocal(VecF x) { return {_mm256_div_ps(_mm256_set1_ps(1.0f), x.v)}; }
CELLGATE_INLINE VecF select_lt(VecF x, VecF y, VecF a, VecF b) {
  return {_mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, y.v, _CMP_LT_OQ))};
}
CELLGATE_INLINE float sum(VecF a) {
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
// p[j] = sum(v[j]) for eight vectors.
CELLGATE_INLINE void reduce(const VecF* v, float* p) {
  const __m256 a = _mm256_hadd_ps(_mm256_hadd_ps(v[0].v, v[1].v), _mm256_hadd_ps(v[2].v, v[3].v));
  const __m256 b = _mm256_hadd_ps(_mm256_hadd_ps(v[4].v, v[5].v), _mm256_hadd_ps(v[6].v, v[7].v));
  _mm256_storeu_ps(p, _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)));
}
CELLGATE_INLINE void transpose(VecF* r) {
  __m256 t[8];
  for (int i = 0; i < 8; i += 4) {
    __m256 a = _mm256_unpacklo_ps(r[i].v, r[i + 1].v), b = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
    __m256 c = _mm256_unpacklo_ps(r[i + 2].v, r[i + 3].v), d = _mm256_unpackhi_ps(r[i + 2].v, r[i + 3].v);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i].v = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
    r[i + 4].v = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
  }
}

CELLGATE_INLINE VecD operator+(VecD a, VecD b) { return {_mm256_add_pd(a.v, b.v)}; }
CELLGATE_INLINE VecD operator-(VecD a, VecD b) { return {_mm256_sub_pd(a.v, b.v)}; }
CELLGATE_INLINE VecD operator*(VecD a, VecD b) { return {_mm256_mul_pd(a.v, b.v)}; }
CELLGATE_INLINE VecD operator-(VecD a) { return {_mm256_xor_pd(a.v, _mm256_set1_pd(-0.0))}; }
CELLGATE_INLINE VecD fma(VecD a, VecD b, VecD c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
CELLGATE_INLINE void add_product(VecD& sum, VecD a, VecD b) {
  asm("vfmadd231pd %2, %1, %0" : "+x"(sum.v) : "x"(a.v), "x"(b.v));
}
CELLGATE_INLINE VecD fnma(VecD a, VecD b, VecD c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
CELLGATE_INLINE VecD abs(VecD a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
CELLGATE_INLINE VecD clamp(VecD x, VecD lo, VecD hi) { return {_mm256_min_pd(hi.v, _mm256_max_pd(lo.v, x.v))}; }
CELLGATE_INLINE VecD round(VecD x) { return {_mm256_round_pd(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
CELLGATE_INLINE VecD scale2(VecD x, VecD n) {
  __m256i e = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n.v));
  e = _mm256_slli_epi64(_mm256_add_epi64(e, _mm256_set1_epi64x(1023)), 52);
  return {_mm256_mul_pd(x.v, _mm256_castsi256_pd(e))};
}
CELLGATE_INLINE VecD reciprocal(VecD x) { return {_mm256_div_pd(_mm256_set1_pd(1.0), x.v)}; }
CELLGATE_INLINE VecD select_lt(VecD x, VecD y, VecD a, VecD b) {
  return {_mm256_blendv_pd(b.v, a.v, _mm256_cmp_pd(x.v, y.v, _CMP_LT_OQ))};
}
CELLGATE_INLINE double sum(VecD a) {
  __m128d q = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(q, _mm_unpackhi_pd(q, q)));
}
CELLGATE_INLINE void transpose(VecD* r) {
  __m256d a = _mm256_unpacklo_pd(r[0].v, r[1].v), b = _mm256_unpackhi_pd(r[0].v, r[1].v);
  __m256d c = _mm256_unpacklo_pd(r[2].v, r[3].v), d = _mm256_unpackhi_pd(r[2].v, r[3].v);
  r[0].v = _mm256_permute2f128_pd(a, c, 0x20);
  r[1].v = _mm256_permute2f128_pd(b, d, 0x20);
  r[2].v = _mm256_permute2f128_pd(a, c, 0x31);
  r[3].v = _mm256_permute2f128_pd(b, d, 0x31);
}
CELLGATE_END
