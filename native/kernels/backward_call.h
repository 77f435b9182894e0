// A backward call from its beginning to its end: how many members, their scratch, and layer by layer what they run.
#pragma once

#include "kernels/backward.h"

CELLGATE_BEGIN
// One layer, by all members of a team.
template <class S>
struct BackwardTask {
  BackwardJob<S> job[2];
  bool together;  // two directions at the same time, the members of the first before those of the second
  Epoch* halves;

  static void run(void* arg, int member, int) {
    BackwardTask& task = *static_cast<BackwardTask*>(arg);
    if (task.together) {
      const int first = task.job[0].members, both = first + task.job[1].members;
      const int way = member < first ? 0 : 1;
      const int me = member - way * first;
      if (member < both) BackwardMember<S>(task.job[way], me, false, {task.halves, both}, member).run();
      return;
    }
    for (int way = 0; way < task.job[0].layer->directions; ++way)
      if (member < task.job[way].members) BackwardMember<S>(task.job[way], member, way > 0, {nullptr, 0}, 0).run();
  }
};

// About how many multiply-adds are worth a second thread: they take longer than waking it. Writing the gradient of a
// weight, and reading the weight, takes as long as kWeightTraffic of them.
constexpr int64_t kWorthThread = 4'000'000;
constexpr int64_t kWeightTraffic = 4;

template <class S>
int backward_threads(const BackwardCall<S>& call) {
  int64_t work = 0;
  int most = 1;
  for (int l = 0; l < call.layers; ++l) {
    const BackwardLayer<S>& layer = call.layer[l];
    const int64_t weights = layer.directions * 4 * layer.hidden_size * (layer.input_size + layer.projection_size);
    work += weights * (2 * call.steps * call.batch + kWeightTraffic);
    const bool split =
        BackwardJob<S>::may_split_units(call.batch, layer.hidden_size, layer.projection_size, call.threads);
    most = larger(most, split ? call.threads : layer.directions * BackwardJob<S>::row_members(call.batch));
  }
  return static_cast<int>(smaller<int64_t>(smaller(call.threads, most), 1 + work / kWorthThread));
}

// One layer by `size` members; a null team is the calling thread alone.
template <class S>
bool backward_layer(const BackwardCall<S>& call, const BackwardLayer<S>& layer, Team* team, int size, bool& memory) {
  BackwardTask<S> task;
  task.together = layer.directions == 2 && size > 1;
  for (int way = 0; way < layer.directions; ++way) {
    const int members = !task.together ? size : way == 0 ? (size + 1) / 2 : size / 2;
    task.job[way].lay_out(call, layer, layer.direction[way], members, task.together);
  }
  auto place = [&](Arena& arena) {
    task.halves = arena.take<Epoch>(size);
    for (int way = 0; way < layer.directions; ++way) task.job[way].place(arena);
  };
  Arena sizes(nullptr);
  place(sizes);
  void* block = scratch(Use::backward, sizes.used);
  memory = block != nullptr;
  if (!block) return true;
  Arena arena(block);
  place(arena);
  for (int m = 0; m < size; ++m) task.halves[m] = Epoch();
  for (int way = 0; way < layer.directions; ++way) task.job[way].prepare();
  if (team) return team->run(BackwardTask<S>::run, &task);
  BackwardTask<S>::run(&task, 0, 1);
  return true;
}

// Runs the call. False: out of memory, and nothing has been written that counts.
template <class S>
bool backward(const BackwardCall<S>& call) {
  Team team(backward_threads(call), call.threads);
  bool memory = true;
  for (int l = call.layers; l-- > 0 && memory;) {
    if (!backward_layer(call, call.layer[l], &team, team.size(), memory))
      backward_layer(call, call.layer[l], static_cast<Team*>(nullptr), 1, memory);
  }
  scratch_done(Use::backward);
  return memory;
}
CELLGATE_END
