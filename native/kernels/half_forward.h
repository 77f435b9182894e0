// The forward pass in bfloat16, see half.h.
//
// Panels of weights are laid out as those of pack.h, with two consecutive inputs of a unit in the place of one float:
// [K / 2][4][lanes] pairs. A pair of x or h is broadcast against them, and each lane adds both products to its sum.
#pragma once

#include "half.h"
#include "kernels/activations.h"
#include "kernels/forward_tiles.h"
#include "kernels/plan.h"
#include "memory.h"
#include "threads.h"

CELLGATE_BEGIN
constexpr int kHalfLanes = Vec<float>::lanes;
constexpr int64_t kHalfRow = 4 * kHalfLanes;  // pairs of a panel for two inputs

inline int64_t pairs_of(int64_t K) { return (K + 1) / 2; }

CELLGATE_INLINE uint32_t read_pair(const Half* p) {
  uint32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return pair;
}

CELLGATE_INLINE Vec<float> widened(const Half* p, __mmask16 lanes) {
  const __m256i halves = _mm256_maskz_loadu_epi16(lanes, p);
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
}

CELLGATE_INLINE __m256i narrowed(Vec<float> v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v.v)); }

// Pairs k, k + 1 of `count` rows of w, (rows, K), into out[pair * kHalfRow + row].
inline void pack_pairs(const Half* w, int64_t K, int64_t count, uint32_t* out) {
  using V = Vec<float>;
  const int64_t whole = K / 2;
  int64_t p = 0;
  if (count == kHalfLanes) {
    for (; p + kHalfLanes <= whole; p += kHalfLanes) {
      V block[kHalfLanes];
      for (int j = 0; j < kHalfLanes; ++j) block[j].v = _mm512_castsi512_ps(_mm512_loadu_si512(w + j * K + 2 * p));
      transpose(block);
      for (int j = 0; j < kHalfLanes; ++j)
        _mm512_storeu_si512(out + (p + j) * kHalfRow, _mm512_castps_si512(block[j].v));
    }
  }
  for (; p < pairs_of(K); ++p)
    for (int64_t j = 0; j < kHalfLanes; ++j) {
      const Half* at = w + j * K + 2 * p;
      out[p * kHalfRow + j] = j >= count ? 0 : p < whole ? read_pair(at) : at[0];
    }
}

// What a tile of rows needs for one block of units.
struct HalfTile {
  const Half* const* x;
  const Half* const* h;
  const uint32_t *ih, *hh;  // panels
  const float* bias;        // [4][lanes]
  float* const* c;          // c of the step before, and of this step
  Half* const* h_out;
  float* const* gate[4];  // gate[0] null: nothing is kept
  float* const* cell;
  int64_t I, H, u;  // u: first unit
  __mmask16 lanes;  // units that exist
};

template <int R>
CELLGATE_INLINE void add_products(__m512 (&acc)[R][4], const Half* const* row, int64_t K, const uint32_t* panel) {
  const Half* a[R];
  for (int r = 0; r < R; ++r) a[r] = row[r];
  auto step = [&](auto pair) __attribute__((always_inline)) {
    __m512bh w[4];
    for (int g = 0; g < 4; ++g) w[g] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + g * kHalfLanes));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair(a[r]))));
      for (int g = 0; g < 4; ++g) acc[r][g] = _mm512_dpbf16_ps(acc[r][g], x, w[g]);
    }
    panel += kHalfRow;
  };
  for (int64_t k = 0; k + 2 <= K; k += 2) step([k](const Half* p) { return read_pair(p + k); });
  if (K & 1) step([K](const Half* p) { return static_cast<uint32_t>(p[K - 1]); });
}

