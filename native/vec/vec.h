// The small vector type every kernel is written over.
//
// A translation unit in native/isa/ defines CELLGATE_ISA (a namespace name) and exactly one CELLGATE_USE_* macro, then
// includes kernels; the kernels include this file. Everything lives in cellgate::CELLGATE_ISA inside an unnamed
// namespace: the same template compiled for two instruction sets must never be merged by the linker, or code for a CPU
// that is absent could run. For the same reason per-ISA files use no inline functions or templates of the standard
// library.
//
// What Vec<float> and Vec<double> offer (V is the vector, S its scalar):
//   V::lanes              scalars in a vector
//   V::registers          of vectors that the instruction set names
//   V::tile_rows          rows of an accumulator tile of tile_rows x 4 vectors that stays in registers
//   V::tall_rows          the same for tiles of tall_rows x 2 vectors; zero where they gain nothing
//   V::gemm_rows, V::gemm_vectors      rows and vectors of the tile of large products
//   V::reduced_at_once    vectors that reduce(v, p) sums together; zero: there is none
//   V::zero() set1(s) load(p) load_n(p, n) store(p) store_n(p, n)      no alignment is needed; n in [0, lanes]: the
//                         lanes past n read as zero, and memory past n is never touched
//   + - *  unary -        lane by lane
//   fma(a, b, c)          a * b + c            fnma(a, b, c)   c - a * b
//   clamp(x, lo, hi)      NaN stays NaN        abs(x)
//   round(x)              to nearest even integer, |x| < 2^22 (float), 2^51 (double)
//   scale2(x, n)          x * 2^n, n integral-valued, the result in the normal range
//   reciprocal(x)         1 / x to about one unit in the last place, x positive and normal
//   select_lt(x, y, a, b) x < y ? a : b
//   sum(v)                all lanes added
//   reduce_rows<N>(v, p)  p[j] = sum(v[j])
//   transpose(v)          lanes x lanes block, v[i] lane j <-> v[j] lane i
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(CELLGATE_ISA)
#error "vec.h: define CELLGATE_ISA before including it (see native/isa/)"
#endif

#define CELLGATE_INLINE inline __attribute__((always_inline))
#define CELLGATE_BEGIN     \
  namespace cellgate {     \
  namespace CELLGATE_ISA { \
  namespace {
#define CELLGATE_END \
  }                  \
  }                  \
  }

CELLGATE_BEGIN
template <class S>
struct Vec;
template <class A>
constexpr A smaller(A a, A b) {
  return b < a ? b : a;
}
template <class A>
constexpr A larger(A a, A b) {
  return a < b ? b : a;
}
// A number as a type, to pass template arguments through lambdas.
template <int N>
struct Constant {
  static constexpr int value = N;
};
// body(Constant<n>{}, args...) for n known only at run time, 1 <= n <= MAX.
template <int MAX, class Body, class... Args>
CELLGATE_INLINE void call_with_size(int64_t n, const Body& body, Args... args) {
  if constexpr (MAX > 1) {
    if (n < MAX) return call_with_size<MAX - 1>(n, body, args...);
  }
  body(Constant<MAX>{}, args...);
}
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
CELLGATE_END

#if defined(CELLGATE_USE_AVX512)
#include "avx512.h"
#elif defined(CELLGATE_USE_AVX2)
#include "avx2.h"
#elif defined(CELLGATE_USE_NEON)
#include "neon.h"
#elif defined(CELLGATE_USE_SCALAR)
#include "scalar.h"
#else
#error "vec.h: define one of CELLGATE_USE_AVX512, _AVX2, _NEON, _SCALAR"
#endif

CELLGATE_BEGIN
// sum += a * b in the register that sum is in.
template <class V>
CELLGATE_INLINE void add_product(V& sum, V a, V b) {
  sum = fma(a, b, sum);
}
// Whether tiles fetch weights from beyond the second-level cache before their turn. Cores with AVX-512 have larger caches of
// that level, and fetch by themselves as well.
template <class S>
constexpr bool fetches_further() {
  return Vec<S>::registers == 16 && Vec<S>::lanes > 1;
}
// p[j] = sum(v[j]) for N vectors; some instruction sets have a transposed reduction of several at once.
template <int N, class V>
CELLGATE_INLINE void reduce_rows(const V* v, typename V::Scalar* p) {
  constexpr int many = V::reduced_at_once;
  if constexpr (many > 0 && N % larger(many, 1) == 0) {
    for (int j = 0; j < N; j += many) reduce(v + j, p + j);
  } else {
    for (int j = 0; j < N; ++j) p[j] = sum(v[j]);
  }
}
CELLGATE_END
