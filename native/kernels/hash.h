// A 128-bit digest of an array's bytes: the key under which packed weights are kept, so it must see every change.
//
// Each 64-byte block of a stripe of eight is combined with a key of its own. Two things are summed over a stripe: the
// products of the two 32-bit halves of each lane (not linear: flipping all signs, swapping or rolling rows does not
// cancel), and the lanes themselves (so a change in a single place always shows, and no factor of zero can hide the
// other). The stripes are the coefficients of a polynomial, so their order counts too. Not meant against an adversary.
#pragma once

#include "vec/vec.h"

// Blocks wider than the instruction set's registers are split by the compiler, which warns that the way they would be
// passed to functions may change; they are passed to inlined functions only.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

CELLGATE_BEGIN
typedef uint64_t Block __attribute__((vector_size(64), aligned(1), may_alias));
typedef uint64_t Lanes __attribute__((vector_size(64)));

CELLGATE_INLINE Lanes product_of_halves(Lanes v) {
#if defined(CELLGATE_USE_AVX512)
  __m512i x = reinterpret_cast<__m512i>(v);
  return reinterpret_cast<Lanes>(_mm512_mul_epu32(x, _mm512_srli_epi64(x, 32)));
#else
  return (v & 0xffffffffu) * (v >> 32);
#endif
}

struct Digest {
  uint64_t a, b;
};

CELLGATE_INLINE uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ull;
  x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dull;
  return x ^ (x >> 33);
}

CELLGATE_INLINE void absorb(Digest& d, uint64_t word) {
  d.a = mix(d.a + word);
  d.b = mix((d.b ^ word) * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull);
}

// Digest of `bytes` bytes, begun with `seed` (the position of this piece in a larger whole).
inline Digest hash_bytes(const void* data, int64_t bytes, uint64_t seed) {
  constexpr int64_t block = 64, blocks = 8;
  Lanes key[blocks];
  key[0] = Lanes{0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull, 0xd6e8feb86659fd93ull, 0xa0761d6478bd642full,
                 0xe7037ed1a0b428dbull, 0x8ebc6af09c88c6e3ull, 0x589965cc75374cc3ull, 0x1d8e4e27c47d124full} +
           seed * 0xd1342543de82ef95ull;
  for (int64_t j = 1; j < blocks; ++j) key[j] = key[j - 1] + 0x9e3779b97f4a7c15ull;
  Lanes products{}, sums{};
  const char* p = static_cast<const char*>(data);
  const char* const end = p + bytes;
  for (; end - p >= block * blocks; p += block * blocks) {
    Lanes product{}, sum{};
#pragma GCC unroll 8
    for (int64_t j = 0; j < blocks; ++j) {
      const Lanes x = *reinterpret_cast<const Block*>(p + j * block) ^ key[j];
      product += product_of_halves(x);
      sum += x;
    }
    products = products * 0xff51afd7ed558ccdull + product;
    sums = sums * 0xc4ceb9fe1a85ec53ull + sum;
  }
  // What is left of the last stripe, the last block filled up with zeros; the length tells them from zeros in the data.
  for (int64_t j = 0; p < end; ++j, p += block) {
    Lanes x{};
    __builtin_memcpy(&x, p, static_cast<size_t>(end - p < block ? end - p : block));
    x ^= key[j];
    products = products * 0xff51afd7ed558ccdull + product_of_halves(x);
    sums = sums * 0xc4ceb9fe1a85ec53ull + x;
  }
  Digest d{seed, static_cast<uint64_t>(bytes)};
  for (int lane = 0; lane < 8; ++lane) {
    d.a = (d.a ^ products[lane]) * 0x9fb21c651e98df25ull;
    d.b = (d.b ^ sums[lane]) * 0xd6e8feb86659fd93ull;
    d.a ^= d.a >> 32;
    d.b ^= d.b >> 32;
  }
  absorb(d, d.a ^ (d.b << 1));
  return d;
}
CELLGATE_END
