// The weights of a forward call: looked up by their digest, or packed, by all members together.
#pragma once

#include <cstring>

#include "kernels/hash.h"
#include "kernels/pack.h"
#include "kernels/plan.h"

CELLGATE_BEGIN
// One member's part.
template <class S>
class ForwardWeights {
 public:
  ForwardWeights(Plan<S>& plan, int member) : plan_(plan), call_(*plan.call), member_(member) {}

  // False: out of memory.
  bool prepare(Meeting& all, uint32_t& round) {
    if (plan_.pieces > 0) {
      int64_t piece = 0;
      for (int l = 0; l < call_.layers; ++l)
        for (int d = 0; d < call_.layer[l].directions; ++d) hash_direction(l, d, piece);
      all.meet(member_, ++round);
      if (member_ == 0) look_up();
    }
    if (plan_.pieces > 0) all.meet(member_, ++round);
    if (plan_.out_of_memory) return false;
    bool missed = false;
    int64_t piece = 0;
    for (int l = 0; l < call_.layers; ++l)
      for (int d = 0; d < call_.layer[l].directions; ++d) missed |= copy_direction(l, d, piece);
    if (missed) {
      all.meet(member_, ++round);
      if (member_ == 0) name_copies();
    }
    bool packed = false;
    int64_t turn = 0;
    for (int l = 0; l < call_.layers; ++l)
      for (int d = 0; d < call_.layer[l].directions; ++d) packed |= pack_direction(l, d, turn);
    if (packed) {
      all.meet(member_, ++round);
      if (member_ == 0) keep();
    }
    return true;
  }

  // Where the panels of w_ih, w_hh and w_hr lie in packed_size() scalars.
  static void set_panels(const ForwardLayer<S>& layer, DirectionPlan<S>& way, const S* packed) {
    constexpr int64_t L = Vec<S>::lanes;
    way.ih = packed;
    way.hh = way.ih + blocks_of<S>(layer.hidden_size) * layer.input_size * 4 * L;
    way.hr = way.hh + blocks_of<S>(layer.hidden_size) * layer.projection_size * 4 * L;
  }

 private:
  struct Piece {
    const S* data;
    int64_t count, before;  // scalars of it, and of those before it
  };

  // The arrays of one direction's weights.
  static int parts(const ForwardLayer<S>& layer, const ForwardDirection<S>& way, Piece (&part)[3]) {
    int64_t rows = 4 * layer.hidden_size;
    part[0] = {way.w_ih, rows * layer.input_size, 0};
    part[1] = {way.w_hh, rows * layer.projection_size, part[0].count};
    part[2] = {way.w_hr, layer.projection_size * layer.hidden_size, part[1].before + part[1].count};
    return way.w_hr ? 3 : 2;
  }

  // Calls visit(array, at, scalars, piece) for my pieces of one direction's weights, `piece` counting on: `scalars` from
  // `at` on in an array of them.
  template <class Visit>
  void each_piece(int l, int d, int64_t& piece, const Visit& visit) {
    Piece part[3];
    const int count = parts(call_.layer[l], call_.layer[l].direction[d], part);
    constexpr int64_t step = kPiece / static_cast<int64_t>(sizeof(S));
    for (int p = 0; p < count; ++p)
      for (int64_t at = 0; at < part[p].count; at += step, ++piece)
        if (piece % plan_.grid.size() == member_) visit(part[p], at, smaller(step, part[p].count - at), piece);
  }

  void hash_direction(int l, int d, int64_t& piece) {
    if (plan_.layer[l].direction[d].pieces == 0) return;
    each_piece(l, d, piece, [&](const Piece& part, int64_t at, int64_t n, int64_t k) {
      plan_.digests[k] = digest(part.data + at, n, k);
    });
  }

  static Digest digest(const S* data, int64_t scalars, int64_t piece) {
    return hash_bytes(data, scalars * static_cast<int64_t>(sizeof(S)), static_cast<uint64_t>(piece));
  }

  // What is packed is a copy, and filed under the copy's digest: another thread may write the weights meanwhile. Whether
  // there is one.
  bool copy_direction(int l, int d, int64_t& piece) {
    DirectionPlan<S>& way = plan_.layer[l].direction[d];
    if (!way.copy) {
      piece += way.pieces;
      return false;
    }
    S* const copy = static_cast<S*>(pack_data(way.copy));
    each_piece(l, d, piece, [&](const Piece& part, int64_t at, int64_t n, int64_t k) {
      S* const to = copy + part.before + at;
      std::memcpy(to, part.data + at, static_cast<size_t>(n) * sizeof(S));
      plan_.digests[k] = digest(to, n, k);
    });
    return true;
  }

