// The forward pass of a stack: what each member of the team does.
//
// A member owns some batch rows and some blocks of hidden units for the whole call, and helps its peers with theirs
// where that is worth it (pieces.h). For each step it multiplies the rows of x and h with its panels of weights, a tile
// of rows at a time, and turns the sums into c and h while they are in cache. h is read back from the output itself, so
// h0, resets and lengths are a matter of which addresses the rows have.
#pragma once

#include "kernels/cell.h"
#include "kernels/forward_tiles.h"
#include "kernels/forward_weights.h"
#include "kernels/plan.h"

CELLGATE_BEGIN
template <class S>
class ForwardMember {
 public:
  ForwardMember(Plan<S>& plan, int member)
      : plan_(plan), call_(*plan.call), own_(plan.member[member]), member_(member) {
    int within = member % (plan.grid.rows * plan.grid.units);
    direction_ = member / (plan.grid.rows * plan.grid.units);
    group_ = within / plan.grid.units;
    share_ = within % plan.grid.units;
    peers_ = member - share_;
  }

  void run() {
    const InKernels telling(Phase::weights);
    Meeting all{plan_.arrived, plan_.grid.size()};
    uint32_t round = 0;
    if (!ForwardWeights<S>(plan_, member_).prepare(all, round)) return;
    enter(Phase::rest);
    take_rows();
    bool alone = plan_.grid.units == 1 && plan_.grid.directions == 1;
    for (int l = 0; l < call_.layers; ++l) {
      const ForwardLayer<S>& layer = call_.layer[l];
      if (l > 0 && !alone) all.meet(member_, ++round);
      if (layer.mask) {
        drop(layer);
        if (!alone) all.meet(member_, ++round);
      }
      for (int d = direction_; d < layer.directions; d += plan_.grid.directions)
        run_direction(layer, layer.direction[d], plan_.layer[l], plan_.layer[l].direction[d]);
    }
  }

 private:
  // ---- rows --------------------------------------------------------------------------------------------------------
  // Equal lengths: a stretch of rows. Else the rows sorted by length are dealt to and fro, so that all groups have as
  // much to do, and each has its longest first.
  void take_rows() {
    int64_t groups = plan_.grid.rows, B = call_.batch;
    count_ = 0;
    if (!call_.lengths) {
      int64_t begin = B * group_ / groups, end = B * (group_ + 1) / groups;
      for (int64_t b = begin; b < end; ++b) own_.row[count_++] = b;
      return;
    }
    for (int64_t k = 0; k * groups < B; ++k) {
      int64_t at = k * groups + (k & 1 ? groups - 1 - group_ : group_);
      if (at < B) own_.row[count_++] = plan_.order[at];
    }
  }

  int64_t length(int64_t b) const { return call_.lengths ? call_.lengths[b] : call_.steps; }

  // How many of this member's rows (a prefix of them) take part in step t, knowing how many did in the step before.
  int64_t active(int64_t t, int64_t before, bool backward) const {
    if (!call_.lengths) return count_;
    int64_t n = before;
    if (backward) {
      while (n < count_ && call_.lengths[own_.row[n]] > t) ++n;
    } else {
      while (n > 0 && call_.lengths[own_.row[n - 1]] <= t) --n;
    }
    return n;
  }

  void drop(const ForwardLayer<S>& layer) {
    using V = Vec<S>;
    int64_t I = layer.input_size;
    // Members that share rows (other units, other directions) share this work by steps.
    int64_t share = share_ + direction_ * plan_.grid.units, shares = plan_.grid.units * plan_.grid.directions;
    for (int64_t t = share; t < call_.steps; t += shares) {
      for (int64_t j = 0; j < count_; ++j) {
        int64_t b = own_.row[j];
        if (t >= length(b)) continue;
        const S *x = layer.input.at(t, b), *m = layer.mask.at(t, b);
        S* y = layer.dropped.at(t, b);
        for (int64_t k = 0; k < I; k += V::lanes) {
          int64_t n = smaller<int64_t>(V::lanes, I - k);
          (V::load_n(x + k, n) * V::load_n(m + k, n)).store_n(y + k, n);
        }
      }
    }
  }

