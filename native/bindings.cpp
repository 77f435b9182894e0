// cellgate._native: the engine for Python. Addresses come in as integers (tensor.data_ptr()), so the module links
// neither PyTorch nor NumPy; there is no arithmetic here, and no checking of shapes: backends/cpu.py does that.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "bindings.h"
#include "borrowed.h"
#include "dispatch.h"
#include "memory.h"
#include "peak.h"
#include "phases.h"
#include "stack.h"
#include "threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using cellgate::python::Addresses;
using cellgate::python::pointer;

void apply(const std::string& function, uintptr_t x, uintptr_t y, int64_t n, bool is_double) {
  const cellgate::Kernels& k = cellgate::kernels();
  nb::gil_scoped_release released;
  if (function == "sigmoid" && is_double) return k.sigmoid_f64(pointer<const double>(x), pointer<double>(y), n);
  if (function == "sigmoid") return k.sigmoid_f32(pointer<const float>(x), pointer<float>(y), n);
  if (function == "tanh" && is_double) return k.tanh_f64(pointer<const double>(x), pointer<double>(y), n);
  if (function == "tanh") return k.tanh_f32(pointer<const float>(x), pointer<float>(y), n);
  throw std::invalid_argument("function: expected \"sigmoid\" or \"tanh\", got \"" + function + "\"");
}

std::vector<std::string> isas(bool runnable) {
  std::vector<std::string> names;
  for (const char* const* n = cellgate::built_isas(); *n; ++n) {
    const char* why = nullptr;
    if (!runnable || cellgate::find_kernels(*n, &why)) names.emplace_back(*n);
  }
  return names;
}

// ---- the stack -----------------------------------------------------------------------------------------------------

cellgate::StackShape make_stack(int scalar, int directions, bool bias,
                                const std::vector<std::tuple<int64_t, int64_t, int64_t>>& layers) {
  cellgate::StackShape shape;
  shape.scalar = static_cast<cellgate::Scalar>(scalar);
  shape.directions = directions;
  shape.bias = bias;
  for (auto [input, hidden, projection] : layers)
    shape.layers.push_back({input, hidden, projection > 0 ? projection : hidden, projection > 0});
  return shape;
}

void stack_forward(const cellgate::StackShape& shape, int64_t steps, int64_t batch, uintptr_t x, int64_t x_step,
                   int64_t x_row, uintptr_t y, int64_t y_step, int64_t y_row, nb::handle weights, nb::handle h0,
                   nb::handle c0, nb::handle h_n, nb::handle c_n, int threads, uintptr_t lengths, uintptr_t reset,
                   int64_t rows, uintptr_t batch_sizes, nb::handle masks, uintptr_t saved, int keep, int64_t every,
                   bool weights_change, nb::handle packed) {
  const size_t layers = shape.layers.size();
  Addresses w(weights, shape.weight_count(), "weights"), h(h0, layers, "h0"), c(c0, layers, "c0"),
      hn(h_n, layers, "h_n"), cn(c_n, layers, "c_n"), m(masks, layers - 1, "masks");
  cellgate::StackForward call;
  call.steps = steps;
  call.batch = batch;
  call.rows = rows;
  call.batch_sizes = pointer<const int64_t>(batch_sizes);
  call.lengths = pointer<const int64_t>(lengths);
  call.reset = pointer<const uint8_t>(reset);
  call.x = pointer<const void>(x);
  call.x_step = x_step;
  call.x_row = x_row;
  call.y = pointer<void>(y);
  call.y_step = y_step;
  call.y_row = y_row;
  call.weights = w.data;
  call.h0 = h.data;
  call.c0 = c.data;
  call.h_n = const_cast<void**>(hn.data);
  call.c_n = const_cast<void**>(cn.data);
  call.masks = m.data;
  if (!packed.is_none()) call.packed = nb::cast<const cellgate::PackedStack&>(packed).addresses();
  call.saved = pointer<void>(saved);
  call.keep = static_cast<cellgate::Keep>(keep);
  call.every = every;
  call.weights_change = weights_change;
  call.threads = threads;
  bool done;
  {
    nb::gil_scoped_release released;
    done = cellgate::forward(shape, call);
  }
  if (!done) throw std::bad_alloc();
}

}  // namespace

