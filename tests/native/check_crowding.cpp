// Whose hands native/crowding.h lets run the calls, on machines that are made up: prints the shares of some seconds of calls
// of two members that each had, and ends with status 1 where those are not the hands that suit.
#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "crowding.h"

namespace {

using cellgate::Hands;

constexpr int64_t kMs = 1'000'000;

// A call whose work takes each of two members `work`, and in which one member waits for the other so long, by whose
// threads they are; one thread that does it all is kept waiting by other processes.
struct Machine {
  int64_t work, borrowed_wait, own_wait, alone_wait = 0;
  // Every so often a borrowed run waits all the same, `hiccups` times in a row: cold threads, another process's burst.
  int64_t every = 0;
  int hiccups = 0;
  // Of so many borrowed runs only one waits, as long as a time slice: the others lie within a slice of both members.
  int one_in = 1;
  // Bursts of calls so long, then as long without; borrowed threads fall asleep in between, and wake as slowly as this.
  int64_t burst = 0, waking = 0;
};

struct Time {
  int64_t now = 1000 * kMs;
};

bool failed = false;

struct Shares {
  double borrowed, own, one;
};

Shares shares(cellgate::Crowding& crowding, Time& time, const Machine& machine, int64_t span) {
  const int64_t begin = time.now;
  int64_t had[3] = {}, next = begin + machine.every, rest = time.now + machine.burst, borrowed_last = 0, idle = 0;
  int hiccups = 0, run = 0;
  while (time.now - begin < span) {
    if (machine.burst && time.now >= rest) {
      time.now += machine.burst;
      idle += machine.burst;
      rest = time.now + machine.burst;
    }
    const Hands hands = crowding.turn(time.now, 2);
    // What is done for the time of a pause ends with it.
    if ((hands == Hands::borrowed) != (crowding.until() <= time.now)) failed = true;
    if (machine.every && time.now >= next) {
      next = time.now + machine.every;
      hiccups = machine.hiccups;
    }
    int64_t waited = hands == Hands::own ? machine.own_wait : hands == Hands::one ? machine.alone_wait : 0;
    if (hands == Hands::borrowed && run++ % machine.one_in == 0) waited = machine.borrowed_wait;
    if (hands == Hands::borrowed && hiccups > 0) {
      --hiccups;
      waited = kMs;
    }
    if (hands == Hands::borrowed) {
      if (time.now - borrowed_last > 5 * kMs) waited = std::max(waited, machine.waking);
      borrowed_last = time.now + waited + machine.work;
    }
    const int64_t used = machine.work * (hands == Hands::one ? 2 : 1), took = used + waited;
    time.now += took;
    crowding.judge(hands, time.now, took, hands == Hands::one ? 0 : waited, used, 2);
    had[static_cast<int>(hands)] += took;
  }
  const double all = static_cast<double>(time.now - begin - idle);
  return {had[0] / all, had[1] / all, had[2] / all};
}

void expect(const char* what, const Shares& had, double Shares::* which, double least, double most = 1) {
  const bool good = had.*which >= least && had.*which <= most;
  std::printf("%-52s %5.1f %% borrowed, %5.1f %% own, %5.1f %% one%s\n", what, 100 * had.borrowed, 100 * had.own,
              100 * had.one, good ? "" : "  WRONG");
  if (!good) failed = true;
}

// Calls of one thread, which waits for a CPU so much of each millisecond; whether a crowd is seen in `span`.
bool crowd_seen(cellgate::Alone& alone, int64_t& now, int64_t& waited, int64_t each, int64_t span) {
  bool seen = false;
  for (const int64_t end = now + span; now < end; now += kMs) {
    waited += each;
    if (alone.due(now)) seen |= alone.judge(now, waited);
  }
  return seen;
}

void expect_crowd(const char* what, bool expected, bool seen) {
  std::printf("%-52s %s%s\n", what, seen ? "a crowd" : "no crowd", seen == expected ? "" : "  WRONG");
  if (seen != expected) failed = true;
}

void check_alone() {
  std::printf("calls of one thread\n");
  cellgate::Alone alone;
  int64_t now = 1000 * kMs, waited = 5000 * kMs;  // of a thread that has had a life before
  expect_crowd("a CPU lost at times", false, crowd_seen(alone, now, waited, kMs / 10, 1000 * kMs));
  expect_crowd("half a CPU", true, crowd_seen(alone, now, waited, kMs / 2, 200 * kMs));
  crowd_seen(alone, now, waited, kMs / 2, 100 * kMs);
  expect_crowd("then at times", false, crowd_seen(alone, now, waited, kMs / 20, 1000 * kMs));
  waited += 1000 * kMs, now += 10'000 * kMs;
  expect_crowd("lost long ago", false, crowd_seen(alone, now, waited, kMs / 20, 100 * kMs));
}

// Runs by the caller alone, which has a CPU for so much of each millisecond: how often it moves on in a second.
int moves(int64_t used) {
  cellgate::Crowding c;
  int count = 0;
  for (int64_t now = 1000 * kMs; now < 2000 * kMs; now += kMs) {
    c.judge(Hands::one, now, kMs, 0, used, 2);
    count += c.moves_on();
  }
  return count;
}

void expect_moves(const char* what, int least, int most, int count) {
  const bool good = count >= least && count <= most;
  std::printf("%-52s moves %d times%s\n", what, count, good ? "" : "  WRONG");
  if (!good) failed = true;
}

void check_moves() {
  std::printf("a second of runs by the caller alone\n");
  expect_moves("on a CPU of its own", 0, 0, moves(kMs));
  expect_moves("that loses it at times", 0, 0, moves(kMs * 8 / 10));
  expect_moves("half a CPU", 20, 50, moves(kMs / 2));
  expect_moves("a third", 20, 50, moves(kMs / 3));
}

}  // namespace

