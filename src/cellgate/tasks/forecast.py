"""Forecasting: what the network sees of a series, what it is asked for, and how its answer is read.

At every step t the network has read the series up to t and answers for all of t+1, ..., t+horizon at
once (direct multi-step, several quantiles each), so nothing predicted is ever fed back. What it
answers is the difference from the seasonal naive forecast, in units of the mean seasonal change:

    z       = log y where the swing grows with the level, else y
    base    = z one season before t+h (the last season known at t)
    answer  = (z[t+h] - base) / scale,    scale = mean |z[t] - z[t-season]| of the training part

so a network that has learnt nothing answers 0 and equals the baseline it is compared with, and its
absolute error is, for z = y, the MASE itself. One network serves all series of a panel.

The shape of the task (an answer at every step read, quantile loss) follows Wen et al. (2017), "A
Multi-Horizon Quantile Recurrent Forecaster", section 3.3; the units follow Hyndman and Koehler (2006).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.data import DataError, Panel
from cellgate.data.calendar import calendar_features
from cellgate.data.panel import show_time
from cellgate.nn import SequenceModel
from cellgate.tasks.baselines import fill_by_season

_CLIP = 20.0  # features are in units of the usual change; beyond this they are an outlier's
_VALIDATION_ORIGINS = 24
_SERIES_AT_ONCE = 64


@dataclass(frozen=True)
class ForecastTask:
    """All that is needed, beside the weights, to ask the network for a forecast.

    Attributes:
        horizon: steps ahead.
        season: steps in a cycle; 1 for none.
        quantiles: the probabilities answered for, ascending, with 0.5 among them.
        log: whether the network sees log y.
        context: how many steps the network reads at most before it answers.
        origins: how many steps of a window are asked for an answer in one training step.
        dropout: of the hidden state before the readout, in training.
    """

    horizon: int
    season: int
    quantiles: tuple[float, ...]
    log: bool
    context: int
    origins: int = 128
    dropout: float = 0.1

    def to_json(self) -> dict[str, Any]:
        """As plain values for a config file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ForecastTask:
        """From what to_json gave."""
        return cls(**{**values, "quantiles": tuple(values["quantiles"])})


@dataclass(frozen=True)
class Prepared:
    """A panel as the network sees it, all series end to end, resident on one device.

    Attributes:
        z: (N,) float64 the transformed values divided by their series' scale, gaps filled.
        observed: (N,) bool, False where a value was missing.
        features: (N, F) float32 the input of the network.
        offsets: (S,) int64 where each series begins.
        lengths: (S,) int64 steps of each series.
        scales: (S,) float64 the scale of each series.
    """

    z: Tensor
    observed: Tensor
    features: Tensor
    offsets: Tensor
    lengths: Tensor
    scales: np.ndarray


def wants_log(panel: Panel) -> bool:
    """Whether the swing of the series grows with their level, so that log y is the steadier thing to learn.

    Guerrero (1993), "Time-series analysis supported by power transformations", restricted to the
    powers 0 and 1: of blocks a season long, the spread over the mean must vary less than the spread
    itself. Most series of the panel must be positive throughout and say so.
    """
    votes = []
    for values in panel.values:
        known = values[np.isfinite(values)]
        if not len(known) or known.min() <= 0:
            return False
        size = max(panel.season, 4)
        blocks = known[len(known) % size :].reshape(-1, size)
        if len(blocks) < 3:
            votes.append(0.0)
            continue
        mean, spread = blocks.mean(1), blocks.std(1)
        if spread.mean() == 0:
            continue
        relative = spread / mean
        votes.append(float(relative.std() / relative.mean() < spread.std() / spread.mean()))
    return bool(votes) and float(np.mean(votes)) > 0.5


def fit_scales(panel: Panel, task: ForecastTask, ends: np.ndarray | None = None) -> np.ndarray:
    """(S,) the scale of each series, by its first `ends` steps (all by default)."""
    limits = [len(values) for values in panel.values] if ends is None else ends.tolist()
    return np.array([_scale(_transform(panel, k, task)[: limits[k]], task.season) for k in range(len(panel))])


def _transform(panel: Panel, k: int, task: ForecastTask) -> np.ndarray:
    """(T,) one series with its gaps filled, and its log where the task is in logs."""
    filled = fill_by_season(panel.values[k], task.season)
    if not task.log:
        return filled
    if (filled <= 0).any():
        step = int(np.argmax(filled <= 0))
        raise DataError(
            f"series {panel.ids[k]!r}, {show_time(panel.times(k)[step])}: expected a positive value, as in training, "
            f"got {filled[step]:g}; correct it, or train again with it"
        )
    return np.log(filled)


