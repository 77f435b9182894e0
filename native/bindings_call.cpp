// A call of an LSTM module, from Python objects to the engine and back, for calls that only compute.
//
// A short sequence takes the engine a few microseconds; so do the questions that must be asked before it may run, when
// they are asked in Python. Here the same questions cost tens of nanoseconds each: tensors are read by the exchange table
// of the library that made them (exchange.h). Nothing is remembered of weights or inputs from one call to the next, so
// nothing can be out of date; what is remembered belongs to sizes. Whatever is not plain is left to the full way in
// Python, which also words the errors: the answer is then None.
#include <array>
#include <map>
#include <memory>
#include <new>

#include "bindings_tensors.h"
#include "blocks.h"
#include "stack.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

// Interned once: names of attributes and methods.
PyObject* name(const char* text) { return PyUnicode_InternFromString(text); }

struct Names {
  PyObject *input_size = name("input_size"), *hidden_size = name("hidden_size"), *proj_size = name("proj_size"),
           *num_layers = name("num_layers"), *bias = name("bias"), *bidirectional = name("bidirectional"),
           *training = name("training"), *dropout = name("dropout"), *batch_first = name("batch_first"),
           *parameters = name("_parameters"), *all_weights = name("_all_weights"), *dict = name("__dict__"),
           *level = name("_current_level"), *variant = name("variant");
};

// Never destroyed: the interpreter may be gone before static objects are.
const Names& names() {
  static const Names* all = new Names;
  return *all;
}

// What is known of all modules with the same sizes.
struct Plan {
  StackShape shape;
  std::vector<std::array<int64_t, 2>> weights;  // shapes in the order of _all_weights; -1 in the place of a second size
  int64_t H, P, width;
  int L, D, bits;
  // Results of the last sizes, to be made again alike; null where they are too large to be kept.
  int64_t steps = -1, batch = -1;
  int form = -1;
  nb::object y_like, h_like, c_like, y_size, h_size, c_size;
};

constexpr int64_t kSmall =
    1 << 18;  // bytes of a result that may be kept as a pattern: making it anew takes twice as long

// Multiplications, for each gate, of a call of some microseconds.
constexpr int64_t kTiny = 50000;

int64_t larger_of(int64_t a, int64_t b) { return a < b ? b : a; }

using Key = std::array<int64_t, 7>;

