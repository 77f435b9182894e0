"""Training on the native engine: the whole stack is one node of the autograd graph.

Forward leaves one block of memory for backward (``native/saved.h``): by ``memory``, gates and cell states ("fast"),
cell states alone ("lean"), or the cell state of every 16th step ("minimal"); what is missing is computed again, chunk
by chunk, from the input and the output. Backward is one native call that returns every gradient.

A backward pass that is itself recorded (``create_graph=True``) runs the reference backend on the same inputs instead,
so gradients of gradients are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cellgate.equations import LSTMWeights

from . import cpu_tensors, reference
from .cpu_tensors import (
    Saved,
    addresses,
    contiguous,
    empty_gradient,
    empty_output,
    empty_rows_like,
    empty_states,
    layer_addresses,
    more_than_numbers,
    needed,
    plain_gradient,
    plain_rows,
    state_parts,
    strides,
)
from .cpu_traces import gates_of, trace_addresses, trace_views
from .problem import Inputs, Problem, Result
from .ragged import padded_inputs, repacked_result
from .uncompiled import uncompiled

__all__ = [
    "KEEP",
    "Recorded",
    "backward",
    "forward",
    "gradients_of",
    "keep_of",
    "leaves_of",
    "recorded",
    "recorded_backward",
    "run_kept",
    "run_recorded",
    "saved_scalars",
]

KEEP = {"fast": 1, "lean": 2, "minimal": 3}
"""What ``Problem.memory`` is to the native core."""

_EVERY = 16  # "minimal" keeps the cell state of every 16th step


@dataclass(slots=True)
class _Call:
    """What one call of the stack needs beside its differentiable tensors."""

    stack: Any
    problem: Problem
    inputs: Inputs
    threads: int


def run_recorded(stack: Any, problem: Problem, inputs: Inputs, threads: int) -> Result:
    """Run a stack forward so that autograd can run it backward.

    Args:
        stack: The native description of the stack, ``cellgate._native.Stack``.
        problem: float32 or float64 on the CPU.
        inputs: Its tensors.
        threads: At most so many threads, in backward too.

    Returns:
        The result, every part of it differentiable with respect to x, h0, c0 and all weights.
    """
    if problem.packed and problem.gates:
        padded, padded_in = padded_inputs(problem, inputs)
        assert padded_in.lengths is not None
        return repacked_result(run_recorded(stack, padded, padded_in, threads), padded_in.lengths)
    h0, c0 = state_parts(inputs.h0), state_parts(inputs.c0)
    weights = [w for layer in inputs.weights for cell in layer for w in cell if w is not None]
    call = _Call(stack, problem, inputs, threads)
    # Made plain outside of the node, so that what it saves has a history.
    output, *rest = _Stack.apply(call, plain_rows(inputs.x), *map(contiguous, (*h0, *c0, *weights)))
    states = 1 if problem.uniform else problem.layers
    h_n, c_n, trace = rest[:states], rest[states : 2 * states], rest[2 * states :]
    if problem.uniform:
        result = Result(output, h_n[0], c_n[0])
    else:
        result = Result(output, tuple(h_n), tuple(c_n))
    if problem.gates:
        result.gates = gates_of(problem, output, trace)
    return result


@dataclass(slots=True)
class Recorded:
    """A call as the native core knows it: addresses, good as long as the tensors live that are kept beside them.

    Attributes:
        arguments: Of ``Stack.backward``, those of forward first.
        tensors: x, output, saved block, then h0, c0 and weights, all as plain as the addresses want them.
        extras: lengths, batch_sizes, reset and dropout masks.
    """

    arguments: tuple[Any, ...]
    tensors: tuple[Tensor, ...]
    extras: tuple[Any, ...]


def keep_of(problem: Problem) -> tuple[int, int]:
    """Return what a training call keeps, by its number in ``native/saved.h``, and K of "minimal"."""
    keep = 1 if problem.gates else KEEP[problem.memory]
    return keep, _EVERY if keep == 3 else 1


def saved_scalars(
    steps: int,
    batch: int,
    rows: int,
    hidden_sizes: Sequence[int],
    proj_sizes: Sequence[int],
    directions: int,
    dropout: bool,
    memory: str,
) -> int:
    """Return the size of the saved block, as ``Stack.saved_size`` does, for sizes that may be symbols of a graph."""
    total = 0
    keep = KEEP[memory]
    for layer, (hidden, proj) in enumerate(zip(hidden_sizes, proj_sizes, strict=True)):
        states = -(-steps // _EVERY) * batch if keep == 3 else rows
        widths = [4 * hidden] * (keep == 1) + [hidden] * (proj > 0 and keep != 3)
        out = [proj or hidden] * (1 + dropout) if layer + 1 < len(hidden_sizes) else []
        sizes = [states * directions * hidden, *(rows * directions * width for width in widths + out)]
        total += sum((size + 31) // 32 * 32 for size in sizes)
    return total


def recorded(
    problem: Problem, inputs: Inputs, threads: int, x: Tensor, y: Tensor, saved: Tensor, tensors: tuple[Tensor, ...]
) -> Recorded:
    """Describe a call to the native core.

    Args:
        problem: What is computed.
        inputs: Of which lengths, batch_sizes, reset and masks are used.
        threads: At most so many.
        x: The input.
        y: Memory for the output, or the output.
        saved: Memory for what backward needs, or what forward left there.
        tensors: h0 and c0 (a layer each where the layers differ in size, or none), then all weights.
    """
    # Memory that forward is to fill is plain; what a hook of autograd gives back need not be.
    x, y, saved = plain_rows(x), plain_rows(y), saved.contiguous()
    tensors = tuple([t if t.is_contiguous() and not t.is_neg() else contiguous(t) for t in tensors])
    lengths, batch_sizes, reset, masks = extras = _plain_extras(inputs)
    states = 0 if inputs.h0 is None else 1 if problem.uniform else problem.layers
    arguments = (
        problem.steps,
        problem.batch,
        x.data_ptr(),
        *strides(x),
        y.data_ptr(),
        *strides(y),
        addresses(tensors[2 * states :]),
        layer_addresses(tensors[:states], problem, problem.output_sizes),
        layer_addresses(tensors[states : 2 * states], problem, problem.hidden_sizes),
        threads,
        0 if lengths is None else lengths.data_ptr(),
        0 if reset is None else reset.data_ptr(),
        x.shape[0] if problem.packed else 0,
        0 if batch_sizes is None else batch_sizes.data_ptr(),
        None if masks is None else addresses(masks),
        saved.data_ptr(),
        *keep_of(problem),
    )
    return Recorded(arguments, (x, y, saved, *tensors), extras)


def forward(
    stack: Any, problem: Problem, call: Recorded, weights_change: bool = True
) -> tuple[list[Tensor], list[Tensor]]:
    """Run a described call forward, into its output and its saved block; return h_n and c_n.

    Weights that change from call to call, as in training, are packed for this call only.
    """
    y, sizes = call.tensors[1], problem.output_sizes
    h_n, c_n = empty_states(problem, sizes, y), empty_states(problem, problem.hidden_sizes, y)
    h_at, c_at = layer_addresses(h_n, problem, sizes), layer_addresses(c_n, problem, problem.hidden_sizes)
    before, rest = call.arguments[:11], call.arguments[11:]
    stack.forward(*before, h_at, c_at, *rest, weights_change)
    return h_n, c_n


def backward(
    stack: Any,
    problem: Problem,
    call: Recorded,
    needs: Sequence[bool],
    grads: Sequence[Tensor | None],
    like_x: bool = True,
) -> list[Tensor | None]:
    """Run a described call backward.

    Args:
        stack: The native description of the stack.
        problem: What was computed.
        call: As it was run forward.
        needs: Whether a gradient is wanted of x, h0, c0 and the weights, in the order of ``call.tensors``.
        grads: Of the output, h_n, c_n and the trace; None for zero.
        like_x: Whether the gradient of x lies in memory as x does, batch-major where that is; else time-major.

    Returns:
        The gradients that are wanted, None in place of the others.
    """
    x, _, _, *tensors = call.tensors
    dy, *grads = grads
    states = 1 if problem.uniform else problem.layers
    dh_n, dc_n, trace = grads[:states], grads[states : 2 * states], grads[2 * states :]
    dx = None if not needs[0] else empty_rows_like(x, problem) if like_x else x.new_empty(x.shape)
    found = [empty_gradient(t) if wanted else None for t, wanted in zip(tensors, needs[1:], strict=True)]
    n = 0 if call.arguments[9] is None else states
    if dy is not None:
        dy = plain_gradient(dy)
    dh_n, dc_n, trace = ([None if g is None else contiguous(g) for g in part] for part in (dh_n, dc_n, trace))
    stack.backward(
        *call.arguments,
        0 if dy is None else dy.data_ptr(),
        *((0, 0) if dy is None else strides(dy)),
        layer_addresses(dh_n, problem, problem.output_sizes),
        layer_addresses(dc_n, problem, problem.hidden_sizes),
        trace_addresses(trace, problem) if problem.gates else None,
        0 if dx is None else dx.data_ptr(),
        *((0, 0) if dx is None else strides(dx)),
        addresses(found[2 * n :]),
        layer_addresses(found[:n], problem, problem.output_sizes),
        layer_addresses(found[n : 2 * n], problem, problem.hidden_sizes),
    )
    return [dx, *found]


def run_kept(stack: Any, problem: Problem, inputs: Inputs, threads: int) -> Result:
    """Run a stack forward and leave what backward needs in ``inputs.kept``, for callers that call it themselves."""
    assert inputs.kept is not None
    weights = [w for layer in inputs.weights for cell in layer for w in cell if w is not None]
    y = empty_output(problem, inputs.x)
    tensors = (*state_parts(inputs.h0), *state_parts(inputs.c0), *weights)
    h_n, c_n = forward(stack, problem, recorded(problem, inputs, threads, inputs.x, y, inputs.kept, tensors))
    return Result(y, h_n[0], c_n[0]) if problem.uniform else Result(y, tuple(h_n), tuple(c_n))


class _Stack(Function):
    """All layers and directions of a stack."""

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        problem, inputs = call.problem, call.inputs
        ctx.set_materialize_grads(False)
        y = empty_output(problem, x)
        rows = x.shape[0] if problem.packed else 0
        masked = inputs.dropout_masks is not None
        kept = call.stack.saved_size(problem.steps, problem.batch, rows, *keep_of(problem), masked)
        saved = cpu_tensors.new_block((kept,), x, cpu_tensors.REUSED_BLOCK)
        if problem.gates and problem.lengths:
            saved.zero_()
        done = recorded(problem, inputs, call.threads, x, y, saved, tensors)
        h_n, c_n = forward(call.stack, problem, done, problem.needs_grad)
        ctx.call, ctx.arguments, ctx.extras = call, done.arguments, done.extras
        ctx.saved = Saved.of(done.tensors)
        # The addresses are good as long as these tensors live, and autograd sees to it that nobody has written to them.
        ctx.save_for_backward(*done.tensors)
        return (y, *h_n, *c_n, *(trace_views(saved, problem) if problem.gates else ()))

    @staticmethod
    @uncompiled
    def backward(ctx: Any, dy: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        call: _Call = ctx.call
        tensors, problem = ctx.saved_tensors, call.problem
        last_h = grads[0 if problem.uniform else problem.layers - 1]
        needs = needed(problem, ctx.needs_input_grad[1:], dy, last_h)
        if torch.is_grad_enabled() or more_than_numbers((dy, *grads)):
            x, _, _, *tensors = tensors
            return None, *recorded_backward(problem, call.inputs, x, tensors, needs, (dy, *grads))
        done = Recorded(ctx.arguments, tensors, ctx.extras)
        if ctx.saved.replaced(tensors):
            x, y, saved, *rest = tensors
            done = recorded(problem, call.inputs, call.threads, x, y, saved, tuple(rest))
        return None, *backward(call.stack, problem, done, needs, (dy, *grads))


def recorded_backward(
    problem: Problem,
    inputs: Inputs,
    x: Tensor,
    tensors: Sequence[Tensor],
    needs: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Return gradients by way of the reference, made of PyTorch's operations: it takes batches of gradients too.

    Where autograd records, they are differentiable functions of inputs and incoming gradients.

    Args:
        problem: What was computed.
        inputs: As it was called; its differentiable tensors may have been replaced since.
        x: The input.
        tensors: h0, c0 and weights, as for ``recorded``.
        needs: Whether a gradient is wanted of x and of each of the tensors.
        grads: As for ``backward``.
    """
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        leaves = leaves_of((x, *tensors), needs)
        outputs = _run_again(problem, inputs, leaves)
    return gradients_of(leaves, outputs, needs, grads, recording)


