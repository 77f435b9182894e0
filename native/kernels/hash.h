// A 128-bit digest of an array's bytes: the key under which packed weights are kept, so it must see every change.
//
// Each 64-byte block of a stripe of eight is combined with a key of its own. Two things are summed over a stripe: the
// products of the two 32-bit halves of each lane (not linear: flipping all signs, swapping or rolling rows does not
// cancel), and the lanes themselves (so a change in a single place always shows, and no factor of zero can hide the
// other). The stripes are the coefficients of a polynomial, so their order counts too. Not meant against an adversary.
#pragma once

#include "vec/vec.h"

CELLGATE_BEGIN
// A block in the registers there are: wider vectors the compiler would lead through memory.
#if defined(CELLGATE_USE_AVX512)
constexpr int64_t kPieceBytes = 64;
#elif defined(CELLGATE_USE_AVX2)
constexpr int64_t kPieceBytes = 32;
#else
constexpr int64_t kPieceBytes = 16;
#endif
constexpr int64_t kBlockBytes = 64, kStripeBlocks = 8;
constexpr int kPieces = kBlockBytes / kPieceBytes, kPieceLanes = kPieceBytes / 8;
typedef uint64_t Piece __attribute__((vector_size(kPieceBytes)));
typedef uint64_t LoadedPiece __attribute__((vector_size(kPieceBytes), aligned(1), may_alias));

CELLGATE_INLINE Piece product_of_halves(Piece v) {
#if defined(CELLGATE_USE_AVX512)
  __m512i x = reinterpret_cast<__m512i>(v);
  return reinterpret_cast<Piece>(_mm512_mul_epu32(x, _mm512_srli_epi64(x, 32)));
#elif defined(CELLGATE_USE_AVX2)
  __m256i x = reinterpret_cast<__m256i>(v);
  return reinterpret_cast<Piece>(_mm256_mul_epu32(x, _mm256_srli_epi64(x, 32)));
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

// What is summed over blocks, and the polynomials of which these sums are coefficients.
struct Sums {
  Piece product[kPieces]{}, sum[kPieces]{};
  CELLGATE_INLINE void add(const char* block, const Piece* key) {
#pragma GCC unroll 4
    for (int i = 0; i < kPieces; ++i) {
      const Piece x = *reinterpret_cast<const LoadedPiece*>(block + i * kPieceBytes) ^ key[i];
      product[i] += product_of_halves(x);
      sum[i] += x;
    }
  }
  CELLGATE_INLINE void take(const Sums& next) {
#pragma GCC unroll 4
    for (int i = 0; i < kPieces; ++i) {
      product[i] = product[i] * 0xff51afd7ed558ccdull + next.product[i];
      sum[i] = sum[i] * 0xc4ceb9fe1a85ec53ull + next.sum[i];
    }
  }
};

// Digest of `bytes` bytes, begun with `seed` (the position of this piece in a larger whole).
inline Digest hash_bytes(const void* data, int64_t bytes, uint64_t seed) {
  constexpr uint64_t begin[8] = {0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull, 0xd6e8feb86659fd93ull,
                                 0xa0761d6478bd642full, 0xe7037ed1a0b428dbull, 0x8ebc6af09c88c6e3ull,
                                 0x589965cc75374cc3ull, 0x1d8e4e27c47d124full};
  Piece key[kStripeBlocks][kPieces];
  for (int64_t j = 0; j < kStripeBlocks; ++j)
    for (int lane = 0; lane < 8; ++lane)
      key[j][lane / kPieceLanes][lane % kPieceLanes] =
          begin[lane] + seed * 0xd1342543de82ef95ull + static_cast<uint64_t>(j) * 0x9e3779b97f4a7c15ull;
  Sums all;
  const char* p = static_cast<const char*>(data);
  const char* const end = p + bytes;
  for (; end - p >= kBlockBytes * kStripeBlocks; p += kBlockBytes * kStripeBlocks) {
    Sums stripe;
    // Not all at once: sums of so many the compiler would put off, and lead the blocks through memory meanwhile.
#pragma GCC unroll 2
    for (int64_t j = 0; j < kStripeBlocks; ++j) stripe.add(p + j * kBlockBytes, key[j]);
    all.take(stripe);
  }
  // What is left of the last stripe, the last block filled up with zeros; the length tells them from zeros in the data.
  for (int64_t j = 0; p < end; ++j, p += kBlockBytes) {
    char block[kBlockBytes] = {};
    __builtin_memcpy(block, p, static_cast<size_t>(smaller<int64_t>(end - p, kBlockBytes)));
    Sums last;
    last.add(block, key[j]);
    all.take(last);
  }
  Digest d{seed, static_cast<uint64_t>(bytes)};
  for (int lane = 0; lane < 8; ++lane) {
    d.a = (d.a ^ all.product[lane / kPieceLanes][lane % kPieceLanes]) * 0x9fb21c651e98df25ull;
    d.b = (d.b ^ all.sum[lane / kPieceLanes][lane % kPieceLanes]) * 0xd6e8feb86659fd93ull;
    d.a ^= d.a >> 32;
    d.b ^= d.b >> 32;
  }
  absorb(d, d.a ^ (d.b << 1));
  return d;
}
CELLGATE_END