class Calls {
 public:
  Calls(const Tensors& tensors, nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : tensors_(tensors),
        must_be_false_(nb::borrow(must_be_false)),
        forward_ad_(nb::borrow(forward_ad)),
        requested_(nb::borrow(requested)) {}

  nb::object run(nb::handle module, nb::handle x, nb::handle hx, bool gates);

 private:
  // Whether nothing is in force that changes what a call means: a mode, a transform, a trace, another backend.
  bool plain_times() const {
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

  std::shared_ptr<Plan> plan_of(const Key& key);
  void set_results(Plan& plan, int64_t steps, int64_t batch, int form) const;

  const Tensors& tensors_;  // kept alive by the binding
  nb::object must_be_false_, forward_ad_, requested_;
  std::map<Key, std::shared_ptr<Plan>> plans_;
};

std::shared_ptr<Plan> Calls::plan_of(const Key& key) {
  auto found = plans_.find(key);
  if (found != plans_.end()) return found->second;
  if (plans_.size() > 1000) plans_.clear();
  auto plan = std::make_shared<Plan>();
  const int64_t input = key[0], hidden = key[1], proj = key[2];
  plan->H = hidden;
  plan->P = proj > 0 ? proj : hidden;
  plan->L = static_cast<int>(key[3]);
  plan->D = key[5] ? 2 : 1;
  plan->bits = static_cast<int>(key[6]);
  plan->width = plan->D * plan->P;
  plan->shape.scalar = plan->bits == 32 ? Scalar::f32 : Scalar::f64;
  plan->shape.directions = plan->D;
  plan->shape.bias = key[4] != 0;
  for (int l = 0; l < plan->L; ++l) {
    const int64_t size = l ? plan->width : input;
    plan->shape.layers.push_back({size, hidden, plan->P, proj > 0});
    for (int d = 0; d < plan->D; ++d) {
      plan->weights.push_back({4 * hidden, size});
      plan->weights.push_back({4 * hidden, plan->P});
      if (plan->shape.bias) plan->weights.insert(plan->weights.end(), 2, {4 * hidden, -1});
      if (proj > 0) plan->weights.push_back({proj, hidden});
    }
  }
  plans_.emplace(key, plan);
  return plan;
}

// Forms of a call: unbatched, (T, B, I), (B, T, I).
enum Form { kUnbatched = 0, kTimeFirst = 1, kBatchFirst = 2 };

void Calls::set_results(Plan& plan, int64_t steps, int64_t batch, int form) const {
  const int64_t states = static_cast<int64_t>(plan.L) * plan.D, bytes = plan.bits / 8;
  if (form == kUnbatched) {
    plan.y_size = nb::make_tuple(steps, plan.width);
    plan.h_size = nb::make_tuple(states, plan.P);
    plan.c_size = nb::make_tuple(states, plan.H);
  } else {
    plan.y_size = nb::make_tuple(steps, batch, plan.width);  // time-major in memory, as nn.LSTM's output is
    plan.h_size = nb::make_tuple(states, batch, plan.P);
    plan.c_size = nb::make_tuple(states, batch, plan.H);
  }
  auto pattern = [&](const nb::object& size, int64_t scalars) {
    return scalars * bytes <= kSmall ? tensors_.sized(size, plan.bits) : nb::object();
  };
  plan.y_like = pattern(plan.y_size, steps * batch * plan.width);
  if (plan.y_like.is_valid() && form == kBatchFirst) plan.y_like = tensors_.transposed(plan.y_like);
  plan.h_like = pattern(plan.h_size, states * batch * plan.P);
  plan.c_like = pattern(plan.c_size, states * batch * plan.H);
  plan.steps = steps;
  plan.batch = batch;
  plan.form = form;
}

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

nb::object Calls::run(nb::handle module, nb::handle x, nb::handle hx, bool gates) {
  const Names& n = names();
  if (!tensors_.usable() || !tensors_.is_tensor(x.ptr()) || !plain_times()) return nb::none();
  nb::object own = nb::steal(PyObject_GetAttr(module.ptr(), n.dict));
  if (!own.is_valid()) throw nb::python_error();
  PyObject* dict = own.ptr();
  if (!PyDict_CheckExact(dict)) return nb::none();
  PyObject* variant = PyDict_GetItemWithError(dict, n.variant);
  if (variant && variant != Py_None) return nb::none();

  Tensor in;
  if (!tensors_.read(x.ptr(), in) || tensors_.negated(x.ptr())) return nb::none();
  Key key;
  int64_t training, batch_first;
  key[6] = in.bits;
  if (!(in.holds_floats(32) || in.holds_floats(64)) || !whole(dict, n.input_size, key[0]) ||
      !whole(dict, n.hidden_size, key[1]) || !whole(dict, n.proj_size, key[2]) || !whole(dict, n.num_layers, key[3]) ||
      !flag(dict, n.bias, key[4]) || !flag(dict, n.bidirectional, key[5]) || !flag(dict, n.training, training) ||
      !flag(dict, n.batch_first, batch_first) || key[1] == 0 || key[3] == 0)
    return nb::none();
  // Held here, because other threads may fill the table while this call computes.
  const std::shared_ptr<Plan> held = plan_of(key);
  Plan& plan = *held;
  if (training && plan.L > 1) {
    PyObject* dropout = PyDict_GetItemWithError(dict, n.dropout);
    if (!dropout || truth(dropout)) return nb::none();
  }

  // ---- the input
  int64_t steps, batch, x_step, x_row;
  Form form;
  if (in.ndim == 3) {
    form = batch_first ? kBatchFirst : kTimeFirst;
    const int t = batch_first ? 1 : 0;
    steps = in.shape[t];
    batch = in.shape[1 - t];
    x_step = in.strides[t];
    x_row = in.strides[1 - t];
  } else if (in.ndim == 2) {
    form = kUnbatched;
    steps = in.shape[0];
    batch = 1;
    x_step = in.strides[0];
    x_row = 0;
  } else {
    return nb::none();
  }
  const int last = in.ndim - 1;
  if (in.shape[last] != key[0] || (in.strides[last] != 1 && key[0] > 1) || steps == 0 || batch == 0) return nb::none();
  if (!in.data && key[0] > 0) return nb::none();

  // ---- the weights, as they are now
  PyObject* parameters = PyDict_GetItemWithError(dict, n.parameters);
  PyObject* groups = PyDict_GetItemWithError(dict, n.all_weights);
  if (!parameters || !PyDict_Check(parameters) || !groups || !PyList_Check(groups)) return nb::none();
  constexpr size_t kFew = 64;
  const void* few_addresses[kFew];
  std::vector<const void*> many_addresses;
  const size_t expected = plan.weights.size();
  const void** weights = few_addresses;
  if (expected > kFew) {
    many_addresses.resize(expected);
    weights = many_addresses.data();
  }
  std::vector<nb::object> alive;  // another thread may replace a parameter meanwhile
  alive.reserve(expected);
  size_t count = 0;
  for (Py_ssize_t g = 0; g < PyList_Size(groups); ++g) {
    PyObject* group = PyList_GetItem(groups, g);
    if (!PyList_Check(group)) return nb::none();
    for (Py_ssize_t k = 0; k < PyList_Size(group); ++k, ++count) {
      PyObject* called = PyList_GetItem(group, k);
      PyObject* w = PyDict_GetItemWithError(parameters, called);
      // The last: someone put a tensor in the place of the parameter.
      if (!w || count >= expected || PyDict_GetItemWithError(dict, called)) return nb::none();
      Tensor t;
      const auto& shape = plan.weights[count];
      if (!tensors_.read(w, t) || !t.holds_floats(plan.bits) || !has_shape(t, shape[0], shape[1]) || !contiguous(t))
        return nb::none();
      if (!t.data && shape[1] != 0) return nb::none();
      weights[count] = t.begin();
      alive.push_back(nb::borrow(w));
    }
  }
  if (count != expected) return nb::none();

  // ---- the initial state
  const int64_t states = static_cast<int64_t>(plan.L) * plan.D;
  const char* initial[2] = {nullptr, nullptr};
  if (!hx.is_none()) {
    if (!PyTuple_CheckExact(hx.ptr()) || PyTuple_Size(hx.ptr()) != 2) return nb::none();
    for (int k = 0; k < 2; ++k) {
      PyObject* state = PyTuple_GetItem(hx.ptr(), k);
      Tensor t;
      if (!tensors_.is_tensor(state) || !tensors_.read(state, t) || !t.holds_floats(plan.bits) || !contiguous(t))
        return nb::none();
      const int64_t size = k ? plan.H : plan.P;
      const bool fits = form == kUnbatched
                            ? t.ndim == 2 && t.shape[0] == states && t.shape[1] == size
                            : t.ndim == 3 && t.shape[0] == states && t.shape[1] == batch && t.shape[2] == size;
      if (!fits || !t.data || tensors_.negated(state)) return nb::none();
      initial[k] = t.begin();
    }
  }

  // ---- the results
  if (plan.steps != steps || plan.batch != batch || plan.form != form) set_results(plan, steps, batch, form);
  nb::object y =
      plan.y_like.is_valid() ? tensors_.like(plan.y_like) : tensors_.block(plan.y_size, plan.bits, kBlockOfResults);
  nb::object h_n = plan.h_like.is_valid() ? tensors_.like(plan.h_like) : tensors_.sized(plan.h_size, plan.bits);
  nb::object c_n = plan.c_like.is_valid() ? tensors_.like(plan.c_like) : tensors_.sized(plan.c_size, plan.bits);
  Tensor y_at, h_at, c_at;
  if (!tensors_.read(y.ptr(), y_at) || !tensors_.read(h_n.ptr(), h_at) || !tensors_.read(c_n.ptr(), c_at))
    return nb::none();
  if (form == kBatchFirst && !plan.y_like.is_valid()) y = tensors_.transposed(y);

  // ---- the call
  constexpr int kLayers = 16;
  void* few_states[4 * kLayers];
  std::vector<void*> many_states;
  void** table = few_states;
  if (plan.L > kLayers) {
    many_states.resize(static_cast<size_t>(4 * plan.L));
    table = many_states.data();
  }
  const int64_t row = batch * plan.D * (plan.bits / 8);
  for (int l = 0; l < plan.L; ++l) {
    table[l] = initial[0] ? const_cast<char*>(initial[0]) + l * row * plan.P : nullptr;
    table[plan.L + l] = initial[1] ? const_cast<char*>(initial[1]) + l * row * plan.H : nullptr;
    table[2 * plan.L + l] = h_at.begin() + l * row * plan.P;
    table[3 * plan.L + l] = c_at.begin() + l * row * plan.H;
  }
  StackForward call;
  call.steps = steps;
  call.batch = batch;
  call.x = in.begin();
  call.x_step = x_step;
  call.x_row = x_row;
  call.y = y_at.begin();
  call.y_step = batch * plan.width;
  call.y_row = plan.width;
  call.weights = weights;
  if (initial[0]) {
    call.h0 = table;
    call.c0 = table + plan.L;
  }
  call.h_n = table + 2 * plan.L;
  call.c_n = table + 3 * plan.L;
  call.threads = tensors_.threads();
  nb::object saved;
  if (gates) {
    const int64_t scalars = saved_size(plan.shape, steps, batch, 0, Keep::fast, 1, false);
    saved = tensors_.block(nb::make_tuple(scalars), plan.bits, kBlockMin);
    Tensor at;
    if (!tensors_.read(saved.ptr(), at)) return nb::none();
    call.saved = at.begin();
    call.keep = Keep::fast;
  }
  // Giving Python's lock away and waiting for it again costs as much as a very small call.
  const int64_t work = steps * batch * plan.L * plan.D * plan.H * (plan.H + larger_of(key[0], plan.width));
  bool done;
  if (work < kTiny) {
    done = forward(plan.shape, call);
  } else {
    nb::gil_scoped_release released;
    done = forward(plan.shape, call);
  }
  if (!done) throw std::bad_alloc();
  nb::object state = nb::make_tuple(h_n, c_n);
  return gates ? nb::make_tuple(y, state, saved) : nb::make_tuple(y, state);
}

}  // namespace

void bind_calls(nb::module_& m) {
  nb::class_<Calls>(m, "Calls", "Calls of LSTM modules that only compute, without the way through Python.")
      .def(nb::init<const Tensors&, nb::handle, nb::handle, nb::handle>(), nb::keep_alive<1, 2>(), "tensors"_a,
           "must_be_false"_a, "forward_ad"_a, "requested"_a,
           "must_be_false: functions, or pairs of a function and its argument, that must all return something false; "
           "forward_ad: the module with _current_level; "
           "requested: returns the name of the backend asked for.")
      .def("run", &Calls::run, "module"_a, "x"_a.none(), "hx"_a.none(), "gates"_a = false,
           "output, (h_n, c_n), with gates also the block that native/saved.h describes; or None where the full way is "
           "called for.");
}

}  // namespace cellgate::python
