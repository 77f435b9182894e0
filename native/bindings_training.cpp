// A training call of an LSTM module, forward and backward, from Python objects to the engine and back: what
// bindings_call.cpp is for calls that only compute, and with the same rule: what is not plain is left to the full way,
// the answer is then None.
//
// The node of the autograd graph is Python's (backends/cpu_plain.py). It keeps the tensors, so nothing but sizes is kept
// here, and whoever hands other tensors back than were saved, as checkpointing does, is obeyed.
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <new>
#include <utility>

#include "bindings_extent.h"
#include "bindings_module.h"
#include "blocks.h"
#include "stack_backward.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

// Bytes from which an output is put into a block: what has a history can not grow (resize_) anyway.
constexpr size_t kBlockOfOutputs = size_t{4} << 20;

// What autograd saves, in this order; the states are None where a call began with zeros.
enum Saved { kInput, kOutput, kBlock, kH0, kC0, kWeights };
// The inputs of the node, in this order.
enum Argument { kTraining, kExtent, kX, kState, kMemory, kFirstWeight };

// Training calls of modules of the same sizes; what it keeps belongs to the sizes.
class Training {
 public:
  Training(const Tensors& tensors, const ModuleKey& key, Keep keep)
      : tensors_(tensors), sizes_(sizes_of(key)), keep_(keep), every_(keep == Keep::minimal ? kEvery : 1) {}

  const ModuleSizes& sizes() const { return sizes_; }
  nb::object description() const {
    const LayerShape& layer = sizes_.shape.layers.front();
    const char* memory = keep_ == Keep::fast ? "fast" : keep_ == Keep::lean ? "lean" : "minimal";
    return nb::make_tuple(sizes_.L, sizes_.D, sizes_.shape.bias, sizes_.H, layer.projected ? sizes_.P : 0, memory,
                          sizes_.bits);
  }

  nb::object forward(const Extent* extent, nb::handle x, nb::handle h0, nb::handle c0, nb::handle weights);
  // Whether an initial state or memory (L * D, B, size) may be read as it lies; None has null data.
  bool read_state(PyObject* state, int64_t batch, int64_t size, Tensor& to) const;
  nb::object backward(const Extent* extent, nb::handle saved, nb::handle needs, nb::handle dy, nb::handle dh_n,
                      nb::handle dc_n) const;

 private:
  // A result of some size, to be made again alike: quicker than from its size, where it is small enough to keep.
  struct Result {
    nb::object size, pattern;
    size_t least;  // bytes from which its memory is used again
  };
  struct Results {
    int64_t steps, batch, rows;
    Result y, h, c, block;
  };
  Result result(nb::object size, int64_t scalars, size_t least) const;
  // Of so many steps, sequences and, of packed data, rows.
  std::shared_ptr<const Results> results(int64_t steps, int64_t batch, int64_t rows);
  nb::object make(const Result& result) const {
    return result.pattern.is_valid() ? tensors_.like(result.pattern)
                                     : tensors_.block(result.size, sizes_.bits, result.least);
  }
  int64_t states() const { return static_cast<int64_t>(sizes_.L) * sizes_.D; }
  bool small(int64_t steps, int64_t batch) const {
    const int64_t width = sizes_.I > sizes_.width ? sizes_.I : sizes_.width;
    return steps * batch * states() * sizes_.H * (sizes_.H + width) < kTiny;
  }
  // T, B, N of packed data or 0, and how far apart steps and rows of x lie.
  struct Frame {
    int64_t T, B, N, x_step, x_row;
  };
  bool read_input(PyObject* x, const Extent* extent, Tensor& to, Frame& frame) const;
  // Whether a gradient that came in has the expected shape, of two or three dimensions, and may be read as it lies; None
  // has null data.
  bool read_gradient(PyObject* gradient, std::initializer_list<int64_t> shape, Tensor& to) const;

  const Tensors& tensors_;  // kept alive by the table of all trainings
  const ModuleSizes sizes_;
  const Keep keep_;
  const int64_t every_;
  std::shared_ptr<const Results> results_;  // of the last sizes
};

