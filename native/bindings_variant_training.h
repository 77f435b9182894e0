// A training call of one direction of one layer of any cell: what is common to bindings_variant_training.cpp, which runs
// it, and bindings_variant_trainings.cpp, which finds out which one a call is.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "bindings_module.h"
#include "variant.h"

namespace cellgate::python {

// Parameters of a direction, in the order of the module's; the names are fields of LSTMWeights (equations/lstm.py).
enum Slot {
  kIh,
  kHh,
  kBiasIh,
  kBiasHh,
  kProjection,
  kPeephole,
  kGates,
  kGainIh,
  kShiftIh,
  kGainHh,
  kShiftHh,
  kGainC,
  kShiftC,
  kSlots
};
enum Mask { kLocked, kCandidate, kZoneC, kZoneH, kMasks };  // fields of CellMasks

struct CellSizes {
  CellForm form;
  int64_t I, H, P;  // P: the size of h
  int bits;
  bool projected, backward_in_time;
  Keep keep;
  struct Parameter {
    Slot slot;
    std::array<int64_t, 2> shape;
  };
  std::vector<Parameter> parameters;
};

class CellTraining {
 public:
  CellTraining(const Tensors& tensors, CellSizes sizes)
      : tensors_(tensors),
        sizes_(std::move(sizes)),
        every_(sizes_.keep == Keep::minimal && !sizes_.form.gate_recurrence ? kEvery : 1) {}

  nb::object description() const;
  nb::object forward(nb::handle x, nb::handle weights, nb::handle masks) const;
  nb::object backward(nb::handle saved, nb::handle needs, nb::handle masks, nb::handle dy, nb::handle dh_n,
                      nb::handle dc_n) const;

 private:
  // Addresses of a call; null: not there.
  struct Place {
    char* at = nullptr;
    int64_t step = 0, row = 0;
  };
  struct Given {
    int64_t steps, batch;
    int threads;
    Place x, y, mask[kMasks];
    char *weights[kSlots] = {}, *h_n = nullptr, *c_n = nullptr, *kept = nullptr;
  };
  struct Gradients {
    Place dy, dx;
    char *dh_n = nullptr, *dc_n = nullptr, *weights[kSlots] = {};
  };
  // Where the parts of what is kept begin in its block, in scalars, and its size.
  struct Kept {
    int64_t gates = 0, normal_ih = 0, normal_hh = 0, scales = 0, size = 0;
  };
  Kept kept(int64_t T, int64_t B) const;
  bool small(int64_t T, int64_t B) const { return T * B * sizes_.H * (sizes_.P + sizes_.I) < kTiny; }
  bool read_input(PyObject* x, exchange::Tensor& to) const {
    return tensors_.read(x, to) && to.holds_floats(sizes_.bits) && to.ndim == 3 && to.shape[2] == sizes_.I &&
           (to.strides[2] == 1 || sizes_.I <= 1) && to.shape[0] > 0 && to.shape[1] > 0 && tensors_.backed(x, to);
  }
  bool read_weights(nb::handle weights, size_t first, Given& to) const;
  bool read_masks(nb::handle masks, Given& to) const;
  bool read_gradient(PyObject* gradient, int64_t first, int64_t second, int64_t third, exchange::Tensor& to) const;
  template <class S>
  VariantForward<S> described(const Given& given) const;
  template <class S>
  bool run_backward(const Given& given, const Gradients& gradients) const;

  const Tensors& tensors_;  // kept alive by the table of all trainings
  const CellSizes sizes_;
  const int64_t every_;
};

}  // namespace cellgate::python