  // ---- steps -------------------------------------------------------------------------------------------------------
  void run_direction(const ForwardLayer<S>& layer, const ForwardDirection<S>& way, const LayerPlan<S>& how,
                     const DirectionPlan<S>& weights) {
    const int64_t T = call_.steps, H = layer.hidden_size, P = layer.projection_size;
    const bool backward = way.backward_in_time, projected = way.w_hr != nullptr;
    const int units = plan_.grid.units;
    const int64_t blocks = blocks_of<S>(H);
    const int64_t block0 = blocks * share_ / units, block1 = blocks * (share_ + 1) / units;
    input_ = layer.mask ? as_const(layer.dropped) : layer.input;
    fill_bias(way, H, how.shared ? 0 : block0, how.shared ? blocks : block1, how.packed);

    const uint32_t done = ticks_;
    int64_t n = backward && call_.lengths ? 0 : count_;
    int64_t chunk_begin = 0, chunk_end = 0;
    for (int64_t s = 0; s < T; ++s) {
      const int64_t t = backward ? T - 1 - s : s;
      const int64_t before = n;
      n = active(t, before, backward);
      if (how.hoisted && s >= chunk_end) {
        chunk_begin = s;
        chunk_end = smaller(T, s + how.chunk);
        // Peers may still be at tiles that start from the sums of the chunk before.
        if (how.shared) wait_peers(done + static_cast<uint32_t>(projected ? 2 * s : s));
        input_products(layer, how, weights, chunk_begin, chunk_end, before, backward, block0, block1);
      }
      if (n > 0) aim(way, t, n, H, P, backward, how.hoisted);
      if (units > 1) wait_peers(done + static_cast<uint32_t>(projected ? 2 * s : s));
      const int64_t chunk_rows = how.hoisted ? own_.chunk_at[chunk_end - chunk_begin] : 0;
      const int64_t chunk_row = how.hoisted ? own_.chunk_at[s - chunk_begin] : 0;
      Rows<S> rows{own_.x, own_.h, own_.c, own_.c_out, own_.h_out, own_.y_out, {}, nullptr};
      if (way.gate[0])
        for (int g = 0; g < 4; ++g) rows.gate[g] = own_.gate[g];
      if (way.cell) rows.cell_out = own_.cell_out;
      const StepOf step{&rows, &layer, &way, &how, &weights, n, chunk_rows, chunk_row};
      if (how.shared) {
        share_step(step, blocks);
      } else {
        // To and fro, where reading the weights is most of the work: a step begins with those that the one before it, of
        // this call or the last, left in the cache.
        thread_local bool back = false;
        back = n <= Vec<S>::tile_rows && !back;
        for (int64_t k = block0; k < block1; ++k)
          run_block(step, back ? block0 + block1 - 1 - k : k, block0, own_, 0, 1, k + 1 < block1 ? 1 : block0 - k);
      }
      enter(Phase::rest);
      if (projected) {
        if (units > 1) {
          publish(plan_.progress[member_], done + static_cast<uint32_t>(2 * s + 1));
          wait_peers(done + static_cast<uint32_t>(2 * s + 1));
        }
        project(rows, how, way, weights, P, H, n);
        enter(Phase::rest);
      }
      if (units > 1) publish(plan_.progress[member_], done + static_cast<uint32_t>(projected ? 2 * s + 2 : s + 1));
    }
    ticks_ = done + static_cast<uint32_t>(projected ? 2 * T : T);
    if (how.shared) wait_peers(ticks_);
    finish(layer, way, block0, block1);
  }

  static Sequence<const S> as_const(const Sequence<S>& s) { return {s.p, s.step, s.row, s.first}; }

  void wait_peers(uint32_t tick) {
    for (int m = 0; m < plan_.grid.units; ++m)
      if (m != share_) wait_for(plan_.progress[peers_ + m], tick);
  }

