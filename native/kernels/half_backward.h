// The backward pass in bfloat16, see half.h.
//
// For each step   dh = dy + da(step after) W_hh, and from it the gradients da of the gates' sums, rounded to bfloat16;
// for each chunk  [x | 1 | h]^T da summed for the weights and biases, and dx = da W_ih.
// Members share batch rows, and meet to add up what they have of the weights' gradients.
#pragma once

#include "kernels/half_forward.h"

CELLGATE_BEGIN
constexpr int64_t kHalfPair = 0x3f803f80;  // 1 and 1

// out[k] = the pair (a[k], b[k]), k < n; b null: zeros.
CELLGATE_INLINE void interleave(const Half* a, const Half* b, uint32_t* out, int64_t n) {
  for (int64_t k = 0; k < n; k += kHalfLanes) {
    const __mmask16 lanes = Vec<float>::first(smaller<int64_t>(kHalfLanes, n - k));
    __m512i pair = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, a + k));
    if (b)
      pair =
          _mm512_or_si512(pair, _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, b + k)), 16));
    _mm512_mask_storeu_epi32(out + k, lanes, pair);
  }
}

// Two rows of n scalars into the panels of a right operand, [n / 64][pairs][64], at one pair; zeros past the end.
CELLGATE_INLINE void to_panels(const Half* a, const Half* b, int64_t n, int64_t pairs, int64_t pair, uint32_t* panels) {
  for (int64_t k = 0; k < n; k += kHalfRow) {
    uint32_t* to = panels + k * pairs + pair * kHalfRow;
    const int64_t m = smaller(kHalfRow, n - k);
    interleave(a + k, b ? b + k : nullptr, to, m);
    for (int64_t z = m; z < kHalfRow; ++z) to[z] = 0;
  }
}
inline int64_t panels_size(int64_t pairs, int64_t n) { return ceil_div(n, kHalfRow) * pairs * kHalfRow; }

// acc[r][v] += sum over pairs of the pair of row r, at left[p * stride + at[r]], times panel[p][v]. NV vectors of a panel.
template <int R, int NV, class Pair>
CELLGATE_INLINE void add_pairs(__m512 (&acc)[R][NV], int64_t pairs, const uint32_t* panel, const Pair& pair_of) {
  for (int64_t p = 0; p < pairs; ++p, panel += kHalfRow) {
    __m512bh w[NV];
    for (int v = 0; v < NV; ++v) w[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + v * kHalfLanes));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512bh x = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair_of(r, p))));
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], x, w[v]);
    }
  }
}

// rows[j][0 .. n) (float) = or += left rows (K bfloat16 scalars each, K even) times the panels.
inline void times_panels(const Half* const* left, int64_t count, int64_t K, const uint32_t* panels, int64_t n,
                         float* const* out, bool add) {
  for (int64_t k = 0; k < n; k += kHalfRow) {
    const uint32_t* panel = panels + k * (K / 2);
    const int64_t columns = smaller(kHalfRow, n - k);
    call_with_size<4>(ceil_div(columns, kHalfLanes), [&](auto vectors) {
      constexpr int NV = decltype(vectors)::value;
      over_tiles<6>(count, [&](auto rows, int64_t j) {
        constexpr int R = decltype(rows)::value;
        __m512 acc[R][NV];
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_setzero_ps();
        const Half* a[R];
        for (int r = 0; r < R; ++r) a[r] = left[j + r];
        add_pairs<R, NV>(acc, K / 2, panel, [&a](int r, int64_t p) { return read_pair(a[r] + 2 * p); });
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) {
            float* to = out[j + r] + k + v * kHalfLanes;
            const __mmask16 lanes =
                Vec<float>::first(larger<int64_t>(0, smaller<int64_t>(kHalfLanes, columns - v * kHalfLanes)));
            if (add) acc[r][v] = _mm512_add_ps(acc[r][v], _mm512_maskz_loadu_ps(lanes, to));
            _mm512_mask_storeu_ps(to, lanes, acc[r][v]);
          }
      });
    });
  }
}

