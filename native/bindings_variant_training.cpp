// A training call of one direction of one layer of any cell, forward and backward, from Python objects to the kernels and
// back: what bindings_training.cpp is for the plain cell, with the same rules. What is not plain is left to the full way,
// the answer is then None. The node of the autograd graph is Python's (backends/cpu_variant_training.py), and keeps the
// tensors.
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "bindings_variant_training.h"
#include "blocks.h"
#include "dispatch.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

constexpr const char* kFields[kSlots] = {"w_ih",    "w_hh",     "b_ih",    "b_hh",     "w_hr",   "peephole", "w_gg",
                                         "gain_ih", "shift_ih", "gain_hh", "shift_hh", "gain_c", "shift_c"};

// What autograd saves beside the weights, in this order.
enum Saved { kInput, kOutput, kBlock, kWeights };

bool run_kernel(const VariantForward<float>& call) { return kernels().variant_forward_f32(call); }
bool run_kernel(const VariantForward<double>& call) { return kernels().variant_forward_f64(call); }
bool run_kernel(const VariantBackward<float>& call) { return kernels().variant_backward_f32(call); }
bool run_kernel(const VariantBackward<double>& call) { return kernels().variant_backward_f64(call); }

int64_t in_lines(int64_t scalars) { return (scalars + 31) / 32 * 32; }

}  // namespace

CellTraining::Kept CellTraining::kept(int64_t T, int64_t B) const {
  Kept k;
  const int64_t H = sizes_.H, rows = T * B;
  k.gates = in_lines((T + every_ - 1) / every_ * B * sizes_.form.memories() * H);
  k.size = k.gates;
  if (sizes_.keep != Keep::fast) return k;
  k.normal_ih = k.size = k.gates + in_lines(rows * sizes_.form.gate_planes() * H);
  if (!sizes_.form.norm) return k;
  k.normal_hh = k.normal_ih + in_lines(rows * 4 * H);
  k.scales = k.normal_hh + in_lines(rows * 4 * H);
  k.size = k.scales + in_lines(rows * 4);
  return k;
}

nb::object CellTraining::description() const {
  nb::list fields;
  for (const auto& p : sizes_.parameters) fields.append(nb::str(kFields[p.slot]));
  const char* memory = sizes_.keep == Keep::fast ? "fast" : sizes_.keep == Keep::lean ? "lean" : "minimal";
  return nb::make_tuple(sizes_.H, sizes_.projected ? sizes_.P : 0, sizes_.backward_in_time, nb::tuple(fields), memory);
}

bool CellTraining::read_weights(nb::handle weights, size_t first, Given& to) const {
  const size_t count = sizes_.parameters.size();
  if (!PyTuple_Check(weights.ptr()) || static_cast<size_t>(PyTuple_Size(weights.ptr())) != first + count) return false;
  for (size_t k = 0; k < count; ++k) {
    Tensor w;
    const auto& [slot, shape] = sizes_.parameters[k];
    PyObject* tensor = PyTuple_GetItem(weights.ptr(), static_cast<Py_ssize_t>(first + k));
    if (!tensors_.read(tensor, w) || !w.holds_floats(sizes_.bits) || !has_shape(w, shape[0], shape[1]) ||
        !contiguous(w) || !tensors_.backed(tensor, w))
      return false;
    to.weights[slot] = w.begin();
  }
  return true;
}

bool CellTraining::read_masks(nb::handle masks, Given& to) const {
  if (!PyTuple_Check(masks.ptr()) || PyTuple_Size(masks.ptr()) != kMasks) return false;
  for (int k = 0; k < kMasks; ++k) {
    PyObject* mask = PyTuple_GetItem(masks.ptr(), k);
    if (mask == Py_None) continue;
    Tensor t;
    const int64_t size = k == kCandidate || k == kZoneC ? sizes_.H : sizes_.P;
    const int dims = k == kLocked ? 2 : 3;
    if (!tensors_.read(mask, t) || !t.holds_floats(sizes_.bits) || t.ndim != dims || t.shape[dims - 1] != size ||
        t.shape[dims - 2] != to.batch || (dims == 3 && t.shape[0] != to.steps) ||
        (t.strides[dims - 1] != 1 && size > 1) || (k == kLocked && !contiguous(t)))
      return false;
    to.mask[k] = {t.begin(), t.strides[0], dims == 3 ? t.strides[1] : 0};
  }
  return true;
}

bool CellTraining::read_gradient(PyObject* gradient, int64_t first, int64_t second, int64_t third, Tensor& to) const {
  to.data = nullptr;
  to.byte_offset = 0;
  if (gradient == Py_None) return true;
  return tensors_.read(gradient, to) && to.holds_floats(sizes_.bits) && to.ndim == 3 && to.shape[0] == first &&
         to.shape[1] == second && to.shape[2] == third && (to.strides[2] == 1 || third == 1) && to.data &&
         tensors_.backed(gradient, to) && !tensors_.negated(gradient);
}

