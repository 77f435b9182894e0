// One step of a stream, from Python objects to the engine and back; what lstm.stream() does a million times an hour.
#include <array>
#include <new>

#include "bindings_tensors.h"
#include "fingerprint.h"
#include "stack.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;

// The steps of one stream. Weights are looked up at every step under their names, so one that was replaced, moved, or
// (where a packed copy is in use) written to is noticed: the answer is then None, and the stream looks again. The states
// are kept alive here, since other threads of Python run during a step; that only one step runs at a time is the
// stream's care.
class Steps {
 public:
  Steps(const Tensors& tensors, const StackShape& shape, nb::handle packed, nb::handle fingerprint,
        nb::handle module_dict, nb::handle weight_names, nb::handle weights, nb::handle versions, nb::handle addresses,
        nb::handle states, nb::handle pattern, bool batched, int64_t batch)
      : tensors_(tensors),
        shape_(shape),
        packed_(nb::borrow(packed)),
        known_(nb::borrow(fingerprint)),
        own_(nb::borrow(module_dict)),
        names_(nb::borrow(weight_names)),
        weights_(nb::borrow(weights)),
        versions_(nb::borrow(versions)),
        states_(nb::borrow(states)),
        pattern_(nb::borrow(pattern)),
        version_(nb::str("_version")),
        table_(nb::str("_parameters")),
        batched_(batched),
        batch_(batch) {
    const size_t layers = shape.layers.size();
    if (!packed.is_none()) {
      pack_ = &nb::cast<const PackedStack&>(packed);
      fingerprint_ = &nb::cast<const Fingerprint&>(fingerprint);
    }
    if (!PyDict_Check(module_dict.ptr()) || !PyTuple_Check(weight_names.ptr()) || !PyTuple_Check(weights.ptr()) ||
        PyTuple_Size(weight_names.ptr()) != PyTuple_Size(weights.ptr()))
      throw std::invalid_argument("Steps: expected a module's dict, and tuples of names and weights, one each");
    for (int l = 0; l < static_cast<int>(layers); ++l) {
      const LayerShape& layer = shape.layers[static_cast<size_t>(l)];
      sizes_.push_back({4 * layer.hidden_size, layer.input_size});
      sizes_.push_back({4 * layer.hidden_size, layer.projection_size});
      if (shape.bias) sizes_.insert(sizes_.end(), 2, {4 * layer.hidden_size, -1});
      if (layer.projected) sizes_.push_back({layer.projection_size, layer.hidden_size});
    }
    if (sizes_.size() != static_cast<size_t>(PyTuple_Size(weights.ptr())))
      throw std::invalid_argument("Steps: expected the weights of every layer in one direction");
    addresses_.resize(sizes_.size());
    // Where the weights lay when they were packed, not where they lie by now.
    const Addresses begin(addresses, sizes_.size(), "addresses");
    begin_.assign(begin.data, begin.data + sizes_.size());
    // Two sets of h and c, a layer each: a step reads one and writes the other.
    if (!PyTuple_Check(states.ptr()) || PyTuple_Size(states.ptr()) != 4)
      throw std::invalid_argument("Steps: expected four tuples of tensors: h, c, the other h, the other c");
    for (Py_ssize_t k = 0; k < 4; ++k) {
      PyObject* part = PyTuple_GetItem(states.ptr(), k);
      if (!PyTuple_Check(part) || PyTuple_Size(part) != static_cast<Py_ssize_t>(layers))
        throw std::invalid_argument("Steps: expected a tensor of every layer in each tuple of states");
      for (size_t l = 0; l < layers; ++l) {
        const LayerShape& layer = shape.layers[l];
        const int64_t size = k % 2 ? layer.hidden_size : layer.projection_size;
        exchange::Tensor t;
        if (!tensors_.read(PyTuple_GetItem(part, static_cast<Py_ssize_t>(l)), t) || !t.holds_floats(bits()) ||
            t.ndim != 3 || t.shape[0] != 1 || t.shape[1] != batch || t.shape[2] != size || !contiguous(t))
          throw std::invalid_argument("Steps: expected states (1, B, size) of the weights' dtype");
        state_[k].push_back(t.begin());
      }
    }
  }

  // h of the last layer for the input x of one step, reading the states of set `turn`, or None: ask in Python.
  nb::object step(nb::handle x, int turn) {
    exchange::Tensor in;
    const LayerShape& first = shape_.layers.front();
    const int64_t I = first.input_size;
    if (!tensors_.is_tensor(x.ptr()) || !tensors_.read(x.ptr(), in) || !in.holds_floats(bits())) return nb::none();
    const bool fits = batched_ ? has_shape(in, batch_, I) : has_shape(in, I, -1);
    if (!fits || !contiguous(in) || !tensors_.backed(x.ptr(), in) || tensors_.negated(x.ptr()) || !unchanged())
      return nb::none();
    nb::object y = tensors_.like(pattern_);
    exchange::Tensor out;
    if (!tensors_.read(y.ptr(), out)) return nb::none();
    StackForward call;
    call.steps = 1;
    call.batch = batch_;
    call.x = in.begin();
    call.x_row = I;
    call.x_step = batch_ * I;
    call.y = out.begin();
    call.y_row = shape_.layers.back().projection_size;
    call.y_step = batch_ * call.y_row;
    call.weights = addresses_.data();
    const int from = turn ? 2 : 0, to = 2 - from;
    call.h0 = state_[from].data();
    call.c0 = state_[from + 1].data();
    call.h_n = const_cast<void**>(state_[to].data());
    call.c_n = const_cast<void**>(state_[to + 1].data());
    if (pack_) call.packed = pack_->addresses();
    call.threads = tensors_.threads();
    bool done;
    {
      nb::gil_scoped_release released;
      done = forward(shape_, call);
    }
    if (!done) throw std::bad_alloc();
    return y;
  }

