// A fixed sample of the matrices that a packed copy was made of. Whoever writes most of one, by whatever way, changes
// numbers of the sample; a write to a few numbers may miss them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace cellgate {

class Fingerprint {
 public:
  static constexpr int64_t kNumbers = 64;  // of a matrix

  // scalar_size: 4 or 8 bytes, the same for all matrices.
  explicit Fingerprint(size_t scalar_size) : scalar_size_(scalar_size) {}

  // Takes the sample of a matrix of `count` scalars: one from each 64th of it, moved by the golden ratio from each to
  // the next, so that rows and columns differ.
  void add(const void* matrix, int64_t count) {
    const int64_t numbers = count < kNumbers ? count : kNumbers;
    for (int64_t k = 0; k < numbers; ++k) {
      const int64_t at = ((k << 16) + ((k * 40503) & 0xffff)) * count / numbers >> 16;
      const char* place = static_cast<const char*>(matrix) + static_cast<size_t>(at) * scalar_size_;
      places_.push_back(place);
      known_.push_back(0);
      std::memcpy(&known_.back(), place, scalar_size_);
    }
  }

  // Whether all of the sample is what it was, bit by bit. The matrices must still be where they were.
  bool unchanged() const { return scalar_size_ == 4 ? same<uint32_t>() : same<uint64_t>(); }

 private:
  // All are read, without a way out between, so that far ones are fetched side by side.
  template <class Bits>
  bool same() const {
    Bits differ = 0;
    for (size_t k = 0; k < places_.size(); ++k) {
      Bits now, known;
      std::memcpy(&now, places_[k], sizeof(Bits));
      std::memcpy(&known, &known_[k], sizeof(Bits));
      differ |= now ^ known;
    }
    return differ == 0;
  }

  size_t scalar_size_;
  std::vector<const void*> places_;
  std::vector<uint64_t> known_;
};

}  // namespace cellgate
