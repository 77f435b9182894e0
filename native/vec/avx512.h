// Vec for AVX-512 (F, BW, DQ, VL). Included by vec.h only.
#pragma once

// The intrinsics of GCC 12 start from a vector left undefined on purpose, and the compiler then warns of it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

CELLGATE_BEGIN
template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr int lanes = 16;
  static constexpr int registers = 32, tile_rows = 6, tall_rows = 12, gemm_rows = 6, gemm_vectors = 4;
  static constexpr int reduced_at_once = 16;
  __m512 v;

  static CELLGATE_INLINE __mmask16 first(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static CELLGATE_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
  static CELLGATE_INLINE Vec set1(float s) { return {_mm512_set1_ps(s)}; }
  static CELLGATE_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static CELLGATE_INLINE Vec load_n(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  CELLGATE_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  CELLGATE_INLINE void store_n(float* p, int64_t n) const { _mm512_mask_storeu_ps(p, first(n), v); }
};

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr int lanes = 8;
  static constexpr int registers = 32, tile_rows = 6, tall_rows = 12, gemm_rows = 6, gemm_vectors = 4;
  static constexpr int reduced_at_once = 0;
  __m512d v;

  static CELLGATE_INLINE __mmask8 first(int64_t n) { return static_cast<__mmask8>((1u << n) - 1u); }
  static CELLGATE_INLINE Vec zero() { return {_mm512_setzero_pd()}; }
  static CELLGATE_INLINE Vec set1(double s) { return {_mm512_set1_pd(s)}; }
  static CELLGATE_INLINE Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static CELLGATE_INLINE Vec load_n(const double* p, int64_t n) { return {_mm512_maskz_loadu_pd(first(n), p)}; }
  CELLGATE_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
  CELLGATE_INLINE void store_n(double* p, int64_t n) const { _mm512_mask_storeu_pd(p, first(n), v); }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

CELLGATE_INLINE VecF operator+(VecF a, VecF b) { return {_mm512_add_ps(a.v, b.v)}; }
CELLGATE_INLINE VecF operator-(VecF a, VecF b) { return {_mm512_sub_ps(a.v, b.v)}; }
CELLGATE_INLINE VecF operator*(VecF a, VecF b) { return {_mm512_mul_ps(a.v, b.v)}; }
CELLGATE_INLINE VecF operator-(VecF a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
CELLGATE_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
CELLGATE_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
CELLGATE_INLINE VecF abs(VecF a) { return {_mm512_abs_ps(a.v)}; }
// min and max return the second operand when either is NaN, so x stands second.
CELLGATE_INLINE VecF clamp(VecF x, VecF lo, VecF hi) { return {_mm512_min_ps(hi.v, _mm512_max_ps(lo.v, x.v))}; }
CELLGATE_INLINE VecF round(VecF x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
CELLGATE_INLINE VecF scale2(VecF x, VecF n) { return {_mm512_scalef_ps(x.v, n.v)}; }
CELLGATE_INLINE VecF reciprocal(VecF x) {
  // 14 good bits, then one Newton step.
  __m512 r = _mm512_rcp14_ps(x.v);
  __m512 e = _mm512_fnmadd_ps(x.v, r, _mm512_set1_ps(1.0f));
  return {_mm512_fmadd_ps(r, e, r)};
}
CELLGATE_INLINE VecF select_lt(VecF x, VecF y, VecF a, VecF b) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, y.v, _CMP_LT_OQ), b.v, a.v)};
}
CELLGATE_INLINE float sum(VecF a) {
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

// Sixteen horizontal sums in fifteen adds: halve the vectors and the lanes together.
CELLGATE_INLINE void reduce(const VecF* a, float* p) {
  __m512 b[8];
  for (int j = 0; j < 8; ++j) {
    __m512 x = a[j].v, y = a[j + 8].v;
    b[j] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xee));
  }
  __m512 c[4];
  for (int j = 0; j < 4; ++j) {
    __m512 x = b[j], y = b[j + 4];
    c[j] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xdd));
  }
  // c[j]: 128-bit blocks belong to rows j, j+8, j+4, j+12.
  __m512 d0 = _mm512_add_ps(_mm512_unpacklo_ps(c[0], c[2]), _mm512_unpackhi_ps(c[0], c[2]));
  __m512 d1 = _mm512_add_ps(_mm512_unpacklo_ps(c[1], c[3]), _mm512_unpackhi_ps(c[1], c[3]));
  __m512 e = _mm512_add_ps(_mm512_unpacklo_ps(d0, d1), _mm512_unpackhi_ps(d0, d1));
  // Within a block the lanes are rows +0, +1, +2, +3; restore the order of the blocks.
  _mm512_storeu_ps(p, _mm512_shuffle_f32x4(e, e, 0xd8));
}

