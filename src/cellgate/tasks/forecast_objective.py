"""What a forecast's training minimises, and what it is stopped by."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cellgate.tasks.forecast import SERIES_AT_ONCE, LookedUp, ask, look_up
from cellgate.tasks.forecast_data import Prepared
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_task import ForecastTask

_FEWEST_ORIGINS, _MOST_ORIGINS, _VALIDATION_ORIGINS = 6, 24, 2048  # of a series, of a series, of all together
_SPREAD_ORIGINS, _LEAST_SPREAD_ORIGINS = 4096, 8  # of all series together, of each


def pinball(answers: Tensor, targets: Tensor, quantiles: Tensor, counted: Tensor) -> Tensor:
    """The quantile loss, averaged over quantiles, of all answers together that count: (..., Q), (...), (Q,), (...).

    Koenker and Bassett (1978), "Regression quantiles". Twice the loss at 0.5 is the absolute error.
    """
    error = targets[..., None] - answers
    # max(q e, (q - 1) e), with a slope that autograd takes for a constant: one product forward, one backward.
    slope = torch.add(quantiles - 0.5, error.detach().sign(), alpha=0.5).mul_(counted[..., None])
    return (slope * error).sum() / len(quantiles)


class Asked(NamedTuple):
    """A part of the validation: where the network is asked, what is known there, and the right answers."""

    series: Tensor
    starts: Tensor
    origins: Tensor
    known: tuple[Tensor, Tensor]
    targets: Tensor
    counted: Tensor


class ForecastObjective:
    """What the training loop minimises and what it watches.

    Training looks at steps before `train_end` only; validation asks at the last step of the training
    part and at later ones, and looks at steps from `train_end` up to `validation_end` only.
    """

    def __init__(self, data: Prepared, task: ForecastTask, train_end: np.ndarray, validation_end: np.ndarray) -> None:
        self.data, self.task = data, task
        self.train_end, self.validation_end = torch.from_numpy(train_end), torch.from_numpy(validation_end)
        self.quantiles = torch.tensor(task.quantiles)
        # A long series is cut into windows that overlap by half.
        stride = max(1, task.context // 2)
        first_origin = task.season - 1
        series, ends = [], []
        for k, end in enumerate(train_end.tolist()):
            if end < first_origin + 2:
                continue  # too short to hold one origin and one target
            last = max(end - task.context, 0)
            ends += [end - back for back in range(0, last + stride, stride) if end - back > first_origin + 1]
            series += [k] * (len(ends) - len(series))
        self.series, self.ends = torch.tensor(series), torch.tensor(ends)
        self.origins = max(_FEWEST_ORIGINS, min(_MOST_ORIGINS, _VALIDATION_ORIGINS // len(train_end)))
        self.width = int(min(task.context, int(train_end.max())))

    @property
    def examples(self) -> int:
        """How many windows an epoch goes through."""
        return len(self.series)

    def draw(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) series, (B,) starts and (B, K) origins for a batch of windows, moved by a random part of a stride."""
        task = self.task
        series = self.series[rows]
        starts = self.ends[rows] - self.width
        if self.width == task.context:
            starts = starts - torch.randint(0, max(1, task.context // 2), starts.shape, generator=generator)
        starts = starts.clamp(min=0)
        first = task.season - 1
        width = min(self.width, int((self.train_end[series] - starts).max()))
        positions = torch.arange(first, width - 1)
        if len(positions) > task.origins:
            positions = positions[torch.randperm(len(positions), generator=generator)[: task.origins]]
        # Past the end of a shorter series nothing is left to be counted.
        return series, starts, torch.minimum(starts[:, None] + positions, self.train_end[series][:, None] - 1)

    def loss(self, model: ForecastNetwork, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean loss over a batch of windows."""
        series, starts, origins = self.draw(rows, generator)
        found = look_up(self.data, self.task, series, origins)
        answers = ask(model, self.data, self.task, series, starts, origins, found[:2])
        targets, counted = self.targets(series, origins, None, self.train_end, found)
        return pinball(answers, targets, self.quantiles, counted) / counted.sum().clamp(min=1)

    def spread(self) -> Tensor:
        """(horizon, Q) quantiles of the training part's right answers, less their median: what answers of 0 miss by."""
        series = self.series.unique()
        first = torch.maximum(self.data.lags[series], torch.tensor(self.task.season)) - 1
        last = self.train_end[series] - 2
        count = min(max(_LEAST_SPREAD_ORIGINS, _SPREAD_ORIGINS // len(series)), max(1, int((last - first).max()) + 1))
        way = torch.linspace(0, 1, count, dtype=torch.float64) * (last - first).clamp(min=0)[:, None]
        origins = torch.minimum(first, last)[:, None] + way.long()
        targets, counted = self.targets(series, origins, None, self.train_end)
        found = torch.zeros(self.task.horizon, len(self.task.quantiles))
        middle = self.task.quantiles.index(0.5)
        for h in range(self.task.horizon):
            seen = targets[..., h][counted[..., h]]
            if len(seen):
                quantiles = seen.quantile(self.quantiles)
                found[h] = quantiles - quantiles[middle]
            elif h:
                found[h] = found[h - 1]  # further ahead than the training part reaches
        return found

    @torch.no_grad()
    def validate(self, model: ForecastNetwork) -> float | None:
        """The mean loss over the validation part, from many origins; None where there is no such part."""
        total, weight = 0.0, 0.0
        for answers, targets, counted in self.validation_answers(model):
            value, count = pinball(answers, targets, self.quantiles, counted), counted.sum()
            total, weight = total + float(value), weight + float(count)
        return total / weight if weight else None

    def validation_answers(self, model: ForecastNetwork) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """In parts: (B, K, horizon, Q) answers, the (B, K, horizon) right ones, and which of them count."""
        for part in self.validation:
            answers = ask(model, self.data, self.task, part.series, part.starts, part.origins, part.known)
            yield answers, part.targets, part.counted

    @cached_property
    def validation(self) -> list[Asked]:
        """The parts of the validation, worked out once: they are the same after every epoch."""
        chosen = torch.nonzero((self.validation_end > self.train_end) & (self.train_end >= self.data.lags)).flatten()
        return [self._asked(series) for series in chosen.split(SERIES_AT_ONCE)] if len(chosen) else []

    def _asked(self, series: Tensor) -> Asked:
        """To be asked of some series at once: (B, K) origins from the end of the training part on."""
        first, last = self.train_end[series] - 1, self.validation_end[series] - 2
        span = int((last - first).max())
        back = torch.linspace(0, span, min(self.origins, span + 1)).long()
        starts = (first + 1 - self.task.context).clamp(min=0)
        # A series with fewer steps to validate on is asked at its first origin again; only one of them counts.
        origins = last[:, None] - back
        fresh = origins >= first[:, None]
        origins = torch.maximum(origins, first[:, None])
        found = look_up(self.data, self.task, series, origins)
        targets, counted = self.targets(series, origins, self.train_end, self.validation_end, found)
        return Asked(series, starts, origins, found[:2], targets, counted & fresh[..., None])

    def targets(
        self, series: Tensor, origins: Tensor, low: Tensor | None, high: Tensor, found: LookedUp | None = None
    ) -> tuple[Tensor, Tensor]:
        """The (B, K, horizon) right answers, and which of them count: observed, and at steps before `high`.

        Those that do not count are 0.

        Args:
            series: (B,) which series.
            origins: (B, K) steps of theirs.
            low: (S,) the first steps that count, of all series; None for all.
            high: (S,) the first that no longer do.
            found: what look_up gives for these, where it is at hand.
        """
        data, task = self.data, self.task
        found = look_up(data, task, series, origins) if found is None else found
        ahead = torch.arange(1, task.horizon + 1)
        # Nothing counts of an origin without a season behind it.
        end = torch.where(origins >= data.lags[series][:, None] - 1, high[series][:, None] - origins, 0)
        answers = found.outcome - found.start
        counted = (ahead < end[..., None]) & (answers == answers)
        if low is not None:
            counted &= ahead >= (low[series][:, None] - origins)[..., None]
        return torch.where(counted, answers, 0.0), counted