// sums[m * stride + n] += sum over pairs of left[p * M + m] times the panels' column n.
inline void add_outer(const uint32_t* left, int64_t M, int64_t pairs, const uint32_t* panels, int64_t N, float* sums,
                      int64_t stride) {
  for (int64_t n = 0; n < N; n += kHalfRow) {
    const uint32_t* panel = panels + n * pairs;
    call_with_size<4>(ceil_div(smaller(kHalfRow, N - n), kHalfLanes), [&](auto vectors) {
      constexpr int NV = decltype(vectors)::value;
      over_tiles<6>(M, [&](auto rows, int64_t m) {
        constexpr int R = decltype(rows)::value;
        __m512 acc[R][NV];
        float* to = sums + m * stride + n;
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) acc[r][v] = _mm512_loadu_ps(to + r * stride + v * kHalfLanes);
        const uint32_t* a = left + m;
        add_pairs<R, NV>(acc, pairs, panel, [a, M](int r, int64_t p) { return a[p * M + r]; });
        for (int r = 0; r < R; ++r)
          for (int v = 0; v < NV; ++v) _mm512_storeu_ps(to + r * stride + v * kHalfLanes, acc[r][v]);
      });
    });
  }
}

struct HalfGradMember {
  Half* da;         // (chunk rows, da_stride): of the chunk at hand
  Half* da_before;  // (rows, da_stride): of the step taken before it
  const Half** left;
  float **dh_row, **dx_row;
  float *dh, *dc;            // (rows, stride)
  uint32_t *pairs, *panels;  // [x | 1 | h] and da of a chunk, by pairs of rows
  float* sums;               // (I + 1 + H, sums_stride)
};

struct HalfGradPlan {
  const HalfGradCall* call;
  int members;
  int64_t rows, stride, da_stride, sums_stride, chunk_steps, widest;
  uint32_t **hh, **ih;  // by layer and direction: panels of w_hh and w_ih, (4H, H) and (4H, I)
  HalfGradMember* member;
  Half* zeros;
  Epoch* arrived;

  void lay_out(Bump& bump) {
    const int64_t B = call->batch;
    int64_t ways = 0, H = 0, columns = 0, I = 0;
    for (int l = 0; l < call->layers; ++l) {
      const HalfGradLayer& layer = call->layer[l];
      ways += layer.directions;
      H = larger(H, layer.hidden_size);
      I = larger(I, layer.input_size);
      columns = larger(columns, layer.input_size + layer.hidden_size + 1);
    }
    rows = ceil_div(B, members);
    stride = round_up(H, kHalfLanes);
    da_stride = round_up(4 * H, 32) + 32;  // never a power of two, which would crowd few cache sets
    sums_stride = round_up(4 * H, kHalfRow) + kHalfLanes;
    widest = larger(H, I);
    // Many rows to a chunk, since each adds to all the sums once; but a panel of theirs stays in the second-level cache.
    chunk_steps = smaller(call->steps, larger<int64_t>(1, 512 / rows));
    const int64_t chunk_rows = chunk_steps * rows;
    hh = bump.take<uint32_t*>(ways);
    ih = bump.take<uint32_t*>(ways);
    int64_t way = 0;
    for (int l = 0; l < call->layers; ++l) {
      const HalfGradLayer& layer = call->layer[l];
      for (int d = 0; d < layer.directions; ++d, ++way) {
        uint32_t* a = bump.take<uint32_t>(panels_size(2 * layer.hidden_size, layer.hidden_size));
        uint32_t* b = layer.dx ? bump.take<uint32_t>(panels_size(2 * layer.hidden_size, layer.input_size)) : nullptr;
        if (bump.base) hh[way] = a, ih[way] = b;
      }
    }
    zeros = bump.take<Half>(round_up(widest, 32));
    arrived = bump.take<Epoch>(members);
    member = bump.take<HalfGradMember>(members);
    for (int m = 0; m < members; ++m) {
      HalfGradMember own;
      own.da = bump.take<Half>(chunk_rows * da_stride);
      own.da_before = bump.take<Half>(rows * da_stride);
      own.left = bump.take<const Half*>(chunk_rows);
      own.dh_row = bump.take<float*>(rows);
      own.dx_row = bump.take<float*>(chunk_rows);
      own.dh = bump.take<float>(rows * stride);
      own.dc = bump.take<float>(rows * stride);
      own.pairs = bump.take<uint32_t>(pairs_of(chunk_rows) * columns);
      own.panels = bump.take<uint32_t>(panels_size(pairs_of(chunk_rows), 4 * H));
      own.sums = bump.take<float>(columns * sums_stride);
      if (bump.base) member[m] = own;
    }
  }
};

class HalfBackward {
 public:
  HalfBackward(HalfGradPlan& plan, int member)
      : plan_(plan), call_(*plan.call), own_(plan.member[member]), me_(member) {
    first_ = call_.batch * me_ / plan.members;
    count_ = call_.batch * (me_ + 1) / plan.members - first_;
  }