  // Biases of blocks, [4][lanes] for each, in the order of the panels' columns.
  void fill_bias(const ForwardDirection<S>& way, int64_t H, int64_t block0, int64_t block1, bool packed) {
    using V = Vec<S>;
    constexpr int64_t L = V::lanes;
    for (int64_t block = block0; block < block1; ++block) {
      S* to = own_.bias + block * 4 * L;
      const GateBlock<S> units(H, block);
      const int64_t gate = packed ? units.gate : L;
      for (int g = 0; g < 4; ++g) V::zero().store(to + g * L);
      if (!way.b_ih) continue;
      for (int64_t g = 0; g < 4; ++g) {
        const int64_t row = g * H + units.u;
        (V::load_n(way.b_ih + row, units.n) + V::load_n(way.b_hh + row, units.n)).store_n(to + g * gate, units.n);
      }
    }
  }

  // Sets the addresses of the first n rows for step t.
  void aim(const ForwardDirection<S>& way, int64_t t, int64_t n, int64_t H, int64_t P, bool backward, bool hoisted) {
    const int64_t stride = plan_.max_hidden;
    const uint8_t* cut = nullptr;
    if (call_.reset) {
      int64_t at = backward ? t + 1 : t;
      if (at < call_.steps) cut = call_.reset + at * call_.batch;
    }
    const bool ragged_start = backward && call_.lengths;
    const bool start = !ragged_start && (backward ? t == call_.steps - 1 : t == 0);
    const int64_t previous = backward ? t + 1 : t - 1;
    S* cells = plan_.cells[direction_];
    for (int64_t j = 0; j < n; ++j) {
      const int64_t b = own_.row[j];
      if (!hoisted) own_.x[j] = input_.at(t, b);
      own_.c_out[j] = cells + b * stride;
      own_.y_out[j] = way.output.at(t, b);
      own_.h_out[j] = way.output.at(t, b);
      const bool first = start || (ragged_start && t == call_.lengths[b] - 1);
      if (first) {
        own_.h[j] = way.h0 ? way.h0 + b * P : plan_.zeros;
        own_.c[j] = way.c0 ? way.c0 + b * H : plan_.zeros;
      } else {
        own_.h[j] = way.output.at(previous, b);
        own_.c[j] = own_.c_out[j];
      }
      if (cut && cut[b] && !(backward && first)) own_.h[j] = own_.c[j] = plan_.zeros;
    }
    if (way.w_hr)
      for (int64_t j = 0; j < n; ++j)
        own_.h_out[j] = way.raw ? way.raw.at(t, own_.row[j]) : plan_.raw[direction_] + own_.row[j] * stride;
    if (way.gate[0])
      for (int g = 0; g < 4; ++g)
        for (int64_t j = 0; j < n; ++j) own_.gate[g][j] = way.gate[g].at(t, own_.row[j]);
    if (way.cell) {
      const int64_t K = way.cell_every;
      const bool kept = t % K == (backward ? 0 : K - 1);
      for (int64_t j = 0; j < n; ++j) own_.cell_out[j] = kept ? way.cell.at(t / K, own_.row[j]) : nullptr;
    }
  }

  // One step of one layer and direction, for n rows.
  struct StepOf {
    const Rows<S>* rows;
    const ForwardLayer<S>* layer;
    const ForwardDirection<S>* way;
    const LayerPlan<S>* how;
    const DirectionPlan<S>* weights;
    int64_t n, chunk_rows, chunk_row;
  };

  // The tiles of my blocks, and then those that my peers have not come to.
  void share_step(const StepOf& step, int64_t blocks) {
    const int units = plan_.grid.units;
    const int64_t parts = ceil_div(step.n, larger(Vec<S>::tile_rows, Vec<S>::tall_rows));
    auto begin = [&](int m) { return blocks * m / units; };
    open_pieces(plan_.taken[member_]);
    share_pieces(
        plan_.taken + peers_, units, share_, 0, [&](int m) { return (begin(m + 1) - begin(m)) * parts; },
        [&](int m, int64_t piece) {
          const int64_t block = begin(m) + piece / parts;
          run_block(step, block, begin(m), plan_.member[peers_ + m], piece % parts, parts,
                    block + 1 < begin(m + 1) ? 1 : begin(m) - block);
        });
    close_pieces(plan_.taken[member_]);
  }

