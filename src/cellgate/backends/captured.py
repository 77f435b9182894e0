"""The layer as one node of a captured graph: for ``torch.compile``, ``torch.export``, fake and meta tensors.

A graph must not hold one node for every step: it would be right for one T only, and thousands of nodes long. So while
a graph is captured the whole stack is one opaque operator, ``cellgate::lstm``, of which the capture needs shapes only.
The backend is chosen when the graph runs, by the rules of ``dispatch`` and the ``use_backend`` of that moment.

The operator keeps its inputs for backward and nothing else; backward runs the stack again with autograd and
differentiates that. This trades a third of the training speed for a graph that any backend can serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from cellgate.equations import LSTMWeights

from .dispatch import choose, execute, requested_backend
from .problem import Inputs, Problem, Result, State
from .ragged import check_range

__all__ = ["CAPTURED", "run_captured"]

CAPTURED = "captured"
"""The name that stands for a backend while it is not chosen yet."""


def run_captured(problem: Problem, inputs: Inputs) -> Result:
    """Run a problem as one operator; as ``execute``, but without gates and without looking at any value."""
    if problem.autocast:
        inputs = _autocast(inputs, torch.get_autocast_dtype(problem.device))
    h0, c0 = _parts(inputs.h0), _parts(inputs.c0)
    output, *states = _lstm(
        inputs.x,
        [*h0, *c0],
        [w for layer in inputs.weights for cell in layer for w in cell if w is not None],
        list(inputs.dropout_masks or ()),
        inputs.lengths,
        inputs.batch_sizes,
        inputs.reset,
        problem.steps,
        problem.batch,
        list(problem.hidden_sizes),
        list(problem.proj_sizes),
        problem.directions,
        problem.bias,
        problem.dropout,
        problem.memory,
    )
    half = len(states) // 2
    if problem.uniform:
        return Result(output, states[0], states[1])
    return Result(output, tuple(states[:half]), tuple(states[half:]))


@torch.library.custom_op("cellgate::lstm", mutates_args=())
def _lstm(
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    reset: Tensor | None,
    steps: int,
    batch: int,
    hidden_sizes: Sequence[int],
    proj_sizes: Sequence[int],
    directions: int,
    bias: bool,
    dropout: float,
    memory: str,
) -> list[Tensor]:
    """Return output, then h_n and c_n: one tensor each, or one a layer where the layers differ in size."""
    sizes = (steps, batch, hidden_sizes, proj_sizes, directions, bias, dropout, memory)
    return [t.contiguous() for t in _execute(x, state, weights, masks, lengths, batch_sizes, reset, *sizes)]


@_lstm.register_fake
def _(
    x, state, weights, masks, lengths, batch_sizes, reset, steps, batch, hidden_sizes, proj_sizes, directions, *_
) -> list[Tensor]:
    outs = [p or h for h, p in zip(hidden_sizes, proj_sizes, strict=True)]
    output = x.new_empty(*x.shape[:-1], directions * outs[-1])
    rows = [len(outs) * directions] if _uniform(hidden_sizes, proj_sizes) else [directions] * len(outs)
    per_state = [sizes[: len(rows)] for sizes in (outs, hidden_sizes)]
    return [output, *(x.new_empty(r, batch, size) for sizes in per_state for r, size in zip(rows, sizes, strict=True))]


@torch.library.custom_op("cellgate::lstm_backward", mutates_args=())
def _lstm_backward(
    grads: Sequence[Tensor | None],
    needs: Sequence[bool],
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    reset: Tensor | None,
    steps: int,
    batch: int,
    hidden_sizes: Sequence[int],
    proj_sizes: Sequence[int],
    directions: int,
    bias: bool,
    dropout: float,
    memory: str,
) -> list[Tensor]:
    """Return the gradients of those of x, state and weights that ``needs`` marks, in this order."""
    given = [t.detach().requires_grad_(need) for t, need in zip([x, *state, *weights], needs, strict=True)]
    x, state, weights = given[0], given[1 : 1 + len(state)], given[1 + len(state) :]
    sizes = (steps, batch, hidden_sizes, proj_sizes, directions, bias, dropout, memory)
    with _autograd_recording():
        outputs = _execute(x, state, weights, masks, lengths, batch_sizes, reset, *sizes)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        leaves = [t for t, need in zip(given, needs, strict=True) if need]
        found = torch.autograd.grad([o for o, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    return [
        torch.zeros_like(leaf) if grad is None else grad.contiguous() for leaf, grad in zip(leaves, found, strict=True)
    ]


@_lstm_backward.register_fake
def _(grads, needs, x, state, weights, *_) -> list[Tensor]:
    leaves = [t for t, need in zip([x, *state, *weights], needs, strict=True) if need]
    return [t.new_empty(t.shape) for t in leaves]


def _setup_context(ctx, inputs, output) -> None:
    x, state, weights, masks, lengths, batch_sizes, reset, *ctx.sizes = inputs
    ctx.counts = len(state), len(weights), len(masks)
    ctx.save_for_backward(x, *state, *weights, *masks, lengths, batch_sizes, reset)


def _backward(ctx, grads):
    n_state, n_weights, n_masks = ctx.counts
    x, *rest = ctx.saved_tensors
    state, rest = rest[:n_state], rest[n_state:]
    weights, rest = rest[:n_weights], rest[n_weights:]
    masks, (lengths, batch_sizes, reset) = rest[:n_masks], rest[n_masks:]
    need_x, need_state, need_weights = ctx.needs_input_grad[:3]
    needs = [need_x, *need_state, *need_weights]
    found = iter(
        _lstm_backward(list(grads), needs, x, state, weights, masks, lengths, batch_sizes, reset, *ctx.sizes)
        if any(needs)
        else ()
    )
    d_x = next(found) if need_x else None
    d_state = [next(found) if need else None for need in need_state]
    d_weights = [next(found) if need else None for need in need_weights]
    return d_x, d_state, d_weights, [None] * n_masks, *[None] * (3 + len(ctx.sizes))


_lstm.register_autograd(_backward, setup_context=_setup_context)


def _execute(
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    masks: Sequence[Tensor],
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    reset: Tensor | None,
    steps: int,
    batch: int,
    hidden_sizes: Sequence[int],
    proj_sizes: Sequence[int],
    directions: int,
    bias: bool,
    dropout: float,
    memory: str,
) -> list[Tensor]:
    """Run the stack now, on the backend that this moment's rules choose."""
    if lengths is not None:
        check_range(lengths, steps)
    problem = Problem(
        steps=steps,
        batch=batch,
        input_size=x.shape[-1],
        hidden_sizes=tuple(hidden_sizes),
        proj_sizes=tuple(proj_sizes),
        directions=directions,
        bias=bias,
        dtype=x.dtype,
        device=x.device.type,
        needs_grad=torch.is_grad_enabled() and any(t.requires_grad for t in (x, *state, *weights)),
        packed=batch_sizes is not None,
        lengths=lengths is not None,
        reset=reset is not None,
        dropout=dropout,
        memory=memory,
    )
    half = len(state) // 2
    h0, c0 = (_joined(part, problem) for part in (state[:half], state[half:]))
    cells = _cells(weights, problem)
    result = execute(
        problem,
        Inputs(x, h0, c0, cells, lengths, batch_sizes, reset, list(masks) or None),
        choose(problem, requested_backend()),
    )
    return [result.output, *_parts(result.h_n), *_parts(result.c_n)]


