"""Where each time step stands in the cycles of the calendar, as points on a circle.

Each frequency has the cycles that are longer than its step and that people and weather follow:

    less than an hour     hour of the clock, day, week, year
    less than a day       day, week, year
    days                  week, month, year
    business days         week, month, year
    weeks                 year
    months, quarters      year
    years                 none
    less than a second, numbered steps     the season, where there is one

A cycle gives two columns, sine and cosine of the position in it, so that its end is beside its beginning.
"""

from __future__ import annotations

import numpy as np

from cellgate.data.frequency import BUSINESS_DAY, COUNT, MICROSECOND, MONTH, Frequency

_DAY = 86_400
_MICROSECONDS = 1_000_000


def calendar_cycles(frequency: Frequency, season: int) -> tuple[str, ...]:
    """The cycles of a frequency, by name: "hour", "day", "week", "month", "year" or "season"."""
    unit, step = frequency.unit, frequency.step
    if unit in (COUNT, MICROSECOND):
        return ("season",) if season > 1 else ()
    if unit == MONTH:
        return ("year",) if step < 12 else ()
    if unit == BUSINESS_DAY:
        return ("week", "month", "year") if step < 5 else ("year",)
    if step >= 7 * _DAY:
        return ("year",)
    if step >= _DAY:
        return ("week", "month", "year")
    return ("hour", "day", "week", "year") if step < 3600 else ("day", "week", "year")


def calendar_names(frequency: Frequency, season: int) -> tuple[str, ...]:
    """What the columns of calendar_features are called: "sin of day", ..., "cos of day", ..."""
    cycles = calendar_cycles(frequency, season)
    return tuple(f"{function} of {cycle}" for function in ("sin", "cos") for cycle in cycles)


def calendar_features(times: np.ndarray, frequency: Frequency, season: int) -> np.ndarray:
    """Sine and cosine of the position in every cycle of the frequency.

    Args:
        times: (T,) stamps on the grid, datetime64[us] or int64.
        frequency: the grid they stand on.
        season: the cycle of numbered steps and of fractions of seconds, which have no calendar.

    Returns:
        (T, C) float32: the sines of calendar_cycles, then the cosines.
    """
    cycles = calendar_cycles(frequency, season)
    if not cycles:
        return np.zeros((len(times), 0), dtype=np.float32)
    angle = 2 * np.pi * np.stack([_position(cycle, times, frequency, season) for cycle in cycles], axis=1)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _position(cycle: str, times: np.ndarray, frequency: Frequency, season: int) -> np.ndarray:
    """(T,) from 0 to below 1."""
    if cycle == "season":
        steps = times.astype(np.int64) // frequency.step
        return (steps % season) / season
    stamps = times.astype("datetime64[us]")
    days, months, years = (stamps.astype(f"datetime64[{unit}]") for unit in "DMY")
    if cycle == "hour":
        return (stamps.astype(np.int64) % (3600 * _MICROSECONDS)) / (3600 * _MICROSECONDS)
    if cycle == "day":
        return (stamps - days).astype(np.int64) / (_DAY * _MICROSECONDS)
    if cycle == "week":
        return ((days.astype(np.int64) + 3) % 7) / 7  # 1 January 1970 was a Thursday; a week begins on Monday
    if cycle == "month":
        length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
        return (days - months.astype("datetime64[D]")).astype(np.int64) / length
    if frequency.unit == MONTH:
        return (months - years.astype("datetime64[M]")).astype(np.int64) / 12
    length = ((years + 1).astype("datetime64[D]") - years.astype("datetime64[D]")).astype(np.int64)
    return (days - years.astype("datetime64[D]")).astype(np.int64) / length
