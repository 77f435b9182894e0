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
        self._means, self._values = list(self.weights.values()), list(own.values())
        # Of all in one call: small tensors take less time than the way there from Python.
        floating = [name for name, value in own.items() if value.is_floating_point()]
        self._averaged = [self.weights[name] for name in floating], [own[name] for name in floating]
        self._copied = [(self.weights[name], value) for name, value in own.items() if not value.is_floating_point()]

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take the weights after a step, counted from 0, into the mean."""
        new = 1 - min(self.past, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._averaged, new)  # pyright: ignore[reportPrivateImportUsage]
        for mean, value in self._copied:
            mean.copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the mean as its weights; afterwards with its own again."""
        own = [value.clone() for value in self._values]
        torch._foreach_copy_(self._values, self._means)  # pyright: ignore[reportPrivateImportUsage]
        try:
            yield
        finally:
            torch._foreach_copy_(self._values, own)  # pyright: ignore[reportPrivateImportUsage]
