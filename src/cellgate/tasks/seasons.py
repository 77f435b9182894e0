"""A second, longer season: the week behind the day, where the history shows it."""

from __future__ import annotations

import numpy as np

from cellgate.data import Panel
from cellgate.data.frequency import COUNT, SECOND, Frequency
from cellgate.tasks.baselines import fill_by_season

_DAY, _WEEK = 86_400, 7 * 86_400
_CLEARLY = 0.8  # the longer season's errors against the shorter one's
_SHARE = 0.2  # of the series that must show it
_SEASONS = 3  # of the longer kind that a history must hold to show one


def candidate(frequency: Frequency, season: int) -> int | None:
    """The longer season that such data may have: seven days behind one, or the day behind an hour; None for none."""
    if season <= 1:
        return None
    if frequency.unit == COUNT:
        return 7 * season
    if frequency.unit == SECOND and frequency.step < _DAY:
        seconds = season * frequency.step
        longer = _WEEK if seconds == _DAY else _DAY
        return longer // frequency.step if seconds < longer and longer % frequency.step == 0 else None
    return None


def naive_error(z: np.ndarray, lag: int, horizon: int) -> float:
    """The mean absolute error of repeating the last `lag` steps for a horizon, over the history; inf where too short.

    Every multiple of the lag that the horizon reaches counts by the steps that use it.
    """
    error, weight = 0.0, 0
    for back in range(lag, lag + horizon, lag):
        if len(z) <= back:
            break
        steps = min(lag, horizon - (back - lag))
        error += steps * float(np.abs(z[back:] - z[:-back]).mean())
        weight += steps
    return error / weight if weight else float("inf")


def long_season(panel: Panel, season: int, horizon: int) -> int:
    """The second season of a panel in steps, 1 for none: a fifth of the series must clearly show it."""
    longer = candidate(panel.frequency, season)
    if longer is None:
        return 1
    votes = []
    for values in panel.values:
        if len(values) < _SEASONS * longer or not np.isfinite(values).any():
            continue
        filled = fill_by_season(values, season)
        votes.append(naive_error(filled, longer, horizon) < _CLEARLY * naive_error(filled, season, horizon))
    return longer if votes and float(np.mean(votes)) >= _SHARE else 1
