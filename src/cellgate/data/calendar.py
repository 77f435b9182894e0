"""Where each time step stands in the day, the week and the year, as points on a circle."""

from __future__ import annotations

import numpy as np

from cellgate.data.frequency import BUSINESS_DAY, COUNT, MONTH, SECOND, Frequency

_DAY = 86_400


def calendar_features(times: np.ndarray, frequency: Frequency, season: int) -> np.ndarray:
    """Sine and cosine of every cycle that is longer than a step.

    Args:
        times: (T,) stamps, datetime64[us] or int64.
        frequency: the grid they stand on.
        season: the cycle used for numbered steps, which have no calendar.

    Returns:
        (T, C) float32; C depends on the frequency and on whether season is above 1 only.
    """
    phases: list[np.ndarray] = []
    if frequency.unit == COUNT:
        if season > 1:
            phases.append((times // frequency.step % season) / season)
    else:
        stamps = times.astype("datetime64[us]")
        days = stamps.astype("datetime64[D]")
        year = stamps.astype("datetime64[Y]")
        day_of_year = (days - year.astype("datetime64[D]")).astype(np.int64) / 365.25
        if frequency.unit == MONTH:
            if frequency.step < 12:
                phases.append((stamps.astype("datetime64[M]") - year.astype("datetime64[M]")).astype(np.int64) / 12)
        elif frequency.unit == BUSINESS_DAY or frequency.step < 7 * _DAY:
            # 1 January 1970 was a Thursday.
            phases.append(((days.astype(np.int64) + 3) % 7) / 7)
            if frequency.unit == SECOND and frequency.step < _DAY:
                phases.append((stamps - days).astype(np.int64) / (_DAY * 1e6))
            phases.append(day_of_year)
        else:
            phases.append(day_of_year)
    if not phases:
        return np.zeros((len(times), 0), dtype=np.float32)
    angle = 2 * np.pi * np.stack(phases, axis=1)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)
