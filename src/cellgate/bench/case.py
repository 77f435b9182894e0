"""One problem, ready to be given to every contender: the same weights, input, lengths and gradient for all."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from .grid import Row
from .mine import load_weights
from .shape import Shape

__all__ = ["Case", "make_case", "nn_lstm"]


@dataclass
class Case:
    """The tensors of a problem.

    Attributes:
        row: Where it comes from.
        weights: By nn.LSTM's names, in the row's dtype.
        x: (T, B, I).
        lengths: (B,) int64 where the row is ragged, else None.
        reset: (T, B) bool where the row has episodes, else None.
        grad: (T, B, D*P), the gradient that reaches the output in training; zero past a sequence's end.
    """

    row: Row
    weights: dict[str, Tensor]
    x: Tensor
    lengths: Tensor | None
    reset: Tensor | None
    grad: Tensor
    truth: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def shape(self) -> Shape:
        """The sizes."""
        return self.row.shape

    def pack(self, padded: Tensor) -> PackedSequence:
        """Return (T, B, n) packed to the row's lengths."""
        assert self.lengths is not None
        return pack_padded_sequence(padded, self.lengths, enforce_sorted=False)

    def to(self, dtype: torch.dtype) -> Case:
        """Return the same numbers in another dtype."""
        weights = {name: value.to(dtype) for name, value in self.weights.items()}
        return Case(self.row, weights, self.x.to(dtype), self.lengths, self.reset, self.grad.to(dtype))


def nn_lstm(shape: Shape) -> nn.LSTM:
    """Return torch.nn.LSTM of these sizes."""
    return nn.LSTM(
        shape.I,
        shape.H,
        shape.L,
        bias=shape.bias,
        bidirectional=shape.D == 2,
        proj_size=shape.P,
        dtype=getattr(torch, shape.dtype),
    )


def make_case(row: Row, seed: int = 0) -> Case:
    """Draw the tensors of a row, the same for the same seed."""
    shape = row.shape
    dtype = getattr(torch, shape.dtype)
    generator = torch.Generator().manual_seed(seed)
    if row.weights:
        weights = load_weights(row.weights, row.prefix)
    else:
        bound = shape.H**-0.5
        weights = {
            name: (torch.rand(value.shape, generator=generator) * 2 * bound - bound)
            for name, value in nn_lstm(shape).state_dict().items()
        }
    x = torch.randn(shape.T, shape.B, shape.I, generator=generator)
    grad = torch.randn(shape.T, shape.B, shape.D * (shape.P or shape.H), generator=generator)
    lengths = reset = None
    if shape.ragged:
        lengths = torch.tensor(shape.lengths)
        past = torch.arange(shape.T)[:, None] >= lengths[None, :]
        grad = grad.masked_fill(past[:, :, None], 0.0)
    if shape.reset:
        reset = torch.rand(shape.T, shape.B, generator=generator) < 4.0 / shape.T
    return Case(
        row, {name: value.to(dtype) for name, value in weights.items()}, x.to(dtype), lengths, reset, grad.to(dtype)
    )