Training::Result Training::result(nb::object size, int64_t scalars, size_t least) const {
  nb::object pattern;
  if (scalars * (sizes_.bits / 8) <= kSmall) pattern = tensors_.sized(size, sizes_.bits);
  return {std::move(size), std::move(pattern), least};
}

// Made whole before they are kept and held while they are used: other threads may run whenever a tensor is made.
std::shared_ptr<const Training::Results> Training::results(int64_t T, int64_t B, int64_t N) {
  std::shared_ptr<const Results> found = results_;
  if (found && found->steps == T && found->batch == B && found->rows == N) return found;
  const int64_t kept = saved_size(sizes_.shape, T, B, N, keep_, every_, false);
  nb::object y_size = N ? nb::make_tuple(N, sizes_.width) : nb::make_tuple(T, B, sizes_.width);
  found = std::make_shared<const Results>(
      Results{T, B, N, result(std::move(y_size), (N ? N : T * B) * sizes_.width, kBlockOfOutputs),
              result(nb::make_tuple(states(), B, sizes_.P), states() * B * sizes_.P, kBlockOfOutputs),
              result(nb::make_tuple(states(), B, sizes_.H), states() * B * sizes_.H, kBlockOfOutputs),
              result(nb::make_tuple(kept), kept, kBlockMin)});  // never resized, so even a smaller one
  // Swapped in, not assigned: where the older ones end with it, PyTorch lets other threads run, who may read this.
  std::shared_ptr<const Results> older = found;
  results_.swap(older);
  return found;
}

// Addresses of a call, on the stack for all but the deepest nets.
class Table {
 public:
  explicit Table(size_t count) {
    if (count > kFew) many_.resize(count);
    data = count > kFew ? many_.data() : few_;
    std::memset(data, 0, count * sizeof *data);
  }
  void** data;

 private:
  static constexpr size_t kFew = 128;
  void* few_[kFew];
  std::vector<void*> many_;
};

// (T, B, I), or packed (N, I), with the numbers of a row beside each other. Such as the extent describes, if there is one:
// autograd's hooks may hand back another tensor than was saved.
bool Training::read_input(PyObject* x, const Extent* extent, Tensor& to, Frame& frame) const {
  const bool packed = extent && extent->packed();
  const int last = packed ? 1 : 2;
  if (!tensors_.read(x, to) || !to.holds_floats(sizes_.bits) || to.ndim != last + 1 || to.shape[last] != sizes_.I ||
      (to.strides[last] != 1 && sizes_.I > 1) || !tensors_.backed(x, to))
    return false;
  if (packed) {
    frame = {extent->steps(), extent->batch(), extent->rows(), 0, to.strides[0]};
    return to.shape[0] == frame.N;
  }
  frame = {to.shape[0], to.shape[1], 0, to.strides[0], to.strides[1]};
  return frame.T > 0 && frame.B > 0 && (!extent || (extent->steps() == frame.T && extent->batch() == frame.B));
}

bool Training::read_state(PyObject* state, int64_t batch, int64_t size, Tensor& to) const {
  to.data = nullptr;
  to.byte_offset = 0;
  if (state == Py_None) return true;
  return tensors_.read(state, to) && to.holds_floats(sizes_.bits) && to.ndim == 3 && to.shape[0] == states() &&
         to.shape[1] == batch && to.shape[2] == size && contiguous(to) && to.data && tensors_.backed(state, to) &&
         !tensors_.negated(state);
}

