"""Two steps of a forecast's training with gradients written out: autograd's take more passes over more memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cellgate.backends import cpu
from cellgate.backends.cpu_tensors import REUSED_BLOCK
from cellgate.nn.noise import draw_masks


class _Rows(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor, mask: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, mask)
        ctx.size = tuple(table.shape)
        found = table.index_select(0, rows)
        return found if mask is None else found.mul_(mask)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, mask = ctx.saved_tensors
        # As large as all that the LSTM put out, in every step: in memory that is used again.
        gradient = cpu.new_block(ctx.size, dy, REUSED_BLOCK).zero_()
        return gradient.index_add_(0, rows, dy if mask is None else dy * mask), None, None


class _Answers(Function):
    @staticmethod
    def forward(
        ctx: Any, read: Tensor, weight: Tensor, bias: Tensor, known: Tensor, simple: Tensor, quantiles: int
    ) -> Tensor:
        answers, units = _formula(read, weight, bias, known, simple, quantiles)
        ctx.save_for_backward(read, weight, known, simple, units)
        return answers

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        read, weight, known, simple, units = ctx.saved_tensors
        _, quantiles, horizon = dy.shape
        _, by_ahead, by_simple = _parts(read, horizon, quantiles, len(units))
        d_read = torch.empty_like(read)
        d_direct, d_by_ahead, d_by_simple = _parts(d_read, horizon, quantiles, len(units))
        d_direct.copy_(dy)
        by_units = torch.bmm(dy, units.permute(1, 2, 0))
        torch.add(-dy.sum(-1, keepdim=True), by_units, alpha=2, out=d_by_ahead)
        d_by_simple.copy_(torch.bmm(dy, simple.permute(1, 2, 0)))
        d_units = torch.bmm(by_ahead.transpose(1, 2), dy).transpose(0, 1)
        # Of tanh(x), with its half: 2 s (1 - s).
        d_twice = _by_model(torch.addcmul(units, units, units, value=-1).mul_(d_units), len(weight))
        d_known = 4 * weight.transpose(1, 2) @ d_twice if ctx.needs_input_grad[3] else None
        d_known = None if d_known is None else d_known.transpose(0, 1).reshape(known.shape)
        d_simple = torch.bmm(by_simple.transpose(1, 2), dy).transpose(0, 1) if ctx.needs_input_grad[4] else None
        d_weight = 4 * torch.bmm(_by_model(known, len(weight)), d_twice.transpose(1, 2)).transpose(1, 2)
        return d_read, d_weight, 4 * d_twice.sum(2), d_known, d_simple, None


def _formula(
    read: Tensor, weight: Tensor, bias: Tensor, known: Tensor, simple: Tensor, quantiles: int
) -> tuple[Tensor, Tensor]:
    """Answers (n, Q, horizon), and (U, n, horizon) sigmoid(2 x), where tanh(x) is meant."""
    horizon, rows, size = simple.shape[-1], len(read), weight.shape[1]
    direct, by_ahead, by_simple = _parts(read, horizon, quantiles, size)
    # w tanh(x) = 2 w sigmoid(2 x) - w, since torch.tanh takes ten times as long as torch.sigmoid on a CPU.
    twice = torch.baddbmm(2 * bias[..., None], 2 * weight, _by_model(known, len(weight)))
    units = twice.sigmoid_().transpose(0, 1).reshape(size, rows, horizon)
    products = torch.baddbmm(torch.bmm(by_simple, simple.transpose(0, 1)), 2 * by_ahead, units.transpose(0, 1))
    return products + direct - by_ahead.sum(-1, keepdim=True), units


def _by_model(numbers: Tensor, models: int) -> Tensor:
    """(m, X, n / m * horizon) of (X, n, horizon) or (X, n * horizon) numbers, as a view: those of each model."""
    return numbers.view(len(numbers), models, -1).transpose(0, 1)


def _parts(read: Tensor, horizon: int, quantiles: int, units: int) -> tuple[Tensor, Tensor, Tensor]:
    """(n, Q, horizon), (n, Q, units) and (n, Q, C): what a readout holds, as views."""
    direct, weights = read[:, : horizon * quantiles], read[:, horizon * quantiles :].unflatten(1, (quantiles, -1))
    return direct.unflatten(1, (horizon, quantiles)).transpose(1, 2), weights[..., :units], weights[..., units:]


def rows_of(table: Tensor, rows: Tensor, dropout: float = 0.0) -> Tensor:
    """(n, H) some rows (n,) of a table (N, H), the same ones more than once if need be.

    Args:
        table: the table.
        rows: which rows.
        dropout: the probability with which a number is dropped, as nn.functional.dropout does it.
    """
    kept = 1 - dropout
    mask = draw_masks([((len(rows), table.shape[1]), kept, 1 / kept)], table)[0] if dropout else None
    return _Rows.apply(table, rows, mask)  # pyright: ignore[reportReturnType]


def answers_of(
    read: Tensor, weight: Tensor, bias: Tensor, known: Tensor, simple: Tensor, quantiles: int, training: bool
) -> Tensor:
    """Answers by the formula of tasks.forecast_network, of m models that have as many rows each, one after the other.

    Args:
        read: (n, horizon * Q + Q * (U + C)) what the readouts make of the states.
        weight: (m, U, A) of what is known of each step ahead.
        bias: (m, U) likewise.
        known: (A, n * horizon) what is known of each step ahead.
        simple: (C, n, horizon) simple forecasts.
        quantiles: Q.
        training: with the gradients written here; otherwise with PyTorch's own, for transforms and for gradients twice.

    Returns:
        (n, Q, horizon): with the horizon last, since products over a few quantiles are slow.
    """
    if not training:
        return _formula(read, weight, bias, known, simple, quantiles)[0]
    return _Answers.apply(read, weight, bias, known, simple, quantiles)  # pyright: ignore[reportReturnType]
