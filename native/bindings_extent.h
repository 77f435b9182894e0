// Which steps of a call belong to its sequences: the lengths of a padded batch, the batch sizes of packed data, where
// episodes begin. A copy: what callers do to their tensors later, or other threads at any time, changes nothing here.
#pragma once

#include <vector>

#include "bindings_tensors.h"
#include "stack.h"

namespace cellgate::python {

class Extent {
 public:
  // Of padded data (T, B), or (B, T) where `batch_first`: lengths, a tensor or a list of B numbers, and a reset mask in the
  // layout of the data, either may be None. False where Python is to look at them.
  bool read(const Tensors& tensors, nb::handle lengths, nb::handle reset, int64_t steps, int64_t batch,
            bool batch_first);
  // Of packed data of so many rows. False where they do not make up its rows.
  bool read_packed(const Tensors& tensors, nb::handle batch_sizes, int64_t rows);

  // Whether every sequence has all steps, and none begins anew.
  bool whole() const { return lengths_.empty() && batch_sizes_.empty() && reset_.empty(); }
  bool packed() const { return !batch_sizes_.empty(); }
  int64_t steps() const { return steps_; }
  int64_t batch() const { return batch_; }
  int64_t rows() const { return rows_; }  // of packed data, else 0

  // Adds to a call what it says. It must live as long as the call.
  void put(StackForward& call) const;
  // Lengths and batch sizes as lists and reset as bytes, (T, B), each None where there is none.
  nb::object parts() const;

 private:
  int64_t steps_ = 0, batch_ = 0, rows_ = 0;
  std::vector<int64_t> lengths_, batch_sizes_;
  std::vector<uint8_t> reset_;
};

}  // namespace cellgate::python