// x, h0 and c0 as read_input() and read_state() want them; weights: a tuple in the order of the module's.
nb::object Training::forward(const Extent* extent, nb::handle x, nb::handle h0, nb::handle c0, nb::handle weights) {
  Tensor in, h0_at, c0_at;
  Frame frame;
  if (!read_input(x.ptr(), extent, in, frame) || !read_state(h0.ptr(), frame.B, sizes_.P, h0_at) ||
      !read_state(c0.ptr(), frame.B, sizes_.H, c0_at))
    return nb::none();
  const int64_t T = frame.T, B = frame.B;
  const int L = sizes_.L;
  const size_t count = sizes_.weights.size();
  Table table(count + 4 * static_cast<size_t>(L));
  if (!PyTuple_Check(weights.ptr()) || static_cast<size_t>(PyTuple_Size(weights.ptr())) != count) return nb::none();
  for (size_t k = 0; k < count; ++k) {
    Tensor w;
    if (!tensors_.read(PyTuple_GetItem(weights.ptr(), static_cast<Py_ssize_t>(k)), w)) return nb::none();
    table.data[k] = w.begin();
  }
  const std::shared_ptr<const Results> like = results(T, B, frame.N);
  nb::object y = make(like->y), h_n = make(like->h), c_n = make(like->c), block = make(like->block);
  Tensor y_at, h_at, c_at, block_at;
  if (!tensors_.read(y.ptr(), y_at) || !tensors_.read(h_n.ptr(), h_at) || !tensors_.read(c_n.ptr(), c_at) ||
      !tensors_.read(block.ptr(), block_at))
    return nb::none();
  void** state = table.data + count;
  sizes_.split_state(h_at.begin(), B, sizes_.P, state);
  sizes_.split_state(c_at.begin(), B, sizes_.H, state + L);
  if (h0_at.data) sizes_.split_state(h0_at.begin(), B, sizes_.P, state + 2 * L);
  if (c0_at.data) sizes_.split_state(c0_at.begin(), B, sizes_.H, state + 3 * L);
  StackForward call = sizes_.call(T, B, in.begin(), frame.x_step, frame.x_row, y_at.begin());
  if (extent) extent->put(call);
  call.weights = table.data;
  call.h_n = state;
  call.c_n = state + L;
  if (h0_at.data) call.h0 = state + 2 * L;
  if (c0_at.data) call.c0 = state + 3 * L;
  call.saved = block_at.begin();
  call.keep = keep_;
  call.every = every_;
  call.weights_change = true;
  call.threads = tensors_.threads();
  bool done;
  if (small(T, B)) {
    done = cellgate::forward(sizes_.shape, call);
  } else {
    nb::gil_scoped_release released;
    done = cellgate::forward(sizes_.shape, call);
  }
  if (!done) throw std::bad_alloc();
  return nb::make_tuple(y, h_n, c_n, block);
}

bool Training::read_gradient(PyObject* gradient, std::initializer_list<int64_t> shape, Tensor& to) const {
  to.data = nullptr;
  to.byte_offset = 0;
  if (gradient == Py_None) return true;
  const int32_t count = static_cast<int32_t>(shape.size());
  return tensors_.read(gradient, to) && to.holds_floats(sizes_.bits) && to.ndim == count &&
         std::equal(shape.begin(), shape.end(), to.shape) && (to.strides[count - 1] == 1 || to.shape[count - 1] == 1) &&
         to.data && tensors_.backed(gradient, to) && !tensors_.negated(gradient);
}

