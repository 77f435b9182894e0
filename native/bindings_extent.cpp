// See bindings_extent.h.
#include "bindings_extent.h"

namespace cellgate::python {
namespace {

using exchange::Tensor;

// Whole numbers of a list, a tuple or a tensor of one dimension.
bool read_numbers(const Tensors& tensors, PyObject* from, std::vector<int64_t>& to) {
  if (PyList_CheckExact(from) || PyTuple_CheckExact(from)) {
    const bool list = PyList_CheckExact(from);
    const Py_ssize_t count = list ? PyList_Size(from) : PyTuple_Size(from);
    to.resize(static_cast<size_t>(count));
    for (Py_ssize_t k = 0; k < count; ++k) {
      PyObject* number = list ? PyList_GetItem(from, k) : PyTuple_GetItem(from, k);
      if (!number || !PyLong_CheckExact(number)) return false;
      const int64_t value = PyLong_AsLongLong(number);
      if (value == -1 && PyErr_Occurred()) PyErr_Clear();  // too large: out of any range, and Python says so
      to[static_cast<size_t>(k)] = value;
    }
    return true;
  }
  Tensor t;
  if (!tensors.is_tensor(from) || !tensors.read(from, t) || t.ndim != 1 || t.code != exchange::kInt || t.lanes != 1 ||
      (t.bits != 64 && t.bits != 32) || !tensors.backed(from, t))
    return false;
  to.resize(static_cast<size_t>(t.shape[0]));
  for (size_t k = 0; k < to.size(); ++k) {
    const int64_t at = static_cast<int64_t>(k) * t.strides[0];
    to[k] = t.bits == 64 ? reinterpret_cast<const int64_t*>(t.begin())[at]
                         : reinterpret_cast<const int32_t*>(t.begin())[at];
  }
  return true;
}

nb::object list_of(const std::vector<int64_t>& numbers) {
  if (numbers.empty()) return nb::none();
  nb::list made;
  for (int64_t number : numbers) made.append(number);
  return made;
}

}  // namespace

bool Extent::read(const Tensors& tensors, nb::handle lengths, nb::handle reset, int64_t steps, int64_t batch,
                  bool batch_first) {
  steps_ = steps, batch_ = batch;
  if (!lengths.is_none()) {
    if (!read_numbers(tensors, lengths.ptr(), lengths_) || static_cast<int64_t>(lengths_.size()) != batch) return false;
    bool all = true;
    for (int64_t length : lengths_) {
      if (length < 0 || length > steps) return false;
      all = all && length == steps;
    }
    if (all) lengths_.clear();  // nothing is ragged: the plain kernels give the same numbers
  }
  if (reset.is_none()) return true;
  Tensor t;
  if (!tensors.is_tensor(reset.ptr()) || !tensors.read(reset.ptr(), t) || t.code != exchange::kBool || t.bits != 8 ||
      t.lanes != 1 || t.ndim != 2 || t.shape[batch_first] != steps || t.shape[!batch_first] != batch ||
      !tensors.backed(reset.ptr(), t))
    return false;
  const int64_t step = t.strides[batch_first], row = t.strides[!batch_first];
  const uint8_t* from = reinterpret_cast<const uint8_t*>(t.begin());
  reset_.resize(static_cast<size_t>(steps * batch));
  uint8_t* to = reset_.data();
  for (int64_t at = 0; at < steps; ++at)
    for (int64_t b = 0; b < batch; ++b) *to++ = from[at * step + b * row] != 0;
  return true;
}

bool Extent::read_packed(const Tensors& tensors, nb::handle batch_sizes, int64_t rows) {
  if (!tensors.is_tensor(batch_sizes.ptr()) || !read_numbers(tensors, batch_sizes.ptr(), batch_sizes_)) return false;
  if (batch_sizes_.empty()) return false;
  steps_ = static_cast<int64_t>(batch_sizes_.size());
  batch_ = batch_sizes_.front();
  rows_ = 0;
  for (size_t t = 0; t < batch_sizes_.size(); ++t) {
    if (batch_sizes_[t] < 1 || batch_sizes_[t] > rows || (t > 0 && batch_sizes_[t] > batch_sizes_[t - 1])) return false;
    rows_ += batch_sizes_[t];
  }
  return rows_ == rows;
}

void Extent::put(StackForward& call) const {
  if (!lengths_.empty()) call.lengths = lengths_.data();
  if (!reset_.empty()) call.reset = reset_.data();
  if (!packed()) return;
  call.rows = rows_;
  call.batch_sizes = batch_sizes_.data();
}

nb::object Extent::parts() const {
  nb::object reset = nb::none();
  if (!reset_.empty()) reset = nb::bytes(reinterpret_cast<const char*>(reset_.data()), reset_.size());
  return nb::make_tuple(list_of(lengths_), list_of(batch_sizes_), reset);
}

void bind_extent(nb::module_& m) {
  nb::class_<Extent>(m, "Extent", "Which steps of a call belong to its sequences, as they were when it was made.")
      .def_prop_ro("steps", &Extent::steps)
      .def_prop_ro("batch", &Extent::batch)
      .def_prop_ro("parts", &Extent::parts,
                   "Lengths, batch sizes, and reset as bytes of (T, B): each None where there is none.");
}

}  // namespace cellgate::python
