// See bindings_training.h.
#include "bindings_training.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "blocks.h"
#include "stack_backward.h"

namespace cellgate::python {

using namespace nb::literals;
using exchange::Tensor;

namespace {

// Bytes from which an output is put into a block: what has a history can not grow (resize_) anyway.
constexpr size_t kBlockOfOutputs = size_t{4} << 20;

// What autograd saves, in this order; the states are None where a call began with zeros.
enum Saved { kInput, kOutput, kBlock, kH0, kC0, kWeights };
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

}  // namespace

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

void bind_training(nb::module_& m) {
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
}

}  // namespace cellgate::python
