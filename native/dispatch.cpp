#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

namespace cellgate {

#if CELLGATE_HAVE_AVX512
namespace avx512 {
const Kernels& table();
}
#endif
#if CELLGATE_HAVE_AVX2
namespace avx2 {
const Kernels& table();
}
#endif
#if CELLGATE_HAVE_NEON
namespace neon {
const Kernels& table();
}
#endif
namespace scalar {
const Kernels& table();
}

namespace {

struct Entry {
  const char* name;
  const Kernels& (*table)();
  bool (*present)();
};

bool always() { return true; }

// __builtin_cpu_supports also asks whether the operating system saves the registers (XGETBV).
#if CELLGATE_HAVE_AVX512
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif
#if CELLGATE_HAVE_AVX2
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

// Best first.
const Entry entries[] = {
#if CELLGATE_HAVE_AVX512
    {"avx512", avx512::table, has_avx512},
#endif
#if CELLGATE_HAVE_AVX2
    {"avx2", avx2::table, has_avx2},
#endif
#if CELLGATE_HAVE_NEON
    {"neon", neon::table, always},
#endif
    {"scalar", scalar::table, always},
};

const Kernels& named(const char* name) {
  const char* why = nullptr;
  if (const Kernels* found = find_kernels(name, &why)) return *found;
  std::string text = "instruction set \"" + std::string(name) + "\" " + why + "; this build has";
  for (const Entry& e : entries) text += std::string(" ") + e.name + (e.present() ? "" : " (not on this CPU)");
  throw NoSuchKernels(text + "; set CELLGATE_CPU_ISA to one of them, or unset it to take the best");
}

const Kernels& choose() {
  const char* forced = std::getenv("CELLGATE_CPU_ISA");
  if (forced && *forced) return named(forced);
  for (const Entry& e : entries)
    if (e.present()) return e.table();
  return scalar::table();
}

std::atomic<const Kernels*> chosen{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* k = chosen.load(std::memory_order_acquire);
  if (!k) {
    k = &choose();
    chosen.store(k, std::memory_order_release);
  }
  return *k;
}

const Kernels* find_kernels(const char* name, const char** why) {
  for (const Entry& e : entries) {
    if (std::strcmp(e.name, name) != 0) continue;
    if (e.present()) return &e.table();
    *why = "is not supported by this CPU";
    return nullptr;
  }
  *why = "is not in this build";
  return nullptr;
}

const char* const* built_isas() {
  static const char* names[sizeof entries / sizeof *entries + 1] = {};
  if (!names[0])
    for (size_t i = 0; i < sizeof entries / sizeof *entries; ++i) names[i] = entries[i].name;
  return names;
}

void force_kernels(const char* name) { chosen.store(&named(name), std::memory_order_release); }

}  // namespace cellgate