  // One part of the tiles of a block. Its input products, if they were taken before, are with the member whose blocks
  // begin with block0. next: from it to the block that comes after it.
  void run_block(const StepOf& step, int64_t block, int64_t block0, const MemberScratch<S>& owner, int64_t part,
                 int64_t parts, int64_t next) {
    constexpr int64_t L = Vec<S>::lanes;
    const LayerPlan<S>& how = *step.how;
    enter(Phase::products);
    const int64_t n = step.n, I = step.layer->input_size, P = step.layer->projection_size, H = step.layer->hidden_size;
    const GateBlock<S> units(H, block);
    TileJob<S> job{step.rows, I, P, H, nullptr, nullptr, own_.bias + block * 4 * L, 0, units.u, units.n, L};
    if (!how.packed) {
      job.ih = I > 0 ? step.way->w_ih : nullptr;
      job.hh = step.way->w_hh;
      over_tiles<unpacked_rows<S>()>(n, [&](auto R, int64_t j) { run_unpacked<decltype(R)::value>(job, j); });
      return;
    }
    job.gate = units.gate;
    job.count = n;
    // A single tile would have to fetch as much as it reads.
    if (how.far && n > Vec<S>::tile_rows) job.next = next;
    job.hh = step.weights->hh + block * P * 4 * L;
    if (how.hoisted) {
      job.start_row = units.vectors * L;
      job.start = owner.sums + (block - block0) * step.chunk_rows * 4 * L + step.chunk_row * job.start_row;
    } else if (I > 0) {
      job.ih = step.weights->ih + block * I * 4 * L;
    }
    constexpr int low = Vec<S>::tile_rows, tall = Vec<S>::tall_rows;
    if constexpr (tall > 0) {
      if (units.vectors == 4 && n > low) {
        over_tiles<tall>(
            n,
            [&](auto R, int64_t j) {
              // Tiles of equal size are never smaller than this.
              if constexpr (decltype(R)::value > low / 2) run_tall_tile<decltype(R)::value>(job, j);
            },
            part, parts);
        return;
      }
    }
    call_with_size<4>(units.vectors, [&](auto N) {
      over_tiles<low>(
          n, [&](auto R, int64_t j) { run_tile<decltype(R)::value, decltype(N)::value>(job, j); }, part, parts);
    });
  }

  void project(const Rows<S>& rows, const LayerPlan<S>& how, const ForwardDirection<S>& way,
               const DirectionPlan<S>& weights, int64_t P, int64_t H, int64_t n) {
    constexpr int64_t L = Vec<S>::lanes;
    enter(Phase::products);
    int64_t blocks = ceil_div(P, 4 * L);
    int64_t begin = blocks * share_ / plan_.grid.units, end = blocks * (share_ + 1) / plan_.grid.units;
    if (how.packed) {
      for (int64_t block = begin; block < end; ++block) {
        int64_t p = block * 4 * L;
        over_tiles<Vec<S>::tile_rows>(n, [&](auto R, int64_t j) {
          run_projection<decltype(R)::value>(rows, j, H, weights.hr + block * H * 4 * L, p,
                                             smaller<int64_t>(4 * L, P - p));
        });
      }
      return;
    }
    using V = Vec<S>;
    for (int64_t p = begin * 4 * L; p < smaller(P, end * 4 * L); ++p) {
      const S* w = way.w_hr + p * H;
      for (int64_t j = 0; j < n; ++j) {
        V sum_of = V::zero();
        int64_t k = 0;
        for (; k + L <= H; k += L) sum_of = fma(V::load(rows.h_out[j] + k), V::load(w + k), sum_of);
        if (k < H) sum_of = fma(V::load_n(rows.h_out[j] + k, H - k), V::load_n(w + k, H - k), sum_of);
        rows.y_out[j][p] = sum(sum_of);
      }
    }
  }

