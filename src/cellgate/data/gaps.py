"""The time since the step before as a feature: of events that come at any time, it often tells most.

A gap g is read as log(1 + g / u), where u is short: of a hundred gaps in the training, five are shorter. From u on,
twice the time adds the same amount, so that seconds beside minutes tell as much as months beside years; steps at the
same time are 0. The first step of a sequence has none before it: its gap is missing, which the network is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellgate.data.numbers import read_numbers
from cellgate.data.table import Table
from cellgate.data.times import read_times

if TYPE_CHECKING:
    from cellgate.data.sequences import SequenceSet

_SHORT = 0.05  # the quantile of the gaps that u is
_EVEN = 0.01  # gaps that differ by less than this share are the same


@dataclass(frozen=True)
class Gaps:
    """The feature, and what is told of it.

    Attributes:
        name: what the feature is called.
        values: (N,) float64, NaN at the first step of each sequence.
        unit: u, in the unit of the column; microseconds where it holds time stamps.
        notes: what is to be said of it, one line each.
    """

    name: str
    values: np.ndarray
    unit: float
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, table: Table, time: str, key: np.ndarray, order: np.ndarray, lengths: np.ndarray, unit: float | None
    ) -> Gaps:
        """Find the gaps of a table.

        Args:
            table: with the column `time`.
            time: the column of times, none of them missing.
            key: (N,) the numbers that its rows are sorted by: microseconds of time stamps, or what it holds.
            order: the rows, sequence by sequence, in the order of the times.
            lengths: (S,) rows of each sequence.
            unit: u as it was found in the training, or None to find it.

        Raises:
            DataError: for a cell that is no time.
        """
        gaps = np.diff(_clock(table, time, key)[order], prepend=np.nan)
        gaps[(np.cumsum(lengths) - lengths)[lengths > 0]] = np.nan
        known = gaps[np.isfinite(gaps)]
        longer = known[known > 0]
        unit = unit or (float(np.quantile(longer, _SHORT)) if len(longer) else 1.0)
        return cls(f"gap in {time}", np.log1p(np.maximum(gaps, 0) / unit), unit, _remarks(time, known))


def remeasured(sequences: SequenceSet, unit: float | None) -> SequenceSet:
    """Sequences whose gaps were measured by themselves, as the training measured its own.

    Args:
        sequences: read without the roles of a training.
        unit: u of the training; None where it read no gaps.
    """
    own = sequences.roles.gap_unit
    if own is None or unit is None or own == unit:
        return sequences
    numbers = sequences.numbers.copy()
    numbers[:, -1] = np.log1p(np.expm1(numbers[:, -1]) * (own / unit))
    return replace(sequences, numbers=numbers, roles=replace(sequences.roles, gap_unit=unit))


def _clock(table: Table, time: str, key: np.ndarray) -> np.ndarray:
    """(N,) float64 times as numbers: microseconds of time stamps, or what the column counts in."""
    column = table.columns[time]
    numeric = column.dtype.kind != "M" and read_numbers(column, table.decimal_comma)[2] is None
    if not numeric or (key != np.round(key)).any():
        return key.astype(np.float64)
    # Whole numbers may be dates, 20240131 or 202401, between which as numbers gaps would be wrong.
    return np.asarray(read_times(column, time, table.place)[0][0]).astype(np.int64).astype(np.float64)


def _remarks(time: str, gaps: np.ndarray) -> tuple[str, ...]:
    if not len(gaps):
        return ("gaps: no sequence has a second step, so there are none",)
    middle = float(np.median(gaps))
    same = float((np.abs(gaps - middle) <= _EVEN * middle).mean())
    if same == 1.0:
        return (f"gaps: all steps are equally far apart in {time}, so that the gaps tell nothing",)
    if same >= 0.9:
        return (f"gaps: {same:.0%} of the steps are equally far apart in {time}, so that the gaps tell little",)
    return ()
