// Runs every cell of variant.h, forward and backward, for the sanitizers (scripts/sanitize): each array is a block of the
// heap of exactly its size, sizes leave tails everywhere, batches are ragged and reset, and teams of one to three must give
// the same. On every instruction set of this CPU, or on the one that CELLGATE_CPU_ISA names.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "dispatch.h"

namespace {

using namespace cellgate;

struct Sizes {
  int64_t T, B, I, H, P;  // P 0: no projection
};

// A number between -1 and 1 for each place, the same in every run.
double number(int64_t seed, int64_t j) {
  uint64_t x = static_cast<uint64_t>(seed) * 0x9E3779B97F4A7C15u + static_cast<uint64_t>(j) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 31)) * 0x94D049BB133111EBu;
  return static_cast<double>(x >> 11) / 4503599627370496.0 - 1.0;
}

template <class S>
class Heap {
 public:
  S* make(int64_t n, int64_t seed, double scale = 1.0) {
    blocks_.emplace_back(new S[static_cast<size_t>(n)]);
    for (int64_t j = 0; j < n; ++j) blocks_.back()[static_cast<size_t>(j)] = static_cast<S>(scale * number(seed, j));
    return blocks_.back().get();
  }
  // An output: NaN until it is written.
  S* out(int64_t n) {
    S* p = make(n, 0);
    for (int64_t j = 0; j < n; ++j) p[j] = static_cast<S>(NAN);
    outs_.emplace_back(p, n);
    return p;
  }
  double total() const {
    double sum = 0;
    int64_t place = 0;
    for (auto [p, n] : outs_)
      for (int64_t j = 0; j < n; ++j)
        sum += static_cast<double>(p[j]) * (1.0 + 0.01 * static_cast<double>(place++ % 97));
    return sum;
  }

 private:
  std::vector<std::unique_ptr<S[]>> blocks_;
  std::vector<std::pair<S*, int64_t>> outs_;
};

// Forward and backward of one cell; returns a weighted sum of every result. every: 1 keeps gates and states, 0 states, more
// the states of every so many steps.
template <class S>
double run(const CellForm& form, const Sizes& s, bool peephole, bool noise, bool backward_in_time, int threads,
           int64_t every) {
  const int64_t T = s.T, B = s.B, I = s.I, H = s.H, P = s.P ? s.P : H, G = 4 * H;
  const int64_t M = form.memories() * H, planes = form.gate_planes() * H;
  const int64_t N = T * B;
  Heap<S> heap;
  std::vector<int64_t> lengths;
  std::vector<uint8_t> reset(static_cast<size_t>(N));
  for (int64_t b = 0; b < B; ++b) lengths.push_back(b == 0 ? T : b == 1 ? 0 : 1 + (b * 5) % T);
  for (int64_t j = 0; j < N; ++j) reset[static_cast<size_t>(j)] = number(77, j) > 0.6;
  auto rows = [&](auto* p, int64_t n) { return Sequence<std::remove_pointer_t<decltype(p)>>{p, B * n, n, nullptr}; };
  auto given = [&](int64_t n, int64_t seed) { return static_cast<const S*>(heap.make(n, seed, 0.5)); };

  VariantForward<S> f;
  f.steps = T, f.batch = B, f.input_size = I, f.hidden_size = H, f.projection_size = P;
  f.form = form, f.backward_in_time = backward_in_time, f.threads = threads;
  f.lengths = lengths.data(), f.reset = reset.data();
  f.x = rows(given(N * I, 1), I);
  // Sums stay of one size in wide layers: a cell without forget gate is else no well-posed problem for float.
  const double wide = H > 100 ? 0.1 : 0.5;
  f.w_ih = given(G * I, 2), f.w_hh = heap.make(G * P, 3, wide), f.b_ih = given(G, 4), f.b_hh = given(G, 5);
  if (s.P) f.w_hr = heap.make(P * H, 6, wide);
  if (peephole) f.peephole = given(3 * H, 7);
  if (form.gate_recurrence) f.w_gg = heap.make(9 * H * H, 25, wide);
  if (form.norm) f.gain_ih = given(G, 8), f.gain_hh = given(G, 9), f.gain_c = given(H, 10);
  if (form.norm == 1) f.shift_ih = given(G, 11), f.shift_hh = given(G, 12), f.shift_c = given(H, 13);
  f.h0 = given(B * P, 14);
  S* c0 = heap.make(B * M, 15, 0.5);
  if (form.slstm)
    for (int64_t b = 0; b < B; ++b)
      for (int64_t u = 0; u < H; ++u) c0[b * M + H + u] = std::fabs(c0[b * M + H + u]) + S(0.5);
  f.c0 = c0;
  if (noise) {
    f.locked = given(B * P, 16);
    f.candidate = rows(given(N * H, 17), H);
    if (!form.slstm) f.zone_c = rows(given(N * H, 18), H);
    f.zone_h = rows(given(N * P, 19), P);
  }
  f.h_n = heap.out(B * P), f.c_n = heap.out(B * M);
  f.output = rows(heap.out(N * P), P);
  f.memory_every = form.gate_recurrence || every == 0 ? 1 : every;
  f.memory = heap.make((T + f.memory_every - 1) / f.memory_every * B * M, 0);
  if (every == 1) f.gates = heap.make(N * planes, 0);
  if (every == 1 && form.norm)
    f.normal_ih = heap.make(N * G, 0), f.normal_hh = heap.make(N * G, 0), f.scales = heap.make(4 * N, 0);

  VariantBackward<S> b;
  b.was = f;
  b.dy = rows(given(N * P, 20), P);
  b.dh_n = given(B * P, 21), b.dc_n = given(B * M, 22), b.dgates = given(N * planes, 23), b.dcell = given(N * H, 24);
  b.dx = rows(heap.out(N * I), I);
  b.dw_ih = heap.out(G * I), b.dw_hh = heap.out(G * P), b.db = heap.out(G);
  if (s.P) b.dw_hr = heap.out(P * H);
  if (peephole) b.dpeephole = heap.out(3 * H);
  if (form.gate_recurrence) b.dw_gg = heap.out(9 * H * H);
  if (form.norm) b.dgain_ih = heap.out(G), b.dgain_hh = heap.out(G), b.dgain_c = heap.out(H);
  if (form.norm == 1) b.dshift_c = heap.out(H);
  b.dh0 = heap.out(B * P), b.dc0 = heap.out(B * M);

  bool done;
  if constexpr (sizeof(S) == 4)
    done = kernels().variant_forward_f32(f) && kernels().variant_backward_f32(b);
  else
    done = kernels().variant_forward_f64(f) && kernels().variant_backward_f64(b);
  return done ? heap.total() : NAN;
}

