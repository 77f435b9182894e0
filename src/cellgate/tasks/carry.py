"""What a seasonal naive forecast is off now, carried into the steps ahead.

Where this week has been colder than the last, tomorrow will be, too; where a year sold more than the one before, so
will the next. So what the network corrects is not the seasonal naive forecast itself but that plus two shares of the
present deviation, one that fades and one that lasts::

    start[t+h] = z[t+h-lag] + off[t] * (fading * exp(-h / lag) + lasting)
    off[t]     = the mean of z over the season up to t, less the same mean one lag before

The first is the correction for the autocorrelation of errors that goes with seasonal smoothing: Taylor (2003),
"Short-term electricity demand forecasting using double seasonal exponential smoothing", section 3, there for one step
ahead and compounded. The second is the drift of a seasonal random walk, taken from its last change.

The shares of each series are found on its history: the mean of a few, each of one kind, weighted by how well it would
have done. With a mean absolute error e of n independent draws from a Laplace distribution, the likelihood of a share
goes with e**-n; weights by likelihood are those of Kolassa (2011), "Combining exponential smoothing forecasts using
Akaike weights". A deviation is averaged over a season, so n is the seasons of a history. A mean and not the best: which
share is best, and whether it is 0, turns with every few weeks that are added.

Two kinds are compared where histories are short, of ten seasons for instance. So few say little, and a share of 0 is
taken for likely beforehand: what is off in mere noise is not to be carried.
"""

from __future__ import annotations

import numpy as np

KINDS = 2  # of shares: fading, lasting
_SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_NONE = (0.2, 0.5)  # how likely a share of 0 is beforehand, with one kind and with two
_TINY = 1e-9  # of the naive forecast's error: no share is without any
_ORIGINS = 1_000  # from how many places in the history, evenly spaced, shares are compared
_SEASONS = (6, 3)  # of the lag that a history must hold, with one kind and with two, or a few odd ones would decide


def mean_of_last(z: np.ndarray, count: int) -> np.ndarray:
    """(T,) the mean of each step and the count - 1 before it, as far as there are any."""
    if not len(z):
        return z
    steps = np.arange(len(z))
    total = np.cumsum(np.concatenate([[0.0], z - z[0]]))
    begin = np.maximum(steps + 1 - count, 0)
    return z[0] + (total[steps + 1] - total[begin]) / (steps + 1 - begin)


def deviation(z: np.ndarray, lag: int, season: int) -> np.ndarray:
    """(T,) off[t], see above; 0 where there is no step a lag before."""
    level = mean_of_last(z, season)
    off = np.zeros(len(z))
    off[lag:] = level[lag:] - level[: max(0, len(z) - lag)]
    return off


def left(shares: np.ndarray, lag: int, horizon: int) -> np.ndarray:
    """(horizon,) float64, how much of a deviation is left at each step ahead, of 1, for (KINDS,) shares."""
    return shares @ _kinds(lag, horizon)


def carry(z: np.ndarray, lag: int, season: int, horizon: int, kinds: int = KINDS) -> np.ndarray:
    """(KINDS,) shares of the deviation to carry, found on a series' history; 0 where that is short or repeats itself.

    Args:
        z: (T,) the history.
        lag: steps that the naive forecast goes back.
        season: steps that a deviation is averaged over.
        horizon: steps ahead.
        kinds: how many kinds of shares to compare; others are 0.
    """
    shares = np.zeros(KINDS)
    first, last = lag + season - 1, len(z) - 2
    if not kinds or len(z) < _SEASONS[kinds - 1] * lag or last < first:
        return shares
    origins = np.unique(np.linspace(first, last, min(_ORIGINS, last - first + 1)).astype(np.int64))
    ahead = np.arange(1, horizon + 1)
    step = origins[:, None] + ahead
    inside = step < len(z)
    base = origins[:, None] + 1 - lag + (ahead - 1) % lag
    error = z[np.minimum(step, len(z) - 1)] - z[base]
    off = deviation(z, lag, season)[origins][:, None]
    carried = [off * kind for kind in _kinds(lag, horizon)[:kinds]]
    losses = np.array([[np.abs(error - share * part)[inside].mean() for share in _SHARES] for part in carried])
    naive = losses[0, 0]  # of a share of 0
    if naive == 0:
        return shares
    none = _NONE[kinds - 1]
    before = np.where(_SHARES == 0, none, (1 - none) / (len(_SHARES) - 1))
    weights = likely(np.log(before) - len(z) / season * np.log(np.maximum(losses / naive, _TINY)))
    shares[:kinds] = weights @ _SHARES
    return shares


def _kinds(lag: int, horizon: int) -> np.ndarray:
    """(KINDS, horizon) what is left, of 1, of a deviation that fades and of one that lasts."""
    return np.stack([np.exp(-np.arange(1, horizon + 1) / lag), np.ones(horizon)])


def likely(likelihood: np.ndarray) -> np.ndarray:
    """Weights that go with likelihoods, of which the logarithms are given, and sum to 1."""
    weights = np.exp(likelihood - likelihood.max())
    return weights / weights.sum()
