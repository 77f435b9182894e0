// See bindings_module.h.
#include "bindings_module.h"

namespace cellgate::python {

using exchange::Tensor;

// Never destroyed: the interpreter may be gone before static objects are.
const Names& names() {
  static const Names* all = new Names;
  return *all;
}

ModuleSizes sizes_of(const ModuleKey& key) {
  ModuleSizes sizes;
  const int64_t input = key[0], hidden = key[1], proj = key[2];
  sizes.I = input;
  sizes.H = hidden;
  sizes.P = proj > 0 ? proj : hidden;
  sizes.L = static_cast<int>(key[3]);
  sizes.D = key[5] ? 2 : 1;
  sizes.bits = static_cast<int>(key[6]);
  sizes.width = sizes.D * sizes.P;
  sizes.shape.scalar = sizes.bits == 32 ? Scalar::f32 : Scalar::f64;
  sizes.shape.directions = sizes.D;
  sizes.shape.bias = key[4] != 0;
  for (int l = 0; l < sizes.L; ++l) {
    const int64_t size = l ? sizes.width : input;
    sizes.shape.layers.push_back({size, hidden, sizes.P, proj > 0});
    for (int d = 0; d < sizes.D; ++d) {
      sizes.weights.push_back({4 * hidden, size});
      sizes.weights.push_back({4 * hidden, sizes.P});
      if (sizes.shape.bias) sizes.weights.insert(sizes.weights.end(), 2, {4 * hidden, -1});
      if (proj > 0) sizes.weights.push_back({proj, hidden});
    }
  }
  return sizes;
}

bool PlainTimes::hold() const {
  const Py_ssize_t count = PyTuple_Size(must_be_false_.ptr());
  for (Py_ssize_t k = 0; k < count; ++k) {
    PyObject* f = PyTuple_GetItem(must_be_false_.ptr(), k);
    const bool alone = !PyTuple_Check(f);
    nb::object found =
        alone ? called(f)
              : nb::steal(PyObject_CallFunctionObjArgs(PyTuple_GetItem(f, 0), PyTuple_GetItem(f, 1), nullptr));
    if (!found.is_valid()) throw nb::python_error();
    if (truth(found.ptr())) return false;
  }
  nb::object level = nb::steal(PyObject_GetAttr(forward_ad_.ptr(), names().level));
  if (!level.is_valid()) throw nb::python_error();
  if (PyLong_AsLong(level.ptr()) >= 0) return false;
  nb::object backend = called(requested_.ptr());
  return PyUnicode_Check(backend.ptr()) && (PyUnicode_CompareWithASCIIString(backend.ptr(), "auto") == 0 ||
                                            PyUnicode_CompareWithASCIIString(backend.ptr(), "cpu") == 0);
}

namespace {

// A whole number that is a plain Python int; false for a list of sizes, a symbol, or anything else.
bool whole(PyObject* dict, PyObject* key, int64_t& to) {
  PyObject* value = PyDict_GetItemWithError(dict, key);
  if (!value || !PyLong_CheckExact(value)) return false;
  to = PyLong_AsLongLong(value);
  if (to == -1 && PyErr_Occurred()) PyErr_Clear();
  return to >= 0;
}

// A flag, or any object's truth; false when it is missing.
bool flag(PyObject* dict, PyObject* key, int64_t& to) {
  PyObject* value = PyDict_GetItemWithError(dict, key);
  if (!value) return false;
  to = truth(value);
  return true;
}

}  // namespace

bool ModuleCall::read_any(nb::handle module, int bits) {
  const Names& n = names();
  own = nb::steal(PyObject_GetAttr(module.ptr(), n.dict));
  if (!own.is_valid()) throw nb::python_error();
  dict = own.ptr();
  if (!PyDict_CheckExact(dict)) return false;
  int64_t training, first;
  key[6] = bits;
  if (!whole(dict, n.input_size, key[0]) || !whole(dict, n.hidden_size, key[1]) || !whole(dict, n.proj_size, key[2]) ||
      !whole(dict, n.num_layers, key[3]) || !flag(dict, n.bias, key[4]) || !flag(dict, n.bidirectional, key[5]) ||
      !flag(dict, n.training, training) || !flag(dict, n.batch_first, first) || key[1] == 0 || key[3] == 0)
    return false;
  PyObject* given = PyDict_GetItemWithError(dict, n.variant);
  if (given && given != Py_None) {
    nb::object plain = nb::steal(PyObject_GetAttr(given, training ? n.plain_in_training : n.plain_in_evaluation));
    if (!plain.is_valid()) throw nb::python_error();
    if (!truth(plain.ptr())) variant = given;
  }
  batch_first = first != 0;
  if (training && key[3] > 1) {
    PyObject* dropout = PyDict_GetItemWithError(dict, n.dropout);
    drops = !dropout || truth(dropout);
  }
  return true;
}

bool ModuleCall::read_keep(Keep& to) const {
  PyObject* memory = PyDict_GetItemWithError(dict, names().memory);
  to = Keep::fast;
  if (!memory) return true;
  if (!PyUnicode_Check(memory)) return false;
  auto is = [&](const char* word) { return PyUnicode_CompareWithASCIIString(memory, word) == 0; };
  if (is("fast")) return true;
  to = is("lean") ? Keep::lean : Keep::minimal;
  return to == Keep::lean || is("minimal");
}

bool ModuleWeights::read(const ModuleCall& module, const ModuleSizes& sizes, const Tensors& tensors) {
  PyObject* parameters = PyDict_GetItemWithError(module.dict, names().parameters);
  PyObject* groups = PyDict_GetItemWithError(module.dict, names().all_weights);
  if (!parameters || !PyDict_Check(parameters) || !groups || !PyList_Check(groups)) return false;
  const size_t expected = sizes.weights.size();
  if (expected > kFew) {
    many_.resize(expected);
    data_ = many_.data();
  }
  alive_.reserve(expected);
  size_t count = 0;
  for (Py_ssize_t g = 0; g < PyList_Size(groups); ++g) {
    PyObject* group = PyList_GetItem(groups, g);
    if (!PyList_Check(group)) return false;
    for (Py_ssize_t k = 0; k < PyList_Size(group); ++k, ++count) {
      PyObject* called = PyList_GetItem(group, k);
      PyObject* w = PyDict_GetItemWithError(parameters, called);
      // The last: someone put a tensor in the place of the parameter.
      if (!w || count >= expected || PyDict_GetItemWithError(module.dict, called)) return false;
      Tensor t;
      const auto& shape = sizes.weights[count];
      if (!tensors.read(w, t) || !t.holds_floats(sizes.bits) || !has_shape(t, shape[0], shape[1]) || !contiguous(t))
        return false;
      if (!tensors.backed(w, t)) return false;
      // Asked of what functional_call puts in only: of a module's own parameters it would cost a twentieth of a call.
      if (tensors.is_tensor(w) && tensors.negated(w)) return false;
      data_[count] = t.begin();
      alive_.push_back(nb::borrow(w));
    }
  }
  return count == expected;
}

}  // namespace cellgate::python
