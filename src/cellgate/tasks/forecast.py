"""Forecasting: what the network sees of a series, what it is asked for, and how its answer is read.

At every step t the network has read the series up to t and answers for all of t+1, ..., t+horizon at
once (direct multi-step, several quantiles each), so nothing predicted is ever fed back. What it
answers is the difference from a simple forecast, in units of the mean seasonal change:

    z       = log y where the swing grows with the level, else y
    start   = the seasonal naive forecast and others as simple, weighted by how well they did (tasks/start.py)
    answer  = (z[t+h] - start) / scale,   scale = mean |z[t] - z[t-season]| of the training part

so a network that has learnt nothing answers 0 and is about as good as the best of those, and its absolute error is, for
z = y, the MASE itself. Of a few thousand steps, quantiles beside
the median begin as far from it as the training part's are, so that training may end before the median learns what is
not there to be learnt. One network serves all series of a panel.

The shape of the task (an answer at every step read, quantile loss) follows Wen et al. (2017), "A
Multi-Horizon Quantile Recurrent Forecaster", section 3.3; the units follow Hyndman and Koehler (2006).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.tasks.forecast_data import CLIP, Prepared
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_operators import rows_of
from cellgate.tasks.forecast_task import ForecastTask

SERIES_AT_ONCE = 64
_ANSWERS_AT_ONCE = 4096  # origins in one call of the readout, so that memory stays small


# ---------------------------------------------------------------- asking the network


def ask(
    model: ForecastNetwork,
    data: Prepared,
    task: ForecastTask,
    series: Tensor,
    starts: Tensor,
    origins: Tensor,
    known: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The network's answers at some steps of some series, having read from `starts` on.

    Args:
        model: the network.
        data: the prepared panel.
        task: the task.
        series: (B,) which series.
        starts: (B,) the step to begin reading at.
        origins: (B, K) the steps to answer at.
        known: what known_ahead gives for these, where it is at hand.

    Returns:
        (B, K, horizon, quantiles) answers.
    """
    picked = states_at(model, task, *window(data, series, starts, origins))
    return model.answer(picked, *(known or known_ahead(data, task, series, origins)))


