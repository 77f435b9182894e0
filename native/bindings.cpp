// cellgate._native: the engine for Python. Addresses come in as integers (tensor.data_ptr()), so the module links
// neither PyTorch nor NumPy; there is no arithmetic here, and no checking of shapes: backends/cpu.py does that.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "dispatch.h"
#include "threads.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

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

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The native engine of cellgate; used by cellgate.backends.cpu only.";
  m.def("isa", [] { return std::string(cellgate::kernels().name); }, "Name of the instruction set in use.");
  m.def("isas", &isas, "runnable"_a = true,
        "Names of the instruction sets in this build, best first; by default only those this CPU has.");
  m.def(
      "force_isa", [](const std::string& name) { cellgate::force_kernels(name.c_str()); }, "name"_a,
      "Use the named instruction set from now on (for tests). Raises RuntimeError when it cannot run.");
  m.def("available_cpus", &cellgate::available_cpus, "CPUs this process may run on.");
  m.def("apply", &apply, "function"_a, "x"_a, "y"_a, "n"_a, "is_double"_a,
        "y[j] = sigmoid or tanh of x[j] for n scalars at the addresses x and y (for tests).");
}
