"""The folds of a forecast trained as one: an LSTM each, and all that surrounds them in operations that they share.

Folds are for little data, of which a step of training takes the LSTM next to no time, and an operation of PyTorch
little more than the way there. What is looked up, answered and scored is of the same sizes in all folds, so it is done
for all of them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cellgate.tasks.forecast import look_up, states_at, window
from cellgate.tasks.forecast_data import join
from cellgate.tasks.forecast_network import ForecastNetwork, answer_together
from cellgate.tasks.forecast_objective import ForecastObjective, pinball
from cellgate.training import FoldedObjective


def folded(objectives: Sequence[ForecastObjective]) -> FoldedObjective:
    """The objectives as one: together where all folds are of the same sizes, else one after the other."""
    together = join([objective.data for objective in objectives]) if len(objectives) > 1 else None
    if together is None:
        return FoldedObjective(objectives)
    first = objectives[0]
    ends, until = (
        np.concatenate([getattr(objective, name).numpy() for objective in objectives])
        for name in ("train_end", "validation_end")
    )
    return ForecastFolds(objectives, ForecastObjective(together, first.task, ends, until))


class _Asked(NamedTuple):
    """A part of the validation of some folds.

    Attributes:
        folds: m folds that have such a part.
        read: m pairs, (B, T, I) what each reads and (B, K) where in it it is asked.
        ahead, simple: (m * n, horizon, A) and (m * n, horizon, C), what is known there.
        targets: (m * n, horizon) the right answers.
        weights: (m * n, horizon) what each counts in the score.
    """

    folds: list[int]
    read: list[tuple[Tensor, Tensor]]
    ahead: Tensor
    simple: Tensor
    targets: Tensor
    weights: Tensor


class ForecastFolds(FoldedObjective[ForecastObjective]):
    """Folds of a forecast: the losses and scores of a FoldedObjective up to rounding, from the same random numbers.

    Args:
        objectives: one a fold.
        together: the series of all folds, one fold's after the other's.
    """

    def __init__(self, objectives: Sequence[ForecastObjective], together: ForecastObjective) -> None:
        super().__init__(objectives)
        self.together = together

    def loss(self, model: nn.ModuleList, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The sum of the folds' losses."""
        models, hidden, series, origins = [], [], [], []
        for k, (part, fold) in enumerate(zip(_networks(model), self.objectives, strict=True)):
            own = rows[rows < fold.examples]
            if not len(own):
                continue
            which, starts, asked = fold.draw(own, generator)
            models.append(part)
            hidden.append(states_at(part, fold.task, *window(fold.data, which, starts, asked)).flatten(0, 1))
            series.append((which + k * len(fold.data.lengths))[:, None].expand_as(asked).flatten())
            origins.append(asked.flatten())
        every, task = self.together, self.together.task
        at = _stack(series).flatten(), _stack(origins).flatten()[:, None]
        found = look_up(every.data, task, *at)
        answers = answer_together(models, _stack(hidden), found.ahead[:, 0], found.simple[:, 0])
        targets, counted = every.targets(*at, None, every.train_end, found)
        weights = counted.view(len(models), -1, task.horizon).float()
        for part, asked in zip(weights, origins, strict=True):
            part[len(asked) :] = 0.0  # rows that only make folds equally long
        weights /= weights.sum((1, 2), keepdim=True).clamp_(min=1)
        return pinball(answers, targets[:, 0], every.quantiles, weights.flatten(0, 1))

    @torch.no_grad()
    def validate(self, model: nn.ModuleList) -> float | None:
        """The mean of the folds' scores."""
        if not self._validation:
            return None
        networks, total = _networks(model), 0.0
        for part in self._validation:
            models = [networks[k] for k in part.folds]
            states = [
                states_at(one, self.together.task, *read).flatten(0, 1)
                for one, read in zip(models, part.read, strict=True)
            ]
            answers = answer_together(models, _stack(states), part.ahead, part.simple)
            total += float(pinball(answers, part.targets, self.together.quantiles, part.weights))
        return total

    @cached_property
    def _validation(self) -> list[_Asked]:
        """The parts of the validation, worked out once, those of different folds together."""
        counts = [sum(float(part.counted.sum()) for part in fold.validation) for fold in self.objectives]
        scored = sum(count > 0 for count in counts)
        parts = []
        for place in range(max(len(fold.validation) for fold in self.objectives)):
            some = [k for k, fold in enumerate(self.objectives) if counts[k] and len(fold.validation) > place]
            if not some:
                continue
            own = [self.objectives[k].validation[place] for k in some]
            read = [
                window(self.objectives[k].data, part.series, part.starts, part.origins)
                for k, part in zip(some, own, strict=True)
            ]
            weights = [part.counted.flatten(0, 1) / (counts[k] * scored) for k, part in zip(some, own, strict=True)]
            ahead, simple = ([part.known[kind].flatten(0, 1) for part in own] for kind in range(2))
            targets = [part.targets.flatten(0, 1) for part in own]
            joined = (_stack(rows).flatten(0, 1) for rows in (ahead, simple, targets, weights))
            parts.append(_Asked(some, read, *joined))
        return parts


def _networks(model: nn.ModuleList) -> list[ForecastNetwork]:
    return list(model)  # pyright: ignore[reportReturnType]


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """(m, n, ...) from m tensors (n_k, ...), the shorter ones filled with zeros."""
    most = max(len(part) for part in parts)
    return torch.stack(
        [part if len(part) == most else pad(part, (0, 0) * (part.ndim - 1) + (0, most - len(part))) for part in parts]
    )