template <class S>
VariantForward<S> CellTraining::described(const Given& g) const {
  VariantForward<S> c;
  c.steps = g.steps, c.batch = g.batch, c.input_size = sizes_.I, c.hidden_size = sizes_.H;
  c.projection_size = sizes_.P;
  c.form = sizes_.form;
  c.backward_in_time = sizes_.backward_in_time;
  c.weights_change = true;
  c.threads = g.threads;
  c.memory_every = every_;
  auto in = [](const char* p) { return reinterpret_cast<const S*>(p); };
  auto out = [](char* p) { return reinterpret_cast<S*>(p); };
  auto w = [&](Slot slot) { return in(g.weights[slot]); };
  auto mask = [&](Mask k) { return Sequence<const S>{in(g.mask[k].at), g.mask[k].step, g.mask[k].row, nullptr}; };
  c.x = {in(g.x.at), g.x.step, g.x.row, nullptr};
  c.w_ih = w(kIh), c.w_hh = w(kHh), c.b_ih = w(kBiasIh), c.b_hh = w(kBiasHh), c.w_hr = w(kProjection);
  c.peephole = w(kPeephole), c.w_gg = w(kGates);
  c.gain_ih = w(kGainIh), c.shift_ih = w(kShiftIh), c.gain_hh = w(kGainHh), c.shift_hh = w(kShiftHh);
  c.gain_c = w(kGainC), c.shift_c = w(kShiftC);
  c.locked = in(g.mask[kLocked].at);
  c.candidate = mask(kCandidate), c.zone_c = mask(kZoneC), c.zone_h = mask(kZoneH);
  c.h_n = out(g.h_n), c.c_n = out(g.c_n);
  c.output = {out(g.y.at), g.y.step, g.y.row, nullptr};
  const Kept k = kept(g.steps, g.batch);
  S* block = out(g.kept);
  c.memory = block;
  if (k.normal_ih) c.gates = block + k.gates;
  if (k.scales) c.normal_ih = block + k.normal_ih, c.normal_hh = block + k.normal_hh, c.scales = block + k.scales;
  return c;
}

// x as read_input() wants it; weights: a tuple in the order of the module's; masks: CellMasks.
nb::object CellTraining::forward(nb::handle x, nb::handle weights, nb::handle masks) const {
  Tensor in;
  if (!read_input(x.ptr(), in)) throw std::invalid_argument("x: expected (T, B, I) as prepare() gives it");
  const int64_t T = in.shape[0], B = in.shape[1], H = sizes_.H, P = sizes_.P;
  Given given{};
  given.steps = T, given.batch = B, given.threads = tensors_.threads();
  given.x = {in.begin(), in.strides[0], in.strides[1]};
  if (!read_weights(weights, 0, given)) throw std::invalid_argument("weights: expected those that prepare() gives");
  if (!read_masks(masks, given)) throw std::invalid_argument("masks: expected them of the shapes of CellMasks");
  nb::object y = tensors_.block(nb::make_tuple(T, B, P), sizes_.bits, kBlockOfResults);
  nb::object h_n = tensors_.sized(nb::make_tuple(1, B, P), sizes_.bits);
  nb::object c_n = tensors_.sized(nb::make_tuple(1, B, sizes_.form.memories() * H), sizes_.bits);
  nb::object block = tensors_.block(nb::make_tuple(kept(T, B).size), sizes_.bits, kBlockMin);
  Tensor y_at, h_at, c_at, block_at;
  if (!tensors_.read(y.ptr(), y_at) || !tensors_.read(h_n.ptr(), h_at) || !tensors_.read(c_n.ptr(), c_at) ||
      !tensors_.read(block.ptr(), block_at))
    throw std::bad_alloc();
  given.y = {y_at.begin(), B * P, P};
  given.h_n = h_at.begin(), given.c_n = c_at.begin(), given.kept = block_at.begin();
  auto run = [&] {
    return sizes_.bits == 32 ? run_kernel(described<float>(given)) : run_kernel(described<double>(given));
  };
  bool done;
  if (small(T, B)) {
    done = run();
  } else {
    nb::gil_scoped_release released;
    done = run();
  }
  if (!done) throw std::bad_alloc();
  return nb::make_tuple(y, h_n, c_n, block);
}

template <class S>
bool CellTraining::run_backward(const Given& given, const Gradients& g) const {
  VariantBackward<S> c;
  c.was = described<S>(given);
  auto in = [](const char* p) { return reinterpret_cast<const S*>(p); };
  auto out = [&](Slot slot) { return reinterpret_cast<S*>(g.weights[slot]); };
  c.dy = {in(g.dy.at), g.dy.step, g.dy.row, nullptr};
  c.dh_n = in(g.dh_n), c.dc_n = in(g.dc_n);
  c.dx = {reinterpret_cast<S*>(g.dx.at), g.dx.step, g.dx.row, nullptr};
  c.dw_ih = out(kIh), c.dw_hh = out(kHh), c.dw_hr = out(kProjection), c.dpeephole = out(kPeephole);
  c.dw_gg = out(kGates);
  c.dgain_ih = out(kGainIh), c.dgain_hh = out(kGainHh), c.dgain_c = out(kGainC), c.dshift_c = out(kShiftC);
  // Both biases and the shifts of both products have one gradient.
  constexpr Slot same[] = {kBiasIh, kBiasHh, kShiftIh, kShiftHh};
  for (Slot slot : same)
    if (g.weights[slot]) c.db = out(slot);
  if (!run_kernel(c)) return false;
  for (Slot slot : same)
    if (g.weights[slot] && out(slot) != c.db)
      std::memcpy(out(slot), c.db, static_cast<size_t>(4 * sizes_.H) * sizeof(S));
  return true;
}