CELLGATE_INLINE void transpose(VecF* r) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 4) {
    __m512 a = _mm512_unpacklo_ps(r[i].v, r[i + 1].v), b = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
    __m512 c = _mm512_unpacklo_ps(r[i + 2].v, r[i + 3].v), d = _mm512_unpackhi_ps(r[i + 2].v, r[i + 3].v);
    t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
    t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
    t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
  }
  for (int i = 0; i < 4; ++i) {
    __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
    __m512 c = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
    r[i].v = _mm512_shuffle_f32x4(a, b, 0x88);
    r[i + 8].v = _mm512_shuffle_f32x4(a, b, 0xdd);
    r[i + 4].v = _mm512_shuffle_f32x4(c, d, 0x88);
    r[i + 12].v = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}

CELLGATE_INLINE VecD operator+(VecD a, VecD b) { return {_mm512_add_pd(a.v, b.v)}; }
CELLGATE_INLINE VecD operator-(VecD a, VecD b) { return {_mm512_sub_pd(a.v, b.v)}; }
CELLGATE_INLINE VecD operator*(VecD a, VecD b) { return {_mm512_mul_pd(a.v, b.v)}; }
CELLGATE_INLINE VecD operator-(VecD a) { return {_mm512_xor_pd(a.v, _mm512_set1_pd(-0.0))}; }
CELLGATE_INLINE VecD fma(VecD a, VecD b, VecD c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
CELLGATE_INLINE VecD fnma(VecD a, VecD b, VecD c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
CELLGATE_INLINE VecD abs(VecD a) { return {_mm512_abs_pd(a.v)}; }
CELLGATE_INLINE VecD clamp(VecD x, VecD lo, VecD hi) { return {_mm512_min_pd(hi.v, _mm512_max_pd(lo.v, x.v))}; }
CELLGATE_INLINE VecD round(VecD x) {
  return {_mm512_roundscale_pd(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
CELLGATE_INLINE VecD scale2(VecD x, VecD n) { return {_mm512_scalef_pd(x.v, n.v)}; }
CELLGATE_INLINE VecD reciprocal(VecD x) { return {_mm512_div_pd(_mm512_set1_pd(1.0), x.v)}; }
CELLGATE_INLINE VecD select_lt(VecD x, VecD y, VecD a, VecD b) {
  return {_mm512_mask_blend_pd(_mm512_cmp_pd_mask(x.v, y.v, _CMP_LT_OQ), b.v, a.v)};
}
CELLGATE_INLINE double sum(VecD a) {
  __m256d h = _mm256_add_pd(_mm512_castpd512_pd256(a.v), _mm512_extractf64x4_pd(a.v, 1));
  __m128d q = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
  return _mm_cvtsd_f64(_mm_add_sd(q, _mm_unpackhi_pd(q, q)));
}
CELLGATE_INLINE void transpose(VecD* r) {
  __m512d t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_pd(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_pd(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 2; ++i) {
    __m512d a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88), b = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88);
    __m512d c = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xdd), d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xdd);
    r[i].v = _mm512_shuffle_f64x2(a, b, 0x88);
    r[i + 4].v = _mm512_shuffle_f64x2(a, b, 0xdd);
    r[i + 2].v = _mm512_shuffle_f64x2(c, d, 0x88);
    r[i + 6].v = _mm512_shuffle_f64x2(c, d, 0xdd);
  }
}
CELLGATE_END
