// The kernels for 64-bit ARM, compiled with flags of their own (see CMakeLists.txt).
#define CELLGATE_ISA neon
#define CELLGATE_USE_NEON
#include "isa/table.h"
