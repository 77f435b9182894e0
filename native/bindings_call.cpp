// A call of an LSTM module, from Python objects to the engine and back, for calls that only compute.
//
// A short sequence takes the engine a few microseconds; so do the questions that must be asked before it may run, when
// they are asked in Python. Here the same questions cost tens of nanoseconds each: tensors are read by the exchange table
// of the library that made them (exchange.h). Nothing is remembered of weights or inputs from one call to the next, so
// nothing can be out of date; what is remembered belongs to sizes. Whatever is not plain is left to the full way in
// Python, which also words the errors: the answer is then None.
#include <memory>
#include <new>
#include <utility>

#include "bindings_extent.h"
#include "bindings_module.h"
#include "blocks.h"

namespace cellgate::python {
namespace {

using namespace nb::literals;
using exchange::Tensor;

// What is known of all modules with the same sizes.
struct Plan {
  explicit Plan(const ModuleKey& key) : sizes(sizes_of(key)) {}
  const ModuleSizes sizes;
  // Results of the last sizes, to be made again alike; a pattern is null where it is too large to be kept.
  struct Results {
    int64_t steps, batch, rows;  // rows of packed data, else 0
    int form;
    nb::object y_like, h_like, c_like, y_size, h_size, c_size;
  };
  std::shared_ptr<const Results> results;
};

int64_t larger_of(int64_t a, int64_t b) { return a < b ? b : a; }

class Calls {
 public:
  Calls(const Tensors& tensors, nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : tensors_(tensors), times_(must_be_false, forward_ad, requested) {}

  nb::object run(nb::handle module, nb::handle x, nb::handle hx, bool gates, nb::handle lengths, nb::handle reset,
                 nb::handle batch_sizes);

 private:
  std::shared_ptr<const Plan::Results> results_of(Plan& plan, const Extent& extent, int form) const;

  const Tensors& tensors_;  // kept alive by the binding
  PlainTimes times_;
  PlanTable<std::shared_ptr<Plan>, ModuleKey> plans_;
};

// Forms of a call: unbatched, (T, B, I), (B, T, I), packed (N, I).
enum Form { kUnbatched = 0, kTimeFirst = 1, kBatchFirst = 2, kPacked = 3 };

// Made whole before they are kept and held while they are used: other threads may run whenever a tensor is made.
std::shared_ptr<const Plan::Results> Calls::results_of(Plan& plan, const Extent& extent, int form) const {
  const int64_t steps = extent.steps(), batch = extent.batch(), rows = extent.rows();
  std::shared_ptr<const Plan::Results> found = plan.results;
  if (found && found->steps == steps && found->batch == batch && found->rows == rows && found->form == form)
    return found;
  Plan::Results made{steps, batch, rows, form, {}, {}, {}, {}, {}, {}};
  const ModuleSizes& sizes = plan.sizes;
  const int64_t states = static_cast<int64_t>(sizes.L) * sizes.D, bytes = sizes.bits / 8;
  if (form == kUnbatched) {
    made.y_size = nb::make_tuple(steps, sizes.width);
    made.h_size = nb::make_tuple(states, sizes.P);
    made.c_size = nb::make_tuple(states, sizes.H);
  } else {
    made.y_size = form == kPacked
                      ? nb::make_tuple(rows, sizes.width)
                      : nb::make_tuple(steps, batch, sizes.width);  // time-major in memory, as nn.LSTM's output is
    made.h_size = nb::make_tuple(states, batch, sizes.P);
    made.c_size = nb::make_tuple(states, batch, sizes.H);
  }
  auto pattern = [&](const nb::object& size, int64_t scalars) {
    return scalars * bytes <= kSmall ? tensors_.sized(size, sizes.bits) : nb::object();
  };
  made.y_like = pattern(made.y_size, (rows ? rows : steps * batch) * sizes.width);
  if (made.y_like.is_valid() && form == kBatchFirst) made.y_like = tensors_.transposed(made.y_like);
  made.h_like = pattern(made.h_size, states * batch * sizes.P);
  made.c_like = pattern(made.c_size, states * batch * sizes.H);
  found = std::make_shared<const Plan::Results>(std::move(made));
  // Swapped in, not assigned: where the older ones end with it, PyTorch lets other threads run, who may read this.
  std::shared_ptr<const Plan::Results> older = found;
  plan.results.swap(older);
  return found;
}

nb::object Calls::run(nb::handle module, nb::handle x, nb::handle hx, bool gates, nb::handle lengths, nb::handle reset,
                      nb::handle batch_sizes) {
  if (!tensors_.usable() || !tensors_.is_tensor(x.ptr()) || !times_.hold()) return nb::none();
  Tensor in;
  if (!tensors_.read(x.ptr(), in) || tensors_.negated(x.ptr())) return nb::none();
  ModuleCall own;
  if (!(in.holds_floats(32) || in.holds_floats(64)) || !own.read(module, in.bits) || own.drops) return nb::none();
  const std::shared_ptr<Plan> held = plans_.find(own.key, [&] { return std::make_shared<Plan>(own.key); });
  Plan& plan = *held;
  const ModuleSizes& sizes = plan.sizes;

  // ---- the input
  int64_t steps, batch, x_step, x_row;
  Form form;
  if (in.ndim == 3) {
    form = own.batch_first ? kBatchFirst : kTimeFirst;
    const int t = own.batch_first ? 1 : 0;
    steps = in.shape[t];
    batch = in.shape[1 - t];
    x_step = in.strides[t];
    x_row = in.strides[1 - t];
  } else if (in.ndim == 2 && !batch_sizes.is_none()) {
    form = kPacked;
    steps = batch = 1;  // what they are the batch sizes say
    x_step = 0;
    x_row = in.strides[0];
  } else if (in.ndim == 2 && lengths.is_none() && reset.is_none()) {
    form = kUnbatched;
    steps = in.shape[0];
    batch = 1;
    x_step = in.strides[0];
    x_row = 0;
  } else {
    return nb::none();
  }
  const int last = in.ndim - 1;
  if (in.shape[last] != sizes.I || (in.strides[last] != 1 && sizes.I > 1) || steps == 0 || batch == 0)
    return nb::none();
  if (!tensors_.backed(x.ptr(), in)) return nb::none();
  Extent extent;  // outlives the call
  if (form == kPacked) {
    if (!extent.read_packed(tensors_, batch_sizes, in.shape[0])) return nb::none();
    steps = extent.steps();
    batch = extent.batch();
  } else if (!extent.read(tensors_, lengths, reset, steps, batch, form == kBatchFirst)) {
    return nb::none();
  }

  ModuleWeights weights;
  if (!weights.read(own, sizes, tensors_)) return nb::none();

  // ---- the initial state
  const int64_t states = static_cast<int64_t>(sizes.L) * sizes.D;
  const char* initial[2] = {nullptr, nullptr};
  if (!hx.is_none()) {
    if (!PyTuple_CheckExact(hx.ptr()) || PyTuple_Size(hx.ptr()) != 2) return nb::none();
    for (int k = 0; k < 2; ++k) {
      PyObject* state = PyTuple_GetItem(hx.ptr(), k);
      Tensor t;
      if (!tensors_.is_tensor(state) || !tensors_.read(state, t) || !t.holds_floats(sizes.bits) || !contiguous(t))
        return nb::none();
      const int64_t size = k ? sizes.H : sizes.P;
      const bool fits = form == kUnbatched
                            ? t.ndim == 2 && t.shape[0] == states && t.shape[1] == size
                            : t.ndim == 3 && t.shape[0] == states && t.shape[1] == batch && t.shape[2] == size;
      if (!fits || !t.data || !tensors_.backed(state, t) || tensors_.negated(state)) return nb::none();
      initial[k] = t.begin();
    }
  }

  // ---- the results
  const std::shared_ptr<const Plan::Results> results = results_of(plan, extent, form);
  nb::object y = results->y_like.is_valid() ? tensors_.like(results->y_like)
                                            : tensors_.block(results->y_size, sizes.bits, kBlockOfResults);
  nb::object h_n =
      results->h_like.is_valid() ? tensors_.like(results->h_like) : tensors_.sized(results->h_size, sizes.bits);
  nb::object c_n =
      results->c_like.is_valid() ? tensors_.like(results->c_like) : tensors_.sized(results->c_size, sizes.bits);
  Tensor y_at, h_at, c_at;
  if (!tensors_.read(y.ptr(), y_at) || !tensors_.read(h_n.ptr(), h_at) || !tensors_.read(c_n.ptr(), c_at))
    return nb::none();
  if (form == kBatchFirst && !results->y_like.is_valid()) y = tensors_.transposed(y);

  // ---- the call
  constexpr int kLayers = 16;
  void* few_states[4 * kLayers];
  std::vector<void*> many_states;
  void** table = few_states;
  if (sizes.L > kLayers) {
    many_states.resize(static_cast<size_t>(4 * sizes.L));
    table = many_states.data();
  }
  sizes.split_state(const_cast<char*>(initial[0]), batch, sizes.P, table);
  sizes.split_state(const_cast<char*>(initial[1]), batch, sizes.H, table + sizes.L);
  sizes.split_state(h_at.begin(), batch, sizes.P, table + 2 * sizes.L);
  sizes.split_state(c_at.begin(), batch, sizes.H, table + 3 * sizes.L);
  StackForward call = sizes.call(steps, batch, in.begin(), x_step, x_row, y_at.begin());
  extent.put(call);
  call.weights = weights.addresses();
  if (initial[0]) {
    call.h0 = table;
    call.c0 = table + sizes.L;
  }
  call.h_n = table + 2 * sizes.L;
  call.c_n = table + 3 * sizes.L;
  call.threads = tensors_.threads();
  nb::object saved;
  if (gates) {
    const int64_t scalars = saved_size(sizes.shape, steps, batch, 0, Keep::fast, 1, false);
    saved = tensors_.block(nb::make_tuple(scalars), sizes.bits, kBlockMin);
    Tensor at;
    if (!tensors_.read(saved.ptr(), at)) return nb::none();
    call.saved = at.begin();
    call.keep = Keep::fast;
  }
  // Giving Python's lock away and waiting for it again costs as much as a very small call.
  const int64_t work = steps * batch * sizes.L * sizes.D * sizes.H * (sizes.H + larger_of(sizes.I, sizes.width));
  bool done;
  if (work < kTiny) {
    done = forward(sizes.shape, call);
  } else {
    nb::gil_scoped_release released;
    done = forward(sizes.shape, call);
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
           "lengths"_a.none() = nb::none(), "reset"_a.none() = nb::none(), "batch_sizes"_a.none() = nb::none(),
           "output, (h_n, c_n), with gates also the block that native/saved.h describes; or None where the full way is "
           "called for. batch_sizes: of packed data x (N, I).");
}

}  // namespace cellgate::python