def window(data: Prepared, series: Tensor, starts: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T, I) what is read of some series from `starts` on, and the (B, K) places of the origins in it."""
    positions = origins - starts[:, None]
    width = int(positions.max()) + 1
    # A window that is longer than its series repeats the last step; what is read there is never asked for.
    steps = torch.minimum(starts[:, None] + torch.arange(width), data.lengths[series][:, None] - 1)
    return nn.functional.embedding(data.offsets[series][:, None] + steps, data.features), positions


def states_at(model: ForecastNetwork, task: ForecastTask, inputs: Tensor, positions: Tensor) -> Tensor:
    """(B, K, H) the states at (B, K) places of (B, T, I) inputs, with dropout in training."""
    hidden, _ = model.lstm(inputs)
    # Whole rows, as the output lies in memory: steps first.
    rows = positions * len(inputs) + torch.arange(len(inputs))[:, None]
    dropout = task.dropout if model.training else 0.0
    return rows_of(hidden.transpose(0, 1).flatten(0, 1), rows.flatten(), dropout).unflatten(0, rows.shape)


class LookedUp(NamedTuple):
    """What is looked up for some origins, a horizon each.

    Attributes:
        ahead: (B, K, horizon, A) what is planned for each step, how that differs from the step whose value the naive
            forecast repeats, and how far ahead the step is.
        simple: (B, K, horizon, C) simple forecasts less the start, zero where history does not reach back to them.
        start: (B, K, horizon) what an answer of 0 stands for, NaN where there is none.
        outcome: (B, K, horizon) what came, NaN where that was not observed; in units of the start.
    """

    ahead: Tensor
    simple: Tensor
    start: Tensor
    outcome: Tensor


def look_up(data: Prepared, task: ForecastTask, series: Tensor, origins: Tensor) -> LookedUp:
    """All that is known of the steps that follow some origins (B, K) of some series (B,)."""
    found = data.horizons.read(series, origins)
    # Used where they lie: rows in the order of tasks.forecast_data._rows_read.
    planned = data.planned
    ahead, start, simple = found[: 2 * planned + 2], found[2 * planned + 2], found[2 * planned + 3 : -1]
    there, base, far = ahead.split([planned, planned, 2])
    torch.sub(there, base, out=base)
    far.copy_(data.far[:, None, None])
    start += added(data, series, origins).float()
    if len(simple):
        simple[-1] = data.horizons.value(planned + len(simple), series, origins)[..., None]  # a level
        simple.sub_(start).nan_to_num_(0.0).clamp_(-CLIP, CLIP)
    return LookedUp(ahead.movedim(0, -1), simple.movedim(0, -1), start, found[-1])


def known_ahead(data: Prepared, task: ForecastTask, series: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
    """What the network is told of the steps ahead: the first two of what look_up gives."""
    found = look_up(data, task, series, origins)
    return found.ahead, found.simple


def base_index(origins: Tensor, lags: Tensor, horizon: int) -> Tensor:
    """(..., horizon) the step whose value the seasonal naive forecast takes for each step after an origin.

    Args:
        origins: (...) steps.
        lags: the season that is repeated, of a shape that broadcasts to theirs.
        horizon: steps ahead.
    """
    lags = lags[..., None]
    return origins[..., None] + 1 - lags + torch.arange(horizon) % lags


def added(data: Prepared, series: Tensor, origins: Tensor) -> Tensor:
    """(B, K, horizon) float64, what is added to the steps repeated, at some steps of some series: see tasks.start."""
    at = data.offsets[series][:, None] + origins
    return data.flat[at][..., None] + data.off[at][..., None] * data.fades[series][:, None]


def reading_start(origins: np.ndarray, context: int) -> np.ndarray:
    """The step to begin reading at, for a forecast at each origin.

    It moves in blocks of a context, so that between one and two contexts are read, and depends on the origin only: a
    stream that carries its state on and a forecast made afresh begin at the same step and agree.
    """
    return np.maximum(origins // context - 1, 0) * context


@torch.no_grad()
def forecast_at(
    model: ForecastNetwork,
    data: Prepared,
    task: ForecastTask,
    series: np.ndarray,
    origins: np.ndarray,
    widening: np.ndarray | None = None,
    shrinkage: np.ndarray | None = None,
) -> np.ndarray:
    """Forecasts from some steps of some series, in the unit of the data.

    Args:
        model: the trained network.
        data: the series it continues.
        task: the task.
        series: (n,) which series.
        origins: (n,) the last step known, of each forecast.
        widening: (horizon, Q) added to the answers, from tasks.intervals; zeros by default.
        shrinkage: (horizon,) what the median is multiplied by before, from tasks.shrinkage; ones by default.

    Returns:
        (n, horizon, Q), ascending along Q.
    """
    found = np.empty((len(series), task.horizon, len(task.quantiles)))
    if not len(series):
        return found
    starts = reading_start(origins, task.context)
    # One row is read once for all origins that begin at the same step; rows of a batch have as many origins each.
    keys = np.stack([series, starts], axis=1)
    rows, row_of = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(row_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(row_of, minlength=len(rows)))[:-1])
    most = max(len(member) for member in members)
    size = max(1, min(SERIES_AT_ONCE, _ANSWERS_AT_ONCE // most))
    for begin in range(0, len(rows), size):
        part = members[begin : begin + size]
        widest = max(len(member) for member in part)
        padded = np.stack([np.pad(member, (0, widest - len(member)), mode="edge") for member in part])
        which, first = torch.from_numpy(rows[begin : begin + size].T.copy())
        asked = torch.from_numpy(origins[padded])
        answers = ask(model, data, task, which, first, asked)
        values = in_data_units(answers, data, task, which, asked, widening, shrinkage)
        for member, made in zip(part, values, strict=True):
            found[member] = made[: len(member)]
    return found


def shrunk(ordered: Tensor, shrinkage: np.ndarray, task: ForecastTask) -> Tensor:
    """Ascending answers drawn towards 0, the naive forecast.

    Args:
        ordered: (..., horizon, Q) answers, ascending along Q.
        shrinkage: (horizon,) factors of the median; the other quantiles keep their distance from it.
        task: the task.

    Returns:
        (..., horizon, Q), ascending along Q.
    """
    middle = task.quantiles.index(0.5)
    return ordered - torch.from_numpy(1 - shrinkage).to(ordered)[:, None] * ordered[..., middle : middle + 1]


def in_data_units(
    answers: Tensor,
    data: Prepared,
    task: ForecastTask,
    series: Tensor,
    origins: Tensor,
    widening: np.ndarray | None,
    shrinkage: np.ndarray | None = None,
) -> np.ndarray:
    """(B, K, horizon, Q) answers as values of the data, in float64, ascending along Q.

    A series that had one value only keeps it, and one that reached 0 but was never below stays at 0 or above.
    """
    ordered = answers.double().sort(-1).values
    if shrinkage is not None:
        ordered = shrunk(ordered, shrinkage, task)
    if widening is not None:
        # A negative widening may not push one quantile past another.
        ordered = (ordered + torch.from_numpy(widening)).sort(-1).values
    at = data.offsets[series][:, None] + origins
    lowest, highest = data.lowest[at][..., None, None], data.highest[at][..., None, None]
    ordered = torch.where(highest > lowest, ordered, 0.0)  # what never changed is not expected to
    base = base_index(origins, data.lags[series][:, None], task.horizon).clamp(min=0)
    start = data.repeated[data.offsets[series][:, None, None] + base] + added(data, series, origins)
    start += data.first[series][:, None, None]
    scale = torch.from_numpy(data.scales[series.numpy()])[:, None, None, None]
    z = start[..., None] + ordered
    if not task.log:
        z = torch.where(lowest == 0, z.clamp(min=0), z)  # counts, demand: what reached 0 and never fell below it
    z = z * scale
    return (z.exp() if task.log else z).numpy()


def forecast(
    model: ForecastNetwork, data: Prepared, task: ForecastTask, widening: np.ndarray | None = None
) -> np.ndarray:
    """The forecast after the last step of every series: (S, horizon, Q), as forecast_at gives it."""
    series = np.arange(len(data.lengths))
    return forecast_at(model, data, task, series, data.lengths.numpy() - 1, widening)