def prepare(panel: Panel, task: ForecastTask, scales: np.ndarray) -> Prepared:
    """Transform, scale and describe every series.

    Args:
        panel: the series.
        task: the transformation to use.
        scales: (S,) from fit_scales, here or at training.

    Raises:
        DataError: for a value that log cannot take.
    """
    z_parts, observed_parts, feature_parts = [], [], []
    for k, values in enumerate(panel.values):
        known = np.isfinite(values)
        z = _transform(panel, k, task) / scales[k]
        z_parts.append(z)
        observed_parts.append(known)
        calendar = calendar_features(panel.times(k), panel.frequency, task.season)
        feature_parts.append(_features(z, known, task.season, calendar))
    lengths = torch.tensor([len(values) for values in panel.values])
    return Prepared(
        z=torch.from_numpy(np.concatenate(z_parts)),
        observed=torch.from_numpy(np.concatenate(observed_parts)),
        features=torch.from_numpy(np.concatenate(feature_parts)),
        offsets=torch.cumsum(lengths, 0) - lengths,
        lengths=lengths,
        scales=scales,
    )


def _scale(z: np.ndarray, season: int) -> float:
    """The mean absolute seasonal change; the spread where a series only repeats itself; 1 where it is constant."""
    candidates = [np.abs(z[lag:] - z[:-lag]).mean() for lag in (season, 1) if len(z) > lag]
    tiny = 1e-9 * max(1.0, float(np.abs(z).max(initial=0.0)))
    return next((float(c) for c in candidates if c > tiny), 1.0)


def _features(z: np.ndarray, known: np.ndarray, season: int, calendar: np.ndarray) -> np.ndarray:
    """(T, F): the seasonal change, the last change, the height over the last season's mean, and the calendar."""
    steps = np.arange(len(z))
    seasonal = np.where(steps >= season, z - z[np.maximum(steps - season, 0)], 0.0)
    change = np.diff(z, prepend=z[:1])
    total = np.cumsum(np.concatenate([[0.0], z - z[0]]))
    begin = np.maximum(steps + 1 - season, 0)
    height = (z - z[0]) - (total[steps + 1] - total[begin]) / (steps + 1 - begin)
    columns = np.stack([seasonal, change, height], axis=1) * known[:, None]
    columns = np.clip(columns, -_CLIP, _CLIP)
    return np.concatenate([columns, known[:, None], calendar], axis=1).astype(np.float32)


# ---------------------------------------------------------------- asking the network


def ask(
    model: SequenceModel, data: Prepared, task: ForecastTask, series: Tensor, starts: Tensor, origins: Tensor
) -> Tensor:
    """The network's answers at some steps of some series, having read from `starts` on.

    Args:
        model: an LSTM with a readout of horizon * quantiles numbers.
        data: the prepared panel.
        task: the task.
        series: (B,) which series.
        starts: (B,) the step to begin reading at.
        origins: (B, K) the steps to answer at.

    Returns:
        (B, K, horizon, quantiles) answers.
    """
    positions = origins - starts[:, None]
    width = int(positions.max()) + 1
    # A window that is longer than its series repeats the last step; what is read there is never asked for.
    steps = torch.minimum(starts[:, None] + torch.arange(width), data.lengths[series][:, None] - 1)
    hidden, _ = model.lstm(data.features[data.offsets[series][:, None] + steps])
    picked = hidden.gather(1, positions[..., None].expand(-1, -1, hidden.shape[-1]))
    picked = nn.functional.dropout(picked, task.dropout, model.training)
    return model.readout(picked).unflatten(-1, (task.horizon, len(task.quantiles)))


def base_index(origins: Tensor, task: ForecastTask) -> Tensor:
    """(..., horizon) the step whose value the seasonal naive forecast takes for each step after an origin."""
    ahead = torch.arange(1, task.horizon + 1)
    return origins[..., None] - task.season + 1 + (ahead - 1) % task.season


