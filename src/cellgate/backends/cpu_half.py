"""bfloat16 on the native engine where the CPU multiplies it: see ``native/half.h``.

Forward reads and writes bfloat16 and keeps gates and cell states in float32; h is rounded at every step, as nn.LSTM
rounds it, c never. Backward rounds the gradients of the gates at every step before it multiplies them, as oneDNN does;
its sums are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cellgate.equations import PLAIN

from . import cpu_tensors
from .cpu_autograd import recorded_backward
from .cpu_tensors import (
    addresses,
    contiguous,
    empty_gradient,
    empty_states,
    layer_addresses,
    more_than_numbers,
    plain_gradient,
    plain_rows,
    state_parts,
    strides,
)
from .problem import Inputs, Problem, Result
from .uncompiled import uncompiled

__all__ = ["reason_against", "run"]


def reason_against(native: Any, problem: Problem) -> str | None:
    """Return why these kernels cannot run a problem that the engine can run in float32, or None."""
    if problem.dtype != torch.bfloat16:
        return "not bfloat16"
    if not native.has_half():
        return "no instructions for bfloat16"
    if problem.cell != PLAIN or problem.noise or problem.connection is not None:
        return "not the plain cell"
    if problem.packed or problem.lengths or problem.reset or problem.gates or problem.dropout > 0:
        return "not a dense batch without gates and dropout"
    if any(problem.proj_sizes):
        return "projected"
    if problem.steps == 0 or problem.batch == 0 or problem.input_size == 0:
        return "empty"
    return None if problem.memory == "fast" or not problem.needs_grad else "another memory mode"


@dataclass(slots=True)
class _Call:
    native: Any
    stack: Any  # of the same shape in float32
    problem: Problem
    inputs: Inputs
    threads: int


def run(native: Any, stack: Any, problem: Problem, inputs: Inputs, threads: int) -> Result:
    """Run a stack in bfloat16; ``stack`` is its shape in float32. Recorded by autograd if the problem says so."""
    call = _Call(native, stack, problem, inputs, threads)
    weights = [w for layer in inputs.weights for cell in layer for w in cell if w is not None]
    # Outside of the node, so that what it saves has a history.
    x, tensors = plain_rows(inputs.x), map(contiguous, (*state_parts(inputs.h0), *state_parts(inputs.c0), *weights))
    if problem.needs_grad:
        output, *rest = _Half.apply(call, x, *tensors)
        states = len(rest) // 2
        h_n, c_n = rest[:states], rest[states:]
    else:
        output, h_n, c_n = _forward(call, x, None, tuple(tensors))
    if problem.uniform:
        return Result(output, h_n[0], c_n[0])
    return Result(output, tuple(h_n), tuple(c_n))


def _states(problem: Problem, inputs: Inputs) -> int:
    """Return how many tensors each of h0 and c0 is."""
    return 0 if inputs.h0 is None else 1 if problem.uniform else problem.layers


def _described(call: _Call, x: Tensor, y: Tensor, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return what forward and backward are told alike: the stack, x, y, weights, h0 and c0."""
    problem, sizes, n = call.problem, call.problem.output_sizes, _states(call.problem, call.inputs)
    return (
        call.stack,
        problem.steps,
        problem.batch,
        x.data_ptr(),
        *strides(x),
        y.data_ptr(),
        addresses(tensors[2 * n :]),
        layer_addresses(tensors[:n], problem, sizes),
        layer_addresses(tensors[n : 2 * n], problem, sizes),
    )


def _forward(
    call: _Call, x: Tensor, saved: Tensor | None, tensors: tuple[Tensor, ...]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    problem, sizes = call.problem, call.problem.output_sizes
    y = x.new_empty(problem.steps, problem.batch, problem.directions * sizes[-1])
    h_n, c_n = empty_states(problem, sizes, x), empty_states(problem, sizes, x)
    call.native.half_forward(
        *_described(call, x, y, tensors),
        layer_addresses(h_n, problem, sizes),
        layer_addresses(c_n, problem, sizes),
        call.threads,
        0 if saved is None else saved.data_ptr(),
    )
    return y, h_n, c_n


def _dense(t: Tensor) -> Tensor:
    """Return the tensor without gaps in memory, in the order of its dimensions or with the first two exchanged."""
    t = t.resolve_neg()
    return t if t.is_contiguous() or (t.dim() == 3 and t.transpose(0, 1).is_contiguous()) else t.contiguous()


class _Half(Function):
    """All layers and directions of a stack."""

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        problem = call.problem
        ctx.set_materialize_grads(False)
        size = call.stack.saved_size(problem.steps, problem.batch, 0, 1, 1, False)
        wide = x.new_empty(0, dtype=torch.float32)  # whatever the default dtype is
        saved = cpu_tensors.new_block((size,), wide, cpu_tensors.REUSED_BLOCK)
        y, h_n, c_n = _forward(call, x, saved, tensors)
        ctx.call, ctx.saved = call, cpu_tensors.Saved.of((x, y, saved, *tensors))
        ctx.save_for_backward(x, y, saved, *tensors)
        return (y, *h_n, *c_n)

    @staticmethod
    @uncompiled
    def backward(ctx: Any, dy: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        call: _Call = ctx.call
        problem, sizes = call.problem, call.problem.output_sizes
        x, y, saved, *tensors = ctx.saved_tensors
        ctx.saved.replaced((x, y, saved, *tensors))
        needs = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled() or more_than_numbers((dy, *grads)):
            return None, *recorded_backward(problem, call.inputs, x, tensors, needs, (dy, *grads))
        n = _states(problem, call.inputs)
        states = len(grads) // 2
        x, y, dy = plain_rows(x), y.contiguous(), None if dy is None else plain_gradient(dy)
        dh_n, dc_n = ([None if g is None else contiguous(g) for g in part] for part in (grads[:states], grads[states:]))
        # In float32, because two directions add to it.
        dx = torch.empty_like(_dense(x), dtype=torch.float32) if needs[0] else None
        found = [empty_gradient(t) if need else None for t, need in zip(tensors, needs[1:], strict=True)]
        call.native.half_backward(
            *_described(call, x, y, tensors),
            call.threads,
            saved.data_ptr(),
            *((0, 0, 0) if dy is None else (dy.data_ptr(), *strides(dy))),
            layer_addresses(dh_n, problem, sizes),
            layer_addresses(dc_n, problem, sizes),
            *((0, 0, 0) if dx is None else (dx.data_ptr(), *strides(dx))),
            addresses(found[2 * n :]),
            layer_addresses(found[:n], problem, sizes),
            layer_addresses(found[n : 2 * n], problem, sizes),
        )
        if dx is None:
            return None, None, *found
        rounded = torch.empty_like(dx, dtype=torch.bfloat16)
        call.native.half_convert(False, (dx.data_ptr(),), (rounded.data_ptr(),), (dx.numel(),), call.threads)
        return None, rounded, *found
