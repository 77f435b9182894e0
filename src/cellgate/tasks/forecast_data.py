"""What the network sees of a series: its values in its own units, what is known of every step, simple forecasts.

Everything at a step is made from that step and earlier ones, so that nothing looks ahead; only `planned` (the calendar
and the drivers that are known beforehand) reaches past the end of a series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from cellgate.data import DataError, Panel
from cellgate.data.calendar import calendar_cycles, calendar_features, calendar_names
from cellgate.data.frequency import COUNT, Frequency
from cellgate.data.panel import show_time
from cellgate.tasks.baselines import fill_by_season
from cellgate.tasks.covariates import CovariateCoding
from cellgate.tasks.forecast_task import ForecastTask
from cellgate.tasks.horizons import Horizons
from cellgate.tasks.seasons import naive_error
from cellgate.tasks.start import SEASONS_BACK, Mix, fade, fit_mix, mean_of_last, start_of

CLIP = 20.0  # of the usual change; what is beyond is an outlier's
_CYCLE_SECONDS = {"hour": 3600, "day": 86_400, "week": 604_800, "month": 30 * 86_400, "year": 365 * 86_400}
_USUAL = 0.95  # of the changes
_SEASONS_AVERAGED = 4
_DAYS_AVERAGED = 7  # of the shorter season, where there is a longer one


@dataclass(frozen=True)
class Units:
    """What is measured on the training part of every series.

    Attributes:
        scales: (S,) float64, the mean seasonal change, by which values are divided.
        lags: (S,) int64, the season that simple forecasts repeat: the shorter or the longer, whichever did better.
        mixes: S weights of simple forecasts, whose mean is corrected: see tasks.start.
    """

    scales: np.ndarray
    lags: np.ndarray
    mixes: tuple[Mix, ...]

    def one(self, k: int) -> Units:
        """Those of one series."""
        return self.select(np.array([k]))

    def select(self, series: np.ndarray) -> Units:
        """Those of some series, (n,) places."""
        return Units(self.scales[series], self.lags[series], tuple(self.mixes[k] for k in series.tolist()))


@dataclass(frozen=True)
class Prepared:
    """A panel as the network sees it, all series end to end, resident in memory.

    Attributes:
        z: (N,) float64 the transformed values divided by their series' scale, gaps filled.
        first: (S,) float64 the first of each series, from which `repeated` and `flat` are counted.
        repeated, flat, off: (N,) float64 of which the simple forecast is made that answers correct: see tasks.start.
        lowest, highest: (N,) float64 the least and the largest value up to each step.
        fades: (S, horizon) float64 how much of `off` is left at each step ahead.
        features: (N, F) float32 the input of the network.
        horizons: what is known beforehand of every step, z and simple forecasts, to be read a horizon at a time.
        planned: D, how many numbers are known beforehand of a step.
        far: (2, horizon) float32 how far ahead the steps of a horizon are, and the root of that.
        offsets: (S,) int64 where each series begins in z.
        lengths: (S,) int64 steps of each series.
        lags: (S,) int64 the season that each series' naive forecast repeats.
        scales: (S,) float64 the scale of each series.
    """

    z: Tensor
    first: Tensor
    repeated: Tensor
    flat: Tensor
    off: Tensor
    lowest: Tensor
    highest: Tensor
    fades: Tensor
    features: Tensor
    horizons: Horizons
    planned: int
    far: Tensor
    offsets: Tensor
    lengths: Tensor
    lags: Tensor
    scales: np.ndarray


def cycles_shown(panel: Panel, season: int) -> tuple[str, ...]:
    """The cycles of the calendar that some series went through twice."""
    steps = max(len(values) for values in panel.values)
    times = panel.frequency.grid(panel.starts[0], 0, steps + 1)
    seconds = (times[-1] - times[0]) / np.timedelta64(1, "s") if times.dtype.kind == "M" else 0.0
    turns = {name: seconds / length for name, length in _CYCLE_SECONDS.items()} | {"season": steps / season}
    return tuple(name for name in calendar_cycles(panel.frequency, season) if turns[name] >= 2)


def wants_log(panel: Panel) -> bool:
    """Whether the swing of the series grows with their level, so that log y is the steadier thing to learn.

    Guerrero (1993), "Time-series analysis supported by power transformations", restricted to the
    powers 0 and 1: of blocks a season long, the spread over the mean must vary less than the spread
    itself. All values of the table must be positive, and most series of the panel say so.
    """
    if panel.signed:
        return False
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


def fit_units(panel: Panel, task: ForecastTask, ends: np.ndarray | None = None) -> Units:
    """The units of each series, by its first `ends` steps (all by default)."""
    scales, lags, mixes = [], [], []
    for k in range(len(panel)):
        z = transform(panel, k, task)[: None if ends is None else int(ends[k])]
        scales.append(_scale(z, task.season))
        lags.append(min(task.seasons, key=lambda lag: naive_error(z, lag, task.horizon)))
        mixes.append(fit_mix(z, lags[-1], task.season, task.horizon))
    return Units(np.array(scales), np.array(lags, dtype=np.int64), tuple(mixes))


def transform(panel: Panel, k: int, task: ForecastTask) -> np.ndarray:
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


def prepare(panel: Panel, task: ForecastTask, units: Units, coding: CovariateCoding | None = None) -> Prepared:
    """Transform, scale and describe every series.

    Args:
        panel: the series.
        task: the transformation to use.
        units: from fit_units, here or at training.
        coding: how covariates become numbers; None where the network reads none.

    Raises:
        DataError: for a value that log cannot take, or a covariate unlike those trained on.
    """
    parts = []
    for k, values in enumerate(panel.values):
        z = transform(panel, k, task) / units.scales[k]
        parts.append(_described(panel, k, z, np.isfinite(values), task, units.one(k), coding))
    return _together(parts, task, units)


def prepare_tail(
    panel: Panel,
    z: np.ndarray,
    known: np.ndarray,
    task: ForecastTask,
    units: Units,
    coding: CovariateCoding | None,
    before: tuple[float, float],
) -> Prepared:
    """The last steps of one series as `prepare` describes them, exact in the last step if `lookback` more are given.

    Args:
        panel: the steps, as a panel of one series; its values are not looked at.
        z: (T,) these steps transformed and scaled, gaps filled.
        known: (T,) bool, where a value was observed.
        task: the task.
        units: those of the series.
        coding: of the covariates.
        before: the least and the largest value that the series had before.
    """
    part = _described(panel, 0, z, known, task, units.one(0), coding, last_only=True)
    part["lowest"], part["highest"] = np.minimum(part["lowest"], before[0]), np.maximum(part["highest"], before[1])
    return _together([part], task, units)


def join(parts: Sequence[Prepared]) -> Prepared | None:
    """The series of all parts, one after the other; None where parts are of other sizes, or read in other pieces."""
    horizons = Horizons.join([part.horizons for part in parts])
    if horizons is None or len({(part.planned, part.features.shape[1]) for part in parts}) > 1:
        return None
    joined = {
        field.name: torch.cat([getattr(part, field.name) for part in parts])
        for field in fields(Prepared)
        if isinstance(getattr(parts[0], field.name), Tensor) and field.name not in ("far", "offsets")
    }
    ends = joined["lengths"].cumsum(0)
    scales = np.concatenate([part.scales for part in parts])
    return replace(parts[0], **joined, horizons=horizons, offsets=ends - joined["lengths"], scales=scales)


def _described(
    panel: Panel,
    k: int,
    z: np.ndarray,
    known: np.ndarray,
    task: ForecastTask,
    units: Units,
    coding: CovariateCoding | None,
    last_only: bool = False,
) -> dict[str, np.ndarray]:
    """The parts of a Prepared that one series brings."""
    lag = int(units.lags[0])
    planned, extra = describe_steps(panel, k, task, lag, coding)
    first = z[:1].sum()  # of no step: 0
    start = start_of(z - first, lag, task.season, units.mixes[0], last_only)
    near = np.concatenate([simple_values(z, task), np.where(known, z, np.nan)[:, None]], axis=1) - first
    near = np.concatenate([start.repeated[:, None], near], axis=1)
    before, columns = max(task.seasons), planned.shape[1]  # before its first step a series is planned as at it
    table = np.full((columns + near.shape[1], before + len(planned)), np.nan, dtype=np.float32)
    table[:columns, :before], table[:columns, before:] = planned[:1].T, planned.T
    table[columns:, before : before + len(z)] = near.T
    return {
        "z": z,
        "first": np.array([first]),
        **start._asdict(),
        "lowest": np.minimum.accumulate(z),
        "highest": np.maximum.accumulate(z),
        "features": np.concatenate(
            [value_features(z, known, task), planned[: len(z)], extra], axis=1, dtype=np.float32
        ),
        "table": table,
    }


def _together(parts: list[dict[str, np.ndarray]], task: ForecastTask, units: Units) -> Prepared:
    lengths = torch.tensor([len(part["z"]) for part in parts])
    tables = [part.pop("table") for part in parts]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    simple = simple_lags(task)
    planned = len(tables[0]) - 2 - len(simple)
    far = torch.arange(1, task.horizon + 1) / task.horizon
    lags = torch.from_numpy(units.lags)
    return Prepared(
        **{name: torch.from_numpy(values) for name, values in joined.items()},
        fades=fade(task.horizon, lags),
        horizons=Horizons.build(tables, max(task.seasons), _rows_read(planned, simple), units.lags, task.horizon),
        planned=planned,
        far=torch.stack([far, far.sqrt()]),
        offsets=torch.cumsum(lengths, 0) - lengths,
        lengths=lengths,
        lags=lags,
        scales=units.scales,
    )


def _rows_read(planned: int, lags: list[int]) -> list[tuple[int, int | None]]:
    """What tasks.forecast.look_up reads, in its order.

    Tables hold planned values, what is repeated, simple forecasts and the outcome.
    """
    return [
        *((k, 0) for k in range(planned)),
        *((k, None) for k in range(planned)),
        *[(planned, 0)] * 2,  # room for how far ahead a step is
        (planned, None),
        *((planned + 1 + k, lag) for k, lag in enumerate(lags)),
        (planned + 1 + len(lags), 0),
    ]


def _scale(z: np.ndarray, season: int) -> float:
    """The mean absolute seasonal change; the spread where a series only repeats itself; 1 where it is constant.

    A change far beyond the usual ones counts no more than one at the bound would: it would make all else look small.
    """
    tiny = 1e-9 * float(np.abs(z).max(initial=0.0))
    for lag in (season, 1):
        if len(z) > lag:
            changes = np.sort(np.abs(z[lag:] - z[:-lag]))
            usual = changes[: math.ceil(_USUAL * len(changes))].mean()
            scale = float(np.minimum(changes, CLIP * usual if usual > tiny else np.inf).mean())
            if scale > tiny:
                return scale
    return 1.0


# ---------------------------------------------------------------- a step, by its value and those before it


def lookback(task: ForecastTask) -> int:
    """How many steps before a step the columns below may depend on."""
    return (SEASONS_BACK + 1) * max(task.seasons) + task.season


def value_features(z: np.ndarray, known: np.ndarray, task: ForecastTask) -> np.ndarray:
    """(T, F): the change over each season, the last change, the height over the seasons' means, what is known."""
    steps = np.arange(len(z))
    columns = [np.where(steps >= lag, z - z[np.maximum(steps - lag, 0)], 0.0) for lag in task.seasons]
    columns += [np.diff(z, prepend=z[:1]), z - mean_of_last(z, task.season)]
    if len(task.seasons) > 1:
        columns.append(z - mean_of_last(z, task.seasons[1]))
    clipped = np.clip(np.stack(columns, axis=1) * known[:, None], -CLIP, CLIP)
    return np.concatenate([clipped, known[:, None]], axis=1)


