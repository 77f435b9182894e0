// See bindings_tensors.h.
#include "bindings_tensors.h"

#include <new>

#include "blocks.h"

namespace cellgate::python {
namespace {

constexpr int kLoanDimensions = 4;

// A tensor in a block of ours: what its library holds of it until it dies.
struct Loan {
  exchange::Managed managed;
  size_t bytes;
  int64_t shape[kLoanDimensions], strides[kLoanDimensions];
};

void return_loan(exchange::Managed* managed) {
  Loan* loan = static_cast<Loan*>(managed->context);
  block_give(managed->tensor.data, loan->bytes);
  delete loan;
}

}  // namespace

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
      cpu_(nb::str("cpu")),
      made_as_(nb::make_tuple("dtype", "device")),
      is_neg_(nb::str("is_neg")),
      transpose_(nb::str("transpose")),
      storage_(nb::str("untyped_storage")),
      bytes_(nb::str("nbytes")),
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

bool Tensors::has_storage(PyObject* tensor, const exchange::Tensor& its) const {
  for (int d = 0; d < its.ndim; ++d)
    if (its.shape[d] == 0) return true;
  if (!its.data) return false;
  nb::object storage = nb::steal(PyObject_CallMethodObjArgs(tensor, storage_.ptr(), nullptr));
  nb::object bytes;
  if (storage.is_valid()) bytes = nb::steal(PyObject_CallMethodObjArgs(storage.ptr(), bytes_.ptr(), nullptr));
  if (!bytes.is_valid()) throw nb::python_error();
  return truth(bytes.ptr());
}

nb::object Tensors::like(const nb::object& pattern) const {
  PyObject* result = PyObject_CallFunctionObjArgs(empty_like_.ptr(), pattern.ptr(), nullptr);
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

nb::object Tensors::sized(const nb::object& size, int bits) const {
  // The device is named because the library may have another default.
  PyObject* arguments[3] = {size.ptr(), (bits == 32 ? floats_ : doubles_).ptr(), cpu_.ptr()};
  PyObject* result = PyObject_Vectorcall(empty_.ptr(), arguments, 1, made_as_.ptr());
  if (!result) throw nb::python_error();
  return nb::steal(result);
}

nb::object Tensors::block(const nb::object& size, int bits, size_t least) const {
  const int dimensions = static_cast<int>(PyTuple_Check(size.ptr()) ? PyTuple_Size(size.ptr()) : 0);
  int64_t shape[kLoanDimensions], scalars = 1;
  if (dimensions < 1 || dimensions > kLoanDimensions) return sized(size, bits);
  for (int d = 0; d < dimensions; ++d) {
    shape[d] = PyLong_AsLongLong(PyTuple_GetItem(size.ptr(), d));
    if (shape[d] == -1 && PyErr_Occurred()) throw nb::python_error();
    if (shape[d] < 0 || __builtin_mul_overflow(scalars, shape[d], &scalars)) return sized(size, bits);
  }
  if (scalars > INT64_MAX / 8) return sized(size, bits);
  nb::object made;
  if (static_cast<size_t>(scalars) * static_cast<size_t>(bits / 8) >= least) made = lend(shape, dimensions, bits);
  return made.is_valid() ? made : sized(size, bits);  // whose refusal has the library's words
}

nb::object Tensors::gradient(const nb::object& of, const exchange::Tensor& its) const {
  int64_t scalars = 1;
  for (int d = 0; d < its.ndim; ++d) scalars *= its.shape[d];
  nb::object made;
  if (scalars * (its.bits / 8) >= static_cast<int64_t>(kBlockMin) && its.ndim <= kLoanDimensions && contiguous(its))
    made = lend(its.shape, its.ndim, its.bits);
  return made.is_valid() ? made : like(of);
}

nb::object Tensors::lend(const int64_t* shape, int dimensions, int bits) const {
  size_t bytes = static_cast<size_t>(bits / 8);
  for (int d = 0; d < dimensions; ++d) bytes *= static_cast<size_t>(shape[d]);
  void* data = block_take(bytes);
  Loan* loan = data ? new (std::nothrow) Loan : nullptr;
  if (!loan) {
    block_give(data, bytes);
    return {};
  }
  loan->bytes = bytes;
  int64_t stride = 1;
  for (int d = dimensions; d-- > 0; stride *= shape[d]) {
    loan->shape[d] = shape[d];
    loan->strides[d] = stride;
  }
  loan->managed = {table_->version,
                   loan,
                   return_loan,
                   0,
                   {data, exchange::kCpu, 0, dimensions, exchange::kFloat, static_cast<uint8_t>(bits), 1, loan->shape,
                    loan->strides, 0}};
  void* made = nullptr;
  if (table_->object_from_managed(&loan->managed, &made) != 0) {
    return_loan(&loan->managed);
    throw nb::python_error();
  }
  return nb::steal(static_cast<PyObject*>(made));
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
  m.def(
      "block_statistics",
      [] {
        BlockStatistics s = block_statistics();
        return nb::make_tuple(s.waiting, s.waiting_bytes, s.fresh, s.reused);
      },
      "Large blocks that wait to be used again, their bytes, and how many were taken fresh and reused.");
  m.def("release_blocks", &blocks_release, "Give waiting blocks back to the system.");
  nb::class_<Tensors>(m, "Tensors", "How tensors are read and made; all of it comes from the library that has them.")
      .def(nb::init<nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle>(),
           "tensor"_a, "parameter"_a, "table"_a.none(), "empty"_a, "empty_like"_a, "float32"_a, "float64"_a,
           "threads"_a, "table: their DLPack exchange table, or None where they have none.")
      .def("block", &Tensors::block, "size"_a, "bits"_a, "least"_a = kBlockOfResults,
           "A float tensor of this size, contents undefined; from `least` bytes on in memory that is used again after "
           "it.")
      .def_prop_ro("usable", &Tensors::usable, "Whether tensors can be read without a call into Python.");
}

}  // namespace cellgate::python
