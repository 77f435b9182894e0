"""Cross-entropy with the scores of many tokens, some rows at a time.

Of ten thousand words and two thousand steps a readout gives twenty million scores, and autograd holds them three times:
as they are, as logarithms of shares, and as gradients. Here the scores of some rows are made, their loss and gradients
taken, and the next rows' scores put in their place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_AT_ONCE = 10_000_000
"""Scores that are held at a time. With half of them, products of few rows take the time that was won."""


class _CrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        count, tokens = len(x), len(weight)
        dx, dw, db = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        rows = max(1, _AT_ONCE // tokens)
        scores = x.new_empty(min(rows, count), tokens)
        total = torch.zeros((), dtype=torch.float64)
        for first in range(0, count, rows):
            part, right = x[first : first + rows], targets[first : first + rows, None]
            powers = scores[: len(part)]
            torch.addmm(bias, part, weight.t(), out=powers)
            highest = powers.amax(1, keepdim=True)
            wanted = powers.gather(1, right) - highest
            sums = powers.sub_(highest).exp_().sum(1, keepdim=True)
            total += (sums.log() - wanted).sum(dtype=torch.float64)
            # The gradient of the scores is powers / sums, less 1 at the right token, over the count. The divisions are
            # left to the products' smaller sides.
            powers.scatter_add_(1, right, -sums)
            share = (count * sums).reciprocal()
            torch.mm(powers, weight, out=dx[first : first + rows])
            dx[first : first + rows] *= share
            dw.addmm_(powers.t(), part * share)
            db.addmv_(powers.t(), share[:, 0])
        ctx.gradients = (dx, dw, db)
        return (total / count).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if ctx.gradients is None:
            raise RuntimeError("expected one backward pass, got a second one: run forward again")
        gradients, ctx.gradients = ctx.gradients, None  # so that the parameters take them, without a copy
        return (*(gradient.mul_(dy) for gradient in gradients), None)


def are_many(rows: int, tokens: int) -> bool:
    """Whether `cross_entropy` takes less time than PyTorch's for so many rows of so many scores."""
    return rows * tokens > _AT_ONCE


def cross_entropy(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of a linear readout's scores, in nats: equal to PyTorch's up to rounding.

    The gradients are taken with the loss, whether or not they are asked for, and can be had once; they have none
    themselves. Equal arguments and threads give equal numbers, to the last bit.

    Args:
        x: (N, H) what the readout reads, N at least 1.
        weight: (V, H) of the readout, of the same dtype.
        bias: (V,) likewise.
        targets: (N,) int64, the right token of each row.

    Returns:
        A scalar of the dtype of x.
    """
    return _CrossEntropy.apply(x, weight, bias, targets)  # pyright: ignore[reportReturnType]