  // The input product, with the biases, of all active rows of steps [begin, end) in the order of processing.
  void input_products(const ForwardLayer<S>& layer, const LayerPlan<S>& how, const DirectionPlan<S>& weights,
                      int64_t begin, int64_t end, int64_t before, bool backward, int64_t block0, int64_t block1) {
    constexpr int64_t L = Vec<S>::lanes;
    const int64_t I = layer.input_size, H = layer.hidden_size;
    int64_t rows = 0, n = before;
    for (int64_t s = begin; s < end; ++s) {
      int64_t t = backward ? call_.steps - 1 - s : s;
      n = active(t, n, backward);
      own_.chunk_at[s - begin] = rows;
      for (int64_t j = 0; j < n; ++j) own_.chunk_x[rows++] = input_.at(t, own_.row[j]);
    }
    own_.chunk_at[end - begin] = rows;
    enter(Phase::input);
    for (int64_t block = block0; block < block1; ++block) {
      const S* panel = weights.ih + block * I * 4 * L;
      const S* bias = own_.bias + block * 4 * L;
      S* sums = own_.sums + (block - block0) * rows * 4 * L;
      call_with_size<4>(GateBlock<S>(H, block).vectors, [&](auto N) {
        constexpr int vectors = decltype(N)::value;
        constexpr bool halves = vectors == 4 && Vec<S>::tall_rows > 0 && Vec<S>::registers == 16;
        constexpr int at_once = halves ? 2 : vectors;
        over_tiles<halves ? Vec<S>::tall_rows : Vec<S>::tile_rows>(rows, [&](auto R, int64_t j) {
          constexpr int tall = decltype(R)::value;
          for (int64_t g = 0; g < vectors; g += at_once) {
            const S* part = panel + g * I * L;
            Lines ahead;
            if (how.input_far && block + 1 < block1)
              fetch_further(ahead, part + I * 4 * L, I * at_once * L, j, tall, rows);
            run_input<tall, at_once>(own_.chunk_x + j, I, part, bias + g * L, sums + (j * vectors + g) * L, vectors,
                                     ahead);
          }
        });
      });
    }
    enter(Phase::rest);
  }

  // Final states, and zeros past the lengths, for this member's rows and units.
  void finish(const ForwardLayer<S>& layer, const ForwardDirection<S>& way, int64_t block0, int64_t block1) {
    constexpr int64_t L = Vec<S>::lanes;
    const int64_t H = layer.hidden_size, P = layer.projection_size;
    const int64_t u0 = block0 * L, u1 = smaller(H, block1 * L);
    int64_t p0 = u0, p1 = u1;
    if (way.w_hr) {
      int64_t blocks = ceil_div(P, 4 * L);
      p0 = blocks * share_ / plan_.grid.units * 4 * L;
      p1 = smaller(P, blocks * (share_ + 1) / plan_.grid.units * 4 * L);
    }
    for (int64_t j = 0; j < count_; ++j) {
      const int64_t b = own_.row[j], len = length(b);
      const S* h = len > 0  ? way.output.at(way.backward_in_time ? 0 : len - 1, b)
                   : way.h0 ? way.h0 + b * P
                            : plan_.zeros;
      const S* c = len > 0 ? plan_.cells[direction_] + b * plan_.max_hidden : way.c0 ? way.c0 + b * H : plan_.zeros;
      copy(h, way.h_n + b * P, p0, p1);
      copy(c, way.c_n + b * H, u0, u1);
      if (!way.output.first)
        for (int64_t t = len; t < call_.steps; ++t) {
          S* y = way.output.at(t, b);
          for (int64_t k = p0; k < p1; ++k) y[k] = S(0);
        }
    }
  }

  static void copy(const S* from, S* to, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) to[k] = from[k];
  }

  Plan<S>& plan_;
  const ForwardCall<S>& call_;
  MemberScratch<S>& own_;
  const int member_;
  int direction_, group_, share_, peers_;
  int64_t count_ = 0;
  uint32_t ticks_ = 0;
  Sequence<const S> input_;
};
CELLGATE_END
