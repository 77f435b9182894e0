// See bindings_tensors.h.
#include "bindings_tensors.h"

namespace cellgate::python {

using namespace nb::literals;

Tensors::Tensors(nb::handle tensor, nb::handle parameter, nb::handle table, nb::handle empty, nb::handle empty_like,
                 nb::handle floats, nb::handle doubles, nb::handle threads)
    : tensor_(nb::borrow(tensor)),
      parameter_(nb::borrow(parameter)),
      empty_(nb::borrow(empty)),
      empty_like_(nb::borrow(empty_like)),
      floats_(nb::borrow(floats)),
      doubles_(nb::borrow(doubles)),
      threads_(nb::borrow(threads)),
      dtype_(nb::make_tuple("dtype")),
      is_neg_(nb::str("is_neg")),
      transpose_(nb::str("transpose")),
      zero_(nb::int_(0)),
      one_(nb::int_(1)) {
  if (table.is_none()) return;
  void* found = PyCapsule_GetPointer(table.ptr(), "dlpack_exchange_api");
  if (!found) throw nb::python_error();
  table_ = exchange::usable(found);
}

bool Tensors::negated(PyObject* tensor) const {
  nb::object result = nb::steal(PyObject_CallMethodObjArgs(tensor, is_neg_.ptr(), nullptr));
  if (!result.is_valid()) throw nb::python_error();
  return result.ptr() != Py_False;
}

nb::object Tensors::like(const nb::object& pattern) const {
  PyObject* result = PyObject_CallFunctionObjArgs(empty_like_.ptr(), pattern.ptr(), nullptr);
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

nb::object Tensors::sized(const nb::object& size, int bits) const {
  PyObject* arguments[2] = {size.ptr(), (bits == 32 ? floats_ : doubles_).ptr()};
  PyObject* result = PyObject_Vectorcall(empty_.ptr(), arguments, 1, dtype_.ptr());
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

nb::object Tensors::transposed(const nb::object& tensor) const {
  PyObject* result = PyObject_CallMethodObjArgs(tensor.ptr(), transpose_.ptr(), zero_.ptr(), one_.ptr(), nullptr);
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

int Tensors::threads() const {
  long n = PyLong_AsLong(called(threads_.ptr()).ptr());
  if (n == -1 && PyErr_Occurred()) throw nb::python_error();
  return static_cast<int>(n);
}

void bind_tensors(nb::module_& m) {
  nb::class_<Tensors>(m, "Tensors", "How tensors are read and made; all of it comes from the library that has them.")
      .def(nb::init<nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle>(),
           "tensor"_a, "parameter"_a, "table"_a.none(), "empty"_a, "empty_like"_a, "float32"_a, "float64"_a,
           "threads"_a, "table: their DLPack exchange table, or None where they have none.")
      .def_prop_ro("usable", &Tensors::usable, "Whether tensors can be read without a call into Python.");
}

}  // namespace cellgate::python
