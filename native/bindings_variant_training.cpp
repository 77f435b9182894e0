// A training call of one direction of one layer of any cell, forward and backward, from Python objects to the kernels and
// back: what bindings_training.cpp is for the plain cell, with the same rules. What is not plain is left to the full way,
// the answer is then None. The node of the autograd graph is Python's (backends/cpu_variant_training.py), and keeps the
// tensors.
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "bindings_module.h"
#include "blocks.h"
#include "dispatch.h"
#include "variant.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

// Parameters of a direction, in the order of the module's; the names are fields of LSTMWeights (equations/lstm.py).
enum Slot {
  kIh,
  kHh,
  kBiasIh,
  kBiasHh,
  kProjection,
  kPeephole,
  kGates,
  kGainIh,
  kShiftIh,
  kGainHh,
  kShiftHh,
  kGainC,
  kShiftC,
  kSlots
};
constexpr const char* kFields[kSlots] = {"w_ih",    "w_hh",     "b_ih",    "b_hh",     "w_hr",   "peephole", "w_gg",
                                         "gain_ih", "shift_ih", "gain_hh", "shift_hh", "gain_c", "shift_c"};

enum Mask { kLocked, kCandidate, kZoneC, kZoneH, kMasks };  // fields of CellMasks

// What autograd saves beside the weights, in this order.
enum Saved { kInput, kOutput, kBlock, kWeights };

struct CellSizes {
  CellForm form;
  int64_t I, H, P;  // P: the size of h
  int bits;
  bool projected, backward_in_time;
  Keep keep;
  struct Parameter {
    Slot slot;
    std::array<int64_t, 2> shape;
  };
  std::vector<Parameter> parameters;
};

bool run_kernel(const VariantForward<float>& call) { return kernels().variant_forward_f32(call); }
bool run_kernel(const VariantForward<double>& call) { return kernels().variant_forward_f64(call); }
bool run_kernel(const VariantBackward<float>& call) { return kernels().variant_backward_f32(call); }
bool run_kernel(const VariantBackward<double>& call) { return kernels().variant_backward_f64(call); }

int64_t in_lines(int64_t scalars) { return (scalars + 31) / 32 * 32; }

// Addresses of a call; null: not there.
struct Place {
  char* at = nullptr;
  int64_t step = 0, row = 0;
};
struct Given {
  int64_t steps, batch;
  int threads;
  Place x, y, mask[kMasks];
  char *weights[kSlots] = {}, *h_n = nullptr, *c_n = nullptr, *kept = nullptr;
};
struct Gradients {
  Place dy, dx;
  char *dh_n = nullptr, *dc_n = nullptr, *weights[kSlots] = {};
};

class CellTraining {
 public:
  CellTraining(const Tensors& tensors, CellSizes sizes)
      : tensors_(tensors),
        sizes_(std::move(sizes)),
        every_(sizes_.keep == Keep::minimal && !sizes_.form.gate_recurrence ? kEvery : 1) {}

  nb::object description() const;
  nb::object forward(nb::handle x, nb::handle weights, nb::handle masks) const;
  nb::object backward(nb::handle saved, nb::handle needs, nb::handle masks, nb::handle dy, nb::handle dh_n,
                      nb::handle dc_n) const;

