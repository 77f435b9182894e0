// variant_forward and variant_backward of cellgate._native. As in bindings.cpp: addresses in, no arithmetic.
#include "bindings.h"

#include <cstring>
#include <new>

#include "dispatch.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;

// Integers from a tuple, in the order of the struct's fields.
class Numbers {
 public:
  Numbers(nb::handle tuple, size_t expected, const char* name) : tuple_(tuple.ptr()) {
    if (!PyTuple_Check(tuple_) || static_cast<size_t>(PyTuple_Size(tuple_)) != expected)
      throw std::invalid_argument(std::string(name) + ": expected a tuple of " + std::to_string(expected));
  }
  int64_t next() {
    int64_t value = PyLong_AsLongLong(PyTuple_GetItem(tuple_, at_++));
    if (value == -1 && PyErr_Occurred()) throw nb::python_error();
    return value;
  }

 private:
  PyObject* tuple_;
  Py_ssize_t at_ = 0;
};

constexpr size_t kSizes = 9, kForm = 9, kForwardStrides = 10, kForwardAddresses = 31, kBackwardStrides = 4,
                 kBackwardAddresses = 18;

template <class S>
VariantForward<S> forward_call(nb::handle sizes, nb::handle form, double clip, nb::handle strides, const Addresses& a) {
  VariantForward<S> c;
  Numbers n(sizes, kSizes, "sizes");
  c.steps = n.next(), c.batch = n.next(), c.input_size = n.next(), c.hidden_size = n.next();
  c.projection_size = n.next();
  c.backward_in_time = n.next() != 0;
  c.weights_change = n.next() != 0;
  c.threads = static_cast<int>(n.next());
  c.memory_every = n.next();
  if (c.memory_every < 1) throw std::invalid_argument("memory_every: expected 1 or more");
  Numbers f(form, kForm, "form");
  auto small = [&f] { return static_cast<int>(f.next()); };
  c.form.input = small(), c.form.forget = small(), c.form.output = small(), c.form.candidate = small();
  c.form.squash = small(), c.form.hard = small() != 0, c.form.norm = small(), c.form.slstm = small() != 0;
  c.form.gate_recurrence = small() != 0;
  c.form.clip = clip;
  Numbers s(strides, kForwardStrides, "strides");
  int at = 0;
  auto in = [&] { return static_cast<const S*>(a.data[at++]); };
  auto out = [&] { return static_cast<S*>(const_cast<void*>(a.data[at++])); };
  auto sequence = [&s](auto* p) {
    int64_t step = s.next(), row = s.next();
    return Sequence<std::remove_pointer_t<decltype(p)>>{p, step, row, nullptr};
  };
  c.lengths = static_cast<const int64_t*>(a.data[at++]);
  c.reset = static_cast<const uint8_t*>(a.data[at++]);
  c.x = sequence(in());
  c.w_ih = in(), c.w_hh = in(), c.b_ih = in(), c.b_hh = in(), c.w_hr = in(), c.peephole = in(), c.w_gg = in();
  c.gain_ih = in(), c.shift_ih = in(), c.gain_hh = in(), c.shift_hh = in(), c.gain_c = in(), c.shift_c = in();
  c.h0 = in(), c.c0 = in(), c.locked = in();
  c.candidate = sequence(in()), c.zone_c = sequence(in()), c.zone_h = sequence(in());
  c.h_n = out(), c.c_n = out();
  c.output = sequence(out());
  c.packed = in();
  c.memory = out(), c.gates = out(), c.normal_ih = out(), c.normal_hh = out(), c.scales = out();
  return c;
}

template <class S>
VariantBackward<S> backward_call(const VariantForward<S>& was, nb::handle strides, const Addresses& a) {
  VariantBackward<S> c;
  c.was = was;
  Numbers s(strides, kBackwardStrides, "gradient strides");
  int at = 0;
  auto in = [&] { return static_cast<const S*>(a.data[at++]); };
  auto out = [&] { return static_cast<S*>(const_cast<void*>(a.data[at++])); };
  const S* dy = in();
  int64_t step = s.next(), row = s.next();
  c.dy = {dy, step, row, nullptr};
  c.dh_n = in(), c.dc_n = in(), c.dgates = in(), c.dcell = in();
  S* dx = out();
  step = s.next(), row = s.next();
  c.dx = {dx, step, row, nullptr};
  c.dw_ih = out(), c.dw_hh = out(), c.db = out(), c.dw_hr = out(), c.dpeephole = out(), c.dw_gg = out();
  c.dgain_ih = out(), c.dgain_hh = out(), c.dgain_c = out(), c.dshift_c = out();
  c.dh0 = out(), c.dc0 = out();
  return c;
}

void run_forward(bool is_double, nb::handle sizes, nb::handle form, double clip, nb::handle strides,
                 nb::handle addresses) {
  Addresses a(addresses, kForwardAddresses, "addresses");
  const Kernels& k = kernels();
  bool done;
  if (is_double) {
    VariantForward<double> call = forward_call<double>(sizes, form, clip, strides, a);
    nb::gil_scoped_release released;
    done = k.variant_forward_f64(call);
  } else {
    VariantForward<float> call = forward_call<float>(sizes, form, clip, strides, a);
    nb::gil_scoped_release released;
    done = k.variant_forward_f32(call);
  }
  if (!done) throw std::bad_alloc();
}

