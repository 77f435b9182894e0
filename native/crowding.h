// Whose hands are to run the next call: the threads of an OpenMP runtime, which spin, our own, which sleep, or the caller
// alone, who does the work of all members in turn (fibers.h).
//
// A runtime's threads spin for milliseconds between calls and in its barriers. On a quiet machine that saves waking
// them, and a thread of ours beside them would have to fight them for a CPU; on a crowded one they take the CPU from
// those who have work, and members wait for one another by time slices. Which of the two it is shows in the runs alone:
// how much of their time the members waited for one another. Where that was most of it, the next runs are for the caller
// alone if they are short, else for our own threads, for a time, after which the runtime's are tried again. As many
// members in any case, so that no result depends on it.
//
// No clock and no threads in here: times are given, in nanoseconds. Touched by the leaseholder of the pool only.
#pragma once

#include <algorithm>
#include <cstdint>

namespace cellgate {

enum class Hands { borrowed, own, one };

// Of calls too small for more than one thread. None waits for another, but in a crowd their thread waits for a CPU much of
// the time, also where it is a runtime's threads that spin in this very process.
class Alone {
 public:
  bool due(int64_t now) const { return now >= next_; }

  // Whether there is a crowd from `now` until due again. `waited`: how long the thread has waited for a CPU
  // since it began.
  bool judge(int64_t now, int64_t waited) {
    const int64_t span = now - since_, of_late = waited - waited_;
    since_ = now, waited_ = waited, next_ = now + kLook;
    // What was a while ago says nothing of now.
    if (span > kLong || of_late * kShare < span) return false;
    next_ = now + kCalm;
    return true;
  }
  int64_t until() const { return next_; }

 private:
  static constexpr int64_t kLook = 50'000'000, kLong = 250'000'000, kShare = 5, kCalm = 500'000'000;
  int64_t next_ = 0, since_ = -kLong - 1, waited_ = 0;
};

class Crowding {
 public:
  // Whose the run is that begins `now`.
  Hands turn(int64_t now, int size) {
    if (now >= until_ && !prolong(now)) return Hands::borrowed;
    return size <= kMostAlone && busy_ * size * size <= 2 * kShort ? Hands::one : Hands::own;
  }

  // Whether a caller that works alone is to go on on another CPU. Where three share two CPUs, one has a CPU of its own and
  // two have half a one, for as long as the scheduler leaves them there: so who has had half a one for a while changes
  // places, and in the mean each has two thirds.
  bool moves_on() {
    if (stayed_ < kStay) return false;
    const bool shared = stayed_used_ * 4 < stayed_ * 3;
    stayed_ = stayed_used_ = 0;
    return shared;
  }

  // When the runtime's threads are tried again, at the earliest.
  int64_t until() const { return until_; }

  // A run of `size` members that ended `now` and `took` so long. `waited`: how long members waited for others, all in
  // all, short spins not counted. `used`: how long the caller had a CPU.
  void judge(Hands hands, int64_t now, int64_t took, int64_t waited, int64_t used, int size) {
    const bool one = hands == Hands::one;
    const int64_t each = std::min(waited / std::max(size - 1, 1), took);
    busy_ += (used / (one ? size : 1) - busy_) / 4;
    if (one) {
      alone_took_ += took, alone_waited_ += std::max<int64_t>(0, took - used);
      stayed_ += took, stayed_used_ += used;
    } else if (hands == Hands::own) {
      own_.add(took, each);
      if (own_.runs >= kTrial && own_.cost() > kWorse * borrowed_.cost()) give_up_own(now);
    } else {
      judge_borrowed(now, took, each);
    }
  }

 private:
  // One thread may stand for so many members, and do so much work of two; of more of them less, since it loses more.
  static constexpr int kMostAlone = 4;
  static constexpr int64_t kShort = 40'000'000;
  static constexpr int64_t kStay = 20'000'000;  // of runs by the caller alone, after which it may move on

  // Much of the time was waiting: in `kBad` runs of late, `kShare` of their time; shorter waits are those of waking up.
  static constexpr int64_t kLeast = 200'000, kShare = 3;
  // Threads that have had nothing to do for `kRested` sleep, and may be as long as this in waking on a busy host.
  static constexpr int64_t kRested = 5'000'000, kWaking = 2'000'000;
  static constexpr double kBad = 1.9;
  static constexpr double kWindow = 25e6,
                          kLeastKept = 0.875;  // how long "of late" is; runs longer than it count as well
  static constexpr int64_t kShortest = 100'000'000, kLongest = 400'000'000, kUnproven = 2'000'000'000;
  static constexpr int64_t kProof = 20'000'000;  // of runs without bad ones, after which the crowd has gone
  static constexpr int kTrial = 4;               // runs after which our own threads are judged
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

  void judge_borrowed(int64_t now, int64_t took, int64_t each) {
    borrowed_.add(took, each);
    const bool rested = now - took - borrowed_last_ > kRested;
    borrowed_last_ = now;
    const bool bad = each > (rested ? kWaking : kLeast) && each * kShare > took;
    const double kept = std::max(1 - static_cast<double>(took) / kWindow, kLeastKept);
    took_ = took_ * kept + static_cast<double>(took);
    waited_ = waited_ * kept + static_cast<double>(each);
    bad_ = bad_ * kept + (bad ? 1 : 0);
    if (!bad) {
      good_ += took;
      if (good_ > kProof) pause_ = 0;
      return;
    }
    if (now < borrowed_until_ || (pause_ == 0 && (bad_ < kBad || 2 * waited_ < took_))) return;
    pause(now, took);
  }

  void pause(int64_t now, int64_t took) {
    // Runs by several threads do not show whether others still want the CPUs, nor do those by one to which the scheduler
    // gives a CPU while the others share the rest: trials further and further apart.
    const bool again = pause_ > 0;
    pause_ = std::max(again ? std::min(2 * pause_, kLongest) : kShortest, 4 * took);
    tried_ = own_since_ = now;
    until_ = now + pause_;
    own_ = Runs();
    took_ = waited_ = bad_ = 0;
    good_ = alone_took_ = alone_waited_ = 0;
  }

  // At the end of a pause: whether it is plain without a trial that others still want the CPUs.
  bool prolong(int64_t now) {
    const bool kept_away = alone_took_ > kLeast && alone_waited_ * 8 > alone_took_;
    alone_took_ = alone_waited_ = 0;
    if (!kept_away || now - tried_ > kUnproven || now - until_ > kShortest) return false;
    until_ = now + kShortest;
    return true;
  }

  // Our own threads wait as well, and more than the runtime's did: spinning threads of this very process, most likely.
  void give_up_own(int64_t now) {
    const int64_t trial = now - own_since_;
    until_ = now;
    borrowed_until_ = now + std::max(kShortest, std::min(kRest * trial, std::max(kLongest, 4 * trial)));
    pause_ = 0;
    bad_ = 0;
  }

  int64_t busy_ = 0;  // time that one member's part of a run takes on a CPU, in the mean
  int64_t tried_ = 0, own_since_ = 0, until_ = 0, borrowed_until_ = 0, pause_ = 0;
  int64_t borrowed_last_ = 0;  // when the last borrowed run ended
  double took_ = 0, waited_ = 0, bad_ = 0;
  int64_t good_ = 0, alone_took_ = 0, alone_waited_ = 0;
  int64_t stayed_ = 0, stayed_used_ = 0;  // of runs by the caller alone since it last moved: their time, and its CPU's
  Runs own_, borrowed_;
};

}  // namespace cellgate
