"""The gates of a training call, as tensors that autograd knows: the block that forward keeps, seen again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cpu_tensors import addresses
from .problem import Gates, Problem

__all__ = ["gates_of", "trace_addresses", "trace_views"]


def trace_views(saved: Tensor, problem: Problem) -> list[Tensor]:
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


def trace_addresses(grads: Sequence[Tensor | None], problem: Problem) -> tuple[int, ...]:
    """Return addresses of the gradients of gates, cells and output of each layer; the last output's is dy."""
    return (*addresses(grads), 0)


def gates_of(problem: Problem, output: Tensor, trace: Sequence[Tensor]) -> tuple[Gates, ...]:
    """Return the gates of each layer, from its output and the views that autograd gave back."""
    layers = []
    for layer, size in enumerate(problem.output_sizes):
        four, cell = trace[3 * layer : 3 * layer + 2]
        h = output if layer == problem.layers - 1 else trace[3 * layer + 2]
        i, f, g, o = four.unbind(3)
        layers.append(Gates(i, f, g, o, cell, h.unflatten(-1, (problem.directions, size))))
    return tuple(layers)
