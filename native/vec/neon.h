// Vec for 64-bit ARM (NEON). Included by vec.h only.
#pragma once

#include <arm_neon.h>

CELLGATE_BEGIN
template <>
struct Vec<float> {
  using Scalar = float;
  static constexpr int lanes = 4;
  static constexpr int registers = 32, tile_rows = 6, tall_rows = 0, gemm_rows = 6, gemm_vectors = 4;
  static constexpr int reduced_at_once = 0;
  float32x4_t v;

  static CELLGATE_INLINE Vec zero() { return {vdupq_n_f32(0.0f)}; }
  static CELLGATE_INLINE Vec set1(float s) { return {vdupq_n_f32(s)}; }
  static CELLGATE_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
  static CELLGATE_INLINE Vec load_n(const float* p, int64_t n) {
    float t[4] = {0, 0, 0, 0};
    for (int64_t i = 0; i < n; ++i) t[i] = p[i];
    return {vld1q_f32(t)};
  }
  CELLGATE_INLINE void store(float* p) const { vst1q_f32(p, v); }
  CELLGATE_INLINE void store_n(float* p, int64_t n) const {
    float t[4];
    vst1q_f32(t, v);
    for (int64_t i = 0; i < n; ++i) p[i] = t[i];
  }
};

template <>
struct Vec<double> {
  using Scalar = double;
  static constexpr int lanes = 2;
  static constexpr int registers = 32, tile_rows = 6, tall_rows = 0, gemm_rows = 6, gemm_vectors = 4;
  static constexpr int reduced_at_once = 0;
  float64x2_t v;

  static CELLGATE_INLINE Vec zero() { return {vdupq_n_f64(0.0)}; }
  static CELLGATE_INLINE Vec set1(double s) { return {vdupq_n_f64(s)}; }
  static CELLGATE_INLINE Vec load(const double* p) { return {vld1q_f64(p)}; }
  static CELLGATE_INLINE Vec load_n(const double* p, int64_t n) {
    double t[2] = {0, 0};
    for (int64_t i = 0; i < n; ++i) t[i] = p[i];
    return {vld1q_f64(t)};
  }
  CELLGATE_INLINE void store(double* p) const { vst1q_f64(p, v); }
  CELLGATE_INLINE void store_n(double* p, int64_t n) const {
    double t[2];
    vst1q_f64(t, v);
    for (int64_t i = 0; i < n; ++i) p[i] = t[i];
  }
};

using VecF = Vec<float>;
using VecD = Vec<double>;

CELLGATE_INLINE VecF operator+(VecF a, VecF b) { return {vaddq_f32(a.v, b.v)}; }
CELLGATE_INLINE VecF operator-(VecF a, VecF b) { return {vsubq_f32(a.v, b.v)}; }
CELLGATE_INLINE VecF operator*(VecF a, VecF b) { return {vmulq_f32(a.v, b.v)}; }
CELLGATE_INLINE VecF operator-(VecF a) { return {vnegq_f32(a.v)}; }
CELLGATE_INLINE VecF fma(VecF a, VecF b, VecF c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
CELLGATE_INLINE VecF fnma(VecF a, VecF b, VecF c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
CELLGATE_INLINE VecF abs(VecF a) { return {vabsq_f32(a.v)}; }
// vmin and vmax give NaN when either operand is NaN.
CELLGATE_INLINE VecF clamp(VecF x, VecF lo, VecF hi) { return {vminq_f32(hi.v, vmaxq_f32(lo.v, x.v))}; }
CELLGATE_INLINE VecF round(VecF x) { return {vrndnq_f32(x.v)}; }
CELLGATE_INLINE VecF scale2(VecF x, VecF n) {
  int32x4_t e = vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v), vdupq_n_s32(127)), 23);
  return {vmulq_f32(x.v, vreinterpretq_f32_s32(e))};
}
CELLGATE_INLINE VecF reciprocal(VecF x) { return {vdivq_f32(vdupq_n_f32(1.0f), x.v)}; }
CELLGATE_INLINE VecF select_lt(VecF x, VecF y, VecF a, VecF b) { return {vbslq_f32(vcltq_f32(x.v, y.v), a.v, b.v)}; }
CELLGATE_INLINE float sum(VecF a) { return vaddvq_f32(a.v); }
CELLGATE_INLINE void transpose(VecF* r) {
  float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0].v, r[1].v));
  float64x2_t b = vreinterpretq_f64_f32(vtrn2q_f32(r[0].v, r[1].v));
  float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2].v, r[3].v));
  float64x2_t d = vreinterpretq_f64_f32(vtrn2q_f32(r[2].v, r[3].v));
  r[0].v = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
  r[1].v = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
  r[2].v = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
  r[3].v = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
}

CELLGATE_INLINE VecD operator+(VecD a, VecD b) { return {vaddq_f64(a.v, b.v)}; }
CELLGATE_INLINE VecD operator-(VecD a, VecD b) { return {vsubq_f64(a.v, b.v)}; }
CELLGATE_INLINE VecD operator*(VecD a, VecD b) { return {vmulq_f64(a.v, b.v)}; }
CELLGATE_INLINE VecD operator-(VecD a) { return {vnegq_f64(a.v)}; }
CELLGATE_INLINE VecD fma(VecD a, VecD b, VecD c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
CELLGATE_INLINE VecD fnma(VecD a, VecD b, VecD c) { return {vfmsq_f64(c.v, a.v, b.v)}; }
CELLGATE_INLINE VecD abs(VecD a) { return {vabsq_f64(a.v)}; }
CELLGATE_INLINE VecD clamp(VecD x, VecD lo, VecD hi) { return {vminq_f64(hi.v, vmaxq_f64(lo.v, x.v))}; }
CELLGATE_INLINE VecD round(VecD x) { return {vrndnq_f64(x.v)}; }
CELLGATE_INLINE VecD scale2(VecD x, VecD n) {
  int64x2_t e = vshlq_n_s64(vaddq_s64(vcvtnq_s64_f64(n.v), vdupq_n_s64(1023)), 52);
  return {vmulq_f64(x.v, vreinterpretq_f64_s64(e))};
}
CELLGATE_INLINE VecD reciprocal(VecD x) { return {vdivq_f64(vdupq_n_f64(1.0), x.v)}; }
CELLGATE_INLINE VecD select_lt(VecD x, VecD y, VecD a, VecD b) { return {vbslq_f64(vcltq_f64(x.v, y.v), a.v, b.v)}; }
CELLGATE_INLINE double sum(VecD a) { return vaddvq_f64(a.v); }
CELLGATE_INLINE void transpose(VecD* r) {
  float64x2_t a = vtrn1q_f64(r[0].v, r[1].v), b = vtrn2q_f64(r[0].v, r[1].v);
  r[0].v = a;
  r[1].v = b;
}
CELLGATE_END
