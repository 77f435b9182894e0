#include "peak.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "dispatch.h"
#include "threads.h"

namespace cellgate {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One member's account, on cache lines of its own.
struct alignas(128) Tally {
  double work = 0;
  double elapsed = 0;
  double keep = 0;  // the results, kept so that no work can be left out
};

// Work per second of `threads` threads that each call `once(member, &keep)`, returning units of work, for `seconds`.
// Threads that run longer than others count by their own time.
template <class Once>
double rate(int threads, double seconds, const Once& once) {
  std::vector<Tally> tallies(static_cast<size_t>(std::max(threads, 1)));
  struct Argument {
    const Once* once;
    std::vector<Tally>* tallies;
    double seconds;
  } argument{&once, &tallies, seconds};
  Team team(std::max(threads, 1));
  team.run(
      [](void* opaque, int member, int) {
        auto* a = static_cast<Argument*>(opaque);
        Tally& tally = (*a->tallies)[static_cast<size_t>(member)];
        (*a->once)(member, &tally.keep);  // the clock of the core and the caches warm up
        const Clock::time_point start = Clock::now();
        do {
          tally.work += (*a->once)(member, &tally.keep);
          tally.elapsed = since(start);
        } while (tally.elapsed < a->seconds);
      },
      &argument);
  double total = 0;
  for (const Tally& tally : tallies) {
    if (tally.elapsed > 0) total += tally.work / tally.elapsed;
  }
  return total;
}

}  // namespace

double measure_fma_peak(int threads, bool is_double, double seconds) {
  const PeakKernels& k = kernels().peak;
  constexpr int64_t rounds = 100000;
  return rate(threads, seconds, [&](int, double* keep) {
    *keep += is_double ? k.fma_f64(rounds) : static_cast<double>(k.fma_f32(rounds));
    return 2.0 * static_cast<double>(rounds) * k.chains * (is_double ? k.lanes_f64 : k.lanes_f32);
  });
}

double measure_read_bandwidth(int64_t bytes, int threads, double seconds) {
  const PeakKernels& k = kernels().peak;
  const int64_t block = 8 * k.lanes_f32;
  const int members = std::max(threads, 1);
  const int64_t share = std::max<int64_t>(bytes / members / static_cast<int64_t>(sizeof(float)) / block, 1) * block;
  const int64_t repeats = std::max<int64_t>(int64_t{1} << 18, share) / share;
  struct alignas(64) Line {
    float floats[16];
  };
  const int64_t lines = (share + 15) / 16;
  std::vector<std::unique_ptr<Line[]>> buffers;
  for (int m = 0; m < members; ++m) buffers.emplace_back(new Line[static_cast<size_t>(lines)]());
  return rate(members, seconds, [&](int member, double* keep) {
    for (int64_t r = 0; r < repeats; ++r) {
      *keep += static_cast<double>(k.read_in_order(buffers[static_cast<size_t>(member)][0].floats, share));
    }
    return static_cast<double>(repeats * share) * sizeof(float);
  });
}

double measure_activation_rate(int threads, double seconds) {
  const Kernels& k = kernels();
  constexpr int64_t n = 2048;
  std::vector<float> numbers(static_cast<size_t>(std::max(threads, 1)) * 2 * n);
  for (size_t j = 0; j < numbers.size(); ++j) numbers[j] = static_cast<float>(j % 17) - 8.0f;
  return rate(threads, seconds, [&](int member, double* keep) {
    float* x = numbers.data() + static_cast<size_t>(member) * 2 * n;
    for (int r = 0; r < 64; ++r) k.sigmoid_f32(x, x + n, n);
    *keep += static_cast<double>(x[n]);
    return 64.0 * static_cast<double>(n);
  });
}

double measure_handover(int threads) {
  constexpr uint32_t rounds = 500;
  struct Ring {
    Epoch at[kMaxTeam];
    double elapsed = 0;
  };
  const auto ring = std::make_unique<Ring>();
  Team team(std::clamp(threads, 1, kMaxTeam));
  if (team.size() == 1) return 0;
  const bool ran = team.run(
      [](void* opaque, int member, int size) {
        auto* r = static_cast<Ring*>(opaque);
        Epoch &mine = r->at[member], &before = r->at[(member + size - 1) % size];
        const Clock::time_point start = Clock::now();
        for (uint32_t round = 1; round <= rounds; ++round) {
          // The first one begins a round, which ends when the last has it.
          if (member > 0) wait_for(before, round);
          publish(mine, round);
          if (member == 0) wait_for(before, round);
        }
        if (member == 0) r->elapsed = since(start);
      },
      ring.get());
  return ran ? ring->elapsed / rounds / team.size() : 0;
}

}  // namespace cellgate