template <int R>
void run_half_tile(const HalfTile& job, int64_t j) {
  using V = Vec<float>;
  __m512 acc[R][4];
  for (int r = 0; r < R; ++r)
    for (int g = 0; g < 4; ++g) acc[r][g] = _mm512_loadu_ps(job.bias + g * kHalfLanes);
  add_products<R>(acc, job.x + j, job.I, job.ih);
  add_products<R>(acc, job.h + j, job.H, job.hh);
  for (int r = 0; r < R; ++r) {
    const V i = sigmoid(V{acc[r][0]}), f = sigmoid(V{acc[r][1]}), g = tanh(V{acc[r][2]}), o = sigmoid(V{acc[r][3]});
    float* c_at = job.c[j + r] + job.u;
    const V c = fma(f, V::load(c_at), i * g);
    c.store(c_at);
    acc[r][0] = c.v;
    acc[r][1] = o.v;
    if (job.gate[0]) {
      _mm512_mask_storeu_ps(job.gate[0][j + r] + job.u, job.lanes, i.v);
      _mm512_mask_storeu_ps(job.gate[1][j + r] + job.u, job.lanes, f.v);
      _mm512_mask_storeu_ps(job.gate[2][j + r] + job.u, job.lanes, g.v);
      _mm512_mask_storeu_ps(job.gate[3][j + r] + job.u, job.lanes, o.v);
      _mm512_mask_storeu_ps(job.cell[j + r] + job.u, job.lanes, c.v);
    }
  }
  // In a loop of its own, as in cell.h.
  for (int r = 0; r < R; ++r) {
    const __m256i h = narrowed(V{acc[r][1]} * tanh(V{acc[r][0]}));
    _mm256_mask_storeu_epi16(job.h_out[j + r] + job.u, job.lanes, h);
  }
}

// One direction of one layer, packed.
struct HalfWeights {
  uint32_t *ih, *hh;  // [blocks][pairs][4][lanes]
  float* bias;        // [blocks][4][lanes]
};

struct HalfMember {
  const Half **x, **h;
  float **c, **gate[4], **cell;
  Half** h_out;
};

struct HalfPlan {
  const HalfCall* call;
  int members;
  int64_t stride;  // scalars of a row of cell states
  HalfWeights* weights;
  HalfMember* member;
  float* cells;  // (B, stride)
  Half* zeros;
  Epoch* arrived;

  static int64_t blocks_of(const HalfLayer& layer) { return ceil_div(layer.hidden_size, kHalfLanes); }

  // With a null base it only counts, see Bump.
  void lay_out(Bump& bump) {
    const int64_t B = call->batch;
    int64_t ways = 0, widest = 0;
    for (int l = 0; l < call->layers; ++l) {
      ways += call->layer[l].directions;
      widest = larger(widest, call->layer[l].hidden_size);
    }
    stride = round_up(widest, kHalfLanes);
    weights = bump.take<HalfWeights>(ways);
    int64_t way = 0;
    for (int l = 0; l < call->layers; ++l) {
      const HalfLayer& layer = call->layer[l];
      for (int d = 0; d < layer.directions; ++d, ++way) {
        const int64_t blocks = blocks_of(layer);
        uint32_t* ih = bump.take<uint32_t>(blocks * pairs_of(layer.input_size) * kHalfRow);
        uint32_t* hh = bump.take<uint32_t>(blocks * pairs_of(layer.hidden_size) * kHalfRow);
        float* bias = bump.take<float>(blocks * kHalfRow);
        if (bump.base) weights[way] = {ih, hh, bias};
      }
    }
    cells = bump.take<float>(B * stride);
    zeros = bump.take<Half>(stride);
    arrived = bump.take<Epoch>(members);
    member = bump.take<HalfMember>(members);
    const int64_t rows = ceil_div(B, members) + 1;
    for (int m = 0; m < members; ++m) {
      HalfMember own;
      own.x = bump.take<const Half*>(rows);
      own.h = bump.take<const Half*>(rows);
      own.c = bump.take<float*>(rows);
      for (float**& gate : own.gate) gate = bump.take<float*>(rows);
      own.cell = bump.take<float*>(rows);
      own.h_out = bump.take<Half*>(rows);
      if (bump.base) member[m] = own;
    }
  }
};