// saved: what autograd gives back, as in Saved; needs: of which inputs of the node, as in Argument, a gradient is wanted.
// Gradients of those inputs, or None where the full way is called for.
nb::object Training::backward(const Extent* extent, nb::handle saved, nb::handle needs, nb::handle dy, nb::handle dh_n,
                              nb::handle dc_n) const {
  const int L = sizes_.L;
  const size_t count = sizes_.weights.size();
  if (!PyTuple_Check(saved.ptr()) || static_cast<size_t>(PyTuple_Size(saved.ptr())) != kWeights + count ||
      !PyTuple_Check(needs.ptr()) || static_cast<size_t>(PyTuple_Size(needs.ptr())) != kFirstWeight + count)
    return nb::none();
  auto given = [&](size_t k) { return PyTuple_GetItem(saved.ptr(), static_cast<Py_ssize_t>(k)); };
  auto wanted = [&](size_t k) { return truth(PyTuple_GetItem(needs.ptr(), static_cast<Py_ssize_t>(k))); };
  Tensor x, y, block;
  Frame frame;
  if (!read_input(given(kInput), extent, x, frame)) return nb::none();
  const int64_t T = frame.T, B = frame.B;
  if (!tensors_.read(given(kOutput), y) || !tensors_.read(given(kBlock), block) || !y.holds_floats(sizes_.bits) ||
      !block.holds_floats(sizes_.bits) || !contiguous(y) || !contiguous(block) || !tensors_.backed(given(kOutput), y) ||
      !tensors_.backed(given(kBlock), block) || y.ndim != x.ndim ||
      !std::equal(x.shape, x.shape + x.ndim - 1, y.shape) || y.shape[y.ndim - 1] != sizes_.width || block.ndim != 1 ||
      block.shape[0] != saved_size(sizes_.shape, T, B, frame.N, keep_, every_, false))
    return nb::none();
  Tensor h0, c0;
  if (!read_state(given(kH0), B, sizes_.P, h0) || !read_state(given(kC0), B, sizes_.H, c0)) return nb::none();
  Tensor dy_at, dh_at, dc_at;
  if (!(frame.N ? read_gradient(dy.ptr(), {frame.N, sizes_.width}, dy_at)
                : read_gradient(dy.ptr(), {T, B, sizes_.width}, dy_at)) ||
      !read_gradient(dh_n.ptr(), {states(), B, sizes_.P}, dh_at) ||
      !read_gradient(dc_n.ptr(), {states(), B, sizes_.H}, dc_at) || (dh_at.data && !contiguous(dh_at)) ||
      (dc_at.data && !contiguous(dc_at)))
    return nb::none();

  Table table(2 * count + 6 * static_cast<size_t>(L));
  void **weights = table.data, **gradients = weights + count, **dh = gradients + count, **dc = dh + L;
  nb::object found = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(kFirstWeight + count)));
  if (!found.is_valid()) throw nb::python_error();
  auto answer = [&](size_t k, nb::object value) {
    PyTuple_SetItem(found.ptr(), static_cast<Py_ssize_t>(k), value.release().ptr());
  };
  // After one step c_n knows nothing of the last layer's projection: autograd leaves such a gradient out.
  const size_t each = count / static_cast<size_t>(states());
  const bool unprojected = T == 1 && sizes_.shape.layers.back().projected && !dy_at.data && !dh_at.data;
  auto unknown = [&](size_t k) {
    return unprojected && k % each == each - 1 && k >= count - each * static_cast<size_t>(sizes_.D);
  };
  for (size_t k = 0; k < count; ++k) {
    PyObject* tensor = given(kWeights + k);
    Tensor w, dw;
    const auto& shape = sizes_.weights[k];
    if (!tensors_.read(tensor, w) || !w.holds_floats(sizes_.bits) || !has_shape(w, shape[0], shape[1]) ||
        !contiguous(w) || !tensors_.backed(tensor, w))
      return nb::none();
    weights[k] = w.begin();
    nb::object made = nb::none();
    if (wanted(kFirstWeight + k) && !unknown(k)) {
      made = tensors_.gradient(nb::borrow(tensor), w);
      if (!tensors_.read(made.ptr(), dw)) return nb::none();
      gradients[k] = dw.begin();
    }
    answer(kFirstWeight + k, std::move(made));
  }
  StackBackward call;
  StackForward& was = call.forward = sizes_.call(T, B, x.begin(), frame.x_step, frame.x_row, y.begin());
  if (extent) extent->put(was);
  void** states = dc + L;  // those of every layer: h0, c0, and their gradients
  auto initial = [&](size_t k, const Tensor& from, size_t argument, const void* const*& to, void* const*& gradient) {
    const int64_t size = k == kH0 ? sizes_.P : sizes_.H;
    nb::object made = nb::none();
    if (from.data) {
      sizes_.split_state(from.begin(), B, size, states);
      to = states;
      if (wanted(argument)) {
        made = tensors_.like(nb::borrow(given(k)));
        Tensor at;
        if (!tensors_.read(made.ptr(), at)) return false;
        sizes_.split_state(at.begin(), B, size, states + L);
        gradient = states + L;
      }
    }
    states += 2 * L;
    answer(argument, std::move(made));
    return true;
  };
  if (!initial(kH0, h0, kState, was.h0, call.dh0) || !initial(kC0, c0, kMemory, was.c0, call.dc0)) return nb::none();
  nb::object made = nb::none();
  if (wanted(kX)) {
    made = tensors_.gradient(nb::borrow(given(kInput)), x);
    Tensor dx;
    if (!tensors_.read(made.ptr(), dx) || (dx.strides[dx.ndim - 1] != 1 && sizes_.I > 1)) return nb::none();
    call.dx = dx.begin();
    call.dx_step = frame.N ? 0 : dx.strides[0];
    call.dx_row = dx.strides[frame.N ? 0 : 1];
  }
  answer(kX, std::move(made));
  answer(kTraining, nb::none());
  answer(kExtent, nb::none());

  was.weights = weights;
  was.saved = block.begin();
  was.keep = keep_;
  was.every = every_;
  was.threads = tensors_.threads();
  if (dy_at.data) {
    call.dy = dy_at.begin();
    call.dy_step = frame.N ? 0 : dy_at.strides[0];
    call.dy_row = dy_at.strides[frame.N ? 0 : 1];
  }
  if (dh_at.data) sizes_.split_state(dh_at.begin(), B, sizes_.P, dh);
  if (dc_at.data) sizes_.split_state(dc_at.begin(), B, sizes_.H, dc);
  if (dh_at.data) call.dh_n = dh;
  if (dc_at.data) call.dc_n = dc;
  call.dweights = gradients;
  bool done;
  if (small(T, B)) {
    done = cellgate::backward(sizes_.shape, call);
  } else {
    nb::gil_scoped_release released;
    done = cellgate::backward(sizes_.shape, call);
  }
  if (!done) throw std::bad_alloc();
  return found;
}

