// The kernels for AVX-512 (F, BW, DQ, VL), compiled with flags of their own (see CMakeLists.txt).
#define CELLGATE_ISA avx512
#define CELLGATE_USE_AVX512
#include "isa/table.h"
