// What the kernels' plans need to know of the machine's caches.
#pragma once

#include <cstdint>

namespace cellgate {
// Bytes of a core's second-level cache, as the system tells; 1 MB where it does not. Between 256 KB and 4 MB.
int64_t second_level_cache();
}  // namespace cellgate