// Finds out which training a call is one of.
class Trainings {
 public:
  Trainings(const Tensors& tensors, nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : tensors_(tensors), times_(must_be_false, forward_ad, requested) {}

  nb::object prepare(nb::handle module, nb::handle x, nb::handle hx, nb::handle lengths, nb::handle reset,
                     nb::handle batch_sizes);

 private:
  const Tensors& tensors_;  // kept alive by the binding
  PlainTimes times_;
  PlanTable<nb::object, std::pair<ModuleKey, int>> trainings_;  // nb::object: a Training, which autograd holds too
};

nb::object Trainings::prepare(nb::handle module, nb::handle x, nb::handle hx, nb::handle lengths, nb::handle reset,
                              nb::handle batch_sizes) {
  if (!tensors_.usable() || !times_.hold()) return nb::none();
  Tensor in;
  ModuleCall own;
  Keep keep;
  const bool packed = !batch_sizes.is_none();
  if (!tensors_.read(x.ptr(), in) || tensors_.negated(x.ptr()) || in.ndim != (packed ? 2 : 3) ||
      !(in.holds_floats(32) || in.holds_floats(64)) || !own.read(module, in.bits) || own.drops || !own.read_keep(keep))
    return nb::none();
  const int last = packed ? 1 : 2;
  if (in.shape[last] != own.key[0] || (in.strides[last] != 1 && own.key[0] > 1) || !tensors_.backed(x.ptr(), in))
    return nb::none();
  Extent extent;
  if (packed) {
    if (!extent.read_packed(tensors_, batch_sizes, in.shape[0])) return nb::none();
  } else {
    const int64_t T = in.shape[own.batch_first], B = in.shape[!own.batch_first];
    if (T == 0 || B == 0 || !extent.read(tensors_, lengths, reset, T, B, own.batch_first)) return nb::none();
  }
  nb::object training = trainings_.find(std::make_pair(own.key, static_cast<int>(keep)), [&] {
    return nb::cast(new Training(tensors_, own.key, keep), nb::rv_policy::take_ownership);
  });
  const Training& plan = nb::cast<Training&>(training);
  ModuleWeights weights;
  if (!weights.read(own, plan.sizes(), tensors_)) return nb::none();
  nb::object state[2] = {nb::none(), nb::none()};
  if (!hx.is_none()) {
    if (!PyTuple_CheckExact(hx.ptr()) || PyTuple_Size(hx.ptr()) != 2) return nb::none();
    for (int k = 0; k < 2; ++k) {
      state[k] = nb::borrow(PyTuple_GetItem(hx.ptr(), k));
      Tensor at;
      if (state[k].is_none() ||
          !plan.read_state(state[k].ptr(), extent.batch(), k ? plan.sizes().H : plan.sizes().P, at))
        return nb::none();
    }
  }
  auto recorded = [](PyObject* tensor) {
    nb::object needs = nb::steal(PyObject_GetAttr(tensor, names().requires_grad));
    if (!needs.is_valid()) throw nb::python_error();
    return truth(needs.ptr());
  };
  bool any = recorded(x.ptr());
  for (const nb::object& part : state) any = any || (!part.is_none() && recorded(part.ptr()));
  for (const nb::object& w : weights.tensors()) any = any || recorded(w.ptr());
  if (!any) return nb::none();

  nb::object rows = own.batch_first && !packed ? tensors_.transposed(nb::borrow(x)) : nb::borrow(x);
  const std::vector<nb::object>& all = weights.tensors();
  nb::object found = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(kFirstWeight + all.size())));
  if (!found.is_valid()) throw nb::python_error();
  auto answer = [&](size_t k, nb::object value) {
    PyTuple_SetItem(found.ptr(), static_cast<Py_ssize_t>(k), value.release().ptr());
  };
  answer(kTraining, training);
  if (extent.whole()) {
    answer(kExtent, nb::none());
  } else {
    answer(kExtent, nb::cast(new Extent(std::move(extent)), nb::rv_policy::take_ownership));
  }
  answer(kX, std::move(rows));
  answer(kState, std::move(state[0]));
  answer(kMemory, std::move(state[1]));
  for (size_t k = 0; k < all.size(); ++k) answer(kFirstWeight + k, all[k]);
  return found;
}

}  // namespace

