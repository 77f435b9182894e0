// What of a tensor library's DLPack exchange table (DLPack 1.3, `__dlpack_c_exchange_api__`) is used here: reading where
// a tensor lies and how it is shaped without a call into Python, and making a tensor of memory of our own. The structs
// restate that binary interface, so no header of the library is needed and none is linked.
#pragma once

#include <cstdint>

namespace cellgate::exchange {

struct Version {
  uint32_t major, minor;
};

constexpr int32_t kCpu = 1;
constexpr uint8_t kInt = 0, kFloat = 2, kBool = 6;

struct Tensor {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;  // of the scalars
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;  // in scalars
  uint64_t byte_offset;

  char* begin() const { return static_cast<char*>(data) + byte_offset; }
  bool holds_floats(int of_bits) const { return code == kFloat && bits == of_bits && lanes == 1; }
};

struct Managed {
  Version version;
  void* context;
  void (*deleter)(Managed* self);
  uint64_t flags;
  Tensor tensor;
};

struct Table {
  Version version;
  void* older;
  int (*allocate)(Tensor*, Managed**, void*, void (*)(void*, const char*, const char*));
  int (*managed_from_object)(void* object, Managed** out);
  int (*object_from_managed)(Managed* tensor, void** object);  // takes over `tensor`
  int (*read)(void* object, Tensor* out);  // -1 with an exception set; the result is good as long as the tensor is
  int (*current_stream)(int32_t, int32_t, void**);
};

// What tensors of PyTorch give as `__dlpack_c_exchange_api__`; null where the version is another one.
inline const Table* usable(const void* table) {
  const Table* found = static_cast<const Table*>(table);
  return found && found->version.major == 1 && found->read && found->object_from_managed ? found : nullptr;
}

}  // namespace cellgate::exchange