class HalfForward {
 public:
  HalfForward(HalfPlan& plan, int member) : plan_(plan), call_(*plan.call), own_(plan.member[member]), me_(member) {
    first_ = call_.batch * me_ / plan.members;
    count_ = call_.batch * (me_ + 1) / plan.members - first_;
  }

  void run() {
    pack();
    Meeting{plan_.arrived, plan_.members}.meet(me_, 1);
    const HalfWeights* weights = plan_.weights;
    for (int l = 0; l < call_.layers; ++l)
      for (int d = 0; d < call_.layer[l].directions; ++d)
        run_direction(call_.layer[l], call_.layer[l].direction[d], *weights++);
  }

 private:
  void pack() {
    int64_t turn = 0;
    const HalfWeights* to = plan_.weights;
    for (int l = 0; l < call_.layers; ++l) {
      const HalfLayer& layer = call_.layer[l];
      const int64_t H = layer.hidden_size, I = layer.input_size;
      for (int d = 0; d < layer.directions; ++d, ++to) {
        const HalfDirection& way = layer.direction[d];
        for (int64_t block = 0; block < HalfPlan::blocks_of(layer); ++block, ++turn) {
          if (turn % plan_.members != me_) continue;
          const int64_t u = block * kHalfLanes, count = smaller<int64_t>(kHalfLanes, H - u);
          const __mmask16 lanes = Vec<float>::first(count);
          for (int64_t g = 0; g < 4; ++g) {
            const int64_t row = g * H + u, lane = g * kHalfLanes;
            pack_pairs(way.w_ih + row * I, I, count, to->ih + block * pairs_of(I) * kHalfRow + lane);
            pack_pairs(way.w_hh + row * H, H, count, to->hh + block * pairs_of(H) * kHalfRow + lane);
            Vec<float> bias = Vec<float>::zero();
            if (way.b_ih) bias = widened(way.b_ih + row, lanes) + widened(way.b_hh + row, lanes);
            bias.store(to->bias + block * kHalfRow + lane);
          }
        }
      }
    }
  }

  float* cell_of(int64_t j) const { return plan_.cells + (first_ + j) * plan_.stride; }

  void run_direction(const HalfLayer& layer, const HalfDirection& way, const HalfWeights& weights) {
    const int64_t T = call_.steps, I = layer.input_size, H = layer.hidden_size;
    for (int64_t j = 0; j < count_; ++j)
      for (int64_t u = 0; u < plan_.stride; u += kHalfLanes) {
        const int64_t n = larger<int64_t>(0, smaller<int64_t>(kHalfLanes, H - u));
        const bool given = way.c0 && n > 0;
        const Vec<float> c = given ? widened(way.c0 + (first_ + j) * H + u, Vec<float>::first(n)) : Vec<float>::zero();
        c.store(cell_of(j) + u);
      }
    HalfTile tile{own_.x, own_.h, nullptr, nullptr, nullptr, own_.c, own_.h_out, {}, nullptr, I, H, 0, 0};
    if (way.gate[0]) {
      for (int g = 0; g < 4; ++g) tile.gate[g] = own_.gate[g];
      tile.cell = own_.cell;
    }
    for (int64_t s = 0; s < T; ++s) {
      aim(layer, way, s);
      for (int64_t block = 0; block < HalfPlan::blocks_of(layer); ++block) {
        tile.ih = weights.ih + block * pairs_of(I) * kHalfRow;
        tile.hh = weights.hh + block * pairs_of(H) * kHalfRow;
        tile.bias = weights.bias + block * kHalfRow;
        tile.u = block * kHalfLanes;
        tile.lanes = Vec<float>::first(smaller<int64_t>(kHalfLanes, H - tile.u));
        over_tiles<6>(count_, [&](auto R, int64_t j) { run_half_tile<decltype(R)::value>(tile, j); });
      }
    }
    const int64_t last = way.backward_in_time ? 0 : T - 1;
    for (int64_t j = 0; j < count_; ++j) {
      const int64_t b = first_ + j;
      __builtin_memcpy(way.h_n + b * H, way.output.at(last, b), static_cast<size_t>(H) * sizeof(Half));
      for (int64_t u = 0; u < H; u += kHalfLanes)
        _mm256_mask_storeu_epi16(way.c_n + b * H + u, Vec<float>::first(smaller<int64_t>(kHalfLanes, H - u)),
                                 narrowed(Vec<float>::load(cell_of(j) + u)));
    }
  }

