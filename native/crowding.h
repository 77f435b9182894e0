// Whose threads are to run the next call: those of an OpenMP runtime, which spin, or our own, which sleep.
//
// A runtime's threads spin for milliseconds between calls and in its barriers. On a quiet machine that saves waking
// them, and a thread of ours beside them would have to fight them for a CPU; on a crowded one they take the CPU from
// those who have work. Which of the two it is shows in the runs alone: how much of them the members waited for one
// another. So where much of the recent borrowed runs was waiting, our own threads run some; they stay while they do no
// worse, for a time, after which the runtime's are tried again. As many members either way, so that no result depends
// on it.
//
// No clock and no threads in here: times are given, in nanoseconds. Touched by the leaseholder of the pool only.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cellgate {

class Crowding {
 public:
  // Whether the run that begins `now` is one for our own threads.
  bool own_turn(int64_t now) const { return now < own_until_; }

  // A run of `size` members that ended `now` and `took` so long, in which members waited for others for `waited` in all,
  // short spins not counted. `own`: whose threads they were.
  void judge(bool own, int64_t now, int64_t took, int64_t waited, int size) {
    const int64_t each = std::min(waited / std::max(size - 1, 1), took);
    (own ? own_ : borrowed_).add(took, each);
    if (own) {
      if (own_.runs >= kTrial && own_.cost() > kWorse * borrowed_.cost()) give_up_own(now);
      return;
    }
    const bool bad = waited > kLeast && each * kShare > took;
    history_ = static_cast<uint8_t>(history_ << 1 | (bad ? 1 : 0));
    if (!bad) {
      if ((history_ & 7) == 0) pause_ = 0;  // the crowd has gone
      return;
    }
    int count = 0;
    for (int bit = 0; bit < 8; ++bit) count += history_ >> bit & 1;
    if (now < borrowed_until_ || (pause_ == 0 && count < kBad)) return;
    pause_ = std::max(pause_ ? std::min(2 * pause_, kLongest) : kShortest, 4 * took);
    own_since_ = now;
    own_until_ = now + pause_;
    own_ = Runs();
  }

 private:
  static constexpr int64_t kLeast = 200'000;  // shorter waits are those of waking up
  static constexpr int64_t kShare = 3;        // bad: one third of a run was waiting,
  static constexpr int kBad = 3;              // in so many of the last eight
  static constexpr int64_t kShortest = 100'000'000, kLongest = 400'000'000;
  static constexpr int kTrial = 4;  // runs after which our own threads are judged
  // Our own threads are worth some waiting more: they leave the CPU to whoever else needs it.
  static constexpr double kWorse = 1.5;
  static constexpr int64_t kRest = 20;  // a trial in vain is followed by so many times its length without another

  // The last few runs, older ones weighing less.
  struct Runs {
    double took = 0, useful = 0;
    int runs = 0;
    void add(int64_t time, int64_t each) {
      took = took * 0.875 + static_cast<double>(time);
      useful = useful * 0.875 + static_cast<double>(std::max(time - each, time / 64 + 1));
      runs = std::min(runs + 1, 1000);
    }
    // Time for each unit of time that was not waiting: 1 at best.
    double cost() const { return useful > 0 ? took / useful : 1; }
  };

  // Our own threads wait as well, and more than the runtime's did: spinning threads of this very process, most likely.
  void give_up_own(int64_t now) {
    const int64_t trial = now - own_since_;
    own_until_ = now;
    borrowed_until_ = now + std::max(kShortest, std::min(kRest * trial, std::max(kLongest, 4 * trial)));
    pause_ = 0;
    history_ = 0;
  }

  int64_t own_since_ = 0, own_until_ = 0, borrowed_until_ = 0, pause_ = 0;
  uint8_t history_ = 0;
  Runs own_, borrowed_;
};

}  // namespace cellgate