def simple_values(z: np.ndarray, task: ForecastTask) -> np.ndarray:
    """(T, C): what the simple forecasts repeat: each season's last, its mean over several, the level of the last."""
    if not task.simple:
        return np.zeros((len(z), 0))
    columns = []
    for lag in task.seasons:
        columns.append(z)
        columns.append(_seasonal_mean(z, lag, _SEASONS_AVERAGED))
    if len(task.seasons) > 1:
        columns.append(_seasonal_mean(z, task.season, _DAYS_AVERAGED))
    columns.append(mean_of_last(z, task.season))
    return np.stack(columns, axis=1)


def simple_lags(task: ForecastTask) -> list[int]:
    """The season that each column of simple_values repeats, 0 for a level."""
    if not task.simple:
        return []
    lags = [lag for season in task.seasons for lag in (season, season)]
    return [*lags, *([task.season] if len(task.seasons) > 1 else []), 0]


def feature_names(task: ForecastTask, frequency: Frequency, coding: CovariateCoding) -> tuple[str, ...]:
    """(F,) what each input of the network is, in words: the columns of Prepared.features."""
    names = [f"change over {lag} steps" for lag in task.seasons]
    names += ["last change", f"height over the last {task.season} steps"]
    if len(task.seasons) > 1:
        names.append(f"height over the last {task.seasons[1]} steps")
    names.append("observed")
    cycles = calendar_cycles(frequency, task.season)
    calendar = calendar_names(frequency, task.season)
    names += [name for name, cycle in zip(calendar, (*cycles, *cycles), strict=True) if cycle in task.cycles]
    if len(task.seasons) > 1 and frequency.unit == COUNT:
        names += ["sin of long season", "cos of long season"]
    future = [name for column in coding.future_columns for name in column.names]
    past = [name for column in coding.past_columns for name in column.names]
    static = [name for column in coding.static_columns for name in column.names]
    return (*names, *future, *past, *(f"change of {name}" for name in (*future, *past)), *static)


