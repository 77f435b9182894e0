// A 128-bit digest of an array's bytes: the key under which packed weights are kept, so it must see every change.
//
// Each 64-byte block is combined with a key of its own position, then the two 32-bit halves of each lane are multiplied
// (so the digest is not linear: flipping all signs, swapping or rolling rows does not cancel), and the block itself is
// added with its halves swapped (so no factor of zero can hide the other). Not meant against an adversary.
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
  const Lanes step = Lanes{} + 0x9e3779b97f4a7c15ull;
  Lanes key = Lanes{0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull, 0xd6e8feb86659fd93ull, 0xa0761d6478bd642full,
                    0xe7037ed1a0b428dbull, 0x8ebc6af09c88c6e3ull, 0x589965cc75374cc3ull, 0x1d8e4e27c47d124full} +
              seed * 0xd1342543de82ef95ull;
  Lanes sum0{}, sum1{};
  const char* p = static_cast<const char*>(data);
  int64_t j = 0;
  for (; j + 128 <= bytes; j += 128) {
    Lanes x = *reinterpret_cast<const Block*>(p + j), y = *reinterpret_cast<const Block*>(p + j + 64);
    sum0 += product_of_halves(x ^ key) + ((x << 32) | (x >> 32));
    key += step;
    sum1 += product_of_halves(y ^ key) + ((y << 32) | (y >> 32));
    key += step;
  }
  for (; j < bytes; j += 64) {
    Lanes x{};
    __builtin_memcpy(&x, p + j, static_cast<size_t>(bytes - j < 64 ? bytes - j : 64));
    sum0 += product_of_halves(x ^ key) + ((x << 32) | (x >> 32));
    key += step;
  }
  Digest d{seed, static_cast<uint64_t>(bytes)};
  for (int lane = 0; lane < 8; ++lane) {
    absorb(d, sum0[lane]);
    absorb(d, sum1[lane]);
  }
  return d;
}
CELLGATE_END