def _cells(flat: Sequence[Tensor], problem: Problem) -> list[list[LSTMWeights]]:
    """Return a flat list of weights as ``weights[layer][direction]``."""
    given = iter(flat)
    return [
        [
            LSTMWeights(
                next(given),
                next(given),
                next(given) if problem.bias else None,
                next(given) if problem.bias else None,
                next(given) if proj else None,
            )
            for _ in range(problem.directions)
        ]
        for proj in problem.proj_sizes
    ]


def _parts(state: State | None) -> list[Tensor]:
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else list(state)


def _joined(parts: Sequence[Tensor], problem: Problem) -> State | None:
    if not parts:
        return None
    return parts[0] if problem.uniform else tuple(parts)


def _uniform(hidden_sizes: Sequence[int], proj_sizes: Sequence[int]) -> bool:
    return len(set(hidden_sizes)) == 1 and len(set(proj_sizes)) == 1


def _autocast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Cast as autocast would, which does not look into the operator."""

    def cast(state: State | None) -> State | None:
        if state is None:
            return None
        return state.to(dtype) if isinstance(state, Tensor) else tuple(part.to(dtype) for part in state)

    return replace(
        inputs,
        x=inputs.x.to(dtype),
        h0=cast(inputs.h0),
        c0=cast(inputs.c0),
        weights=[
            [LSTMWeights._make(None if w is None else w.to(dtype) for w in cell) for cell in layer]
            for layer in inputs.weights
        ],
        dropout_masks=None if inputs.dropout_masks is None else [mask.to(dtype) for mask in inputs.dropout_masks],
    )


class _autograd_recording:
    """Record gradients although an operator's kernel runs below autograd, where nothing is recorded."""

    def __enter__(self) -> None:
        self._guards = (
            torch.enable_grad(),
            torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False),
            torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False),
        )
        for guard in self._guards:
            guard.__enter__()

    def __exit__(self, *args: object) -> None:
        for guard in reversed(self._guards):
            guard.__exit__(None, None, None)