def _seasonal_mean(z: np.ndarray, lag: int, count: int) -> np.ndarray:
    """(T,) the mean of this step and those 1, ..., count - 1 seasons before, as far as there are any."""
    total, number = z.copy(), np.ones(len(z))
    for back in range(lag, min(count * lag, len(z)), lag):
        total[back:] += z[:-back]
        number[back:] += 1
    return total / number


# ---------------------------------------------------------------- a step, by what else is known of it


def describe_steps(
    panel: Panel, k: int, task: ForecastTask, lag: int, coding: CovariateCoding | None
) -> tuple[np.ndarray, np.ndarray]:
    """What is known of each step of a series beside its value.

    Returns:
        (T + horizon, D) what is known beforehand: calendar and future-known covariates; and (T, E) what is read at the
        step only: past covariates, static ones, and how the drivers changed since the season before.
    """
    steps = len(panel.values[k])
    times = panel.frequency.grid(panel.starts[k], 0, steps + task.horizon)
    cycles = calendar_cycles(panel.frequency, task.season)
    kept = [cycle in task.cycles for cycle in cycles]
    parts = [calendar_features(times, panel.frequency, task.season)[:, np.array([*kept, *kept], dtype=bool)]]
    if len(task.seasons) > 1 and panel.frequency.unit == COUNT:
        angle = 2 * np.pi * (times.astype(np.int64) // panel.frequency.step % task.seasons[1]) / task.seasons[1]
        parts.append(np.stack([np.sin(angle), np.cos(angle)], axis=1))
    if coding is None:
        return np.concatenate(parts, axis=1), np.zeros((steps, 0))
    future = coding.future(panel, k, steps + task.horizon)
    past = coding.past(panel, k)
    moving = np.concatenate([future[:steps], past], axis=1)
    before = np.concatenate([np.repeat(moving[:1], min(lag, steps), 0), moving[: max(steps - lag, 0)]])
    static = np.repeat(coding.static(panel, k)[None], steps, 0)
    return np.concatenate([*parts, future], axis=1), np.concatenate([past, moving - before, static], axis=1)