NB_MODULE(_native, m) {
  // The cache of stacks lives until the process ends.
  nb::set_leak_warnings(false);
  m.doc() = "The native engine of cellgate; used by cellgate.backends.cpu only.";
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const cellgate::NoSuchKernels& error) {
      PyErr_SetString(nb::module_::import_("cellgate.errors").attr("BackendError").ptr(), error.what());
    }
  });
  m.def("isa", [] { return std::string(cellgate::kernels().name); }, "Name of the instruction set in use.");
  m.def("isas", &isas, "runnable"_a = true,
        "Names of the instruction sets in this build, best first; by default only those this CPU has.");
  m.def("measure_fma_peak", &cellgate::measure_fma_peak, "threads"_a = 1, "is_double"_a = false, "seconds"_a = 0.1,
        nb::call_guard<nb::gil_scoped_release>(), "Floating-point operations a second on registers alone.");
  m.def("measure_read_bandwidth", &cellgate::measure_read_bandwidth, "bytes"_a, "threads"_a = 1, "seconds"_a = 0.1,
        nb::call_guard<nb::gil_scoped_release>(),
        "Bytes a second read in order, each thread from its own share of `bytes` again and again.");
  m.def("measure_activation_rate", &cellgate::measure_activation_rate, "threads"_a = 1, "seconds"_a = 0.1,
        nb::call_guard<nb::gil_scoped_release>(), "Logistic functions of float32 a second.");
  m.def("measure_handover", &cellgate::measure_handover, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Seconds that a number takes from one thread of a team to the next; 0 for one thread.");
  m.def("begin_phases", &cellgate::begin_phases, "From now on tell what the threads of the engine are at (phases.h).");
  m.def(
      "end_phases",
      [] {
        const cellgate::PhaseTimes times = cellgate::end_phases();
        nb::dict by_name;
        for (int p = 1; p < static_cast<int>(cellgate::Phase::count); ++p)
          by_name[cellgate::name_of(static_cast<cellgate::Phase>(p))] = times.at[p];
        return nb::make_tuple(times.elapsed, by_name);
      },
      "Ticks since begin_phases(), and the ticks that all threads together were at each phase.");
  m.def(
      "force_isa", [](const std::string& name) { cellgate::force_kernels(name.c_str()); }, "name"_a,
      "Use the named instruction set from now on (for tests). Raises BackendError when it cannot run.");
  m.def(
      "team_runs",
      [] {
        const cellgate::TeamRuns runs = cellgate::team_runs();
        nb::dict by_hands;
        by_hands["borrowed"] = runs.borrowed, by_hands["own"] = runs.own, by_hands["one"] = runs.one;
        return by_hands;
      },
      "Calls of several threads since the process began, by whose they were: an OpenMP runtime's, our own, or the "
      "caller's alone.");
  m.def("calm_borrowed", &cellgate::calm_borrowed, "size"_a, "until"_a,
        "What a crowd does to an OpenMP runtime that has teams of so many threads, until a moment of the steady clock "
        "(for tests).");
  m.def("available_cpus", &cellgate::available_cpus, "CPUs this process may run on.");
  m.def("apply", &apply, "function"_a, "x"_a, "y"_a, "n"_a, "is_double"_a,
        "y[j] = sigmoid or tanh of x[j] for n scalars at the addresses x and y (for tests).");

  nb::class_<cellgate::StackShape>(m, "Stack", "Shapes of a stack of layers.")
      .def(
          "__init__",
          [](cellgate::StackShape* self, int scalar, int directions, bool bias,
             const std::vector<std::tuple<int64_t, int64_t, int64_t>>& layers) {
            new (self) cellgate::StackShape(make_stack(scalar, directions, bias, layers));
          },
          "scalar"_a, "directions"_a, "bias"_a, "layers"_a,
          "scalar: 0 float32, 1 float64. layers: (input, hidden, projection or 0) of each.")
      .def("forward", &stack_forward, "steps"_a, "batch"_a, "x"_a, "x_step"_a, "x_row"_a, "y"_a, "y_step"_a, "y_row"_a,
           "weights"_a, "h0"_a.none(), "c0"_a.none(), "h_n"_a, "c_n"_a, "threads"_a, "lengths"_a = 0, "reset"_a = 0,
           "rows"_a = 0, "batch_sizes"_a = 0, "masks"_a.none() = nb::none(), "saved"_a = 0, "keep"_a = 0, "every"_a = 1,
           "weights_change"_a = false, "packed"_a.none() = nb::none(),
           "Run the stack; the arguments are those of native/stack.h, arrays by address, groups of them as tuples.")
      .def(
          "saved_size",
          [](const cellgate::StackShape& self, int64_t steps, int64_t batch, int64_t rows, int keep, int64_t every,
             bool dropout) {
            return cellgate::saved_size(self, steps, batch, rows, static_cast<cellgate::Keep>(keep), every, dropout);
          },
          "steps"_a, "batch"_a, "rows"_a, "keep"_a, "every"_a, "dropout"_a,
          "Scalars of the block that a training forward fills (native/saved.h).");
  cellgate::python::bind_variants(m);
  cellgate::python::bind_cell_trainings(m);
  cellgate::python::bind_backward(m.attr("Stack"));
  nb::class_<cellgate::PackedStack>(m, "PackedStack",
                                    "The weights of a stack, packed once; they do not follow changes.")
      .def(
          "__init__",
          [](cellgate::PackedStack* self, const cellgate::StackShape& shape, nb::handle weights) {
            Addresses w(weights, shape.weight_count(), "weights");
            new (self) cellgate::PackedStack(shape, w.data);
          },
          "stack"_a, "weights"_a);
  cellgate::python::bind_tensors(m);
  cellgate::python::bind_extent(m);
  cellgate::python::bind_calls(m);
  cellgate::python::bind_training(m);
  cellgate::python::bind_trainings(m);
  cellgate::python::bind_steps(m);
  cellgate::python::bind_half(m);
  m.def(
      "cache_statistics",
      [] {
        cellgate::PackStatistics s = cellgate::pack_statistics();
        return std::make_tuple(s.entries, s.bytes, s.hits, s.misses);
      },
      "Entries, bytes, hits and misses of the cache of packed weights.");
  m.def("clear_cache", &cellgate::pack_clear, "Forget all packed weights.");
}
