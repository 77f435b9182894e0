// The engine's float sigmoid and tanh on every instruction set of this CPU against double, over all 2^32 floats:
//
//   check_activations [--every N] [--threads N]
//
// --every N takes each N-th float only (and the ends of its ranges in any case). Prints a table and ends with status 1 if
// a bound of kFunctions is broken, if NaN does not give NaN, or if a result leaves
// [0, 1] or [-1, 1] or, for |x| > 100, is not one of the ends.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.h"

namespace {

using namespace cellgate;

struct Function {
  const char* name;
  double (*exact)(double x);
  double low, high;    // the range
  double ulps;         // the bound, in units in the last place of the exact result
  double tiny, floor;  // where the exact result is below `tiny`, only the absolute error counts, at most `floor`
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double tangent(double x) { return std::tanh(x); }

const Function kFunctions[] = {
    // Below exp(-87), about 1.65e-38, the engine's sigmoid is zero.
    {"sigmoid", sigmoid, 0, 1, 3, 1.65e-38, 1.65e-38},
    {"tanh", tangent, -1, 1, 7, 0, 0},
};
constexpr int kCount = 2;

// Size of a unit in the last place of a float near y.
double ulp(double y) {
  int exponent = 0;
  std::frexp(y, &exponent);
  return std::ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
}

struct Tally {
  int64_t count = 0, beyond_one = 0, nan_wrong = 0, out_of_range = 0;
  double most = 0, absolute = 0, tiny = 0;
  float where = 0;
  void add(const Tally& other) {
    count += other.count, beyond_one += other.beyond_one;
    nan_wrong += other.nan_wrong, out_of_range += other.out_of_range;
    if (other.most > most) most = other.most, where = other.where;
    absolute = std::fmax(absolute, other.absolute);
    tiny = std::fmax(tiny, other.tiny);
  }
};

void judge(const Function& f, float x, double exact, float got, Tally& tally) {
  ++tally.count;
  // A gate that is shut or open altogether is so to the last bit: what passes through it may be as large as a float is.
  if (std::fabs(x) > 100 && got != (x > 0 ? f.high : f.low)) ++tally.out_of_range;
  if (std::isnan(x) || std::isnan(got)) {
    tally.nan_wrong += std::isnan(x) != std::isnan(got);
    return;
  }
  tally.out_of_range += !(got >= f.low && got <= f.high);
  const double error = std::fabs(got - exact);
  tally.absolute = std::fmax(tally.absolute, error);
  if (std::fabs(exact) < f.tiny) {
    tally.tiny = std::fmax(tally.tiny, error);
    return;
  }
  const double ulps = error / ulp(exact);
  tally.beyond_one += ulps > 1;
  if (ulps > tally.most) tally.most = ulps, tally.where = x;
}

constexpr int64_t kBlock = 1 << 14;  // floats at a time
constexpr uint64_t kAll = uint64_t{1} << 32;

using Tallies = std::vector<Tally>;  // by function, then instruction set

void check(uint64_t begin, uint64_t end, uint64_t every, const std::vector<const Kernels*>& isas, Tallies& tallies) {
  std::vector<float> x, y;
  std::vector<double> exact;
  for (uint64_t at = begin; at < end; at += every) {
    // One number of each stretch of `every`, not always at the same place of it.
    const uint64_t shift = every > 1 ? (at * 0x9e3779b97f4a7c15ull >> 33) % every : 0;
    const uint32_t bits = static_cast<uint32_t>(at + shift < end ? at + shift : at);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    x.push_back(value);
    if (static_cast<int64_t>(x.size()) < kBlock && at + every < end) continue;
    y.resize(x.size()), exact.resize(x.size());
    for (int f = 0; f < kCount; ++f) {
      for (size_t j = 0; j < x.size(); ++j) exact[j] = kFunctions[f].exact(x[j]);
      for (size_t i = 0; i < isas.size(); ++i) {
        (f == 0 ? isas[i]->sigmoid_f32 : isas[i]->tanh_f32)(x.data(), y.data(), static_cast<int64_t>(x.size()));
        Tally& tally = tallies[static_cast<size_t>(f) * isas.size() + i];
        for (size_t j = 0; j < x.size(); ++j) judge(kFunctions[f], x[j], exact[j], y[j], tally);
      }
    }
    x.clear();
  }
}

uint64_t number(const char* text) {
  char* end = nullptr;
  const unsigned long long n = std::strtoull(text, &end, 10);
  if (n > 0 && *end == 0) return n;
  std::fprintf(stderr, "expected a positive number, got \"%s\"\n", text);
  std::exit(2);
}

}  // namespace

int main(int count, char** arguments) {
  uint64_t every = 1, threads = 1;
  for (int k = 1; k + 1 < count; k += 2) {
    if (std::strcmp(arguments[k], "--every") == 0) every = number(arguments[k + 1]);
    if (std::strcmp(arguments[k], "--threads") == 0) threads = number(arguments[k + 1]);
  }
  std::vector<const Kernels*> isas;
  for (const char* const* isa = built_isas(); *isa; ++isa) {
    const char* why = nullptr;
    if (const Kernels* found = find_kernels(*isa, &why)) isas.push_back(found);
  }

  // Threads take stretches of 2^26 floats each.
  constexpr uint64_t kStretch = uint64_t{1} << 26;
  std::atomic<uint64_t> next{0};
  std::vector<Tallies> parts(threads, Tallies(kCount * isas.size()));
  std::vector<std::thread> team;
  for (uint64_t t = 0; t < threads; ++t)
    team.emplace_back([&, t] {
      for (uint64_t at; (at = next.fetch_add(kStretch)) < kAll;) check(at, at + kStretch, every, isas, parts[t]);
    });
  for (std::thread& member : team) member.join();

  bool good = true;
  std::printf("%-8s %-8s %12s %9s %14s %12s %10s %10s\n", "function", "set", "floats", "max ulp", "at", "> 1 ulp",
              "max error", "tiny");
  for (int f = 0; f < kCount; ++f)
    for (size_t i = 0; i < isas.size(); ++i) {
      Tally all;
      for (const Tallies& part : parts) all.add(part[static_cast<size_t>(f) * isas.size() + i]);
      std::printf("%-8s %-8s %12lld %9.3f %14.8g %11.4f%% %10.2e %10.2e\n", kFunctions[f].name, isas[i]->name,
                  static_cast<long long>(all.count), all.most, static_cast<double>(all.where),
                  100.0 * static_cast<double>(all.beyond_one) / static_cast<double>(all.count), all.absolute, all.tiny);
      if (all.nan_wrong || all.out_of_range || !(all.most <= kFunctions[f].ulps) ||
          !(all.tiny <= kFunctions[f].floor)) {
        std::printf("  not within the rules: %lld NaN, %lld out of range, at most %g ulp and %g\n",
                    static_cast<long long>(all.nan_wrong), static_cast<long long>(all.out_of_range), kFunctions[f].ulps,
                    kFunctions[f].floor);
        good = false;
      }
    }
  return good ? 0 : 1;
}
