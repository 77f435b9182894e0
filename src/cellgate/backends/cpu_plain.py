"""Training on the native engine for the most frequent call, with as little Python around the kernels as can be.

A short sequence takes the kernels some tens of microseconds, the full way through ``prepare``, ``dispatch`` and
``cpu_autograd`` a hundred more. A call with plain tensors, zero state, and neither lengths, resets, dropout nor gates
needs no more than this module does. It keeps the same block and calls the same kernels as ``cpu_autograd``.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from . import cpu
from .cpu_autograd import addresses, keep_of, plain_gradient, recorded_backward
from .problem import Inputs, Problem, nested_weights

__all__ = ["PlainStack", "train"]

_empty, _empty_like, _threads = torch.empty, torch.empty_like, torch.get_num_threads
_LARGE = 1 << 24  # bytes, of an output
_MOST_SIZES = 256  # of T and B whose saved block is remembered


class PlainStack:
    """What is known of all modules with the same sizes.

    Args:
        problem: Of no particular T and B, uniform.
    """

    __slots__ = ("dtype", "keep", "native", "problem", "problems", "shapes", "sizes", "states", "width")

    def __init__(self, problem: Problem) -> None:
        """Ask the native core for the stack."""
        self.problem, self.dtype = problem, problem.dtype
        self.native = cpu.stack_of(problem)
        self.keep = keep_of(problem)
        hidden, proj, out = problem.hidden_sizes[0], problem.proj_sizes[0], problem.output_sizes[0]
        self.width = problem.directions * out
        self.states = (problem.layers * problem.directions, out, hidden)
        self.sizes: dict[tuple[int, int], int] = {}
        self.problems: dict[tuple[int, int], Problem] = {}  # by T and B, for ``half_plain``
        self.shapes: list[tuple[int, ...]] = []
        for layer in range(problem.layers):
            for _ in range(problem.directions):
                self.shapes.append((4 * hidden, self.width if layer else problem.input_size))
                self.shapes.append((4 * hidden, out))
                self.shapes += [(4 * hidden,)] * 2 if problem.bias else []
                self.shapes += [(proj, hidden)] if proj else []

    def kept(self, steps: int, batch: int) -> int:
        """Return the scalars that a call of this size keeps for backward."""
        size = self.sizes.get((steps, batch))
        if size is None:
            if len(self.sizes) >= _MOST_SIZES:
                self.sizes.clear()
            size = self.sizes[steps, batch] = self.native.saved_size(steps, batch, 0, *self.keep, False)
        return size

    def call(self, x: Tensor, weights: list[Tensor]) -> tuple[Problem, Inputs]:
        """Return a call in the form that other backends take."""
        problem = replace(self.problem, steps=x.shape[0], batch=x.shape[1], needs_grad=True)
        return problem, Inputs(x, None, None, nested_weights(weights, problem))

    def states_at(self, h: Tensor | None, c: Tensor | None, batch: int) -> tuple[Any, Any]:
        """Return the addresses of each layer's part of h and c; None without the tensor."""
        layers, rows, item = self.problem.layers, self.problem.directions * batch, self.dtype.itemsize
        found = []
        for t, size in ((h, self.states[1]), (c, self.states[2])):
            if t is None:
                found.append(None)
                continue
            at, each = t.data_ptr(), rows * size * item
            found.append((at,) if layers == 1 else tuple(range(at, at + layers * each, each)))
        return found[0], found[1]


def train(stack: PlainStack, x: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Run a stack forward so that autograd can run it backward.

    Args:
        stack: Of x's dtype.
        x: (T, B, I), its last dimension contiguous, on the CPU; T, B >= 1.
        weights: Of ``stack.shapes``, contiguous.

    Returns:
        output (T, B, D*P), h_n and c_n.
    """
    return _Plain.apply(stack, x, *weights)  # pyright: ignore[reportReturnType]


def _block(size: tuple[int, ...], x: Tensor, least: int) -> Tensor:
    """Return uninitialised memory; a large block is used again when it is gone, see ``cpu.new_block``."""
    if math.prod(size) * x.itemsize < least:
        return _empty(size, dtype=x.dtype)
    return cpu.new_block(size, x, least)


class _Plain(Function):
    @staticmethod
    def forward(ctx: Any, stack: PlainStack, x: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        steps, batch = x.shape[0], x.shape[1]
        rows, out, hidden = stack.states
        dtype, width = stack.dtype, stack.width
        y = _block((steps, batch, width), x, _LARGE)
        h_n, c_n = _empty(rows, batch, out, dtype=dtype), _empty(rows, batch, hidden, dtype=dtype)
        saved = _block((stack.kept(steps, batch),), x, _LARGE >> 4)  # never resized, so even a smaller one
        pointers = tuple([t.data_ptr() for t in (x, y, saved, *weights)])
        x_step, x_row, _ = x.stride()
        before = (steps, batch, pointers[0], x_step, x_row, pointers[1], batch * width, width, pointers[3:], None, None)
        rest = (_threads(), 0, 0, 0, 0, None, pointers[2], *stack.keep)
        stack.native.forward(*before, *stack.states_at(h_n, c_n, batch), *rest, True)
        ctx.stack, ctx.arguments, ctx.addresses = stack, (*before, *rest), pointers
        # The addresses are good as long as these tensors live, and autograd sees to it that nobody has written to them.
        ctx.save_for_backward(x, y, saved, *weights)
        return y, h_n, c_n

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        stack: PlainStack = ctx.stack
        tensors = ctx.saved_tensors
        x, _, _, *weights = tensors
        if torch.is_grad_enabled():
            problem, inputs = stack.call(x, weights)
            return None, *recorded_backward(problem, inputs, x, weights, ctx.needs_input_grad[1:], (dy, dh_n, dc_n))
        arguments = ctx.arguments
        if (pointers := addresses(tensors)) != ctx.addresses:
            # A hook of autograd (checkpointing, offloading) gives back other tensors than it was given.
            at = (pointers[0], *x.stride()[:2], pointers[1], *arguments[6:8], pointers[3:])
            arguments = (*arguments[:2], *at, *arguments[9:17], pointers[2], *stack.keep)
        _, need_x, *needs = ctx.needs_input_grad
        dx = _empty_like(x) if need_x else None
        found = [_empty_like(w) if need else None for w, need in zip(weights, needs, strict=True)]
        dy = None if dy is None else plain_gradient(dy)
        dh_n, dc_n = (g if g is None else g.contiguous() for g in (dh_n, dc_n))
        stack.native.backward(
            *arguments,
            *((0, 0, 0) if dy is None else (dy.data_ptr(), *dy.stride()[:2])),
            *stack.states_at(dh_n, dc_n, x.shape[1]),
            None,
            *((0, 0, 0) if dx is None else (dx.data_ptr(), *dx.stride()[:2])),
            addresses(found),
            None,
            None,
        )
        return None, dx, *found
