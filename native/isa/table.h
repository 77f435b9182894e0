// Compiles every kernel for the instruction set of the including file and gathers them in its table.
#pragma once

#include "dispatch.h"
#include "kernels/activations.h"
#include "kernels/backward_call.h"
#include "kernels/forward_call.h"
#include "kernels/peak.h"
#include "kernels/variant_backward.h"
#include "kernels/variant_forward.h"
#include "vec/vec.h"

namespace cellgate {
namespace CELLGATE_ISA {

#define CELLGATE_STRING2(x) #x
#define CELLGATE_STRING(x) CELLGATE_STRING2(x)

const Kernels& table();
const Kernels& table() {
  static constexpr Kernels kernels = {
      CELLGATE_STRING(CELLGATE_ISA),
      Vec<float>::lanes,
      apply_sigmoid<float>,
      apply_tanh<float>,
      apply_sigmoid<double>,
      apply_tanh<double>,
      forward<float>,
      forward<double>,
      packed_size<float>,
      packed_size<double>,
      pack_weights<float>,
      pack_weights<double>,
      backward<float>,
      backward<double>,
      variant_forward<float>,
      variant_forward<double>,
      variant_backward<float>,
      variant_backward<double>,
      variant_packed_size<float>,
      variant_packed_size<double>,
      variant_pack<float>,
      variant_pack<double>,
      {Vec<float>::lanes, Vec<double>::lanes, kChains, fma_chain<float>, fma_chain<double>, read_in_order},
  };
  return kernels;
}

}  // namespace CELLGATE_ISA
}  // namespace cellgate
