// The kernels for AVX2 with FMA, compiled with flags of their own (see CMakeLists.txt).
#define CELLGATE_ISA avx2
#define CELLGATE_USE_AVX2
#include "isa/table.h"
