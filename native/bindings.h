// What the files of the Python module share.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace cellgate::python {

namespace nb = nanobind;

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Addresses from a Python tuple of integers; the count is the caller's contract, checked here because a short tuple would
// be read past its end. None gives a null table.
struct Addresses {
  const void* small[32];
  std::vector<const void*> large;
  const void** data = nullptr;

  Addresses(nb::handle tuple, size_t expected, const char* name) {
    if (tuple.is_none()) return;
    PyObject* t = tuple.ptr();
    if (!PyTuple_Check(t) || static_cast<size_t>(PyTuple_Size(t)) != expected)
      throw std::invalid_argument(std::string(name) + ": expected a tuple of " + std::to_string(expected) +
                                  " addresses");
    data = small;
    if (expected > 32) {
      large.resize(expected);
      data = large.data();
    }
    for (size_t j = 0; j < expected; ++j) {
      void* p = PyLong_AsVoidPtr(PyTuple_GetItem(t, static_cast<Py_ssize_t>(j)));
      if (!p && PyErr_Occurred()) throw nb::python_error();
      data[j] = p;
    }
  }
  void** out() const { return const_cast<void**>(data); }
};

// Defined in bindings_backward.cpp: adds Stack.backward.
void bind_backward(nb::handle stack_class);
// Defined in the files of their names: add Tensors, Calls, Steps, Trainings.
void bind_tensors(nb::module_& m);
void bind_extent(nb::module_& m);
void bind_calls(nb::module_& m);
void bind_training(nb::module_& m);
void bind_trainings(nb::module_& m);
void bind_steps(nb::module_& m);
// Defined in bindings_half.cpp: adds has_half, half_forward, half_convert.
void bind_half(nb::module_& m);

// Defined in bindings_variant.cpp: adds variant_forward and variant_backward.
void bind_variants(nb::module_& m);
// Defined in bindings_variant_trainings.cpp: adds CellTraining and CellTrainings.
void bind_cell_trainings(nb::module_& m);

}  // namespace cellgate::python