  void run() {
    pack();
    meet();
    int way = 0;
    for (int l = 0; l < call_.layers; ++l) way += call_.layer[l].directions;
    for (int l = call_.layers; l-- > 0;) {
      const HalfGradLayer& layer = call_.layer[l];
      way -= layer.directions;
      for (int d = 0; d < layer.directions; ++d) {
        run_direction(layer, layer.direction[d], way + d, d > 0);
        if (!layer.direction[d].wants_weights()) continue;
        meet();
        store_weights(layer, layer.direction[d]);
        meet();  // before the sums are used again
      }
    }
  }

 private:
  void meet() { Meeting{plan_.arrived, plan_.members}.meet(me_, ++round_); }

  void pack() {
    int64_t turn = 0;
    for (int l = 0, way = 0; l < call_.layers; ++l) {
      const HalfGradLayer& layer = call_.layer[l];
      const int64_t H = layer.hidden_size, I = layer.input_size, pairs = 2 * H;
      for (int d = 0; d < layer.directions; ++d, ++way)
        for (int64_t p = 0; p < pairs; ++p, ++turn) {
          if (turn % plan_.members != me_) continue;
          const HalfGradDirection& from = layer.direction[d];
          if (call_.steps > 1 || from.dh0)
            to_panels(from.w_hh + 2 * p * H, from.w_hh + (2 * p + 1) * H, H, pairs, p, plan_.hh[way]);
          if (layer.dx) to_panels(from.w_ih + 2 * p * I, from.w_ih + (2 * p + 1) * I, I, pairs, p, plan_.ih[way]);
        }
    }
  }

  void run_direction(const HalfGradLayer& layer, const HalfGradDirection& way, int index, bool add_dx) {
    const int64_t T = call_.steps, H = layer.hidden_size, I = layer.input_size;
    if (way.wants_weights())
      for (int64_t k = 0; k < columns(layer, way) * plan_.sums_stride; ++k) own_.sums[k] = 0;
    for (int64_t j = 0; j < count_; ++j) {
      const Half* dc = way.dc_n ? way.dc_n + (first_ + j) * H : nullptr;
      for (int64_t u = 0; u < plan_.stride; u += kHalfLanes) {
        const int64_t n = larger<int64_t>(0, smaller<int64_t>(kHalfLanes, H - u));
        (dc && n ? widened(dc + u, Vec<float>::first(n)) : Vec<float>::zero()).store(own_.dc + j * plan_.stride + u);
      }
      own_.dh_row[j] = own_.dh + j * plan_.stride;
    }
    for (int64_t q0 = 0; q0 < T; q0 += plan_.chunk_steps) {
      const int64_t q1 = smaller(T, q0 + plan_.chunk_steps);
      for (int64_t q = q0; q < q1; ++q) step(way, index, q, own_.da + (q - q0) * count_ * plan_.da_stride, H);
      const int64_t rows = (q1 - q0) * count_;
      if (way.wants_weights()) add_weights(layer, way, q0, rows);
      if (layer.dx) {
        for (int64_t k = 0; k < rows; ++k) {
          own_.left[k] = own_.da + k * plan_.da_stride;
          own_.dx_row[k] = layer.dx.at(time(way, q0 + k / count_), first_ + k % count_);
        }
        times_panels(own_.left, rows, 4 * H, plan_.ih[index], I, own_.dx_row, add_dx);
      }
      __builtin_memcpy(own_.da_before, own_.da + (rows - count_) * plan_.da_stride,
                       static_cast<size_t>(count_ * plan_.da_stride) * sizeof(Half));
    }
    finish(way, index, H);
  }

  // Columns of [x | 1 | h]: without h, where it is zero in every row.
  bool stateless(const HalfGradDirection& way) const { return call_.steps == 1 && !way.h0; }
  int64_t columns(const HalfGradLayer& layer, const HalfGradDirection& way) const {
    return layer.input_size + 1 + (stateless(way) ? 0 : layer.hidden_size);
  }

  // The time of the q-th step that is taken.
  int64_t time(const HalfGradDirection& way, int64_t q) const { return way.backward_in_time ? q : call_.steps - 1 - q; }

  // dh of the step before, without dy: da of a step times w_hh.
  void carry(const Half* da, int index, int64_t H) {
    for (int64_t j = 0; j < count_; ++j) own_.left[j] = da + j * plan_.da_stride;
    times_panels(own_.left, count_, 4 * H, plan_.hh[index], H, own_.dh_row, false);
  }