 private:
  // Where the parts of what is kept begin in its block, in scalars, and its size.
  struct Kept {
    int64_t gates = 0, normal_ih = 0, normal_hh = 0, scales = 0, size = 0;
  };
  Kept kept(int64_t T, int64_t B) const {
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
  bool small(int64_t T, int64_t B) const { return T * B * sizes_.H * (sizes_.P + sizes_.I) < kTiny; }
  bool read_input(PyObject* x, Tensor& to) const {
    return tensors_.read(x, to) && to.holds_floats(sizes_.bits) && to.ndim == 3 && to.shape[2] == sizes_.I &&
           (to.strides[2] == 1 || sizes_.I <= 1) && to.shape[0] > 0 && to.shape[1] > 0 && tensors_.backed(x, to);
  }
  bool read_weights(nb::handle weights, size_t first, Given& to) const;
  bool read_masks(nb::handle masks, Given& to) const;
  bool read_gradient(PyObject* gradient, int64_t first, int64_t second, int64_t third, Tensor& to) const;
  template <class S>
  VariantForward<S> described(const Given& given) const;
  template <class S>
  bool run_backward(const Given& given, const Gradients& gradients) const;

  const Tensors& tensors_;  // kept alive by the table of all trainings
  const CellSizes sizes_;
  const int64_t every_;
};

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

// ---- finding out which training a call is one of ---------------------------------------------------------------------

struct CellModule {
  ModuleSizes sizes;              // with the weights of the variant
  std::vector<nb::object> cells;  // a CellTraining for each layer and direction
  size_t each;                    // weights of one
};

// A variant's quick_form (nn/variant.py); the last number is the clip.
constexpr Py_ssize_t kNumbers = 11;

class CellTrainings {
 public:
  CellTrainings(const Tensors& tensors, nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : tensors_(tensors), times_(must_be_false, forward_ad, requested) {}
  nb::object prepare(nb::handle module, nb::handle x);

 private:
  std::shared_ptr<CellModule> made(const ModuleKey& key, Keep keep, const std::array<int64_t, kNumbers>& form,
                                   double clip) const;

  const Tensors& tensors_;  // kept alive by the binding
  PlainTimes times_;
  using Key = std::pair<std::pair<ModuleKey, int>, std::pair<std::array<int64_t, kNumbers>, double>>;
  PlanTable<std::shared_ptr<CellModule>, Key> modules_;
};

std::shared_ptr<CellModule> CellTrainings::made(const ModuleKey& key, Keep keep, const std::array<int64_t, kNumbers>& n,
                                                double clip) const {
  auto module = std::make_shared<CellModule>();
  module->sizes = sizes_of(key);
  ModuleSizes& all = module->sizes;
  all.weights.clear();
  CellSizes cell;
  cell.form.input = static_cast<int>(n[0]), cell.form.forget = static_cast<int>(n[1]);
  cell.form.output = static_cast<int>(n[2]), cell.form.candidate = static_cast<int>(n[3]);
  cell.form.squash = static_cast<int>(n[4]), cell.form.hard = n[5] != 0, cell.form.norm = static_cast<int>(n[6]);
  cell.form.slstm = n[7] != 0, cell.form.gate_recurrence = n[8] != 0, cell.form.clip = clip;
  cell.H = all.H, cell.P = all.P, cell.bits = all.bits, cell.keep = keep;
  cell.projected = key[2] > 0;
  for (int l = 0; l < all.L; ++l) {
    cell.I = l ? all.width : all.I;
    cell.parameters.clear();
    const int64_t H = cell.H, G = 4 * H;
    auto add = [&](bool there, Slot slot, int64_t rows, int64_t columns = -1) {
      if (there) cell.parameters.push_back({slot, {rows, columns}});
    };
    const bool bias = key[4] != 0, norm = cell.form.norm != 0, shift = cell.form.norm == 1;
    add(true, kIh, G, cell.I), add(true, kHh, G, cell.P), add(bias, kBiasIh, G), add(bias && n[10] == 0, kBiasHh, G);
    add(cell.projected, kProjection, cell.P, H), add(n[9] != 0, kPeephole, 3 * H);
    add(cell.form.gate_recurrence, kGates, 3 * H, 3 * H);
    add(norm, kGainIh, G), add(shift, kShiftIh, G), add(norm, kGainHh, G), add(shift, kShiftHh, G);
    add(norm, kGainC, H), add(shift, kShiftC, H);
    module->each = cell.parameters.size();
    for (int d = 0; d < all.D; ++d) {
      cell.backward_in_time = d == 1;
      for (const auto& p : cell.parameters) all.weights.push_back(p.shape);
      module->cells.push_back(nb::cast(new CellTraining(tensors_, cell), nb::rv_policy::take_ownership));
    }
  }
  return module;
}

nb::object CellTrainings::prepare(nb::handle module, nb::handle x) {
  if (!tensors_.usable() || !times_.hold()) return nb::none();
  Tensor in;
  ModuleCall own;
  Keep keep;
  if (!tensors_.read(x.ptr(), in) || tensors_.negated(x.ptr()) || in.ndim != 3 ||
      !(in.holds_floats(32) || in.holds_floats(64)) || !own.read_any(module, in.bits) || !own.variant || own.drops ||
      !own.read_keep(keep))
    return nb::none();
  if (in.shape[2] != own.key[0] || in.shape[0] == 0 || in.shape[1] == 0 || (in.strides[2] != 1 && own.key[0] > 1) ||
      !tensors_.backed(x.ptr(), in))
    return nb::none();
  nb::object form = nb::steal(PyObject_GetAttr(own.variant, names().quick_form));
  if (!form.is_valid()) throw nb::python_error();
  if (!PyTuple_Check(form.ptr()) || PyTuple_Size(form.ptr()) != kNumbers + 1) return nb::none();
  std::array<int64_t, kNumbers> numbers;
  for (Py_ssize_t k = 0; k < kNumbers; ++k)
    numbers[static_cast<size_t>(k)] = PyLong_AsLongLong(PyTuple_GetItem(form.ptr(), k));
  const double clip = PyFloat_AsDouble(PyTuple_GetItem(form.ptr(), kNumbers));
  if (PyErr_Occurred()) throw nb::python_error();
  const std::shared_ptr<CellModule> known = modules_.find(Key{{own.key, static_cast<int>(keep)}, {numbers, clip}},
                                                          [&] { return made(own.key, keep, numbers, clip); });
  ModuleWeights weights;
  if (!weights.read(own, known->sizes, tensors_)) return nb::none();
  auto recorded = [](PyObject* tensor) {
    nb::object needs = nb::steal(PyObject_GetAttr(tensor, names().requires_grad));
    if (!needs.is_valid()) throw nb::python_error();
    return truth(needs.ptr());
  };
  bool any = recorded(x.ptr());
  for (const nb::object& w : weights.tensors()) any = any || recorded(w.ptr());
  if (!any) return nb::none();

  nb::list cells;
  size_t at = 0;
  for (const nb::object& cell : known->cells) {
    nb::list its;
    for (size_t k = 0; k < known->each; ++k) its.append(weights.tensors()[at++]);
    cells.append(nb::make_tuple(cell, nb::tuple(its)));
  }
  return nb::make_tuple(own.batch_first ? tensors_.transposed(nb::borrow(x)) : nb::borrow(x), cells);
}

}  // namespace

void bind_cell_trainings(nb::module_& m) {
  nb::class_<CellTraining>(m, "CellTraining", "Training calls of one direction of one layer of any cell.")
      .def_prop_ro("description", &CellTraining::description,
                   "H, P or 0, whether it runs backward in time, the weights as fields of LSTMWeights, memory.")
      .def("forward", &CellTraining::forward, "x"_a, "weights"_a, "masks"_a,
           "output, h_n, c_n and what backward is to find, of x (T, B, I), a tuple of weights and CellMasks.")
      .def("backward", &CellTraining::backward, "saved"_a, "needs"_a, "masks"_a, "dy"_a.none(), "dh_n"_a.none(),
           "dc_n"_a.none(),
           "The gradients of x and of each weight, None for those not wanted; or None where the full way is called "
           "for. saved: x, output, block, weights.");
  nb::class_<CellTrainings>(m, "CellTrainings", "Training calls of LSTM modules with a variant.")
      .def(nb::init<const Tensors&, nb::handle, nb::handle, nb::handle>(), nb::keep_alive<1, 2>(), "tensors"_a,
           "must_be_false"_a, "forward_ad"_a, "requested"_a, "The arguments are those of Calls.")
      .def("prepare", &CellTrainings::prepare, "module"_a, "x"_a.none(),
           "x as (T, B, I), and for each layer and direction a CellTraining and its weights; or None where the full "
           "way is called for.");
}

}  // namespace cellgate::python
