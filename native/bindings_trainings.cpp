// Which training a call of an LSTM module is one of, found out from the module as it is now.
#include <utility>

#include "bindings_training.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

class Trainings {
 public:
  Trainings(const Tensors& tensors, nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : tensors_(tensors), times_(must_be_false, forward_ad, requested) {}

  nb::object prepare(nb::handle module, nb::handle x, nb::handle hx, nb::handle lengths, nb::handle reset,
                     nb::handle batch_sizes);

 private:
  const Tensors& tensors_;  // kept alive by the binding
  PlainTimes times_;
  PlanTable<nb::object, std::pair<ModuleKey, int>> trainings_;  // nb::object: a Training, which autograd holds too
};

nb::object Trainings::prepare(nb::handle module, nb::handle x, nb::handle hx, nb::handle lengths, nb::handle reset,
                              nb::handle batch_sizes) {
  if (!tensors_.usable() || !times_.hold()) return nb::none();
  Tensor in;
  ModuleCall own;
  Keep keep;
  const bool packed = !batch_sizes.is_none();
  if (!tensors_.read(x.ptr(), in) || tensors_.negated(x.ptr()) || in.ndim != (packed ? 2 : 3) ||
      !(in.holds_floats(32) || in.holds_floats(64)) || !own.read(module, in.bits) || own.drops || !own.read_keep(keep))
    return nb::none();
  const int last = packed ? 1 : 2;
  if (in.shape[last] != own.key[0] || (in.strides[last] != 1 && own.key[0] > 1) || !tensors_.backed(x.ptr(), in))
    return nb::none();
  Extent extent;
  if (packed) {
    if (!extent.read_packed(tensors_, batch_sizes, in.shape[0])) return nb::none();
  } else {
    const int64_t T = in.shape[own.batch_first], B = in.shape[!own.batch_first];
    if (T == 0 || B == 0 || !extent.read(tensors_, lengths, reset, T, B, own.batch_first)) return nb::none();
  }
  nb::object training = trainings_.find(std::make_pair(own.key, static_cast<int>(keep)), [&] {
    return nb::cast(new Training(tensors_, own.key, keep), nb::rv_policy::take_ownership);
  });
  const Training& plan = nb::cast<Training&>(training);
  ModuleWeights weights;
  if (!weights.read(own, plan.sizes(), tensors_)) return nb::none();
  nb::object state[2] = {nb::none(), nb::none()};
  if (!hx.is_none()) {
    if (!PyTuple_CheckExact(hx.ptr()) || PyTuple_Size(hx.ptr()) != 2) return nb::none();
    for (int k = 0; k < 2; ++k) {
      state[k] = nb::borrow(PyTuple_GetItem(hx.ptr(), k));
      Tensor at;
      if (state[k].is_none() ||
          !plan.read_state(state[k].ptr(), extent.batch(), k ? plan.sizes().H : plan.sizes().P, at))
        return nb::none();
    }
  }
  auto recorded = [](PyObject* tensor) {
    nb::object needs = nb::steal(PyObject_GetAttr(tensor, names().requires_grad));
    if (!needs.is_valid()) throw nb::python_error();
    return truth(needs.ptr());
  };
  bool any = recorded(x.ptr());
  for (const nb::object& part : state) any = any || (!part.is_none() && recorded(part.ptr()));
  for (const nb::object& w : weights.tensors()) any = any || recorded(w.ptr());
  if (!any) return nb::none();

  nb::object rows = own.batch_first && !packed ? tensors_.transposed(nb::borrow(x)) : nb::borrow(x);
  const std::vector<nb::object>& all = weights.tensors();
  nb::object found = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(kFirstWeight + all.size())));
  if (!found.is_valid()) throw nb::python_error();
  auto answer = [&](size_t k, nb::object value) {
    PyTuple_SetItem(found.ptr(), static_cast<Py_ssize_t>(k), value.release().ptr());
  };
  answer(kTraining, training);
  if (extent.whole()) {
    answer(kExtent, nb::none());
  } else {
    answer(kExtent, nb::cast(new Extent(std::move(extent)), nb::rv_policy::take_ownership));
  }
  answer(kX, std::move(rows));
  answer(kState, std::move(state[0]));
  answer(kMemory, std::move(state[1]));
  for (size_t k = 0; k < all.size(); ++k) answer(kFirstWeight + k, all[k]);
  return found;
}

}  // namespace

void bind_trainings(nb::module_& m) {
  nb::class_<Trainings>(m, "Trainings", "Training calls of LSTM modules without the way through Python.")
      .def(nb::init<const Tensors&, nb::handle, nb::handle, nb::handle>(), nb::keep_alive<1, 2>(), "tensors"_a,
           "must_be_false"_a, "forward_ad"_a, "requested"_a, "The arguments are those of Calls.")
      .def("prepare", &Trainings::prepare, "module"_a, "x"_a.none(), "hx"_a.none(), "lengths"_a.none() = nb::none(),
           "reset"_a.none() = nb::none(), "batch_sizes"_a.none() = nb::none(),
           "The inputs of the node: a Training, an Extent or None, x as (T, B, I) or packed, h0 and c0 or None, "
           "weights; or None where the full way is called for.");
}

}  // namespace cellgate::python
