// Stack.backward of cellgate._native. As in bindings.cpp: addresses in, no arithmetic.
#include "bindings.h"

#include <new>

#include "stack_backward.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;

void stack_backward(const StackShape& shape, int64_t steps, int64_t batch, uintptr_t x, int64_t x_step, int64_t x_row,
                    uintptr_t y, int64_t y_step, int64_t y_row, nb::handle weights, nb::handle h0, nb::handle c0,
                    int threads, uintptr_t lengths, uintptr_t reset, int64_t rows, uintptr_t batch_sizes,
                    nb::handle masks, uintptr_t saved, int keep, int64_t every, uintptr_t dy, int64_t dy_step,
                    int64_t dy_row, nb::handle dh_n, nb::handle dc_n, nb::handle trace, uintptr_t dx, int64_t dx_step,
                    int64_t dx_row, nb::handle dweights, nb::handle dh0, nb::handle dc0) {
  const size_t layers = shape.layers.size(), weight_count = shape.weight_count();
  Addresses w(weights, weight_count, "weights"), h(h0, layers, "h0"), c(c0, layers, "c0"),
      m(masks, layers - 1, "masks"), dh(dh_n, layers, "dh_n"), dc(dc_n, layers, "dc_n"), tr(trace, 3 * layers, "trace"),
      dw(dweights, weight_count, "dweights"), gh(dh0, layers, "dh0"), gc(dc0, layers, "dc0");
  StackBackward call;
  StackForward& was = call.forward;
  was.steps = steps;
  was.batch = batch;
  was.rows = rows;
  was.batch_sizes = pointer<const int64_t>(batch_sizes);
  was.lengths = pointer<const int64_t>(lengths);
  was.reset = pointer<const uint8_t>(reset);
  was.x = pointer<const void>(x);
  was.x_step = x_step;
  was.x_row = x_row;
  was.y = pointer<void>(y);
  was.y_step = y_step;
  was.y_row = y_row;
  was.weights = w.data;
  was.h0 = h.data;
  was.c0 = c.data;
  was.masks = m.data;
  was.saved = pointer<void>(saved);
  was.keep = static_cast<Keep>(keep);
  was.every = every;
  was.threads = threads;
  call.dy = pointer<const void>(dy);
  call.dy_step = dy_step;
  call.dy_row = dy_row;
  call.dh_n = dh.data;
  call.dc_n = dc.data;
  std::vector<TraceGradient> gradients;
  if (tr.data) {
    for (size_t l = 0; l < layers; ++l) gradients.push_back({tr.data[3 * l], tr.data[3 * l + 1], tr.data[3 * l + 2]});
    call.trace = gradients.data();
  }
  call.dx = pointer<void>(dx);
  call.dx_step = dx_step;
  call.dx_row = dx_row;
  call.dweights = dw.out();
  call.dh0 = gh.out();
  call.dc0 = gc.out();
  bool done;
  {
    nb::gil_scoped_release released;
    done = backward(shape, call);
  }
  if (!done) throw std::bad_alloc();
}

}  // namespace

void bind_backward(nb::handle stack_class) {
  nb::cpp_function_def(&stack_backward, nb::scope(stack_class), nb::name("backward"), nb::is_method(), "steps"_a,
                       "batch"_a, "x"_a, "x_step"_a, "x_row"_a, "y"_a, "y_step"_a, "y_row"_a, "weights"_a,
                       "h0"_a.none(), "c0"_a.none(), "threads"_a, "lengths"_a, "reset"_a, "rows"_a, "batch_sizes"_a,
                       "masks"_a.none(), "saved"_a, "keep"_a, "every"_a, "dy"_a, "dy_step"_a, "dy_row"_a,
                       "dh_n"_a.none(), "dc_n"_a.none(), "trace"_a.none(), "dx"_a, "dx_step"_a, "dx_row"_a,
                       "dweights"_a, "dh0"_a.none(), "dc0"_a.none(),
                       "Gradients of a call of forward(); the arguments are those of native/stack_backward.h, arrays "
                       "by address, groups of "
                       "them as tuples, trace as (gates, cell, output) of each layer in turn.");
}

}  // namespace cellgate::python
