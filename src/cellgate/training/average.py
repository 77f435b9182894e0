"""A running mean of the weights: steadier than any one step's, at the price of one pass over them a step.

Polyak and Juditsky (1992), "Acceleration of stochastic approximation by averaging", with exponential forgetting.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningMean:
    """The mean of a model's floating-point state over its last steps; other buffers are copied.

    Args:
        model: whose weights change.
        past: the share of the past that a step keeps; less in the first steps, which start far off.
    """

    def __init__(self, model: nn.Module, past: float) -> None:
        self.past = past
        own = model.state_dict()  # the model's own tensors, not copies
        self.weights: dict[str, Tensor] = {name: value.clone() for name, value in own.items()}
        self._pairs = [(self.weights[name], value) for name, value in own.items()]

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take the weights after a step, counted from 0, into the mean."""
        new = 1 - min(self.past, (1 + step) / (10 + step))
        for mean, value in self._pairs:
            if value.is_floating_point():
                mean.lerp_(value, new)
            else:
                mean.copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the mean as its weights; afterwards with its own again."""
        own = [value.clone() for _, value in self._pairs]
        for mean, value in self._pairs:
            value.copy_(mean)
        try:
            yield
        finally:
            for (_, value), before in zip(self._pairs, own, strict=True):
                value.copy_(before)
