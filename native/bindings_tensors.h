// Tensors as Python objects: read and made without a way through Python, by the exchange table of their library
// (exchange.h).
#pragma once

#include <string>

#include "bindings.h"
#include "exchange.h"

namespace cellgate::python {

inline nb::object called(PyObject* f) {
  PyObject* result = PyObject_CallObject(f, nullptr);
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

inline bool truth(PyObject* o) {
  int yes = PyObject_IsTrue(o);
  if (yes < 0) throw nb::python_error();
  return yes != 0;
}

inline bool contiguous(const exchange::Tensor& t) {
  int64_t expected = 1;
  bool in_order = true;
  for (int d = t.ndim; d-- > 0;) {
    if (t.shape[d] == 0) return true;
    if (t.shape[d] != 1 && t.strides[d] != expected) in_order = false;
    expected *= t.shape[d];
  }
  return in_order;
}

// (rows, columns), or (rows) where columns is -1.
inline bool has_shape(const exchange::Tensor& t, int64_t rows, int64_t columns) {
  return columns < 0 ? t.ndim == 1 && t.shape[0] == rows : t.ndim == 2 && t.shape[0] == rows && t.shape[1] == columns;
}

// Bytes from which results are put into blocks: such tensors cannot grow (resize_), and allocators keep less themselves.
constexpr size_t kBlockOfResults = size_t{16} << 20;

// What is needed of the library of the tensors.
class Tensors {
 public:
  Tensors(nb::handle tensor, nb::handle parameter, nb::handle table, nb::handle empty, nb::handle empty_like,
          nb::handle floats, nb::handle doubles, nb::handle threads);

  // Whether tensors can be read without a call into Python; false with libraries older than the table.
  bool usable() const { return table_ != nullptr; }

  // A tensor itself, no subclass but the parameter.
  bool is_tensor(PyObject* o) const { return reinterpret_cast<PyObject*>(Py_TYPE(o)) == tensor_.ptr(); }

  // Reads a plain tensor or parameter of the CPU; false for anything else.
  bool read(PyObject* object, exchange::Tensor& to) const {
    if (!is_tensor(object) && reinterpret_cast<PyObject*>(Py_TYPE(object)) != parameter_.ptr()) return false;
    if (table_->read(object, &to) != 0) {
      PyErr_Clear();
      return false;
    }
    return to.device_type == exchange::kCpu;
  }

  // Whether memory is behind a tensor that was read. Where a storage was given back (`untyped_storage().resize_(0)`, as
  // FSDP does with weights between calls), the offset of a view in it is what is left for an address.
  bool backed(PyObject* tensor, const exchange::Tensor& its) const {
    return reinterpret_cast<uintptr_t>(its.begin()) >= kLowAddresses || has_storage(tensor, its);
  }

  // Whether its numbers have the other sign in memory.
  bool negated(PyObject* tensor) const;
  nb::object like(const nb::object& pattern) const;          // contents undefined
  nb::object sized(const nb::object& size, int bits) const;  // the same, of a tuple of sizes, 32 or 64 bits
  // The same in a block of memory that is used again after it (blocks.h), from `least` bytes on.
  nb::object block(const nb::object& size, int bits, size_t least) const;
  // For the gradient of a tensor of floats that was read as `its`: like(), but a large one in a block, since a training
  // that lets gradients go after every step would have the system make their pages anew every time.
  nb::object gradient(const nb::object& of, const exchange::Tensor& its) const;
  nb::object transposed(const nb::object& tensor) const;  // the first two dimensions exchanged
  int threads() const;                                    // at most so many may work

 private:
  // Below lie offsets into nothing, and of real memory little: the heap of a program that is not position-independent.
  static constexpr uintptr_t kLowAddresses = uintptr_t{1} << 32;

  bool has_storage(PyObject* tensor, const exchange::Tensor& its) const;

  // A tensor in a block; no object where memory is out.
  nb::object lend(const int64_t* shape, int dimensions, int bits) const;

  nb::object tensor_, parameter_, empty_, empty_like_, floats_, doubles_, threads_, cpu_, made_as_, is_neg_, transpose_,
      storage_, bytes_, zero_, one_;
  const exchange::Table* table_ = nullptr;
};

}  // namespace cellgate::python
