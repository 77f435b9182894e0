// Which training a call of a module with a variant is one of, and what Python sees of them.
#include <memory>

#include "bindings_variant_training.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

struct CellModule {
  ModuleSizes sizes;              // with the weights of the variant
  std::vector<nb::object> cells;  // a CellTraining for each layer and direction
  size_t each;                    // weights of one
};

// A variant's quick_form (nn/variant.py); the last number is the clip.
constexpr Py_ssize_t kNumbers = 11;

class CellTrainings {
 public:
  CellTrainings(const Tensors& tensors, nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : tensors_(tensors), times_(must_be_false, forward_ad, requested) {}
  nb::object prepare(nb::handle module, nb::handle x);

 private:
  std::shared_ptr<CellModule> made(const ModuleKey& key, Keep keep, const std::array<int64_t, kNumbers>& form,
                                   double clip) const;

  const Tensors& tensors_;  // kept alive by the binding
  PlainTimes times_;
  using Key = std::pair<std::pair<ModuleKey, int>, std::pair<std::array<int64_t, kNumbers>, double>>;
  PlanTable<std::shared_ptr<CellModule>, Key> modules_;
};

std::shared_ptr<CellModule> CellTrainings::made(const ModuleKey& key, Keep keep, const std::array<int64_t, kNumbers>& n,
                                                double clip) const {
  auto module = std::make_shared<CellModule>();
  module->sizes = sizes_of(key);
  ModuleSizes& all = module->sizes;
  all.weights.clear();
  CellSizes cell;
  cell.form.input = static_cast<int>(n[0]), cell.form.forget = static_cast<int>(n[1]);
  cell.form.output = static_cast<int>(n[2]), cell.form.candidate = static_cast<int>(n[3]);
  cell.form.squash = static_cast<int>(n[4]), cell.form.hard = n[5] != 0, cell.form.norm = static_cast<int>(n[6]);
  cell.form.slstm = n[7] != 0, cell.form.gate_recurrence = n[8] != 0, cell.form.clip = clip;
  cell.H = all.H, cell.P = all.P, cell.bits = all.bits, cell.keep = keep;
  cell.projected = key[2] > 0;
  for (int l = 0; l < all.L; ++l) {
    cell.I = l ? all.width : all.I;
    cell.parameters.clear();
    const int64_t H = cell.H, G = 4 * H;
    auto add = [&](bool there, Slot slot, int64_t rows, int64_t columns = -1) {
      if (there) cell.parameters.push_back({slot, {rows, columns}});
    };
    const bool bias = key[4] != 0, norm = cell.form.norm != 0, shift = cell.form.norm == 1;
    add(true, kIh, G, cell.I), add(true, kHh, G, cell.P), add(bias, kBiasIh, G), add(bias && n[10] == 0, kBiasHh, G);
    add(cell.projected, kProjection, cell.P, H), add(n[9] != 0, kPeephole, 3 * H);
    add(cell.form.gate_recurrence, kGates, 3 * H, 3 * H);
    add(norm, kGainIh, G), add(shift, kShiftIh, G), add(norm, kGainHh, G), add(shift, kShiftHh, G);
    add(norm, kGainC, H), add(shift, kShiftC, H);
    module->each = cell.parameters.size();
    for (int d = 0; d < all.D; ++d) {
      cell.backward_in_time = d == 1;
      for (const auto& p : cell.parameters) all.weights.push_back(p.shape);
      module->cells.push_back(nb::cast(new CellTraining(tensors_, cell), nb::rv_policy::take_ownership));
    }
  }
  return module;
}

nb::object CellTrainings::prepare(nb::handle module, nb::handle x) {
  if (!tensors_.usable() || !times_.hold()) return nb::none();
  Tensor in;
  ModuleCall own;
  Keep keep;
  if (!tensors_.read(x.ptr(), in) || tensors_.negated(x.ptr()) || in.ndim != 3 ||
      !(in.holds_floats(32) || in.holds_floats(64)) || !own.read_any(module, in.bits) || !own.variant || own.drops ||
      !own.read_keep(keep))
    return nb::none();
  if (in.shape[2] != own.key[0] || in.shape[0] == 0 || in.shape[1] == 0 || (in.strides[2] != 1 && own.key[0] > 1) ||
      !tensors_.backed(x.ptr(), in))
    return nb::none();
  nb::object form = nb::steal(PyObject_GetAttr(own.variant, names().quick_form));
  if (!form.is_valid()) throw nb::python_error();
  if (!PyTuple_Check(form.ptr()) || PyTuple_Size(form.ptr()) != kNumbers + 1) return nb::none();
  std::array<int64_t, kNumbers> numbers;
  for (Py_ssize_t k = 0; k < kNumbers; ++k)
    numbers[static_cast<size_t>(k)] = PyLong_AsLongLong(PyTuple_GetItem(form.ptr(), k));
  const double clip = PyFloat_AsDouble(PyTuple_GetItem(form.ptr(), kNumbers));
  if (PyErr_Occurred()) throw nb::python_error();
  const std::shared_ptr<CellModule> known = modules_.find(Key{{own.key, static_cast<int>(keep)}, {numbers, clip}},
                                                          [&] { return made(own.key, keep, numbers, clip); });
  ModuleWeights weights;
  if (!weights.read(own, known->sizes, tensors_)) return nb::none();
  auto recorded = [](PyObject* tensor) {
    nb::object needs = nb::steal(PyObject_GetAttr(tensor, names().requires_grad));
    if (!needs.is_valid()) throw nb::python_error();
    return truth(needs.ptr());
  };
  bool any = recorded(x.ptr());
  for (const nb::object& w : weights.tensors()) any = any || recorded(w.ptr());
  if (!any) return nb::none();

  nb::list cells;
  size_t at = 0;
  for (const nb::object& cell : known->cells) {
    nb::list its;
    for (size_t k = 0; k < known->each; ++k) its.append(weights.tensors()[at++]);
    cells.append(nb::make_tuple(cell, nb::tuple(its)));
  }
  return nb::make_tuple(own.batch_first ? tensors_.transposed(nb::borrow(x)) : nb::borrow(x), cells);
}

}  // namespace

void bind_cell_trainings(nb::module_& m) {
  nb::class_<CellTraining>(m, "CellTraining", "Training calls of one direction of one layer of any cell.")
      .def_prop_ro("description", &CellTraining::description,
                   "H, P or 0, whether it runs backward in time, the weights as fields of LSTMWeights, memory.")
      .def("forward", &CellTraining::forward, "x"_a, "weights"_a, "masks"_a,
           "output, h_n, c_n and what backward is to find, of x (T, B, I), a tuple of weights and CellMasks.")
      .def("backward", &CellTraining::backward, "saved"_a, "needs"_a, "masks"_a, "dy"_a.none(), "dh_n"_a.none(),
           "dc_n"_a.none(),
           "The gradients of x and of each weight, None for those not wanted; or None where the full way is called "
           "for. saved: x, output, block, weights.");
  nb::class_<CellTrainings>(m, "CellTrainings", "Training calls of LSTM modules with a variant.")
      .def(nb::init<const Tensors&, nb::handle, nb::handle, nb::handle>(), nb::keep_alive<1, 2>(), "tensors"_a,
           "must_be_false"_a, "forward_ad"_a, "requested"_a, "The arguments are those of Calls.")
      .def("prepare", &CellTrainings::prepare, "module"_a, "x"_a.none(),
           "x as (T, B, I), and for each layer and direction a CellTraining and its weights; or None where the full "
           "way is called for.");
}

}  // namespace cellgate::python