void run_backward(bool is_double, nb::handle sizes, nb::handle form, double clip, nb::handle strides,
                  nb::handle addresses, nb::handle gradient_strides, nb::handle gradients) {
  Addresses a(addresses, kForwardAddresses, "addresses"), g(gradients, kBackwardAddresses, "gradients");
  const Kernels& k = kernels();
  bool done;
  if (is_double) {
    VariantBackward<double> call =
        backward_call(forward_call<double>(sizes, form, clip, strides, a), gradient_strides, g);
    nb::gil_scoped_release released;
    done = k.variant_backward_f64(call);
  } else {
    VariantBackward<float> call =
        backward_call(forward_call<float>(sizes, form, clip, strides, a), gradient_strides, g);
    nb::gil_scoped_release released;
    done = k.variant_backward_f32(call);
  }
  if (!done) throw std::bad_alloc();
}

// Scalars of a direction's packed weights, of which sizes and addresses are those of a forward call.
template <class S>
VariantForward<S> weights_of(nb::handle sizes, nb::handle addresses) {
  Numbers n(sizes, 3, "sizes");
  Addresses a(addresses, 4, "addresses");
  VariantForward<S> c;
  c.input_size = n.next(), c.hidden_size = n.next(), c.projection_size = n.next();
  c.w_ih = static_cast<const S*>(a.data[0]), c.w_hh = static_cast<const S*>(a.data[1]);
  c.w_hr = static_cast<const S*>(a.data[2]), c.w_gg = static_cast<const S*>(a.data[3]);
  return c;
}

int64_t packed_size(bool is_double, nb::handle sizes, nb::handle addresses) {
  return is_double ? kernels().variant_packed_size_f64(weights_of<double>(sizes, addresses))
                   : kernels().variant_packed_size_f32(weights_of<float>(sizes, addresses));
}

void pack(bool is_double, nb::handle sizes, nb::handle addresses, uintptr_t to) {
  if (is_double)
    kernels().variant_pack_f64(weights_of<double>(sizes, addresses), reinterpret_cast<double*>(to));
  else
    kernels().variant_pack_f32(weights_of<float>(sizes, addresses), reinterpret_cast<float*>(to));
}

// A random word of 64 bits, the k-th after a seed: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014). nn/noise.py has the same in PyTorch's operators.
uint64_t random_word(uint64_t seed, uint64_t k) {
  uint64_t z = seed + (k + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// to[j] = value where the j-th number of 16 bits, four to a word from word `first` on, is below the limit, else 0.
template <class S>
void draw(uint64_t seed, uint64_t first, int64_t count, int limit, S value, S* to) {
  constexpr int64_t kWords = 64;
  uint64_t words[kWords];
  int16_t bits[4 * kWords];
  for (int64_t j = 0; j < count; j += 4 * kWords) {
    for (int64_t k = 0; k < kWords; ++k) words[k] = random_word(seed, first + static_cast<uint64_t>(j / 4 + k));
    std::memcpy(bits, words, sizeof bits);
    const int64_t n = count - j < 4 * kWords ? count - j : 4 * kWords;
    for (int64_t k = 0; k < n; ++k) to[j + k] = bits[k] < limit ? value : S(0);
  }
}

void fill_mask(bool is_double, uint64_t seed, uint64_t first, int64_t count, int limit, double value, uintptr_t to) {
  nb::gil_scoped_release released;
  if (is_double)
    draw(seed, first, count, limit, value, reinterpret_cast<double*>(to));
  else
    draw(seed, first, count, limit, static_cast<float>(value), reinterpret_cast<float*>(to));
}

}  // namespace

void bind_variants(nb::module_& m) {
  m.def("variant_forward", &run_forward, "is_double"_a, "sizes"_a, "form"_a, "clip"_a, "strides"_a, "addresses"_a,
        "One direction of one layer of any cell; tuples hold the fields of native/variant.h in its order.");
  m.def("variant_backward", &run_backward, "is_double"_a, "sizes"_a, "form"_a, "clip"_a, "strides"_a, "addresses"_a,
        "gradient_strides"_a, "gradients"_a, "Gradients of a call of variant_forward.");
  m.def(
      "fill_mask", &fill_mask, "is_double"_a, "seed"_a, "first"_a, "count"_a, "limit"_a, "value"_a, "to"_a,
      "Write a value where a random number of 16 bits, four to a word from word `first` after the seed on, is below a "
      "limit, else zero.");
  m.def("variant_packed_size", &packed_size, "is_double"_a, "sizes"_a, "addresses"_a,
        "Scalars of packed weights; sizes are I, H, P, addresses w_ih, w_hh, w_hr or 0, w_gg or 0.");
  m.def("variant_pack", &pack, "is_double"_a, "sizes"_a, "addresses"_a, "to"_a,
        "Pack weights into so many scalars at an address, for `packed` of variant_forward.");
}

}  // namespace cellgate::python
