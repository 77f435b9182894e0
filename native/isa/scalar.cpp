// The kernels in plain C++, for any CPU.
#define CELLGATE_ISA scalar
#define CELLGATE_USE_SCALAR
#include "isa/table.h"
