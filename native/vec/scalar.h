// Vec of one lane in plain C++: the fallback for any CPU, and the yardstick for the others. Included by vec.h only.
#pragma once

CELLGATE_BEGIN
template <class S>
struct ScalarVec {
  using Scalar = S;
  static constexpr int lanes = 1;
  static constexpr int registers = 16, tile_rows = 2, tall_rows = 0, gemm_rows = 2, gemm_vectors = 4;
  static constexpr int reduced_at_once = 0;
  S v;
};

#define CELLGATE_SCALAR_VEC(S)                                                               \
  template <>                                                                                \
  struct Vec<S> : ScalarVec<S> {                                                             \
    Vec() = default;                                                                         \
    CELLGATE_INLINE Vec(S s) : ScalarVec<S>{s} {}                                            \
    static CELLGATE_INLINE Vec zero() { return {S(0)}; }                                     \
    static CELLGATE_INLINE Vec set1(S s) { return {s}; }                                     \
    static CELLGATE_INLINE Vec load(const S* p) { return {*p}; }                             \
    static CELLGATE_INLINE Vec load_n(const S* p, int64_t n) { return {n > 0 ? *p : S(0)}; } \
    CELLGATE_INLINE void store(S* p) const { *p = v; }                                       \
    CELLGATE_INLINE void store_n(S* p, int64_t n) const {                                    \
      if (n > 0) *p = v;                                                                     \
    }                                                                                        \
  };
CELLGATE_SCALAR_VEC(float)
CELLGATE_SCALAR_VEC(double)
#undef CELLGATE_SCALAR_VEC

using VecF = Vec<float>;
using VecD = Vec<double>;

// 2^n by its bits, without the C library.
CELLGATE_INLINE float power_of_two(float n) {
  uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  float s;
  __builtin_memcpy(&s, &bits, sizeof s);
  return s;
}
CELLGATE_INLINE double power_of_two(double n) {
  uint64_t bits = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023) << 52;
  double s;
  __builtin_memcpy(&s, &bits, sizeof s);
  return s;
}
// Adding and taking away 1.5 * 2^(mantissa bits) leaves the nearest integer.
CELLGATE_INLINE float nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }
CELLGATE_INLINE double nearest(double x) { return (x + 6755399441055744.0) - 6755399441055744.0; }

#define CELLGATE_SCALAR_OPS(V)                                                                         \
  CELLGATE_INLINE V operator+(V a, V b) { return {a.v + b.v}; }                                        \
  CELLGATE_INLINE V operator-(V a, V b) { return {a.v - b.v}; }                                        \
  CELLGATE_INLINE V operator*(V a, V b) { return {a.v * b.v}; }                                        \
  CELLGATE_INLINE V operator-(V a) { return {-a.v}; }                                                  \
  CELLGATE_INLINE V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }                                   \
  CELLGATE_INLINE V fnma(V a, V b, V c) { return {c.v - a.v * b.v}; }                                  \
  CELLGATE_INLINE V abs(V a) { return {a.v < 0 ? -a.v : a.v}; }                                        \
  CELLGATE_INLINE V clamp(V x, V lo, V hi) { return {x.v < lo.v ? lo.v : (x.v > hi.v ? hi.v : x.v)}; } \
  CELLGATE_INLINE V round(V x) { return {nearest(x.v)}; }                                              \
  CELLGATE_INLINE V scale2(V x, V n) { return {x.v * (n.v == n.v ? power_of_two(n.v) : n.v)}; }        \
  CELLGATE_INLINE V reciprocal(V x) { return {1 / x.v}; }                                              \
  CELLGATE_INLINE V select_lt(V x, V y, V a, V b) { return {x.v < y.v ? a.v : b.v}; }                  \
  CELLGATE_INLINE V::Scalar sum(V a) { return a.v; }                                                   \
  CELLGATE_INLINE void transpose(V*) {}
CELLGATE_SCALAR_OPS(VecF)
CELLGATE_SCALAR_OPS(VecD)
#undef CELLGATE_SCALAR_OPS
CELLGATE_END