void check(const char* name, const CellForm& form, bool peephole, bool noise) {
  // The second is enough work, and has rows enough, for teams of three; in the last they share columns.
  for (const Sizes& s :
       {Sizes{5, 6, 3, 7, 0}, Sizes{40, 14, 5, 33, 9}, Sizes{3, 2, 0, 1, 0}, Sizes{70, 3, 2, 200, 161}})
    for (bool backward_in_time : {false, true}) {
      const double want = run<double>(form, s, peephole, noise, backward_in_time, 1, 1);
      const bool large = s.H > 100;
      for (int threads = 1; threads <= 3; ++threads)
        for (int64_t every : {1, 0, 7}) {
          if (large && (threads == 1 || every != (backward_in_time ? 7 : threads - 2))) continue;
          const double wide = run<double>(form, s, peephole, noise, backward_in_time, threads, every);
          const double narrow = run<float>(form, s, peephole, noise, backward_in_time, threads, every);
          const double scale = std::fabs(want) + 100;
          // Written so that NaN fails. A normalised recurrence multiplies the roundings of float.
          if (!(std::fabs(wide - want) < 1e-9 * scale) ||
              !(std::fabs(narrow - want) < (form.norm ? 0.5 : 1e-2) * scale)) {
            std::fprintf(stderr, "%s, %s, H %ld, %d threads, states of every %ld: %g and %g, expected %g\n", name,
                         kernels().name, static_cast<long>(s.H), threads, static_cast<long>(every), wide, narrow, want);
            std::exit(1);
          }
        }
    }
}

void check_all() {
  CellForm plain;
  check("plain", plain, false, false);
  check("peepholes and noise", plain, true, true);
  for (int k = 0; k < 9; ++k) {
    CellForm f;
    (k == 0             ? f.input
     : k == 1 || k == 2 ? f.forget
     : k == 3           ? f.output
     : k < 6            ? f.candidate
                        : f.squash) = k == 2 || k == 5 || k == 7 ? 2 : 1;
    f.hard = k % 2 == 1;
    if (k == 8) f.clip = 0.3;
    check("form", f, true, k == 8);
  }
  for (int norm : {1, 2}) {
    CellForm f;
    f.norm = norm;
    check("norm", f, norm == 1, norm == 2);
  }
  CellForm slstm, gates;
  slstm.slstm = true;
  gates.gate_recurrence = true;
  check("slstm", slstm, false, false);
  check("slstm with noise", slstm, false, true);
  check("full gate recurrence", gates, true, true);
  gates.norm = 1;
  check("full gate recurrence, normalised", gates, false, true);
}

}  // namespace

int main() {
  for (const char* const* isa = built_isas(); *isa; ++isa) {
    const char* why = nullptr;
    const char* wanted = std::getenv("CELLGATE_CPU_ISA");
    if (!find_kernels(*isa, &why) || (wanted && std::string(wanted) != *isa)) continue;
    force_kernels(*isa);
    check_all();
    std::printf("%s: every cell\n", *isa);
  }
}
