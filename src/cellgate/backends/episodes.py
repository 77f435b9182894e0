"""Resets for kernels that have none: every episode becomes a sequence of its own in one ragged batch.

A reset at step t says that step t and step t-1 belong to different episodes, so a batch of B rows with resets is a
ragged batch of E >= B episodes. The first episode of a row starts from the row's initial state, all others from zero;
the last one leaves the row's final state (for the backward direction it is the other way round).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from .problem import Inputs, Problem, Result, join_state, split_state

__all__ = ["run_by_episodes"]


def run_by_episodes(problem: Problem, inputs: Inputs, run: Callable[[Problem, Inputs], Result]) -> Result:
    """Run a problem with resets as one without, through ``run``, which must know lengths."""
    assert inputs.reset is not None
    x, device = inputs.x, inputs.x.device
    steps, batch = problem.steps, problem.batch
    lengths = inputs.lengths if inputs.lengths is not None else torch.full((batch,), steps, device="cpu")

    # A reset before the first step ends no episode: it only takes away the initial state.
    reset = inputs.reset.cpu() & (torch.arange(steps, device="cpu").unsqueeze(1) < lengths)
    cleared = reset[0]
    starts = reset.clone()
    starts[0] = True
    row, start = starts.T.nonzero(as_tuple=True)  # sorted by row, then by step
    last_of_row = torch.ones_like(row, dtype=torch.bool)
    last_of_row[:-1] = row[1:] != row[:-1]
    end = torch.where(last_of_row, lengths[row], torch.cat([start[1:], start[:1]]))
    episode_lengths = end - start
    first_of_row = start == 0

    # Episode e, step s lies at padded position (start[e] + s, row[e]).
    longest = max(int(episode_lengths.max()), 1)
    s = torch.arange(longest, device="cpu").unsqueeze(1)
    inside = s < episode_lengths
    source = torch.where(inside, (start + s) * batch + row, 0).flatten().to(device)
    back = source[inside.flatten().to(device)]

    def gather(data: Tensor) -> Tensor:
        return data.flatten(0, 1).index_select(0, source).unflatten(0, (longest, len(row)))

    def scatter(data: Tensor) -> Tensor:
        taken = data.flatten(0, 1)[inside.flatten().to(device)]
        flat = data.new_zeros(steps * batch, *data.shape[2:])
        return flat.index_copy(0, back, taken).unflatten(0, (steps, batch))

    def initial(state, sizes: tuple[int, ...]):
        if state is None:
            return None
        # Forward: the first episode, unless its first step is itself a reset. Backward: the last one.
        takes = [first_of_row & ~cleared[row], last_of_row][: problem.directions]
        mask = torch.stack(takes).unsqueeze(-1).to(device)
        parts = split_state(state, problem)
        return join_state([torch.where(mask, p.index_select(1, row.to(device)), 0.0) for p in parts], problem)

    episodes = replace(problem, steps=longest, batch=len(row), lengths=True, reset=False)
    result = run(
        episodes,
        replace(
            inputs,
            x=gather(x),
            h0=initial(inputs.h0, problem.output_sizes),
            c0=initial(inputs.c0, problem.hidden_sizes),
            lengths=episode_lengths,
            reset=None,
            dropout_masks=None if inputs.dropout_masks is None else [gather(m) for m in inputs.dropout_masks],
        ),
    )
    # The forward direction leaves a row at its last episode, the backward direction at its first.
    leaves = [last_of_row.nonzero().squeeze(1), first_of_row.nonzero().squeeze(1)][: problem.directions]

    def final(state):
        parts = split_state(state, problem)
        return join_state(
            [torch.stack([p[d].index_select(0, e.to(device)) for d, e in enumerate(leaves)]) for p in parts], problem
        )

    gates = None
    if result.gates is not None:
        gates = tuple(layer.map(scatter) for layer in result.gates)
    return Result(scatter(result.output), final(result.h_n), final(result.c_n), gates)