  void step(const HalfGradDirection& way, int index, int64_t q, Half* da, int64_t H) {
    using V = Vec<float>;
    const int64_t t = time(way, q), before = way.backward_in_time ? t + 1 : t - 1;
    const bool last = q == call_.steps - 1;  // forward's first
    if (q > 0) carry(da == own_.da ? own_.da_before : da - count_ * plan_.da_stride, index, H);
    const V one = V::set1(1.0f);
    for (int64_t j = 0; j < count_; ++j) {
      const int64_t b = first_ + j;
      const float* gate[4];
      for (int g = 0; g < 4; ++g) gate[g] = way.gate[g].at(t, b);
      const float *c_at = way.cell.at(t, b), *c_before = last ? nullptr : way.cell.at(before, b);
      const Half* c0 = last && way.c0 ? way.c0 + b * H : nullptr;
      const Half* dy = way.dy ? way.dy.at(t, b) : nullptr;
      const Half* dh_n = q == 0 && way.dh_n ? way.dh_n + b * H : nullptr;
      const float* dy_wide = way.dy_wide ? way.dy_wide.at(t, b) : nullptr;
      float* dc_at = own_.dc + j * plan_.stride;
      Half* to = da + j * plan_.da_stride;
      for (int64_t u = 0; u < H; u += kHalfLanes) {
        const int64_t n = smaller<int64_t>(kHalfLanes, H - u);
        const __mmask16 lanes = V::first(n);
        V dh = q > 0 ? V::load(own_.dh_row[j] + u) : V::zero();
        if (dy) dh = dh + widened(dy + u, lanes);
        if (dy_wide) dh = dh + V::load_n(dy_wide + u, n);
        if (dh_n) dh = dh + widened(dh_n + u, lanes);
        const V i = V::load_n(gate[0] + u, n), f = V::load_n(gate[1] + u, n);
        const V g = V::load_n(gate[2] + u, n), o = V::load_n(gate[3] + u, n);
        const V th = tanh(V::load_n(c_at + u, n));
        const V c_was = c_before ? V::load_n(c_before + u, n) : c0 ? widened(c0 + u, lanes) : V::zero();
        const V dc = fma(dh * o, fnma(th, th, one), V::load(dc_at + u));
        const V sum[4] = {dc * g * i * (one - i), dc * c_was * f * (one - f), dc * i * fnma(g, g, one),
                          dh * th * o * (one - o)};
        (dc * f).store(dc_at + u);
        for (int k = 0; k < 4; ++k) _mm256_mask_storeu_epi16(to + k * H + u, lanes, narrowed(sum[k]));
      }
    }
  }

  // The share of a chunk's rows in the gradients of the weights and biases.
  void add_weights(const HalfGradLayer& layer, const HalfGradDirection& way, int64_t q0, int64_t rows) {
    const int64_t I = layer.input_size, H = layer.hidden_size, M = columns(layer, way), pairs = pairs_of(rows);
    auto x_of = [&](int64_t k) { return layer.input.at(time(way, q0 + k / count_), first_ + k % count_); };
    auto h_of = [&](int64_t k) -> const Half* {
      const int64_t q = q0 + k / count_, b = first_ + k % count_, t = time(way, q);
      if (q < call_.steps - 1) return way.output.at(way.backward_in_time ? t + 1 : t - 1, b);
      return way.h0 ? way.h0 + b * H : plan_.zeros;
    };
    for (int64_t p = 0; p < pairs; ++p) {
      const bool both = 2 * p + 1 < rows;
      uint32_t* left = own_.pairs + p * M;
      interleave(x_of(2 * p), both ? x_of(2 * p + 1) : nullptr, left, I);
      left[I] = static_cast<uint32_t>(both ? kHalfPair : kHalfPair & 0xffff);
      if (M > I + 1) interleave(h_of(2 * p), both ? h_of(2 * p + 1) : nullptr, left + I + 1, H);
      const Half* da = own_.da + 2 * p * plan_.da_stride;
      to_panels(da, both ? da + plan_.da_stride : nullptr, 4 * H, pairs, p, own_.panels);
    }
    add_outer(own_.pairs, M, pairs, own_.panels, 4 * H, own_.sums, plan_.sums_stride);
  }

