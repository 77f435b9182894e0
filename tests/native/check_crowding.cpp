// Whose threads native/crowding.h lets run the calls, on machines that are made up: prints the share of a run of two
// members that each kind had, in three seconds of calls, and ends with status 1 where that is not the kind that suits.
#include <cstdint>
#include <cstdio>

#include "crowding.h"

namespace {

constexpr int64_t kMs = 1'000'000;

// A call whose work takes `work`, and in which one member waits for the other so long, by whose threads they are.
struct Machine {
  int64_t work, borrowed_wait, own_wait;
  // Every so often a borrowed run waits all the same, `hiccups` times in a row: cold threads, another process's burst.
  int64_t every = 0;
  int hiccups = 0;
};

struct Time {
  int64_t now = 1000 * kMs;
};

// Share of the time of `span` that went to our own threads.
double own_share(cellgate::Crowding& crowding, Time& time, const Machine& machine, int64_t span) {
  const int64_t begin = time.now;
  int64_t own_time = 0, next = begin + machine.every;
  int hiccups = 0;
  while (time.now - begin < span) {
    const bool own = crowding.own_turn(time.now);
    if (machine.every && time.now >= next) {
      next = time.now + machine.every;
      hiccups = machine.hiccups;
    }
    int64_t waited = own ? machine.own_wait : machine.borrowed_wait;
    if (!own && hiccups > 0) {
      --hiccups;
      waited = kMs;
    }
    const int64_t took = machine.work + waited;
    time.now += took;
    crowding.judge(own, time.now, took, waited, 2);
    if (own) own_time += took;
  }
  return static_cast<double>(own_time) / static_cast<double>(time.now - begin);
}

bool failed = false;

void expect(const char* what, double share, double least, double most) {
  const bool good = share >= least && share <= most;
  std::printf("%-50s %5.1f %% own%s\n", what, 100 * share, good ? "" : "  WRONG");
  if (!good) failed = true;
}

}  // namespace

int main() {
  const int64_t work = kMs / 5, span = 3000 * kMs;
  const Machine quiet{work, 0, 0};
  // PyTorch's operators leave their threads spinning: ours come to their turn after a time slice.
  const Machine spinning{work, 0, 3 * kMs};
  const Machine crowded{work, 6 * kMs, kMs / 2};
  const Machine equally_bad{work, 3 * kMs, 3 * kMs};
  {
    cellgate::Crowding c;
    Time t;
    expect("quiet", own_share(c, t, quiet, span), 0, 0);
    expect("then crowded", own_share(c, t, crowded, span), 0.8, 1);
    expect("then quiet", own_share(c, t, quiet, span), 0, 0.15);
    expect("for good", own_share(c, t, quiet, span), 0, 0);
    expect("crowded again", own_share(c, t, crowded, span), 0.8, 1);
    expect("then quiet beside spinning threads", own_share(c, t, spinning, span), 0, 0.15);
  }
  {
    cellgate::Crowding c;
    Time t;
    Machine odd = spinning;
    odd.every = 100 * kMs;
    odd.hiccups = 1;
    expect("spinning threads, a hiccup at times", own_share(c, t, odd, span), 0, 0);
    odd.hiccups = 4;
    expect("spinning threads, bursts of hiccups", own_share(c, t, odd, span), 0, 0.12);
  }
  {
    cellgate::Crowding c;
    Time t;
    expect("both bad", own_share(c, t, equally_bad, span), 0.8, 1);
  }
  return failed ? 1 : 0;
}
