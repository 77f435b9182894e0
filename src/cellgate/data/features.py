"""Columns of a SequenceSet as the numbers a network reads: scaled, gaps marked, words as one of many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.prose import TAKE_APART, is_prose
from cellgate.data.sequences import SequenceSet

_MOST_LEVELS = 100
_CLIP = 20.0  # in standard deviations; beyond this a value is an outlier's
_FAR = 1000.0  # times farther from the middle than nine in ten others


def far_off(values: np.ndarray) -> np.ndarray:
    """Which values are so far from all others that they are a slip or a code, such as 1e30 among lengths.

    One of them would make the standard deviation so large that all others looked alike.

    Args:
        values: (N,) finite.

    Returns:
        (N,) bool.
    """
    far = np.zeros(len(values), dtype=bool)
    if not len(values) or np.abs(values - values.mean()).max() <= 2 * values.std():
        return far  # no value is alone out there
    away = np.abs(values - np.median(values))
    usual = away[away > 0]
    if len(usual):
        far = away > _FAR * np.quantile(usual, 0.9)
    return far


@dataclass(frozen=True)
class FeatureEncoding:
    """How features become the input of a network; found on the training part, kept for everything later.

    A number x is read as (x - mean) / spread, both of all values but those far off all others; where it is missing, as
    0, and if any was missing in training a second input says so with 1. A word is read as one of the words seen in
    training, each an input of 0 or 1; another word sets none.

    Attributes:
        numbers: names of the numeric features.
        mean: (F,) of each.
        spread: (F,) standard deviation of each, 1 for a constant.
        marked: which of them have an input that says "missing".
        words: name -> the words of a feature of text.
    """

    numbers: tuple[str, ...]
    mean: np.ndarray
    spread: np.ndarray
    marked: tuple[int, ...]
    words: dict[str, tuple[str, ...]]

    @classmethod
    def fit(cls, sequences: SequenceSet) -> FeatureEncoding:
        """Find it on these sequences.

        Raises:
            DataError: for a feature of text with too many different words.
        """
        values = sequences.numbers
        known = np.isfinite(values)
        count = known.sum(0).clip(1)
        filled = np.where(known, values, 0.0)
        mean = filled.sum(0) / count
        spread = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(0) / count)
        largest = np.abs(filled).max(0, initial=0.0)
        for column in range(values.shape[1]):
            near = values[known[:, column], column]
            near = near[~far_off(near)]
            if len(near) < count[column]:
                mean[column], spread[column], largest[column] = near.mean(), near.std(), np.abs(near).max()
        # A constant but for rounding is one whatever its unit; currents in ampere are small, and no constants.
        spread = np.where(spread > 1e-9 * largest, spread, 1.0)
        words = {}
        for name, column in sequences.texts.items():
            levels = np.unique(column.astype(str)).tolist()
            if len(levels) > _MOST_LEVELS:
                remedy = "name the other columns with --features, or turn it into numbers"
                remedy = TAKE_APART if is_prose(levels) else remedy
                raise DataError(
                    f"{sequences.source}: expected at most {_MOST_LEVELS} different words in {name!r}, "
                    f"got {len(levels)}; {remedy}"
                )
            words[name] = tuple(levels)
        marked = tuple(np.flatnonzero(~known.all(0)).tolist())
        return cls(sequences.number_names, mean, spread, marked, words)

    @property
    def names(self) -> tuple[str, ...]:
        """What each input of the network is."""
        marks = [f"{self.numbers[k]} is missing" for k in self.marked]
        return (*self.numbers, *marks, *(f"{name} = {word}" for name, levels in self.words.items() for word in levels))

    def encode(self, sequences: SequenceSet) -> np.ndarray:
        """(N, inputs) float32, the steps of all sequences end to end.

        Raises:
            DataError: for other features than those of the training.
        """
        self.require_same(sequences)
        values = sequences.numbers
        known = np.isfinite(values)
        scaled = np.clip(np.where(known, (values - self.mean) / self.spread, 0.0), -_CLIP, _CLIP)
        parts = [scaled, ~known[:, list(self.marked)]]
        for name, levels in self.words.items():
            parts.append(sequences.texts[name].astype(str)[:, None] == np.array(levels)[None, :])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def require_same(self, sequences: SequenceSet) -> None:
        """Refuse sequences with other features."""
        expected, got = (*self.numbers, *self.words), (*sequences.number_names, *sequences.texts)
        if set(expected) != set(got) or self.numbers != sequences.number_names:
            raise DataError(
                f"{sequences.source}: expected the features {', '.join(expected)} as in training, "
                f"got {', '.join(got)}; give the same, in the same order"
            )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "numbers": list(self.numbers),
            "mean": self.mean.tolist(),
            "spread": self.spread.tolist(),
            "marked": list(self.marked),
            "words": {name: list(levels) for name, levels in self.words.items()},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FeatureEncoding:
        """From what to_json gave."""
        return cls(
            tuple(values["numbers"]),
            np.array(values["mean"], dtype=np.float64),
            np.array(values["spread"], dtype=np.float64),
            tuple(values["marked"]),
            {name: tuple(levels) for name, levels in values["words"].items()},
        )