def pinball(answers: Tensor, targets: Tensor, quantiles: Tensor) -> Tensor:
    """The quantile loss of every answer, averaged over quantiles: (..., Q), (...) to (...).

    Koenker and Bassett (1978), "Regression quantiles". Twice the loss at 0.5 is the absolute error.
    """
    error = targets[..., None] - answers
    return torch.maximum(quantiles * error, (quantiles - 1) * error).mean(-1)


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
        self.width = int(min(task.context, int(train_end.max())))

    @property
    def examples(self) -> int:
        """How many windows an epoch goes through."""
        return len(self.series)

    def loss(self, model: SequenceModel, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean loss over a batch of windows, moved by a random part of a stride."""
        task, data = self.task, self.data
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
        origins = torch.minimum(starts[:, None] + positions, self.train_end[series][:, None] - 1)
        answers = ask(model, data, task, series, starts, origins)
        targets, counted = self.targets(series, origins, 0, self.train_end)
        return (pinball(answers, targets, self.quantiles) * counted).sum() / counted.sum().clamp(min=1)

    @torch.no_grad()
    def validate(self, model: SequenceModel) -> float | None:
        """The mean loss over the validation part, from many origins; None where there is no such part."""
        total, weight = 0.0, 0.0
        for answers, targets, counted in self.validation_answers(model):
            value, count = (pinball(answers, targets, self.quantiles) * counted).sum(), counted.sum()
            total, weight = total + float(value), weight + float(count)
        return total / weight if weight else None

    def validation_answers(self, model: SequenceModel) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """In parts: (B, K, horizon, Q) answers, the (B, K, horizon) right ones, and which of them count."""
        chosen = torch.nonzero((self.validation_end > self.train_end) & (self.train_end >= self.task.season)).flatten()
        if not len(chosen):
            return
        for series in chosen.split(_SERIES_AT_ONCE):
            origins, fresh, answers = self.answers_after(model, series)
            targets, counted = self.targets(series, origins, self.train_end[series][:, None, None], self.validation_end)
            yield answers, targets, counted & fresh[..., None]

    def answers_after(self, model: SequenceModel, series: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, K) origins from the end of the training part on, which of them to count, and the answers there."""
        first, last = self.train_end[series] - 1, self.validation_end[series] - 2
        span = int((last - first).max())
        back = torch.linspace(0, span, min(_VALIDATION_ORIGINS, span + 1)).long()
        starts = (first + 1 - self.task.context).clamp(min=0)
        # A series with fewer steps to validate on is asked at its first origin again; only one of them counts.
        origins = last[:, None] - back
        fresh = origins >= first[:, None]
        origins = torch.maximum(origins, first[:, None])
        return origins, fresh, ask(model, self.data, self.task, series, starts, origins)

    def targets(self, series: Tensor, origins: Tensor, low: int | Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The (B, K, horizon) right answers, and which of them count: observed, and at steps in [low, high)."""
        data = self.data
        step = origins[..., None] + torch.arange(1, self.task.horizon + 1)
        end = high[series][:, None, None]
        offset = data.offsets[series][:, None, None]
        inside = (step >= low) & (step < end)
        index = offset + torch.minimum(step, data.lengths[series][:, None, None] - 1)
        base = data.z[offset + base_index(origins, self.task).clamp(min=0)]
        targets = (data.z[index] - base).float()
        known_origin = (origins >= self.task.season - 1)[..., None]
        return targets, inside & data.observed[index] & known_origin


@torch.no_grad()
def forecast(
    model: SequenceModel, data: Prepared, task: ForecastTask, widening: np.ndarray | None = None
) -> np.ndarray:
    """The forecast after the last step of every series, in the unit of the data.

    Args:
        model: the trained network.
        data: the series it continues.
        task: the task.
        widening: (horizon, Q) added to the answers, from tasks.intervals; zeros by default.

    Returns:
        (S, horizon, Q), ascending along Q.
    """
    parts = []
    for series in torch.arange(len(data.lengths)).split(_SERIES_AT_ONCE):
        lengths = data.lengths[series]
        starts = (lengths - task.context).clamp(min=0)
        answers = ask(model, data, task, series, starts, lengths[:, None] - 1)[:, 0].double().sort(-1).values
        if widening is not None:
            # A negative widening may not push one quantile past another.
            answers = (answers + torch.from_numpy(widening)).sort(-1).values
        base = data.z[data.offsets[series][:, None] + base_index(lengths - 1, task).clamp(min=0)]
        z = (base[..., None] + answers) * torch.from_numpy(data.scales[series.numpy()])[:, None, None]
        parts.append((z.exp() if task.log else z).numpy())
    return np.concatenate(parts)