def leaves_of(tensors: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
    """Return what to differentiate by: views, so that a tensor in two places (tied weights) has a gradient for each.

    One that was frozen since forward (``requires_grad_(False)``) has its gradient all the same, as in ``backward``.
    """
    return [
        None if t is None else t.detach().requires_grad_() if need and not t.requires_grad else t.view_as(t)
        for t, need in zip(tensors, needs, strict=True)
    ]


def gradients_of(
    leaves: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    needs: Sequence[bool],
    grads: Sequence[Tensor | None],
    recording: bool,
) -> list[Tensor | None]:
    """Return the gradients of the leaves that are there and needed, None in place of the others; once, or recorded."""
    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
    wanted = [leaf if need else None for leaf, need in zip(leaves, needs, strict=True)]
    there = [leaf for leaf in wanted if leaf is not None]
    if not pairs or not there:
        return [None] * len(wanted)
    found = iter(
        torch.autograd.grad(
            [o for o, _ in pairs],
            there,
            [g for _, g in pairs],
            create_graph=recording,
            allow_unused=True,
            materialize_grads=True,
        )
    )
    return [None if leaf is None else next(found) for leaf in wanted]


def _run_again(problem: Problem, inputs: Inputs, leaves: Sequence[Any]) -> list[Tensor]:
    """Run the reference on x, h0, c0 and weights; return what ``_Stack`` returns."""
    n = 0 if inputs.h0 is None else 1 if problem.uniform else problem.layers
    x, tensors = leaves[0], leaves[1:]
    states = (
        [part if not problem.uniform else part[0] for part in (tuple(tensors[:n]), tuple(tensors[n : 2 * n]))]
        if n
        else None
    )
    given = iter(tensors[2 * n :])
    weights = [
        [LSTMWeights._make(None if w is None else next(given) for w in cell) for cell in layer]
        for layer in inputs.weights
    ]
    h0, c0 = states or (None, None)
    result = reference.run(problem, replace(inputs, x=x, h0=h0, c0=c0, weights=weights))
    outputs = [result.output, *state_parts(result.h_n), *state_parts(result.c_n)]
    if problem.gates:
        assert result.gates is not None
        for layer, gates in enumerate(result.gates):
            last = layer == problem.layers - 1
            outputs += [torch.stack([gates.i, gates.f, gates.g, gates.o], dim=3), gates.c]
            outputs += [] if last else [gates.h.flatten(2)]
    return outputs


# ---- what a call has beside x ----------------------------------------------------------------------------------------


def _plain_extras(inputs: Inputs) -> tuple[Tensor | None, Tensor | None, Tensor | None, list[Tensor] | None]:
    lengths, sizes, reset = (
        None if t is None else t.contiguous() for t in (inputs.lengths, inputs.batch_sizes, inputs.reset)
    )
    masks = None if inputs.dropout_masks is None else [mask.contiguous() for mask in inputs.dropout_masks]
    return lengths, sizes, reset, masks
