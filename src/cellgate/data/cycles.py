"""The season of steps that are only numbered, found from the values alone."""

from __future__ import annotations

import numpy as np

_LONGEST = 400  # steps in a cycle that is looked for
_CHANGES = 0.3  # the least correlation of changes a season apart
_DIP = 0.2  # by how much it must be lower half a season before and after
_SHARE = 0.35  # of the variance that a smooth cycle must explain
_ERRORS = 4.5, 6.0  # the same two, for short series: in units of 1 / sqrt(steps), so that chance does not reach them
_DRIFT = 0.4  # what a smooth cycle leaves may be correlated so far from step to step; a random walk leaves more
_HARMONICS = 3


def infer_season(values: np.ndarray) -> int:
    """The cycle of a series, for steps that are only numbered; 1 where none shows.

    Two ways find it. A smooth cycle under noise shows in the values: two of them a season apart differ less than two
    half a season apart, and waves of that period leave nothing but noise. Where the level wanders too much for that,
    the changes from step to step show it, by their autocorrelation. A trend and a random walk pass neither.

    Args:
        values: (T,), NaN where nothing was observed.
    """
    known = values[np.isfinite(values)]
    longest = min(_LONGEST, (len(known) - 1) // 3)
    if longest < 3:
        return 1
    if np.diff(known).std() <= 1e-9 * np.abs(known).max():
        return 1  # a line, to rounding
    season = _in_levels(known, longest)
    return season if season > 1 else _in_changes(known, longest)


def _in_levels(known: np.ndarray, longest: int) -> int:
    """The period of a smooth cycle; 1 for none."""
    step = np.arange(len(known))
    level = known - np.polyval(np.polyfit(step, known, 1), step)
    apart = _squared_differences(level, longest + 1)
    high, low = apart[1:].max(), apart[1:].min()
    # The first valley after the differences have risen: its bottom is the period, or near it.
    risen = 1 + int(np.argmax(apart[1:] >= (high + low) / 2))
    floor = apart[risen:].min()
    valley = apart <= floor + 0.15 * (high - floor)
    valley[:risen] = False
    first = int(np.argmax(valley))
    end = first + int(np.argmin(np.append(valley[first:], False)))
    near = first + int(np.argmin(apart[first:end]))
    if not 3 <= near <= longest or apart[near] > 0.7 * apart[1:near].max():
        return 1
    periods = range(max(3, int(0.92 * near) - 1), min(longest, int(1.08 * near) + 2) + 1)
    left = {period: _without_waves(known, period) for period in periods}
    season = min(left, key=lambda period: float((left[period] ** 2).sum()))
    rest = left[season]
    unexplained = float((rest**2).sum() / (level**2).sum())
    if 1 - unexplained < max(_SHARE, _ERRORS[1] / np.sqrt(len(known))):
        return 1
    drifts = unexplained > 1e-12 and (rest[1:] * rest[:-1]).sum() > _DRIFT * (rest**2).sum()
    return 1 if drifts else season


def _in_changes(known: np.ndarray, longest: int) -> int:
    """The lag at which changes repeat: the shortest within a tenth of the highest peak; 1 for none."""
    change = np.diff(known)
    change = change - change.mean()
    products = _products(change, 3 * longest // 2 + 2)
    correlation = products / products[0]
    lags = np.arange(2, longest + 1)
    here = correlation[lags]
    # Changes of a smooth, noisy series are unlike their neighbours for the noise alone: no season of two or three.
    beside = np.maximum(_halfway(correlation, lags), _halfway(correlation, 3 * lags))
    peaks = lags[
        (here > correlation[lags - 1])
        & (here >= correlation[lags + 1])
        & (here > max(_CHANGES, _ERRORS[0] / np.sqrt(len(change))))
        & (here - beside >= _DIP)
    ]
    if not len(peaks):
        return 1
    return int(peaks[correlation[peaks] >= 0.9 * correlation[peaks].max()][0])


def _halfway(correlation: np.ndarray, doubled: np.ndarray) -> np.ndarray:
    """The correlation at half of these lags, between two where it is odd."""
    return (correlation[doubled // 2] + correlation[(doubled + 1) // 2]) / 2


def _products(values: np.ndarray, longest: int) -> np.ndarray:
    """(longest + 1,) sums of products of values 0, 1, ... steps apart."""
    spectrum = np.fft.rfft(values, 2 * len(values))
    return np.fft.irfft(spectrum * spectrum.conj())[: longest + 1]


def _squared_differences(level: np.ndarray, longest: int) -> np.ndarray:
    """(longest + 1,) mean squared differences of values 0, 1, ... steps apart."""
    lags, count = np.arange(longest + 1), len(level)
    squares = np.concatenate([[0.0], np.cumsum(level**2)])
    sums = squares[count] - squares[lags] + squares[count - lags] - 2 * _products(level, longest)
    return sums / (count - lags)


def _without_waves(known: np.ndarray, period: int) -> np.ndarray:
    """What is left of a series without a line and waves of a period and its harmonics."""
    step = np.arange(len(known))
    columns = [np.ones(len(known)), step / len(known)]
    for harmonic in range(1, _HARMONICS + 1):
        if 2 * harmonic < period:
            angle = 2 * np.pi * harmonic * step / period
            columns += [np.cos(angle), np.sin(angle)]
    matrix = np.stack(columns, 1)
    return known - matrix @ np.linalg.lstsq(matrix, known, rcond=None)[0]
