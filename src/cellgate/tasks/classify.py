"""Classifying: one label a sequence.

The network reads the whole sequence, by default from both ends, and a linear layer turns its last hidden state into a
score a class. The loss is cross-entropy; the baseline is the class that is most frequent in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.tasks.sequence_batches import ResidentSequences

BASELINE = "majority class"


class ClassifyObjective:
    """Cross-entropy over sequences.

    Args:
        data: all sequences.
        targets: (S,) the code of each one's class.
        train: rows to learn from.
        validation: rows to stop by; may be empty.
        classes: how many classes there are.
    """

    def __init__(
        self, data: ResidentSequences, targets: np.ndarray, train: np.ndarray, validation: np.ndarray, classes: int
    ) -> None:
        self.data, self.classes = data, classes
        self.targets = torch.from_numpy(np.ascontiguousarray(targets))
        self.train, self.validation = torch.from_numpy(train), torch.from_numpy(validation)

    @property
    def examples(self) -> int:
        """How many sequences are learnt from."""
        return len(self.train)

    def loss(self, model: Any, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean cross-entropy of a batch, in nats."""
        chosen = self.train[rows]
        x, lengths = self.data.batch(chosen)
        return nn.functional.cross_entropy(model(x, lengths=lengths), self.targets[chosen])

    @torch.no_grad()
    def validate(self, model: Any) -> float | None:
        """The mean cross-entropy of what is held back; None where nothing is."""
        if not len(self.validation):
            return None
        total = 0.0
        for rows in self.data.chunks(self.validation):
            x, lengths = self.data.batch(rows)
            total += float(nn.functional.cross_entropy(model(x, lengths=lengths), self.targets[rows], reduction="sum"))
        return total / len(self.validation)

    @property
    def prior(self) -> Tensor:
        """(C,) the logarithm of each class's share of what is learnt from."""
        return log_shares(self.targets[self.train], self.classes)

    @torch.no_grad()
    def held(self, model: Any) -> tuple[Tensor, Tensor]:
        """(n, C) scores of what is held back, and the (n,) classes that are right."""
        rows = list(self.data.chunks(self.validation))
        batches = [self.data.batch(part) for part in rows]
        return torch.cat([model(x, lengths=lengths) for x, lengths in batches]), self.targets[torch.cat(rows)]

    def criterion(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats."""
        return nn.functional.cross_entropy(answers, targets)


def log_shares(codes: Tensor, classes: int) -> Tensor:
    """(classes,) the logarithm of each code's share; one that does not occur counts as half a time."""
    counts = torch.bincount(codes, minlength=classes).float().clamp(min=0.5)
    return (counts / counts.sum()).log()


def macro_f1(actual: np.ndarray, given: np.ndarray) -> float:
    """The mean F1 of the (N,) codes that occur or are given."""
    scores = []
    for code in np.unique(np.concatenate([actual, given])):
        hit = ((actual == code) & (given == code)).sum()
        scores.append(2 * hit / max(1, (actual == code).sum() + (given == code).sum()))
    return float(np.mean(scores))


def classify_scores(actual: np.ndarray, shares: np.ndarray) -> dict[str, float]:
    """Accuracy, macro F1 and log loss.

    Args:
        actual: (S,) codes; one below 0 for each class that training did not have, which counts as wrong.
        shares: (S, C) the probability given to each class.

    Returns:
        {"accuracy": ..., "F1": the mean over the classes that occur or are given, "log loss": in nats}.
    """
    given = shares.argmax(1)
    known = actual >= 0
    chance = np.where(known, shares[np.arange(len(actual)), np.maximum(actual, 0)], 0.0)
    return {
        "accuracy": float((given == actual).mean()),
        "F1": macro_f1(actual, given),
        "log loss": float(-np.log(np.maximum(chance, 1e-12)).mean()),
    }
