"""Forecast: predicted values and their intervals, series by series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from cellgate.data import Panel
from cellgate.data.words import counted, some
from cellgate.errors import InputError
from cellgate.tasks.intervals import level_bounds
from cellgate.tasks.sequence_batches import EncodedSequences


@dataclass(frozen=True)
class EncodedForecast(EncodedSequences):
    """Series as a Forecaster's network reads them, and what it knows of the steps ahead.

    Attributes:
        ahead: (S, horizon, A) what is planned for each step ahead.
        simple: (S, horizon, C) simple forecasts less the naive one.
    """

    ahead: Tensor = field(kw_only=True)
    simple: Tensor = field(kw_only=True)


@dataclass(frozen=True)
class Forecast:
    """Predicted values, series by series.

    Attributes:
        panel: the series that are continued.
        levels: the probability of each interval, in percent.
        values: (S, H, 1 + 2 * levels) in the unit of the data: the median, then low and high of each level.
        left_out: names of the series that could not be predicted, as nothing is known of their future columns.
    """

    panel: Panel
    levels: tuple[float, ...]
    values: np.ndarray
    left_out: tuple[str, ...] = ()

    @classmethod
    def from_quantiles(
        cls, panel: Panel, levels: tuple[float, ...], answers: np.ndarray, quantiles: Sequence[float]
    ) -> Forecast:
        """From (S, H, Q) values in the order of `quantiles`."""
        return cls(panel, levels, median_first(answers, quantiles, levels))

    def __repr__(self) -> str:
        """What it holds in a line, not all of its numbers."""
        levels = " and ".join(f"{level:g} %" for level in self.levels)
        return (
            f"<Forecast of {len(self.panel):,} series, {counted(self.values.shape[1], 'step')} ahead"
            f"{f', with {levels} intervals' if levels else ''}: columns() is its table>"
        )

    @property
    def note(self) -> str:
        """Which series are left out, and why, in a line; empty if none is."""
        if not self.left_out:
            return ""
        columns, steps = ", ".join(self.panel.future_names), counted(self.values.shape[1], "step")
        return (
            f"left out {len(self.left_out)} of {len(self.left_out) + len(self.panel):,} series, as "
            f"nothing is known of {columns} in the {steps} after the end: {some(self.left_out)}"
        )

    @property
    def names(self) -> list[str]:
        """The columns of `values`: "cellgate", "cellgate-lo-90", "cellgate-hi-90"."""
        bounds = [f"cellgate-{side}-{level:g}" for level in self.levels for side in ("lo", "hi")]
        return ["cellgate", *bounds]

    @property
    def median(self) -> np.ndarray:
        """(S, H)."""
        return self.values[..., 0]

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """(S, H) low and high of a level.

        Raises:
            InputError: for a level that was not asked for when the forecaster was made.
        """
        if level not in self.levels:
            raise InputError(
                f"level: expected one of {', '.join(f'{known:g}' for known in self.levels) or 'none'}, got {level!r}; "
                "name it in levels= of the Forecaster"
            )
        k = 1 + 2 * self.levels.index(level)
        return self.values[..., k], self.values[..., k + 1]

    def columns(self) -> dict[str, np.ndarray]:
        """A long table: unique_id, ds, and `names`; a row a series and step."""
        horizon = self.values.shape[1]
        return {
            "unique_id": self.panel.named(horizon),
            "ds": np.concatenate([self.panel.next_times(k, horizon) for k in range(len(self.panel))]),
            **{name: self.values[..., k].reshape(-1) for k, name in enumerate(self.names)},
        }


def median_first(answers: np.ndarray, quantiles: Sequence[float], levels: Sequence[float]) -> np.ndarray:
    """(..., Q) ascending quantiles, as the median followed by low and high of each level."""
    order = [quantiles.index(0.5)]
    for level in levels:
        order += [quantiles.index(bound) for bound in level_bounds(level)]
    return answers[..., order]
