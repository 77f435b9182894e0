"""Whether intervals are too narrow, by how many of the values that came lie inside them.

Values near each other are no independent draws: where a forecast goes astray, most of its steps lie outside together,
and a forecast from the next moment goes astray with it. So what is counted is not values but stretches, a horizon each:
moments that are less than a horizon apart are one stretch, and every stretch counts as one draw. The mean shortfall of
the stretches is held to its own spread among them (Student's t, one-sided), as standard errors of clusters are
taken: Cameron and Miller (2015), "A Practitioner's Guide to Cluster-Robust Inference", section II. Right intervals that
miss whole stretches at a time are then called too narrow in one or two of a hundred backtests: shares inside that are
mostly 1, and now and then 0, spread most where they are low.

Series that go up and down together are no independent draws either. Where there are enough stretches, they are taken
over all series at once; where there are enough series, each counts as one draw; where there is enough of both, both
have to say so. Of a single stretch of many series only gross shortfalls count, as that day may have been odd for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

TOO_NARROW, NOT_SHOWN, TOO_FEW = "too narrow", "not shown to be too narrow", "too few to tell"
MANY_SERIES = 20  # so many tell something by themselves, whatever the moment
_FEWEST_STRETCHES = 4
_SURE = 0.95


def narrowness(inside: Sequence[np.ndarray], known: Sequence[np.ndarray], stretches: np.ndarray, level: float) -> str:
    """Whether the intervals of a level are too narrow, as far as these values tell.

    Args:
        inside: a (K, H) array of bools a series: whether the value after each of K moments lies in its interval.
        known: the like: whether there is a value.
        stretches: (K,) whole numbers, the stretch to which each moment belongs, see `stretches_of`.
        level: in percent.

    Returns:
        TOO_NARROW, NOT_SHOWN, or TOO_FEW where there are neither four stretches nor twenty series.
    """
    counts = np.zeros((len(known), int(stretches.max()) + 1))
    hits = np.zeros_like(counts)
    for k, (there, within) in enumerate(zip(known, inside, strict=True)):
        np.add.at(counts[k], stretches, there.sum(-1))
        np.add.at(hits[k], stretches, (there & within).sum(-1))
    over_time = int((counts.sum(0) > 0).sum()) >= _FEWEST_STRETCHES
    over_series = int((counts.sum(1) > 0).sum()) >= MANY_SERIES
    if not (over_time or over_series):
        return TOO_FEW
    matters = _small(level) if over_time else gross(level)
    axes = [axis for axis, enough in ((0, over_time), (1, over_series)) if enough]
    short = all(_falls_short(counts.sum(axis), hits.sum(axis), level / 100, matters) for axis in axes)
    return TOO_NARROW if short else NOT_SHOWN


def stretches_of(origins: np.ndarray, horizon: int) -> np.ndarray:
    """(K,) the stretch of each of (K,) ascending moments: one begins a horizon after the one before began."""
    return (origins - origins[0]) // horizon


def gross(level: float) -> float:
    """By how much a share inside falls short grossly: of a level of 90 percent, at 65 or below."""
    return min(0.25, 3 * (1 - level / 100))


def _small(level: float) -> float:
    """By how much less inside is worth a word: of 90 percent, 85; of 99 percent, twice as many outside."""
    return min(0.05, 1 - level / 100)


def _falls_short(counts: np.ndarray, hits: np.ndarray, share: float, matters: float) -> bool:
    """Whether fewer lie inside than the share, by more than it matters and more than the draws differ by."""
    counts, hits = counts[counts > 0], hits[counts > 0]
    draws, total = len(counts), counts.sum()
    missing = share * counts - hits
    mean = missing.sum() / total
    spread = draws / (draws - 1) * float(((missing - counts * mean) ** 2).sum()) / total**2
    # Draws that agree by chance would make the least difference certain; no less than that of independent values.
    spread = max(spread, share * (1 - share) / total)
    return bool(mean >= matters and mean > _student(_SURE, draws - 1) * math.sqrt(spread))


def _student(share: float, freedom: int) -> float:
    """A quantile of Student's t: Abramowitz and Stegun (1964), 26.7.5; to two percent from three degrees on."""
    z, v = NormalDist().inv_cdf(share), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )
