"""What a seasonal naive forecast is off now, carried into the steps ahead, less of it with each.

Where this week has been colder than the last, tomorrow will be, too. So what the network corrects is not the seasonal
naive forecast itself but that plus a share of the present deviation::

    start[t+h] = z[t+h-lag] + carry * off[t] * exp(-h / lag)
    off[t]     = the mean of z over the season up to t, less the same mean one lag before

It is the correction for the autocorrelation of errors that goes with seasonal smoothing: Taylor (2003), "Short-term
electricity demand forecasting using double seasonal exponential smoothing", section 3, there for one step ahead and
compounded. One share for each series is found on its history: the mean of a few, weighted by how well each would have
done. With a mean absolute error e of n independent draws from a Laplace distribution, the likelihood of a share goes
with e**-n; weights by likelihood are those of Kolassa (2011), "Combining exponential smoothing forecasts using Akaike
weights" (all shares have as many parameters). A deviation is averaged over a season, so n is the seasons of a history.
A mean and not the best: which share is best, and whether it is 0, turns with every few weeks that are added.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_SHARES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
_TINY = 1e-9  # of the naive forecast's error: no share is without any
_ORIGINS = 1_000  # from how many places in the history, evenly spaced, shares are compared
_SEASONS = 6  # of the lag that a history must hold, or a few odd weeks would decide


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


def fade(horizon: int, lags: Tensor) -> Tensor:
    """(..., horizon) float64, how much of a deviation is left at each step ahead, of 1, for lags (...)."""
    return torch.exp(-torch.arange(1, horizon + 1, dtype=torch.float64) / lags[..., None])


def carry(z: np.ndarray, lag: int, season: int, horizon: int) -> float:
    """The share of the deviation to carry for a series, found on its history; 0 where that is short or repeats itself.

    Args:
        z: (T,) the history.
        lag: steps that the naive forecast goes back.
        season: steps that a deviation is averaged over.
        horizon: steps ahead.
    """
    first, last = lag + season - 1, len(z) - 2
    if len(z) < _SEASONS * lag or last < first:
        return 0.0
    origins = np.unique(np.linspace(first, last, min(_ORIGINS, last - first + 1)).astype(np.int64))
    ahead = np.arange(1, horizon + 1)
    step = origins[:, None] + ahead
    inside = step < len(z)
    base = origins[:, None] + 1 - lag + (ahead - 1) % lag
    error = z[np.minimum(step, len(z) - 1)] - z[base]
    carried = deviation(z, lag, season)[origins][:, None] * fade(horizon, torch.tensor(lag)).numpy()
    losses = np.array([np.abs(error - share * carried)[inside].mean() for share in _SHARES])
    if losses[0] == 0:
        return 0.0
    likelihood = -len(z) / season * np.log(np.maximum(losses / losses[0], _TINY))
    return likely_mean(_SHARES, likelihood)


def likely_mean(values: np.ndarray, likelihood: np.ndarray) -> float:
    """The mean of some values, weighted by their likelihoods, of which the logarithms are given."""
    weights = np.exp(likelihood - likelihood.max())
    return float(weights @ values / weights.sum())