// saved: what autograd gives back, as in Saved; needs: whether a gradient is wanted of x and of each weight. Those
// gradients, None for one not wanted; or None where the full way is called for.
nb::object CellTraining::backward(nb::handle saved, nb::handle needs, nb::handle masks, nb::handle dy, nb::handle dh_n,
                                  nb::handle dc_n) const {
  const size_t count = sizes_.parameters.size();
  if (!PyTuple_Check(saved.ptr()) || static_cast<size_t>(PyTuple_Size(saved.ptr())) != kWeights + count ||
      !PyTuple_Check(needs.ptr()) || static_cast<size_t>(PyTuple_Size(needs.ptr())) != 1 + count)
    return nb::none();
  auto saved_at = [&](size_t k) { return PyTuple_GetItem(saved.ptr(), static_cast<Py_ssize_t>(k)); };
  auto wanted = [&](size_t k) { return truth(PyTuple_GetItem(needs.ptr(), static_cast<Py_ssize_t>(k))); };
  Tensor x, y, block, dy_at, dh_at, dc_at;
  if (!read_input(saved_at(kInput), x)) return nb::none();
  const int64_t T = x.shape[0], B = x.shape[1], P = sizes_.P;
  if (!tensors_.read(saved_at(kOutput), y) || !tensors_.read(saved_at(kBlock), block) || !y.holds_floats(sizes_.bits) ||
      !block.holds_floats(sizes_.bits) || y.ndim != 3 || y.shape[0] != T || y.shape[1] != B || y.shape[2] != P ||
      block.ndim != 1 || block.shape[0] != kept(T, B).size || !contiguous(y) || !contiguous(block) ||
      !tensors_.backed(saved_at(kOutput), y) || !tensors_.backed(saved_at(kBlock), block))
    return nb::none();
  if (!read_gradient(dy.ptr(), T, B, P, dy_at) || !read_gradient(dh_n.ptr(), 1, B, P, dh_at) ||
      !read_gradient(dc_n.ptr(), 1, B, sizes_.form.memories() * sizes_.H, dc_at) ||
      (dh_at.data && !contiguous(dh_at)) || (dc_at.data && !contiguous(dc_at)))
    return nb::none();
  Given given{};
  given.steps = T, given.batch = B, given.threads = tensors_.threads();
  given.x = {x.begin(), x.strides[0], x.strides[1]};
  given.y = {y.begin(), B * P, P};
  given.kept = block.begin();
  if (!read_weights(saved, kWeights, given) || !read_masks(masks, given)) return nb::none();

  Gradients gradients;
  if (dy_at.data) gradients.dy = {dy_at.begin(), dy_at.strides[0], dy_at.strides[1]};
  if (dh_at.data) gradients.dh_n = dh_at.begin();
  if (dc_at.data) gradients.dc_n = dc_at.begin();
  nb::object found = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(1 + count)));
  if (!found.is_valid()) throw nb::python_error();
  auto answer = [&](size_t k, nb::object value) {
    PyTuple_SetItem(found.ptr(), static_cast<Py_ssize_t>(k), value.release().ptr());
  };
  // After one step c_n knows nothing of the projection: autograd leaves such a gradient out.
  const bool unprojected = T == 1 && !dy_at.data && !dh_at.data;
  for (size_t k = 0; k < count; ++k) {
    nb::object made = nb::none();
    if (wanted(1 + k) && !(unprojected && sizes_.parameters[k].slot == kProjection)) {
      Tensor w, dw;
      if (!tensors_.read(saved_at(kWeights + k), w)) return nb::none();
      made = tensors_.gradient(nb::borrow(saved_at(kWeights + k)), w);
      if (!tensors_.read(made.ptr(), dw)) return nb::none();
      gradients.weights[sizes_.parameters[k].slot] = dw.begin();
    }
    answer(1 + k, std::move(made));
  }
  nb::object made = nb::none();
  if (wanted(0)) {
    Tensor dx;
    made = tensors_.gradient(nb::borrow(saved_at(kInput)), x);
    if (!tensors_.read(made.ptr(), dx) || (dx.strides[2] != 1 && sizes_.I > 1)) return nb::none();
    gradients.dx = {dx.begin(), dx.strides[0], dx.strides[1]};
  }
  answer(0, std::move(made));
  auto run = [&] {
    return sizes_.bits == 32 ? run_backward<float>(given, gradients) : run_backward<double>(given, gradients);
  };
  bool done;
  if (small(T, B)) {
    done = run();
  } else {
    nb::gil_scoped_release released;
    done = run();
  }
  if (!done) throw std::bad_alloc();
  return found;
}

}  // namespace cellgate::python
