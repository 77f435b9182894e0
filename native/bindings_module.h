// An LSTM module as the engine reads it from Python: its sizes, its weights as they are now, and whether anything is in
// force that changes what a call means. Nothing is remembered of weights or inputs from one call to the next, so nothing
// can be out of date; what is remembered belongs to sizes.
#pragma once

#include <array>
#include <map>

#include "bindings_tensors.h"
#include "stack.h"

namespace cellgate::python {

// Interned once: names of attributes and methods.
struct Names {
  static PyObject* name(const char* text) { return PyUnicode_InternFromString(text); }
  PyObject *input_size = name("input_size"), *hidden_size = name("hidden_size"), *proj_size = name("proj_size"),
           *num_layers = name("num_layers"), *bias = name("bias"), *bidirectional = name("bidirectional"),
           *training = name("training"), *dropout = name("dropout"), *batch_first = name("batch_first"),
           *parameters = name("_parameters"), *all_weights = name("_all_weights"), *dict = name("__dict__"),
           *level = name("_current_level"), *variant = name("variant"), *memory = name("memory"),
           *requires_grad = name("requires_grad"), *plain_in_training = name("plain_in_training"),
           *plain_in_evaluation = name("plain_in_evaluation"), *quick_form = name("quick_form");
};
const Names& names();

// Sizes and switches of a module, in the order input_size, hidden_size, proj_size, num_layers, bias, bidirectional, bits.
using ModuleKey = std::array<int64_t, 7>;

// What is known of all modules with the same key.
struct ModuleSizes {
  StackShape shape;
  std::vector<std::array<int64_t, 2>> weights;  // shapes in the order of _all_weights; -1 in the place of a second size
  int64_t I, H, P, width;
  int L, D, bits;

  // A call of the stack on x (T, B, I) by strides, with y (T, B, width) contiguous; what else there is the caller adds.
  StackForward call(int64_t steps, int64_t batch, const void* x, int64_t x_step, int64_t x_row, void* y) const {
    StackForward made;
    made.steps = steps;
    made.batch = batch;
    made.x = x;
    made.x_step = x_step;
    made.x_row = x_row;
    made.y = y;
    made.y_step = batch * width;
    made.y_row = width;
    return made;
  }
  // The part of every layer in a state (L * D, B, size), contiguous; null where that is.
  void split_state(char* state, int64_t batch, int64_t size, void** to) const {
    for (int l = 0; l < L; ++l) to[l] = state ? state + l * D * batch * size * (bits / 8) : nullptr;
  }
};
ModuleSizes sizes_of(const ModuleKey& key);

// What calls with the same key share: Held is a pointer that counts its holders. A copy is handed out, because other
// threads may fill the table while a call computes.
template <class Held, class Key>
class PlanTable {
 public:
  template <class Make>
  Held find(const Key& key, Make make) {
    auto found = plans_.find(key);
    if (found != plans_.end()) return found->second;
    if (plans_.size() > 1000) std::map<Key, Held>().swap(plans_);
    return plans_.emplace(key, make()).first->second;
  }

 private:
  std::map<Key, Held> plans_;
};

// Whether nothing is in force that changes what a call means: a mode, a transform, a trace, another backend.
class PlainTimes {
 public:
  // must_be_false: functions, or pairs of a function and its argument, that must all return something false; forward_ad:
  // the module with _current_level; requested: returns the name of the backend asked for.
  PlainTimes(nb::handle must_be_false, nb::handle forward_ad, nb::handle requested)
      : must_be_false_(nb::borrow(must_be_false)),
        forward_ad_(nb::borrow(forward_ad)),
        requested_(nb::borrow(requested)) {}
  bool hold() const;

 private:
  nb::object must_be_false_, forward_ad_, requested_;
};

// A module's attributes; false where it is not a plain module.
struct ModuleCall {
  nb::object own;  // its __dict__
  PyObject* dict = nullptr;
  ModuleKey key;
  bool batch_first = false;
  bool drops = false;           // dropout between layers is on
  PyObject* variant = nullptr;  // what its calls compute beyond torch.nn.LSTM, or null: nothing, as it is now

  bool read(nb::handle module, int bits) { return read_any(module, bits) && !variant; }
  bool read_any(nb::handle module, int bits);
  // What backward is to find; false where it is no known word.
  bool read_keep(Keep& to) const;
};

// The module's weights as they are now: their addresses, and the tensors, which another thread may replace meanwhile.
class ModuleWeights {
 public:
  // False where one is not a plain, contiguous tensor of the expected shape and type.
  bool read(const ModuleCall& module, const ModuleSizes& sizes, const Tensors& tensors);
  const void* const* addresses() const { return data_; }
  const std::vector<nb::object>& tensors() const { return alive_; }

 private:
  static constexpr size_t kFew = 64;
  const void* few_[kFew];
  std::vector<const void*> many_;
  const void** data_ = few_;
  std::vector<nb::object> alive_;
};

constexpr int64_t kEvery = 16;  // "minimal" keeps the cell state of every 16th step

// The bytes of a result that may be kept as a pattern: making it anew takes twice as long.
constexpr int64_t kSmall = 1 << 18;

// Multiplications, for each gate, of a call of some microseconds. Giving Python's lock away and waiting for it again costs
// as much as that.
constexpr int64_t kTiny = 50000;

}  // namespace cellgate::python
