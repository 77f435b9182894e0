// The kernels for AVX512_BF16, for bfloat16 only, compiled with flags of their own (see CMakeLists.txt).
#define CELLGATE_ISA avx512_bf16
#define CELLGATE_USE_AVX512
#include "kernels/half_backward.h"
#include "kernels/half_forward.h"

namespace cellgate {
namespace avx512_bf16 {
const HalfKernels& half_table();
const HalfKernels& half_table() {
  static constexpr HalfKernels kernels = {half_forward, half_backward, widen, narrow};
  return kernels;
}
}  // namespace avx512_bf16
}  // namespace cellgate