  // The addresses of my rows for the s-th step that is taken.
  void aim(const HalfLayer& layer, const HalfDirection& way, int64_t s) {
    const int64_t T = call_.steps, H = layer.hidden_size;
    const int64_t t = way.backward_in_time ? T - 1 - s : s, before = way.backward_in_time ? t + 1 : t - 1;
    for (int64_t j = 0; j < count_; ++j) {
      const int64_t b = first_ + j;
      own_.x[j] = layer.input.at(t, b);
      own_.h[j] = s > 0 ? way.output.at(before, b) : way.h0 ? way.h0 + b * H : plan_.zeros;
      own_.c[j] = cell_of(j);
      own_.h_out[j] = way.output.at(t, b);
      if (!way.gate[0]) continue;
      for (int g = 0; g < 4; ++g) own_.gate[g][j] = way.gate[g].at(t, b);
      own_.cell[j] = way.cell.at(t, b);
    }
  }

  HalfPlan& plan_;
  const HalfCall& call_;
  HalfMember& own_;
  const int me_;
  int64_t first_, count_;
};

inline void run_half_member(void* plan, int member, int) { HalfForward(*static_cast<HalfPlan*>(plan), member).run(); }

inline bool half_forward_on(const HalfCall& call, int wanted) {
  Team team(wanted, call.threads);
  HalfPlan plan{};
  plan.call = &call;
  plan.members = team.size();
  Bump count{nullptr};
  plan.lay_out(count);
  char* block = static_cast<char*>(scratch(Use::kernel, count.used + 64));
  if (!block) return false;
  Bump bump{block};
  plan.lay_out(bump);
  for (int m = 0; m < plan.members; ++m) plan.arrived[m] = Epoch{};
  for (int64_t k = 0; k < plan.stride; ++k) plan.zeros[k] = 0;
  const bool ran = team.run(run_half_member, &plan);
  scratch_done(Use::kernel);
  return ran || half_forward_on(call, 1);
}

inline bool half_forward(const HalfCall& call) {
  // As forward's rule: members share rows, of which a tile wants some; and a team is not worth it for little work.
  double work = 0;
  for (int l = 0; l < call.layers; ++l)
    work += static_cast<double>(call.layer[l].directions) * static_cast<double>(call.layer[l].hidden_size) *
            (static_cast<double>(call.layer[l].input_size + call.layer[l].hidden_size) + 60.0);
  work *= 4.0 * static_cast<double>(call.steps) * static_cast<double>(call.batch) / 80.0;  // nanoseconds, about
  const int64_t members = smaller<int64_t>(call.threads, work < 30000 ? 1 : call.batch / 3);
  return half_forward_on(call, static_cast<int>(larger<int64_t>(1, members)));
}

inline void widen(const Half* from, float* to, int64_t n) {
  for (int64_t k = 0; k < n; k += kHalfLanes) {
    const int64_t m = smaller<int64_t>(kHalfLanes, n - k);
    widened(from + k, Vec<float>::first(m)).store_n(to + k, m);
  }
}

inline void narrow(const float* from, Half* to, int64_t n) {
  for (int64_t k = 0; k < n; k += kHalfLanes) {
    const int64_t m = smaller<int64_t>(kHalfLanes, n - k);
    _mm256_mask_storeu_epi16(to + k, Vec<float>::first(m), narrowed(Vec<float>::load_n(from + k, m)));
  }
}
CELLGATE_END