void bind_trainings(nb::module_& m) {
  nb::class_<Training>(m, "Training", "Training calls of modules of the same sizes.")
      .def_prop_ro("description", &Training::description,
                   "Layers, directions, bias, H, P or 0, memory, bits of a number.")
      .def("forward", &Training::forward, "extent"_a.none(), "x"_a, "h0"_a.none(), "c0"_a.none(), "weights"_a,
           "output, h_n, c_n and the block that native/saved.h describes, of x (T, B, I) or packed (N, I), h0 "
           "(L * D, B, P) and c0 (L * D, B, H), both or neither, and a tuple of weights. extent: an Extent, or None "
           "where every sequence has all steps.")
      .def("backward", &Training::backward, "extent"_a.none(), "saved"_a, "needs"_a, "dy"_a.none(), "dh_n"_a.none(),
           "dc_n"_a.none(),
           "The gradients of the node's inputs: of this object and the extent None, of x, h0, c0, of each weight, None "
           "for those not wanted; or None where the full way is called for. saved: x, output, block, h0, c0, weights.");
  nb::class_<Trainings>(m, "Trainings", "Training calls of LSTM modules without the way through Python.")
      .def(nb::init<const Tensors&, nb::handle, nb::handle, nb::handle>(), nb::keep_alive<1, 2>(), "tensors"_a,
           "must_be_false"_a, "forward_ad"_a, "requested"_a, "The arguments are those of Calls.")
      .def("prepare", &Trainings::prepare, "module"_a, "x"_a.none(), "hx"_a.none(), "lengths"_a.none() = nb::none(),
           "reset"_a.none() = nb::none(), "batch_sizes"_a.none() = nb::none(),
           "The inputs of the node: a Training, an Extent or None, x as (T, B, I) or packed, h0 and c0 or None, "
           "weights; "
           "or None where the full way is called for.");
}

}  // namespace cellgate::python
