"""What a model has to beat."""

from __future__ import annotations

import numpy as np


def fill_by_season(values: np.ndarray, season: int) -> np.ndarray:
    """Each missing value replaced by what was known one season before it, or else by the last value known.

    Only the past is used, so that filling a history never looks ahead; before the first known value,
    that value stands. (T,) to (T,).
    """
    filled = values.copy()
    known = np.flatnonzero(np.isfinite(values))
    if len(known) in (0, len(values)):
        return filled
    filled[: known[0]] = values[known[0]]
    for t in np.flatnonzero(~np.isfinite(filled)):
        filled[t] = filled[t - season] if t >= season + known[0] else filled[t - 1]
    return filled


def seasonal_naive(history: np.ndarray, season: int, horizon: int) -> np.ndarray:
    """The last season again and again: (horizon,) values; of less than a season (or season 1), the last value."""
    filled = fill_by_season(history, season)
    last = filled[-season:] if len(filled) >= season else filled[-1:]
    return last[np.arange(horizon) % len(last)]
