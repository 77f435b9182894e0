// That the pieces of native/kernels/pieces.h are each done once, whoever does them, and that members help one another: ends
// with status 1 where a piece was done twice or not at all; a member that is not helped waits for ever.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

#define CELLGATE_ISA scalar
#define CELLGATE_USE_SCALAR
#include "kernels/pieces.h"

namespace {

using namespace cellgate::scalar;

constexpr int kMembers = 3, kRounds = 3000;
constexpr int64_t kMost = 12;

// As many meetings as there are rounds.
struct Barrier {
  std::atomic<int64_t> arrived{0};
  void meet(int64_t round) {
    arrived.fetch_add(1);
    while (arrived.load() < round * kMembers) std::this_thread::yield();
  }
};

// More pieces in one round than in the next, or fewer, or none.
int64_t count_of(int64_t round, int m) { return (round * 7 + m * 5) % (kMost + 1); }

// Steps as in forward: opened by its owner at a moment of its own, closed before the meeting.
bool each_piece_once() {
  std::vector<Taken> taken(kMembers);
  std::vector<std::atomic<int>> done(kRounds * kMembers * kMost);
  Barrier barrier;
  auto run = [&](int me) {
    for (int64_t round = 0; round < kRounds; ++round) {
      if ((round + me) % 4 == 0) std::this_thread::yield();
      open_pieces(taken[static_cast<size_t>(me)]);
      share_pieces(
          taken.data(), kMembers, me, round % 3, [&](int m) { return count_of(round, m); },
          [&](int m, int64_t piece) {
            ++done[static_cast<size_t>((round * kMembers + m) * kMost + piece)];
            if (piece == 2) std::this_thread::yield();
          });
      close_pieces(taken[static_cast<size_t>(me)]);
      barrier.meet(round + 1);
    }
  };
  std::vector<std::thread> threads;
  for (int m = 0; m < kMembers; ++m) threads.emplace_back(run, m);
  for (std::thread& t : threads) t.join();
  for (int64_t round = 0; round < kRounds; ++round)
    for (int m = 0; m < kMembers; ++m)
      for (int64_t piece = 0; piece < kMost; ++piece) {
        const int times = done[static_cast<size_t>((round * kMembers + m) * kMost + piece)];
        if (times == (piece < count_of(round, m) ? 1 : 0)) continue;
        std::printf("round %d, piece %d of member %d: done %d times\n", static_cast<int>(round),
                    static_cast<int>(piece), m, times);
        return false;
      }
  return true;
}

// One member does not finish its first piece before others have done all the rest but what is spared.
bool the_slow_are_helped() {
  constexpr int64_t count = 20, spared = 2, rest = count - 1 - spared;
  std::vector<Taken> taken(2);
  std::atomic<int> by_other{0};
  std::atomic<bool> begun{false};
  std::thread other([&] {
    while (!begun.load()) std::this_thread::yield();
    open_pieces(taken[1]);
    share_pieces(
        taken.data(), 2, 1, spared, [&](int m) { return m == 0 ? count : 0; }, [&](int, int64_t) { ++by_other; });
  });
  int64_t own = 0;
  open_pieces(taken[0]);
  share_pieces(
      taken.data(), 2, 0, spared, [&](int m) { return m == 0 ? count : 0; },
      [&](int, int64_t piece) {
        if (++own > 1) return;
        if (piece != 0) own = count;
        begun.store(true);
        while (by_other.load() < rest) std::this_thread::yield();
      });
  other.join();
  return own == 1 + spared && by_other.load() == rest;
}

}  // namespace

int main() {
  if (!each_piece_once()) return 1;
  if (the_slow_are_helped()) return 0;
  std::printf("a slow member was not helped as it should be\n");
  return 1;
}
