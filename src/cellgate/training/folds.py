"""Several models trained in step on several parts of the data, so that they stop where they do best on average.

One held-back stretch of a short series says little about when to stop: that year may have been an odd one. Folds keep
back several stretches, a model each, and the loop sees one model whose score is their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from cellgate.training.loop import Objective

_Fold = TypeVar("_Fold", bound=Objective)


class FoldedObjective(Generic[_Fold]):
    """Objectives side by side, the k-th for the k-th model of an nn.ModuleList.

    The losses are added, so every model gets the gradient it would get alone; the scores are averaged.
    """

    def __init__(self, objectives: Sequence[_Fold]) -> None:
        self.objectives = list(objectives)

    @property
    def examples(self) -> int:
        """Those of the largest fold; smaller folds take part with the examples they have."""
        return max(objective.examples for objective in self.objectives)

    def loss(self, model: nn.ModuleList, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The sum of the folds' losses."""
        losses = []
        for part, objective in zip(model, self.objectives, strict=True):
            own = rows[rows < objective.examples]
            if len(own):
                losses.append(objective.loss(part, own, generator))
        return torch.stack(losses).sum()

    def validate(self, model: nn.ModuleList) -> float | None:
        """The mean of the folds' scores."""
        scores = [objective.validate(part) for part, objective in zip(model, self.objectives, strict=True)]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else None
