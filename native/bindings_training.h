// A training call of an LSTM module, forward and backward, from Python objects to the engine and back: what
// bindings_call.cpp is for calls that only compute, and with the same rule: what is not plain is left to the full way,
// the answer is then None.
//
// The node of the autograd graph is Python's (backends/cpu_plain.py). It keeps the tensors, so nothing but sizes is kept
// here, and whoever hands other tensors back than were saved, as checkpointing does, is obeyed.
#pragma once

#include <initializer_list>
#include <memory>

#include "bindings_extent.h"
#include "bindings_module.h"

namespace cellgate::python {

// The inputs of the node, in this order.
enum Argument { kTraining, kExtent, kX, kState, kMemory, kFirstWeight };

// Training calls of modules of the same sizes; what it keeps belongs to the sizes.
class Training {
 public:
  Training(const Tensors& tensors, const ModuleKey& key, Keep keep)
      : tensors_(tensors), sizes_(sizes_of(key)), keep_(keep), every_(keep == Keep::minimal ? kEvery : 1) {}

  const ModuleSizes& sizes() const { return sizes_; }
  nb::object description() const {
    const LayerShape& layer = sizes_.shape.layers.front();
    const char* memory = keep_ == Keep::fast ? "fast" : keep_ == Keep::lean ? "lean" : "minimal";
    return nb::make_tuple(sizes_.L, sizes_.D, sizes_.shape.bias, sizes_.H, layer.projected ? sizes_.P : 0, memory,
                          sizes_.bits);
  }

  nb::object forward(const Extent* extent, nb::handle x, nb::handle h0, nb::handle c0, nb::handle weights);
  // Whether an initial state or memory (L * D, B, size) may be read as it lies; None has null data.
  bool read_state(PyObject* state, int64_t batch, int64_t size, exchange::Tensor& to) const;
  nb::object backward(const Extent* extent, nb::handle saved, nb::handle needs, nb::handle dy, nb::handle dh_n,
                      nb::handle dc_n) const;

 private:
  // A result of some size, to be made again alike: quicker than from its size, where it is small enough to keep.
  struct Result {
    nb::object size, pattern;
    size_t least;  // bytes from which its memory is used again
  };
  struct Results {
    int64_t steps, batch, rows;
    Result y, h, c, block;
  };
  Result result(nb::object size, int64_t scalars, size_t least) const;
  // Of so many steps, sequences and, of packed data, rows.
  std::shared_ptr<const Results> results(int64_t steps, int64_t batch, int64_t rows);
  nb::object make(const Result& result) const {
    return result.pattern.is_valid() ? tensors_.like(result.pattern)
                                     : tensors_.block(result.size, sizes_.bits, result.least);
  }
  int64_t states() const { return static_cast<int64_t>(sizes_.L) * sizes_.D; }
  bool small(int64_t steps, int64_t batch) const {
    const int64_t width = sizes_.I > sizes_.width ? sizes_.I : sizes_.width;
    return steps * batch * states() * sizes_.H * (sizes_.H + width) < kTiny;
  }
  // T, B, N of packed data or 0, and how far apart steps and rows of x lie.
  struct Frame {
    int64_t T, B, N, x_step, x_row;
  };
  bool read_input(PyObject* x, const Extent* extent, exchange::Tensor& to, Frame& frame) const;
  // Whether a gradient that came in has the expected shape, of two or three dimensions, and may be read as it lies; None
  // has null data.
  bool read_gradient(PyObject* gradient, std::initializer_list<int64_t> shape, exchange::Tensor& to) const;

  const Tensors& tensors_;  // kept alive by the table of all trainings
  const ModuleSizes sizes_;
  const Keep keep_;
  const int64_t every_;
  std::shared_ptr<const Results> results_;  // of the last sizes
};

}  // namespace cellgate::python