  void name_copies() {
    int64_t piece = 0;
    for (int l = 0; l < call_.layers; ++l)
      for (int d = 0; d < call_.layer[l].directions; ++d) {
        DirectionPlan<S>& way = plan_.layer[l].direction[d];
        if (way.copy) name(way, piece);
        piece += way.pieces;
      }
  }

  // The digest of a direction's pieces, of which `piece` is the first.
  void name(DirectionPlan<S>& way, int64_t piece) {
    Digest whole{0, 0};
    for (const int64_t end = piece + way.pieces; piece < end; ++piece) {
      absorb(whole, plan_.digests[piece].a);
      absorb(whole, plan_.digests[piece].b);
    }
    way.key.digest[0] = whole.a;
    way.key.digest[1] = whole.b;
  }

  void look_up() {
    int64_t piece = 0;
    for (int l = 0; l < call_.layers; ++l) {
      const ForwardLayer<S>& layer = call_.layer[l];
      for (int d = 0; d < layer.directions; ++d) {
        DirectionPlan<S>& way = plan_.layer[l].direction[d];
        if (way.pieces == 0) continue;
        bool projected = layer.direction[d].w_hr != nullptr;
        name(way, piece);
        piece += way.pieces;
        way.key.shape[0] = layer.input_size;
        way.key.shape[1] = layer.hidden_size;
        way.key.shape[2] = layer.projection_size;
        way.key.shape[3] = projected;
        way.key.packer = reinterpret_cast<const void*>(&pack_gate_panel<S>);
        way.key.kind = 0;
        way.pack = pack_find(way.key);
        if (!way.pack) {
          way.pack = pack_make(static_cast<size_t>(packed_size(layer, projected)) * sizeof(S));
          Piece part[3];
          const Piece& last = part[parts(layer, layer.direction[d], part) - 1];
          way.copy = pack_make(static_cast<size_t>(last.before + last.count) * sizeof(S));
          if (!way.pack || !way.copy) {
            plan_.out_of_memory = true;
            return;
          }
          way.fresh = static_cast<S*>(pack_data(way.pack));
        }
        set_panels(layer, way, static_cast<const S*>(pack_data(way.pack)));
      }
    }
  }

  bool pack_direction(int l, int d, int64_t& turn) {
    constexpr int64_t L = Vec<S>::lanes;
    const ForwardLayer<S>& layer = call_.layer[l];
    ForwardDirection<S> from = layer.direction[d];
    DirectionPlan<S>& to = plan_.layer[l].direction[d];
    if (!to.fresh) return false;
    int64_t H = layer.hidden_size, I = layer.input_size, P = layer.projection_size;
    if (to.copy) {
      Piece part[3];
      parts(layer, from, part);
      from.w_ih = static_cast<const S*>(pack_data(to.copy));
      from.w_hh = from.w_ih + part[1].before;
      if (from.w_hr) from.w_hr = from.w_ih + part[2].before;
    }
    for (int64_t block = 0; block < blocks_of<S>(H); ++block, ++turn) {
      if (turn % plan_.grid.size() != member_) continue;
      pack_gate_panel(from.w_ih, H, I, block, const_cast<S*>(to.ih) + block * I * 4 * L);
      pack_gate_panel(from.w_hh, H, P, block, const_cast<S*>(to.hh) + block * P * 4 * L);
    }
    if (from.w_hr) {
      for (int64_t block = 0; block < ceil_div(P, 4 * L); ++block, ++turn) {
        if (turn % plan_.grid.size() != member_) continue;
        pack_plain_panel(from.w_hr, P, H, block, const_cast<S*>(to.hr) + block * H * 4 * L);
      }
    }
    return true;
  }

  void keep() {
    for (int l = 0; l < call_.layers; ++l)
      for (int d = 0; d < call_.layer[l].directions; ++d) {
        DirectionPlan<S>& way = plan_.layer[l].direction[d];
        if (way.fresh && way.pack) pack_insert(way.key, way.pack);
        pack_release(way.copy);
        way.copy = nullptr;
      }
  }

  Plan<S>& plan_;
  const ForwardCall<S>& call_;
  const int member_;
};
CELLGATE_END
