// Runs stacks of LSTM layers in every way the core offers, for the sanitizers (scripts/sanitize) and for instruction sets
// that need an emulator (scripts/test_neon):
//
//   sanitized_stack [CASE...]     the named cases of stack_cases.h; none: all
//   sanitized_stack --isas        only list the instruction sets that this CPU has
//
// On every instruction set of this CPU, or on the one that CELLGATE_CPU_ISA names: every case in float and double, in
// every save mode, on one to three threads; weights from the cache, packed before, and read in place; one step at a time;
// several callers at once on shared weights while the cache is cleared under them; and in the child of a fork. All results
// are compared with the scalar kernels in double on one thread.
#include <cstring>
#include <string>
#include <thread>

#include "dispatch.h"
#include "memory.h"
#include "stack_cases.h"

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

using namespace cellgate;

// Fails unless each result stands where it should, to rounding. `got` may hold the first results only.
template <class S>
void compare(const Case& c, const std::string& how, const Results& got, const Results& want) {
  const double limit = sizeof(S) == 8 ? 1e-12 : 1e-4;
  for (size_t a = 0; a < got.size(); ++a) {
    double largest = 1;
    for (double w : want[a]) largest = std::fmax(largest, std::fabs(w));
    for (size_t j = 0; j < want[a].size(); ++j) {
      // Written so that NaN fails.
      if (std::fabs(got[a][j] - want[a][j]) <= limit * largest) continue;
      std::fprintf(stderr, "%s, %s: result %zu[%zu] is %g, expected %g\n", c.name, how.c_str(), a, j, got[a][j],
                   want[a][j]);
      std::exit(1);
    }
  }
}

Results exact(const Case& c) {
  const std::string before = kernels().name;
  force_kernels("scalar");
  Results want = Problem<double>(c).train(Keep::fast, 1);
  force_kernels(before.c_str());
  return want;
}

template <class S>
void check_case(const Case& c, const Results& want, int threads) {
  const std::string isa = std::string(kernels().name) + (sizeof(S) == 8 ? ", double" : ", float");
  const Problem<S> problem(c);
  for (Keep keep : {Keep::fast, Keep::lean, Keep::minimal})
    for (int n = 1; n <= threads; ++n)
      compare<S>(c, isa + ", training, save mode " + std::to_string(static_cast<int>(keep)), problem.train(keep, n),
                 want);
  const PackedStack packed = problem.pack();
  for (int n = 1; n <= threads; ++n) {
    for (int time = 0; time < 2; ++time) compare<S>(c, isa + ", inference", problem.infer(n), want);
    compare<S>(c, isa + ", packed before", problem.infer(n, &packed), want);
    if (!problem.streamable() || c.steps == 0) continue;
    compare<S>(c, isa + ", streamed", problem.stream(n, &packed), want);
    compare<S>(c, isa + ", streamed from plain weights", problem.stream(n, nullptr), want);
  }
}

const Case& named(const std::vector<Case>& cases, const char* name) {
  for (const Case& c : cases)
    if (std::strcmp(c.name, name) == 0) return c;
  std::fprintf(stderr, "no case is called \"%s\"\n", name);
  std::exit(2);
}

// Several threads call at the same time, as Python threads do: with a model each, with one model for all, and while the
// cache of packed weights is emptied. One of them gets the pool, the others go on alone.
void check_callers(const std::vector<Case>& cases) {
  const char* names[] = {"batch split", "directions", "ragged", "stack"};
  std::vector<Results> want;
  std::vector<Problem<float>> problems;
  for (const char* name : names) {
    want.push_back(exact(named(cases, name)));
    problems.emplace_back(named(cases, name));
  }
  const PackedStack shared = problems[0].pack();
  std::vector<std::thread> callers;
  for (size_t i = 0; i < 4; ++i)
    callers.emplace_back([&, i] {
      for (size_t k = 0; k < 4; ++k) {
        const Case& mine = named(cases, names[(i + k) % 4]);
        const Problem<float>& problem = problems[(i + k) % 4];
        compare<float>(mine, "callers, training", problem.train(Keep::fast, 2), want[(i + k) % 4]);
        compare<float>(mine, "callers, inference", problem.infer(2), want[(i + k) % 4]);
        compare<float>(named(cases, names[0]), "callers, shared", problems[0].infer(3, &shared), want[0]);
        pack_clear();
      }
    });
  for (std::thread& caller : callers) caller.join();
}

// The child of a fork has none of the parent's threads, and must find the pool and the cache in order.
void check_fork(const std::vector<Case>& cases) {
#if defined(__unix__)
  const Case& c = named(cases, "batch split");
  const Results want = exact(c);
  const Problem<float> problem(c);
  compare<float>(c, "before a fork", problem.infer(2), want);
  for (int time = 0; time < 3; ++time) {
    const pid_t child = fork();
    if (child == 0) {
      compare<float>(c, "child of a fork, inference", problem.infer(2), want);
      compare<float>(c, "child of a fork, training", problem.train(Keep::lean, 2), want);
      _exit(0);
    }
    compare<float>(c, "parent of a fork", problem.train(Keep::fast, 2), want);
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
      std::fprintf(stderr, "the child of a fork failed: status %d\n", status);
      std::exit(1);
    }
  }
#else
  (void)cases;
#endif
}

}  // namespace

int main(int count, char** arguments) {
  const char* forced = std::getenv("CELLGATE_CPU_ISA");
  std::vector<const char*> isas;
  for (const char* const* isa = built_isas(); *isa; ++isa) {
    const char* why = nullptr;
    if (find_kernels(*isa, &why) && (!forced || std::strcmp(forced, *isa) == 0)) isas.push_back(*isa);
  }
  if (count == 2 && std::strcmp(arguments[1], "--isas") == 0) {
    for (const char* isa : isas) std::puts(isa);
    return 0;
  }
  kernels();  // throws where CELLGATE_CPU_ISA names what is not there

  const std::vector<Case> cases = all_cases();
  std::vector<const Case*> wanted;
  for (int k = 1; k < count; ++k) wanted.push_back(&named(cases, arguments[k]));
  if (count == 1)
    for (const Case& c : cases) wanted.push_back(&c);
  for (const Case* c : wanted) {
    const Results want = exact(*c);
    for (const char* isa : isas) {
      force_kernels(isa);
      check_case<float>(*c, want, 3);
      check_case<double>(*c, want, 2);
    }
  }
  for (const char* isa : isas) {
    force_kernels(isa);
    if (count == 1) check_callers(cases);
    if (count == 1) check_fork(cases);
    std::printf("%s: %zu cases agree\n", isa, wanted.size());
  }
}
