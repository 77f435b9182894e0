"""Where a forecast starts from: simple forecasts, each weighted by how well it would have done so far.

What the network answers is a correction. Corrected is not the seasonal naive forecast alone, which repeats the noise
of one season as if it were to come again, but a mean of simple forecasts::

    repeated:  s[t+h-lag] + share * off[t] * exp(-h / lag)
    flat:      the last value, the mean of the last season, the level of many seasons

``s[t]`` is the interquartile mean of z[t], z[t-lag], ... over 1, 2, 4 or 16 seasons: of one it is z, and this the
seasonal naive forecast; of more it leaves out noise, and of four or more also what is odd about single ones, whose
outer quarters do not count (the midmean of Tukey, 1977, "Exploratory Data Analysis"). The level of many seasons is the
interquartile mean of 16 seasons' means. ``off[t]`` is what the repeated forecast has been off by, over the season up
to t: where this week was colder than the last, tomorrow will be, too. It is the correction for the autocorrelation of
errors of Taylor (2003), "Short-term electricity demand forecasting using double seasonal exponential smoothing",
section 3, there for one step ahead and compounded. Of it, 0, 0.25, 0.5, 0.75 or 1 is carried on.

The weights of a series are found on its history. With a mean absolute error e of n independent draws from a Laplace
distribution, the likelihood of a forecast goes with e**-n; weights by likelihood are those of Kolassa (2011),
"Combining exponential smoothing forecasts using Akaike weights" (all have as many parameters). A season that is
repeated is taken for one draw, and beforehand the seasonal naive forecast counts twice. A mean and not the best: which
is best turns with every few weeks that are added. Errors from single origins are averaged by their square roots, or
one value that is off by thousands would decide alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SPANS = (1, 2, 4, 16)
SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
FLAT = ("last value", "mean of the last season", "level of many seasons")
SEASONS_BACK = SPANS[-1]  # further back nothing is looked at
_TINY = 1e-9  # of the naive forecast's error: no forecast is without any
_COLUMNS = 65_536  # steps at a time, so that memory stays small
_ORIGINS = 300  # from how many places in the history, evenly spaced, forecasts are compared
_NAIVE = 2.0  # times as much as another beforehand: a few draws should not part with it lightly
_SEASONS = 3  # of the lag that a history must hold


class Mix(NamedTuple):
    """How much each simple forecast counts for one series.

    Attributes:
        repeated: (4,) float64 weights of the repeated forecasts, in the order of SPANS.
        carried: (4,) float64 the same times the share that is carried of what they are off now.
        flat: (3,) float64 weights of the flat ones, in the order of FLAT. With `repeated` they sum to 1.
    """

    repeated: np.ndarray
    carried: np.ndarray
    flat: np.ndarray


def naive_mix(share: float = 0.0) -> Mix:
    """The seasonal naive forecast alone, with a share of what it is off now."""
    first = np.eye(1, len(SPANS))[0]
    return Mix(first, share * first, np.zeros(len(FLAT)))


def mix_to_json(mix: Mix) -> dict[str, list[float]]:
    """As plain values for a file."""
    return {name: weights.tolist() for name, weights in mix._asdict().items()}


def mix_from_json(values: dict[str, list[float]]) -> Mix:
    """From what mix_to_json gave.

    Raises:
        ValueError: for another number of weights.
    """
    mix = Mix(**{name: np.array(weights, dtype=np.float64) for name, weights in values.items()})
    expected = [len(SPANS), len(SPANS), len(FLAT)]
    if [len(weights) for weights in mix] != expected:
        raise ValueError(f"expected {expected} weights of simple forecasts, got {[len(weights) for weights in mix]}")
    return mix


class Start(NamedTuple):
    """What a series' simple forecasts come to, at every step of it.

    Attributes:
        repeated: (T,) what is repeated of each step, a lag later.
        flat: (T,) what is the same for all steps ahead. In units of the series, weighted.
        off: (T,) what is carried into the steps ahead, less with each; 0 where there is no step a lag before.
    """

    repeated: np.ndarray
    flat: np.ndarray
    off: np.ndarray


def start_of(z: np.ndarray, lag: int, season: int, mix: Mix, last_only: bool = False) -> Start:
    """The parts of a mean of simple forecasts.

    Args:
        z: (T,) the series.
        lag: steps that repeated forecasts go back.
        season: steps that a deviation and a level are averaged over.
        mix: the weights.
        last_only: whether only a forecast from the last step is wanted, so that what lies too far back for it need not
            be right.
    """
    begin = max(0, len(z) - lag - season) if last_only else 0
    rows = repeated(z, lag, begin)
    off = mix.carried @ np.stack([deviation(z, row, lag, season) for row in rows])
    return Start(mix.repeated @ rows, mix.flat @ levels(z, season, begin), off)


def repeated(z: np.ndarray, lag: int, begin: int = 0) -> np.ndarray:
    """(4, T) what stands for each step from `begin` on, a lag later, for each of SPANS."""
    return np.stack([middle_of_last(z, lag, span, begin) for span in SPANS])


def levels(z: np.ndarray, season: int, begin: int = 0) -> np.ndarray:
    """(3, T) the flat forecasts from each step from `begin` on, in the order of FLAT."""
    means = mean_of_last(z, season)
    return np.stack([z, means, middle_of_last(means, season, SEASONS_BACK, begin)])


def deviation(z: np.ndarray, row: np.ndarray, lag: int, season: int) -> np.ndarray:
    """(T,) off[t] of what is repeated, see above; 0 where there is no step a lag before."""
    off = np.zeros(len(z))
    off[lag:] = mean_of_last(z, season)[lag:] - mean_of_last(row, season)[: max(0, len(z) - lag)]
    return off


def middle_of_last(z: np.ndarray, lag: int, count: int, begin: int = 0) -> np.ndarray:
    """(T,) the interquartile mean of each step and those 1, ..., count - 1 lags before, as far as there are any.

    Steps before `begin` stay as they are.
    """
    found = z.copy()
    for start in range(begin, len(z), _COLUMNS):
        end = min(start + _COLUMNS, len(z))
        # Steps with equally many before them at a time: within the first lags that is a lag.
        edges = sorted({start, end, *(n * lag for n in range(1, count) if start < n * lag < end)})
        for first, last in pairwise(edges):
            number = min(count, first // lag + 1)
            if number > 1:
                back = np.arange(number)[:, None] * lag
                values = np.sort(z[np.arange(first, last) - back], axis=0)
                found[first:last] = values[number // 4 : number - number // 4].mean(0)
    return found


def mean_of_last(z: np.ndarray, count: int) -> np.ndarray:
    """(T,) the mean of each step and the count - 1 before it, as far as there are any."""
    if not len(z):
        return z
    steps = np.arange(len(z))
    total = np.cumsum(np.concatenate([[0.0], z - z[0]]))
    begin = np.maximum(steps + 1 - count, 0)
    return z[0] + (total[steps + 1] - total[begin]) / (steps + 1 - begin)


def fade(horizon: int, lags: Tensor) -> Tensor:
    """(..., horizon) float64, how much of a deviation is left at each step ahead, of 1, for lags (...)."""
    return torch.exp(-torch.arange(1, horizon + 1, dtype=torch.float64) / lags[..., None])


def fit_mix(z: np.ndarray, lag: int, season: int, horizon: int) -> Mix:
    """The weights for a series, found on its history; the naive forecast where that is short or repeats itself.

    Args:
        z: (T,) the history.
        lag: steps that repeated forecasts go back.
        season: steps that a deviation and a level are averaged over.
        horizon: steps ahead.
    """
    first, last = lag + season - 1, len(z) - 2
    if len(z) < _SEASONS * lag or last < first:
        return naive_mix()
    origins = np.unique(np.linspace(first, last, min(_ORIGINS, last - first + 1)).astype(np.int64))
    ahead = np.arange(1, horizon + 1)
    step = origins[:, None] + ahead
    inside = step < len(z)
    came = z[np.minimum(step, len(z) - 1)]
    base = origins[:, None] + 1 - lag + (ahead - 1) % lag
    fades = fade(horizon, torch.tensor(lag)).numpy()

    def loss(error: np.ndarray) -> float:
        each = (np.abs(error) * inside).sum(1) / inside.sum(1)
        return float(np.sqrt(each).mean() ** 2)

    losses = []
    for row in repeated(z, lag):
        error, carried = came - row[base], deviation(z, row, lag, season)[origins][:, None] * fades
        losses += [loss(error - share * carried) for share in SHARES]
    # Where every step repeats the one before, the first two flat forecasts are the naive one over again.
    flat = [loss(came - row[origins][:, None]) for row in levels(z, season)[0 if lag > 1 else 2 :]]
    if losses[0] == 0:
        return naive_mix()
    likelihood = -len(z) / lag * np.log(np.maximum(np.array([*losses, *flat]) / losses[0], _TINY))
    # Beforehand a repeated forecast counts as one, whatever shares of its deviation it is tried with.
    likelihood[: len(losses)] -= np.log(len(SHARES))
    likelihood[: len(SHARES)] += np.log(_NAIVE)
    weights = likely(likelihood)
    by_share = weights[: len(losses)].reshape(len(SPANS), len(SHARES))
    levels_found = np.concatenate([np.zeros(len(FLAT) - len(flat)), weights[len(losses) :]])
    return Mix(by_share.sum(1), by_share @ SHARES, levels_found)


def likely(likelihood: np.ndarray) -> np.ndarray:
    """Weights that sum to 1 and go with the likelihoods, of which the logarithms are given."""
    weights = np.exp(likelihood - likelihood.max())
    return weights / weights.sum()
