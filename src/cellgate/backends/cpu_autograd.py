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

from . import reference
from .problem import Gates, Inputs, Problem, Result, State
from .ragged import padded_inputs, repacked_result

__all__ = [
    "KEEP",
    "addresses",
    "empty_output",
    "empty_states",
    "layer_addresses",
    "plain_rows",
    "run_recorded",
    "strides",
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
    states: int  # tensors in h0, and in c0; 0 without an initial state


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
    h0, c0 = _parts(inputs.h0), _parts(inputs.c0)
    weights = [w for layer in inputs.weights for cell in layer for w in cell if w is not None]
    call = _Call(stack, problem, inputs, threads, len(h0))
    output, *rest = _Stack.apply(call, inputs.x, *h0, *c0, *weights)
    states = 1 if problem.uniform else problem.layers
    h_n, c_n, trace = rest[:states], rest[states : 2 * states], rest[2 * states :]
    if problem.uniform:
        result = Result(output, h_n[0], c_n[0])
    else:
        result = Result(output, tuple(h_n), tuple(c_n))
    if problem.gates:
        result.gates = _gates(problem, output, trace)
    return result


class _Stack(Function):
    """All layers and directions of a stack."""

    @staticmethod
    def forward(ctx: Any, call: _Call, x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        problem, inputs, n = call.problem, call.inputs, call.states
        steps, batch, sizes = problem.steps, problem.batch, problem.output_sizes
        ctx.set_materialize_grads(False)
        x = plain_rows(x)
        tensors = tuple(t if t.is_contiguous() else t.contiguous() for t in tensors)
        weights = tensors[2 * n :]
        lengths, batch_sizes, reset, masks = _plain_extras(inputs)

        y = empty_output(problem, x)
        h_n, c_n = empty_states(problem, sizes, x), empty_states(problem, problem.hidden_sizes, x)
        rows = x.shape[0] if problem.packed else 0
        keep = 1 if problem.gates else KEEP[problem.memory]
        every = _EVERY if keep == 3 else 1
        kept = call.stack.saved_size(steps, batch, rows, keep, every, masks is not None)
        ragged = problem.gates and problem.lengths
        saved = new_block((kept,), x, 1 << 20)  # never resized, so even a smaller one
        if ragged:
            saved.zero_()

        x_step, x_row = strides(x)
        y_step, y_row = strides(y)
        arguments = (steps, batch, x.data_ptr(), x_step, x_row, y.data_ptr(), y_step, y_row, addresses(weights))
        state = (
            layer_addresses(tensors[:n], problem, sizes),
            layer_addresses(tensors[n : 2 * n], problem, problem.hidden_sizes),
        )
        extras = (
            0 if lengths is None else lengths.data_ptr(),
            0 if reset is None else reset.data_ptr(),
            rows,
            0 if batch_sizes is None else batch_sizes.data_ptr(),
            None if masks is None else addresses(masks),
            saved.data_ptr(),
            keep,
            every,
        )
        h_at, c_at = layer_addresses(h_n, problem, sizes), layer_addresses(c_n, problem, problem.hidden_sizes)
        call.stack.forward(*arguments, *state, h_at, c_at, call.threads, *extras, problem.needs_grad)
        ctx.call = call
        ctx.arguments = (*arguments, *state, call.threads, *extras)
        # The addresses are good as long as these tensors live, and autograd sees to it that nobody has written to them.
        ctx.save_for_backward(x, y, saved, *tensors)
        ctx.extras = lengths, batch_sizes, reset, masks
        return (y, *h_n, *c_n, *(_trace_views(saved, problem) if problem.gates else ()))

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            return _recorded_backward(ctx, dy, *grads)
        call: _Call = ctx.call
        problem, n = call.problem, call.states
        x, _, _, *tensors = ctx.saved_tensors
        _, need_x, *need = ctx.needs_input_grad
        states = 1 if problem.uniform else problem.layers
        dh_n, dc_n, trace = grads[:states], grads[states : 2 * states], grads[2 * states :]

        dx = _empty_rows_like(x, problem) if need_x else None
        found = [torch.empty_like(t) if wanted else None for t, wanted in zip(tensors, need, strict=True)]
        d_state = found[: 2 * n]
        if dy is not None:
            dy = _plain_gradient(dy)
        dy_step, dy_row = (0, 0) if dy is None else strides(dy)
        dx_step, dx_row = (0, 0) if dx is None else strides(dx)
        dh_n, dc_n, trace = ([None if g is None else g.contiguous() for g in part] for part in (dh_n, dc_n, trace))
        call.stack.backward(
            *ctx.arguments,
            0 if dy is None else dy.data_ptr(),
            dy_step,
            dy_row,
            layer_addresses(dh_n, problem, problem.output_sizes),
            layer_addresses(dc_n, problem, problem.hidden_sizes),
            _trace_addresses(trace, problem) if problem.gates else None,
            0 if dx is None else dx.data_ptr(),
            dx_step,
            dx_row,
            addresses(found[2 * n :]),
            layer_addresses(d_state[:n], problem, problem.output_sizes),
            layer_addresses(d_state[n:], problem, problem.hidden_sizes),
        )
        return None, dx, *found


def _recorded_backward(ctx: Any, dy: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    """Gradients as differentiable functions of inputs and incoming gradients, by way of the reference."""
    call: _Call = ctx.call
    problem, inputs, n = call.problem, call.inputs, call.states
    x, _, _, *tensors = ctx.saved_tensors
    _, *needs = ctx.needs_input_grad
    # Views, so that a tensor that stands in two places (tied weights) has a gradient for each.
    leaves = [t.view_as(t) for t in (x, *tensors)]
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
    outputs = [result.output, *_parts(result.h_n), *_parts(result.c_n)]
    if problem.gates:
        assert result.gates is not None
        for layer, gates in enumerate(result.gates):
            last = layer == problem.layers - 1
            outputs += [torch.stack([gates.i, gates.f, gates.g, gates.o], dim=3), gates.c]
            outputs += [] if last else [gates.h.flatten(2)]
    pairs = [(o, g) for o, g in zip(outputs, (dy, *grads), strict=True) if g is not None and o.requires_grad]
    wanted = [leaf for leaf, need in zip(leaves, needs, strict=True) if need]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in pairs],
            wanted,
            [g for _, g in pairs],
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        if pairs and wanted
        else [None] * len(wanted)
    )
    return None, *(next(found) if need else None for need in needs)


# ---- memory, shapes and addresses ------------------------------------------------------------------------------------


def new_block(size: tuple[int, ...], like: Tensor, least: int = 0) -> Tensor:
    """Return an uninitialised tensor; ``cpu`` puts its own function in this place, which reuses large blocks."""
    return like.new_empty(size)


def plain_rows(t: Tensor) -> Tensor:
    """Return the tensor with its last dimension contiguous; the others may have any strides."""
    t = t.resolve_neg()  # a lazily negated view, such as z.conj().imag, has the other sign in memory
    return t if t.stride(-1) == 1 or t.shape[-1] <= 1 else t.contiguous()


def _plain_gradient(dy: Tensor) -> Tensor:
    """Return dy as ``plain_rows`` does; one number for all, as a sum's gradient is, takes the memory of one row."""
    if dy.numel() > dy.shape[-1] > 1 and not any(dy.stride()):
        return dy.reshape(-1, dy.shape[-1])[:1].resolve_neg().contiguous().expand_as(dy)
    return plain_rows(dy)


def strides(t: Tensor) -> tuple[int, int]:
    """Return the strides from step to step and from row to row; packed data have rows only."""
    return (t.stride(0), t.stride(1)) if t.dim() == 3 else (0, t.stride(0))


def addresses(tensors: Sequence[Tensor | None]) -> tuple[int, ...]:
    """Return where each tensor begins, 0 for one that is not there."""
    return tuple([0 if t is None else t.data_ptr() for t in tensors])


def layer_addresses(parts: Sequence[Tensor | None], problem: Problem, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return where each layer's (D, B, size) begins, in one tensor for all layers or one tensor each."""
    if not parts:
        return None
    first = parts[0]
    if not problem.uniform or problem.layers == 1:
        return addresses(parts)
    if first is None:
        return (0,) * problem.layers
    start, each = first.data_ptr(), problem.directions * problem.batch * sizes[0] * first.element_size()
    return tuple([start + layer * each for layer in range(problem.layers)])


def _parts(state: State | None) -> tuple[Tensor, ...]:
    if state is None:
        return ()
    return (state,) if isinstance(state, Tensor) else state


def empty_states(problem: Problem, sizes: tuple[int, ...], x: Tensor) -> list[Tensor]:
    """Return memory for h_n or c_n in the form of ``State``: one tensor, or one (D, B, size) a layer."""
    if problem.uniform:
        return [x.new_empty(problem.layers * problem.directions, problem.batch, sizes[0])]
    return [x.new_empty(problem.directions, problem.batch, size) for size in sizes]


def empty_output(problem: Problem, x: Tensor) -> Tensor:
    """Return the output, (T, B, D*P) or packed; time-major in memory whatever x is, as nn.LSTM's."""
    width = problem.directions * problem.output_sizes[-1]
    if problem.packed:
        return new_block((x.shape[0], width), x)
    return new_block((problem.steps, problem.batch, width), x)


def _empty_rows_like(x: Tensor, problem: Problem) -> Tensor:
    if problem.packed or x.stride(0) >= x.stride(1):
        return x.new_empty(x.shape)
    return x.new_empty(problem.batch, problem.steps, x.shape[-1]).transpose(0, 1)


def _plain_extras(inputs: Inputs) -> tuple[Tensor | None, Tensor | None, Tensor | None, list[Tensor] | None]:
    lengths, sizes, reset = (
        None if t is None else t.contiguous() for t in (inputs.lengths, inputs.batch_sizes, inputs.reset)
    )
    masks = None if inputs.dropout_masks is None else [mask.contiguous() for mask in inputs.dropout_masks]
    return lengths, sizes, reset, masks


# ---- traces ----------------------------------------------------------------------------------------------------------


def _trace_views(saved: Tensor, problem: Problem) -> list[Tensor]:
    """Return, layer by layer, gates (T, B, D, 4, H), cells (T, B, D, H) and, but for the last, output (T, B, D*P).

    This is the block of ``native/saved.h`` seen again: its arrays, each beginning at a multiple of 32 scalars.
    """
    leading = (problem.steps, problem.batch, problem.directions)
    at, views = 0, []

    def take(*shape: int) -> Tensor:
        nonlocal at
        view = saved.narrow(0, at, torch.Size(shape).numel()).view(shape)
        at += -(-view.numel() // 32) * 32
        return view

    for layer, (hidden, proj, out) in enumerate(
        zip(problem.hidden_sizes, problem.proj_sizes, problem.output_sizes, strict=True)
    ):
        views += [take(*leading, 4, hidden), take(*leading, hidden)]
        if proj:
            take(*leading, hidden)
        if layer < problem.layers - 1:
            views.append(take(problem.steps, problem.batch, problem.directions * out))
            if problem.dropout > 0:
                take(problem.steps, problem.batch, problem.directions * out)
    return views


def _trace_addresses(grads: Sequence[Tensor | None], problem: Problem) -> tuple[int, ...]:
    """Return addresses of the gradients of gates, cells and output of each layer; the last output's is dy."""
    return (*addresses(grads), 0)


def _gates(problem: Problem, output: Tensor, trace: Sequence[Tensor]) -> tuple[Gates, ...]:
    layers = []
    for layer, size in enumerate(problem.output_sizes):
        four, cell = trace[3 * layer : 3 * layer + 2]
        h = output if layer == problem.layers - 1 else trace[3 * layer + 2]
        i, f, g, o = four.unbind(3)
        layers.append(Gates(i, f, g, o, cell, h.unflatten(-1, (problem.directions, size))))
    return tuple(layers)
