// bfloat16 for Python: a stack run on instructions for it, and conversions. See half.h.
#include "bindings.h"
#include "half.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cellgate::python {
namespace {

// What forward and backward are told alike. y is contiguous.
StackForward described(const StackShape& shape, int64_t steps, int64_t batch, uintptr_t x, int64_t x_step,
                       int64_t x_row, uintptr_t y, const Addresses& weights, const Addresses& h0, const Addresses& c0,
                       int threads, uintptr_t saved) {
  StackForward call;
  call.steps = steps;
  call.batch = batch;
  call.x = pointer<const void>(x);
  call.x_step = x_step;
  call.x_row = x_row;
  call.y = pointer<void>(y);
  call.y_row = shape.directions * shape.layers.back().hidden_size;
  call.y_step = batch * call.y_row;
  call.weights = weights.data;
  call.h0 = h0.data;
  call.c0 = c0.data;
  call.threads = threads;
  call.saved = pointer<void>(saved);
  return call;
}

void forward(const StackShape& shape, int64_t steps, int64_t batch, uintptr_t x, int64_t x_step, int64_t x_row,
             uintptr_t y, nb::handle weights, nb::handle h0, nb::handle c0, nb::handle h_n, nb::handle c_n, int threads,
             uintptr_t saved) {
  const size_t layers = shape.layers.size();
  Addresses w(weights, shape.weight_count(), "weights"), h(h0, layers, "h0"), c(c0, layers, "c0"),
      hn(h_n, layers, "h_n"), cn(c_n, layers, "c_n");
  StackForward call = described(shape, steps, batch, x, x_step, x_row, y, w, h, c, threads, saved);
  call.h_n = hn.out();
  call.c_n = cn.out();
  bool done;
  {
    nb::gil_scoped_release released;
    done = half_forward(shape, call);
  }
  if (!done) throw std::bad_alloc();
}

void backward(const StackShape& shape, int64_t steps, int64_t batch, uintptr_t x, int64_t x_step, int64_t x_row,
              uintptr_t y, nb::handle weights, nb::handle h0, nb::handle c0, int threads, uintptr_t saved, uintptr_t dy,
              int64_t dy_step, int64_t dy_row, nb::handle dh_n, nb::handle dc_n, uintptr_t dx, int64_t dx_step,
              int64_t dx_row, nb::handle dweights, nb::handle dh0, nb::handle dc0) {
  const size_t layers = shape.layers.size(), count = shape.weight_count();
  Addresses w(weights, count, "weights"), h(h0, layers, "h0"), c(c0, layers, "c0"), dh(dh_n, layers, "dh_n"),
      dc(dc_n, layers, "dc_n"), dw(dweights, count, "dweights"), gh(dh0, layers, "dh0"), gc(dc0, layers, "dc0");
  StackBackward call;
  call.forward = described(shape, steps, batch, x, x_step, x_row, y, w, h, c, threads, saved);
  call.dy = pointer<const void>(dy);
  call.dy_step = dy_step;
  call.dy_row = dy_row;
  call.dh_n = dh.data;
  call.dc_n = dc.data;
  call.dx = pointer<void>(dx);
  call.dx_step = dx_step;
  call.dx_row = dx_row;
  call.dweights = dw.out();
  call.dh0 = gh.out();
  call.dc0 = gc.out();
  bool done;
  {
    nb::gil_scoped_release released;
    done = half_backward(shape, call);
  }
  if (!done) throw std::bad_alloc();
}

void convert(bool widen, nb::handle from, nb::handle to, nb::handle sizes, int threads) {
  const size_t count = static_cast<size_t>(PyTuple_Check(sizes.ptr()) ? PyTuple_Size(sizes.ptr()) : 0);
  Addresses f(from, count, "from"), t(to, count, "to");
  std::vector<HalfCopy> copies(count);
  for (size_t k = 0; k < count; ++k) {
    copies[k] = {f.data[k], t.out()[k], PyLong_AsLongLong(PyTuple_GetItem(sizes.ptr(), static_cast<Py_ssize_t>(k)))};
    if (copies[k].n == -1 && PyErr_Occurred()) throw nb::python_error();
  }
  nb::gil_scoped_release released;
  half_convert(widen, copies.data(), static_cast<int64_t>(count), threads);
}

}  // namespace

void bind_half(nb::module_& m) {
  m.def(
      "has_half", [] { return half_kernels() != nullptr; },
      "Whether stacks in bfloat16 run on instructions made for it.");
  m.def("half_forward", &forward, "stack"_a, "steps"_a, "batch"_a, "x"_a, "x_step"_a, "x_row"_a, "y"_a, "weights"_a,
        "h0"_a.none(), "c0"_a.none(), "h_n"_a, "c_n"_a, "threads"_a, "saved"_a = 0,
        "Run a float32 Stack on bfloat16 arrays; y is contiguous, saved the float32 block of a training forward.");
  m.def("half_backward", &backward, "stack"_a, "steps"_a, "batch"_a, "x"_a, "x_step"_a, "x_row"_a, "y"_a, "weights"_a,
        "h0"_a.none(), "c0"_a.none(), "threads"_a, "saved"_a, "dy"_a, "dy_step"_a, "dy_row"_a, "dh_n"_a.none(),
        "dc_n"_a.none(), "dx"_a, "dx_step"_a, "dx_row"_a, "dweights"_a, "dh0"_a.none(), "dc0"_a.none(),
        "Gradients of a call of half_forward, in bfloat16; but dx in float32.");
  m.def("half_convert", &convert, "widen"_a, "from"_a, "to"_a, "sizes"_a, "threads"_a,
        "Convert arrays from bfloat16 to float32 (widen) or back, rounded to the nearest.");
}

}  // namespace cellgate::python
