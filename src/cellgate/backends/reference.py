"""The reference backend: a scan over the equations and nothing else.

Every operation is a differentiable PyTorch operation, so it has double backward, ``vmap``, ``jvp``,
``torch.compile``, any floating dtype and any device. It is slow, and it is the truth that the other backends are
compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cellgate.equations import Cell, CellMasks, LSTMWeights, connect, input_part, input_sums, step_for, stepper

from .problem import Gates, Inputs, Problem, Result, join_state, split_state
from .ragged import active_mask, padded_inputs, repacked_result

__all__ = ["NAME", "reason_against", "run", "run_cell", "run_direction"]

NAME = "reference"


def reason_against(problem: Problem) -> str | None:
    """Return None: the reference runs everything."""
    return None


def run(problem: Problem, inputs: Inputs) -> Result:
    """Execute the stack layer by layer, direction by direction, step by step."""
    if problem.packed:
        padded, padded_in = padded_inputs(problem, inputs)
        assert padded_in.lengths is not None
        return repacked_result(run(padded, padded_in), padded_in.lengths)

    x = inputs.x
    if problem.tracing:
        # A trace has the steps one by one: run with more or fewer it fails here, not silently after so many.
        x = x.unflatten(0, (problem.steps,))
    active = None
    if inputs.lengths is not None:
        active = active_mask(inputs.lengths, problem.steps, x.device)
        # Padding may hold anything, NaN too; as a zero it cannot reach a gradient.
        x = torch.where(active.unsqueeze(-1), x, 0.0)
    h0 = _initial(inputs.h0, problem, problem.output_sizes, x)
    c0 = _initial(inputs.c0, problem, problem.memory_sizes, x)

    h_n, c_n, gates = [], [], []
    for layer, directions in enumerate(inputs.weights):
        before = x
        if layer > 0 and inputs.dropout_masks is not None:
            x = x * inputs.dropout_masks[layer - 1]
        scans = [
            _scan(
                x,
                h0[layer][d],
                c0[layer][d],
                weights,
                active,
                inputs.reset,
                cell=problem.cell,
                masks=None if inputs.cell_masks is None else inputs.cell_masks[layer][d],
                backward=d == 1,
                record=problem.gates,
            )
            for d, weights in enumerate(directions)
        ]
        outputs, h_last, c_last, records = zip(*scans, strict=True)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if layer > 0 and problem.connection is not None:
            x = connect(before, x, None if inputs.highway is None else inputs.highway[layer - 1])
        h_n.append(torch.stack(h_last))
        c_n.append(torch.stack(c_last))
        if problem.gates:
            gates.append(Gates(*(torch.stack(parts, dim=2) for parts in zip(*records, strict=True))))
    return Result(x, join_state(h_n, problem), join_state(c_n, problem), tuple(gates) if problem.gates else None)


def run_cell(x: Tensor, h: Tensor, c: Tensor, weights: LSTMWeights) -> tuple[Tensor, Tensor]:
    """Compute one step of one cell: x (B, I), h and c (B, H) to the new h and c."""
    new = step_for(weights)(input_part(x, weights), h, c, weights)
    return new.h, new.c


def run_direction(
    problem: Problem,
    inputs: Inputs,
    masks: CellMasks | None,
    weights: LSTMWeights,
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    backward: bool,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Run one direction of one layer: x (T, B, I), h0 and c0 (B, size) to output, h_n, c_n and i, f, g, o, c, h."""
    active = None
    if inputs.lengths is not None:
        active = active_mask(inputs.lengths, problem.steps, x.device)
        x = torch.where(active.unsqueeze(-1), x, 0.0)
    h0 = x.new_zeros(problem.batch, problem.output_sizes[0]) if h0 is None else h0
    c0 = x.new_zeros(problem.batch, problem.memory_sizes[0]) if c0 is None else c0
    cell, record = problem.cell, problem.gates
    return _scan(x, h0, c0, weights, active, inputs.reset, cell=cell, masks=masks, backward=backward, record=record)


def _initial(state, problem: Problem, sizes: tuple[int, ...], x: Tensor) -> tuple[Tensor, ...]:
    if state is not None:
        return split_state(state, problem)
    return tuple(x.new_zeros(problem.directions, problem.batch, size) for size in sizes)


def _scan(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: LSTMWeights,
    active: Tensor | None,
    reset: Tensor | None,
    *,
    cell: Cell,
    masks: CellMasks | None,
    backward: bool,
    record: bool,
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction.

    Args:
        x: (T, B, I).
        h: h_0, (B, P).
        c: c_0, (B, size of the memory).
        weights: The cell's parameters.
        active: (T, B) bool, false past a sequence's end, or None.
        reset: (T, B) bool, true where an episode begins, or None.
        cell: What the cell computes.
        masks: Noise inside the recurrence, or None.
        backward: Read from the last step to the first.
        record: Also return i, f, g, o, c and h of every step.

    Returns:
        Output (T, B, P), last h (B, P), last c (B, H), and the record, six of (T, B, size), or an empty tuple.
    """
    step = stepper(cell, weights)
    steps = x.shape[0]
    a_x = input_sums(x, weights, cell)
    # Taken apart at once: each a_x[t] would have a gradient of all steps, zero but for one.
    inputs = a_x.unbind(0)
    boundary = _boundaries(active, reset, steps, backward)
    outputs: list[Tensor] = [h] * steps
    records: list[tuple[Tensor, ...]] = [()] * steps
    for t in reversed(range(steps)) if backward else range(steps):
        cleared = None if boundary is None else boundary[t]
        noise = None if masks is None else masks.at(t)
        if cleared is not None:
            keep = ~cleared.unsqueeze(-1)
            new, memory = step(inputs[t], torch.where(keep, h, 0.0), torch.where(keep, c, 0.0), noise)
        else:
            new, memory = step(inputs[t], h, c, noise)
        if active is None:
            h, c, outputs[t] = new.h, memory, new.h
            records[t] = new
        else:
            on = active[t].unsqueeze(-1)
            h, c = torch.where(on, new.h, h), torch.where(on, memory, c)
            outputs[t] = torch.where(on, new.h, 0.0)
            records[t] = tuple(torch.where(on, part, 0.0) for part in new) if record else ()
    if not steps:
        # The equations over no steps: nothing but shapes, and a graph that backward can walk.
        none, _ = step(a_x, h.expand(0, *h.shape), c.expand(0, *c.shape), None)
        return none.h, h, c, none if record else ()
    output = torch.stack(outputs)
    if not record:
        return output, h, c, ()
    return output, h, c, tuple(torch.stack(parts) for parts in zip(*records, strict=True))


def _boundaries(active: Tensor | None, reset: Tensor | None, steps: int, backward: bool) -> list[Tensor | None] | None:
    """Return, for each step, the (B,) mask of sequences whose state must be zero before it, or None for none."""
    if reset is None:
        return None
    if not backward:
        return list(reset.unbind(0))
    # Read backwards, the state comes from step t+1, across the boundary that reset[t+1] marks. A mark past the end of a
    # sequence bounds nothing: the state before its last step is the given h_0.
    crossed = reset if active is None else reset & active
    return [crossed[t + 1] if t + 1 < steps else None for t in range(steps)]