  // Adds up the sums of all members, turned about: my part of the columns, that is of the weights' rows.
  void store_weights(const HalfGradLayer& layer, const HalfGradDirection& way) {
    using V = Vec<float>;
    const int64_t I = layer.input_size, H = layer.hidden_size, N = 4 * H, blocks = ceil_div(N, kHalfLanes);
    auto total = [&](int64_t m, int64_t n) {
      V sum = V::load(plan_.member[0].sums + m * plan_.sums_stride + n);
      for (int k = 1; k < plan_.members; ++k) sum = sum + V::load(plan_.member[k].sums + m * plan_.sums_stride + n);
      return sum;
    };
    auto store = [&](Half* to, int64_t from, int64_t count, int64_t n) {
      if (!to) return;
      for (int64_t m = 0; m < count; m += kHalfLanes) {
        V block[kHalfLanes];
        const int64_t size = smaller<int64_t>(kHalfLanes, count - m);
        for (int64_t k = 0; k < kHalfLanes; ++k) block[k] = k < size ? total(from + m + k, n) : V::zero();
        transpose(block);
        for (int64_t k = 0; k < smaller<int64_t>(kHalfLanes, N - n); ++k)
          _mm256_mask_storeu_epi16(to + (n + k) * count + m, V::first(size), narrowed(block[k]));
      }
    };
    for (int64_t block = blocks * me_ / plan_.members; block < blocks * (me_ + 1) / plan_.members; ++block) {
      const int64_t n = block * kHalfLanes;
      store(way.dw_ih, 0, I, n);
      if (!stateless(way)) {
        store(way.dw_hh, I + 1, H, n);
      } else if (way.dw_hh) {
        for (int64_t k = n * H; k < smaller(N, n + kHalfLanes) * H; ++k) way.dw_hh[k] = 0;
      }
      const __mmask16 lanes = V::first(smaller<int64_t>(kHalfLanes, N - n));
      for (Half* db : {way.db_ih, way.db_hh})
        if (db) _mm256_mask_storeu_epi16(db + n, lanes, narrowed(total(I, n)));
    }
  }

  // Gradients of the initial state.
  void finish(const HalfGradDirection& way, int index, int64_t H) {
    if (way.dh0) carry(own_.da_before, index, H);
    for (int64_t j = 0; j < count_; ++j)
      for (int64_t u = 0; u < H; u += kHalfLanes) {
        const int64_t at = (first_ + j) * H + u;
        const __mmask16 lanes = Vec<float>::first(smaller<int64_t>(kHalfLanes, H - u));
        if (way.dh0) _mm256_mask_storeu_epi16(way.dh0 + at, lanes, narrowed(Vec<float>::load(own_.dh_row[j] + u)));
        if (way.dc0)
          _mm256_mask_storeu_epi16(way.dc0 + at, lanes, narrowed(Vec<float>::load(own_.dc + j * plan_.stride + u)));
      }
  }

  HalfGradPlan& plan_;
  const HalfGradCall& call_;
  HalfGradMember& own_;
  const int me_;
  int64_t first_, count_;
  uint32_t round_ = 0;
};

inline void run_half_backward(void* plan, int member, int) {
  HalfBackward(*static_cast<HalfGradPlan*>(plan), member).run();
}

inline bool half_backward_on(const HalfGradCall& call, int wanted) {
  Team team(wanted, call.threads);
  HalfGradPlan plan{};
  plan.call = &call;
  plan.members = team.size();
  Bump count{nullptr};
  plan.lay_out(count);
  char* block = static_cast<char*>(scratch(Use::backward, count.used + 64));
  if (!block) return false;
  Bump bump{block};
  plan.lay_out(bump);
  for (int m = 0; m < plan.members; ++m) plan.arrived[m] = Epoch{};
  for (int64_t k = 0; k < plan.widest; ++k) plan.zeros[k] = 0;
  const bool ran = team.run(run_half_backward, &plan);
  scratch_done(Use::backward);
  return ran || half_backward_on(call, 1);
}

inline bool half_backward(const HalfGradCall& call) {
  double work = 0;
  for (int l = 0; l < call.layers; ++l)
    work += static_cast<double>(call.layer[l].directions) * static_cast<double>(call.layer[l].hidden_size) *
            (static_cast<double>(call.layer[l].input_size + call.layer[l].hidden_size) + 40.0);
  work *= 8.0 * static_cast<double>(call.steps) * static_cast<double>(call.batch) / 80.0;  // nanoseconds, about
  const int64_t members = smaller<int64_t>(call.threads, work < 30000 ? 1 : call.batch / 3);
  return half_backward_on(call, static_cast<int>(larger<int64_t>(1, members)));
}
CELLGATE_END