  // What the garbage collector is to know: a stream that its own module holds is a circle through the module's dict.
  static int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) return 0;
    const Steps& steps = *nb::inst_ptr<Steps>(self);
    for (const nb::object* part : {&steps.packed_, &steps.known_, &steps.own_, &steps.names_, &steps.weights_,
                                   &steps.versions_, &steps.states_, &steps.pattern_})
      Py_VISIT(part->ptr());
    return 0;
  }
  // What is left finds no weights, should anybody ask for a step yet.
  static int clear(PyObject* self) {
    if (nb::inst_ready(self)) nb::inst_ptr<Steps>(self)->own_ = nb::dict();
    return 0;
  }

 private:
  int bits() const { return shape_.scalar == Scalar::f32 ? 32 : 64; }

  bool readable(size_t k, exchange::Tensor& t) {
    PyObject* w = PyTuple_GetItem(weights_.ptr(), static_cast<Py_ssize_t>(k));
    if (!tensors_.read(w, t) || !t.holds_floats(bits()) || !has_shape(t, sizes_[k][0], sizes_[k][1]) || !contiguous(t))
      return false;
    addresses_[k] = t.begin();
    return true;
  }

  bool unchanged() {
    PyObject* parameters = PyDict_GetItemWithError(own_.ptr(), table_.ptr());
    if (!parameters || !PyDict_Check(parameters)) return false;
    for (size_t k = 0; k < sizes_.size(); ++k) {
      const Py_ssize_t at = static_cast<Py_ssize_t>(k);
      PyObject* w = PyTuple_GetItem(weights_.ptr(), at);
      exchange::Tensor t;
      if (PyDict_GetItemWithError(parameters, PyTuple_GetItem(names_.ptr(), at)) != w || !readable(k, t)) return false;
      if (t.begin() != begin_[k]) return false;
      if (!pack_) continue;  // weights are read where they are, whatever was written there
      nb::object known = nb::borrow(PyTuple_GetItem(versions_.ptr(), at));
      if (known.is_none()) continue;  // made in inference mode, without a count of writes
      nb::object now = nb::steal(PyObject_GetAttr(w, version_.ptr()));
      if (!now.is_valid()) throw nb::python_error();
      if (PyObject_RichCompareBool(now.ptr(), known.ptr(), Py_EQ) != 1) return false;
    }
    return !fingerprint_ || fingerprint_->unchanged();
  }

  const Tensors& tensors_;  // these two kept alive by the binding
  const StackShape& shape_;
  nb::object packed_, known_, own_, names_, weights_, versions_, states_, pattern_, version_, table_;
  const PackedStack* pack_ = nullptr;
  const Fingerprint* fingerprint_ = nullptr;
  std::vector<std::array<int64_t, 2>> sizes_;
  std::vector<const void*> addresses_, begin_, state_[4];
  bool batched_;
  int64_t batch_;
};

}  // namespace

void bind_steps(nb::module_& m) {
  nb::class_<Fingerprint>(m, "Fingerprint", "A sample of weights in memory, which shows that they were written to.")
      .def(
          "__init__",
          [](Fingerprint* self, nb::handle addresses, nb::handle counts, bool is_double) {
            if (!PyTuple_Check(counts.ptr())) throw std::invalid_argument("counts: expected a tuple");
            const size_t matrices = static_cast<size_t>(PyTuple_Size(counts.ptr()));
            const Addresses at(addresses, matrices, "addresses"), numbers(counts, matrices, "counts");
            new (self) Fingerprint(is_double ? 8 : 4);
            for (size_t k = 0; k < matrices; ++k)
              self->add(at.data[k], static_cast<int64_t>(reinterpret_cast<uintptr_t>(numbers.data[k])));
          },
          "addresses"_a, "counts"_a, "is_double"_a, "Take it; counts: scalars of each matrix.")
      .def("unchanged", &Fingerprint::unchanged,
           "Whether the sample is what it was. The caller knows that the memory is still theirs.");
  static PyType_Slot slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(Steps::traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(Steps::clear)},
                                {0, nullptr}};
  nb::class_<Steps>(m, "Steps", nb::type_slots(slots), "The steps of one stream.")
      .def(
          nb::init<const Tensors&, const StackShape&, nb::handle, nb::handle, nb::handle, nb::handle, nb::handle,
                   nb::handle, nb::handle, nb::handle, nb::handle, bool, int64_t>(),
          nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(), "tensors"_a, "stack"_a, "packed"_a.none(),
          "fingerprint"_a.none(), "module_dict"_a, "names"_a, "weights"_a, "versions"_a, "addresses"_a, "states"_a,
          "pattern"_a, "batched"_a, "batch"_a,
          "packed: a PackedStack or None; fingerprint: that of its weights, or None; module_dict: in whose _parameters "
          "`names` are looked up; versions: counts of writes to each weight, None where it has none; addresses: where "
          "each lay when it was packed; states: tuples of tensors, h, c, the other h and c; pattern: a tensor like the "
          "result.")
      .def("step", &Steps::step, "x"_a.none(), "turn"_a,
           "h of the last layer, or None where Python is to ask and to run it.");
}

}  // namespace cellgate::python
