"""Training on the native engine for the most frequent call, with as little Python around the kernels as can be.

A short sequence takes the kernels some tens of microseconds, the full way through ``prepare``, ``dispatch`` and
``cpu_autograd`` a hundred more. A call with plain tensors and neither dropout nor gates needs no more than a node of
the autograd graph around two native calls (``native/bindings_training.cpp``), which keep the same block and call the
same kernels as ``cpu_autograd``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from . import cpu, cpu_autograd, cpu_tensors
from .problem import Inputs, Problem, nested_weights
from .uncompiled import uncompiled

__all__ = ["train"]

_is_grad_enabled = torch.is_grad_enabled


class _Plain(Function):
    @staticmethod
    def forward(
        ctx: Any, training: Any, extent: Any, x: Tensor, h0: Tensor | None, c0: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        y, h_n, c_n, saved = training.forward(extent, x, h0, c0, weights)
        ctx.training, ctx.extent = training, extent
        ctx.save_for_backward(x, y, saved, h0, c0, *weights)
        return y, h_n, c_n

    @staticmethod
    @uncompiled
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        tensors, needs = ctx.saved_tensors, ctx.needs_input_grad
        if not _is_grad_enabled() and forward_ad._current_level < 0:
            found = ctx.training.backward(ctx.extent, tensors, needs, dy, dh_n, dc_n)
            if found is not None:
                return found
        return None, None, *_backward_in_full(ctx.training, ctx.extent, tensors, needs[2:], (dy, dh_n, dc_n))


# Function.apply itself asks first for transforms of torch.func, which is done here before.
train: Any = super(Function, _Plain).apply  # pyright: ignore[reportAttributeAccessIssue]
"""Run a stack forward so that autograd can run it backward.

Args:
    training: ``cellgate._native.Training``.
    extent: ``cellgate._native.Extent``: lengths, packed rows, resets; None where every sequence has all steps.
    x: (T, B, I) or packed (N, I), its last dimension contiguous, on the CPU; T, B >= 1.
    h0: (L * D, B, P), contiguous, or None for zeros.
    c0: (L * D, B, H), contiguous; None with h0.
    *weights: In the order of the module's, contiguous.

Returns:
    output (T, B, D*P) or packed (N, D*P), h_n and c_n.
"""


def _backward_in_full(
    training: Any, extent: Any, tensors: tuple[Any, ...], needs: Sequence[bool], grads: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Run backward where a graph or a batch is asked for, or a tensor does not lie as the native call wants it."""
    x, y, saved, h0, c0, *weights = tensors
    layers, directions, bias, hidden, proj, memory, bits = training.description
    lengths, sizes, reset = (None, None, None) if extent is None else extent.parts
    steps, batch = x.shape[:2] if extent is None else (extent.steps, extent.batch)
    problem = Problem(
        steps,
        batch,
        x.shape[-1],
        (hidden,) * layers,
        (proj,) * layers,
        directions,
        bias,
        torch.float64 if bits == 64 else torch.float32,
        "cpu",
        needs_grad=True,
        packed=sizes is not None,
        lengths=lengths is not None,
        reset=reset is not None,
        memory=memory,
    )
    stack = cpu.stack_of(problem)
    cpu_tensors.check_given_back(tensors, [(shape, problem.dtype) for shape in _shapes_saved(stack, problem, sizes)])
    inputs = Inputs(
        x,
        h0,
        c0,
        nested_weights(weights, problem),
        lengths=None if lengths is None else torch.tensor(lengths, device="cpu"),
        batch_sizes=None if sizes is None else torch.tensor(sizes, device="cpu"),
        reset=None if reset is None else torch.frombuffer(bytearray(reset), dtype=torch.bool).view(steps, batch),
    )
    states = () if h0 is None else (h0, c0)
    if h0 is None:
        needs = (needs[0], *needs[3:])
    needs = cpu_tensors.needed(problem, needs, *grads[:2])
    if _is_grad_enabled() or cpu_tensors.more_than_numbers(grads):
        found = cpu_autograd.recorded_backward(problem, inputs, x, (*states, *weights), needs, grads)
    else:
        call = cpu_autograd.recorded(problem, inputs, torch.get_num_threads(), x, y, saved, (*states, *weights))
        found = cpu_autograd.backward(stack, problem, call, needs, grads)
    return found if states else [found[0], None, None, *found[1:]]


def _shapes_saved(stack: Any, problem: Problem, batch_sizes: Sequence[int] | None) -> list[tuple[int, ...]]:
    """Return the shapes of what was saved: x, output, the block, h0, c0 and the weights."""
    hidden, out = problem.hidden_sizes[0], problem.output_sizes[0]
    leading = (problem.steps, problem.batch) if batch_sizes is None else (sum(batch_sizes),)
    rows, width = 0 if batch_sizes is None else sum(batch_sizes), problem.directions * out
    states = (problem.layers * problem.directions, problem.batch)
    kept = stack.saved_size(problem.steps, problem.batch, rows, *cpu_autograd.keep_of(problem), False)
    shapes = [(*leading, problem.input_size), (*leading, width), (kept,), (*states, out), (*states, hidden)]
    for layer in range(problem.layers):
        weights = [(4 * hidden, width if layer else problem.input_size), (4 * hidden, out)]
        weights += [(4 * hidden,)] * 2 if problem.bias else []
        weights += [(out, hidden)] if problem.proj_sizes[0] else []
        shapes += weights * problem.directions
    return shapes
