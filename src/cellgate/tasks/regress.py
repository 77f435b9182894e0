"""Regressing: one number a sequence.

The network reads the whole sequence and a linear layer turns its last hidden state into a number, in standard
deviations from the mean of the training. The loss is the squared error; the baseline is that mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.tasks.sequence_batches import ResidentSequences

BASELINE = "mean"


class RegressObjective:
    """The mean squared error over sequences, in squared standard deviations.

    Args:
        data: all sequences.
        targets: (S,) the scaled number of each.
        train: rows to learn from.
        validation: rows to stop by; may be empty.
    """

    def __init__(self, data: ResidentSequences, targets: np.ndarray, train: np.ndarray, validation: np.ndarray) -> None:
        self.data = data
        self.targets = torch.from_numpy(np.ascontiguousarray(targets, dtype=np.float32))
        self.train, self.validation = torch.from_numpy(train), torch.from_numpy(validation)

    @property
    def examples(self) -> int:
        """How many sequences are learnt from."""
        return len(self.train)

    def loss(self, model: Any, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean squared error of a batch."""
        chosen = self.train[rows]
        x, lengths = self.data.batch(chosen)
        return (model(x, lengths=lengths)[:, 0] - self.targets[chosen]).square().mean()

    @torch.no_grad()
    def validate(self, model: Any) -> float | None:
        """The mean squared error of what is held back; None where nothing is."""
        if not len(self.validation):
            return None
        total = 0.0
        for rows in self.data.chunks(self.validation):
            x, lengths = self.data.batch(rows)
            total += float((model(x, lengths=lengths)[:, 0] - self.targets[rows]).square().sum())
        return total / len(self.validation)

    @property
    def prior(self) -> Tensor:
        """(1,) the mean of the training, from which the network answers."""
        return torch.zeros(1)

    @torch.no_grad()
    def held(self, model: Any) -> tuple[Tensor, Tensor]:
        """(n, 1) answers for what is held back, and the (n,) numbers that are right."""
        rows = list(self.data.chunks(self.validation))
        batches = [self.data.batch(part) for part in rows]
        return torch.cat([model(x, lengths=lengths) for x, lengths in batches]), self.targets[torch.cat(rows)]

    def criterion(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The mean squared error."""
        return nn.functional.mse_loss(answers[:, 0], targets)


def regress_scores(actual: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """Root mean squared error and mean absolute error in the unit of the label, and R2."""
    error = given - actual
    spread = ((actual - actual.mean()) ** 2).sum()
    return {
        "RMSE": float(np.sqrt((error**2).mean())),
        "MAE": float(np.abs(error).mean()),
        "R2": float(1 - (error**2).sum() / spread) if spread > 0 else float("nan"),
    }