int main() {
  const int64_t seconds = 1000 * kMs;
  for (const int64_t work : {kMs / 5, 60 * kMs}) {
    const bool small = work < kMs;
    const int64_t span = (small ? 3 : 40) * seconds;
    std::printf("calls of %g ms\n", static_cast<double>(work) / kMs);
    const auto suits = small ? &Shares::one : &Shares::own;
    const Machine quiet{work, 0, 0};
    // PyTorch's operators leave their threads spinning: ours come to their turn after a time slice.
    const Machine spinning{work, 0, small ? 3 * kMs : 200 * kMs};
    const Machine crowded{work, small ? 6 * kMs : 100 * kMs, small ? kMs / 2 : 10 * kMs, kMs / 5};
    {
      cellgate::Crowding c;
      Time t;
      expect("quiet", shares(c, t, quiet, span), &Shares::borrowed, 1);
      expect("then crowded", shares(c, t, crowded, span), suits, 0.75);
      expect("then quiet", shares(c, t, quiet, span), &Shares::borrowed, 0.8);
      expect("for good", shares(c, t, quiet, span), &Shares::borrowed, 1);
      expect("crowded again", shares(c, t, crowded, span), suits, 0.75);
      expect("then quiet beside spinning threads", shares(c, t, spinning, span), &Shares::borrowed, 0.7);
    }
    {
      cellgate::Crowding c;
      Time t;
      const Machine equally_bad{work, 3 * work, 3 * work, work};
      expect("all bad", shares(c, t, equally_bad, span), suits, 0.75);
    }
    if (!small) continue;
    {
      cellgate::Crowding c;
      Time t;
      Machine sliced = crowded;
      sliced.one_in = 8;
      expect("one run in eight loses a slice", shares(c, t, sliced, span), &Shares::one, 0.8);
    }
    {
      cellgate::Crowding c;
      Time t;
      Machine odd = spinning;
      odd.every = 100 * kMs;
      odd.hiccups = 1;
      expect("spinning threads, a hiccup at times", shares(c, t, odd, span), &Shares::borrowed, 1);
      expect("and on a quiet machine", shares(c, t, quiet, span), &Shares::borrowed, 1);
    }
    {
      cellgate::Crowding c;
      Time t;
      Machine host = quiet;
      host.burst = 40 * kMs, host.waking = kMs;
      shares(c, t, crowded, span);
      expect("bursts after a crowd, on a host that wakes slowly", shares(c, t, host, span), &Shares::borrowed, 0.8);
      host.borrowed_wait = crowded.borrowed_wait, host.own_wait = crowded.own_wait,
      host.alone_wait = crowded.alone_wait;
      expect("bursts in a crowd", shares(c, t, host, span), &Shares::one, 0.75);
    }
  }
  {
    cellgate::Crowding c;
    Time t;
    const Machine crowded_small{kMs / 5, 6 * kMs, kMs / 2, kMs / 5}, crowded_large{60 * kMs, 100 * kMs, 5 * kMs, kMs};
    shares(c, t, crowded_small, 3 * seconds);
    expect("large calls after small ones", shares(c, t, crowded_large, 40 * seconds), &Shares::own, 0.6);
  }
  check_alone();
  check_moves();
  return failed ? 1 : 0;
}
