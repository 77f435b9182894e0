"""Rolling origins: what would have been forecast at many moments of the past, beside what came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cellgate.data import DataError, Panel
from cellgate.data.frame_kind import FrameKind
from cellgate.data.words import counted
from cellgate.estimators.forecast_rows import in_kind
from cellgate.estimators.forecast_scores import naive_from, plain_forecasts, scores
from cellgate.tasks.metrics import seasonal_scale
from cellgate.tasks.narrowness import stretches_of


@dataclass(frozen=True)
class Backtest:
    """Forecasts from many origins, series by series.

    Attributes:
        panel: the series.
        levels: the probability of each interval, in percent.
        origins: (S, K) the last step known to each forecast, counted from the start of its series.
        values: (S, K, H, 1 + 2 * levels) the median, then low and high of each level, in the unit of the data.
        actual: (S, K, H) what came; NaN where nothing was observed, or nothing has come yet.
        baseline: (S, K, H) the seasonal naive forecasts.
        seen: how many of the S * K origins lie in what the weights were trained on; scores of these flatter.
        fits: how many trainings it took.
        kind: of frame that the caller gave, None for none.
        left_out: names of the series that are too short for the origins.
    """

    panel: Panel
    levels: tuple[float, ...]
    origins: np.ndarray
    values: np.ndarray
    actual: np.ndarray
    baseline: np.ndarray
    seen: int
    fits: int
    kind: FrameKind | None = None
    left_out: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """What it holds in a line, not all of its numbers."""
        _, moments, steps = self.actual.shape
        return (
            f"<Backtest of {len(self.panel):,} series from {counted(moments, 'moment')} each, {counted(steps, 'step')} "
            "ahead: metrics, by_step and frame() have the rest>"
        )

    @property
    def median(self) -> np.ndarray:
        """(S, K, H)."""
        return self.values[..., 0]

    @property
    def metrics(self) -> dict[str, Any]:
        """Scores over all origins, as Forecaster.evaluate gives them, with "origins", "seen" and "fits" beside.

        MASE divides by the seasonal change of the history up to the first origin. "intervals" says of each level
        whether the origins, those less than a horizon apart taken for one of the "stretches", show that it is too
        narrow.
        """
        season = self.panel.season
        scales = [
            seasonal_scale(values[: int(origins.min()) + 1], season)
            for values, origins in zip(self.panel.values, self.origins, strict=True)
        ]
        plain = plain_forecasts(self.panel.values, self.origins.tolist(), [self.values.shape[2]] * len(self.panel))
        # The moments of all series lie alike, counted from the end of each.
        stretches = stretches_of(self.origins[0], self.values.shape[2])
        found = scores(list(self.actual), list(self.values), list(self.baseline), scales, self.levels, plain, stretches)
        return {"steps": self.values.shape[2], "origins": self.origins.shape[1], **found, **self._facts()}

    def _facts(self) -> dict[str, Any]:
        return {"seen": self.seen, "fits": self.fits}

    @property
    def by_step(self) -> dict[str, np.ndarray]:
        """(H,) the mean absolute error of each step ahead, ours and the baseline's, in the unit of the data."""

        def error(made: np.ndarray) -> np.ndarray:
            gap = np.abs(made - self.actual)
            known = np.isfinite(gap)
            return np.where(known, gap, 0).sum((0, 1)) / np.maximum(known.sum((0, 1)), 1)

        return {"cellgate": error(self.median), "seasonal naive": error(self.baseline)}

    def columns(self) -> dict[str, np.ndarray]:
        """A long table: unique_id, cutoff, ds, y, cellgate, its intervals, seasonal_naive; a row each step that came.

        The names are those that utilsforecast and statsforecast give their cross-validation frames.
        """
        series, count, horizon = self.actual.shape
        bounds = [f"cellgate-{side}-{level:g}" for level in self.levels for side in ("lo", "hi")]
        rows = np.isfinite(self.actual).reshape(-1)
        cutoff, stamps = [], []
        for k in range(series):
            grid = self.panel.frequency.grid(self.panel.starts[k], 0, len(self.panel.values[k]) + horizon)
            cutoff.append(np.repeat(grid[self.origins[k]], horizon))
            stamps.append(grid[self.origins[k][:, None] + np.arange(1, horizon + 1)].reshape(-1))
        table = {
            "unique_id": self.panel.named(count * horizon),
            "cutoff": np.concatenate(cutoff),
            "ds": np.concatenate(stamps),
            "y": self.actual.reshape(-1),
            **{name: self.values[..., k].reshape(-1) for k, name in enumerate(["cellgate", *bounds])},
            "seasonal_naive": self.baseline.reshape(-1),
        }
        return {name: column[rows] for name, column in table.items()}

    def frame(self) -> Any:
        """The table of `columns`, as a frame of the kind that the caller gave; the dict itself where none was."""
        return in_kind(self.kind, self.columns(), self.panel.roles)


def choose_origins(panel: Panel, horizon: int, count: int, step: int, whole: bool) -> tuple[list[int], np.ndarray]:
    """The series that are long enough, and their origins.

    Returns:
        The places of those series, and (S, K) ascending origins of theirs, the last one `horizon` steps (or one) before
        the end of each.

    Raises:
        DataError: where no series can hold them.
    """
    back = (horizon if whole else 1) + 1 + step * np.arange(count)[::-1]
    lengths = np.array([len(values) for values in panel.values])
    first = lengths - back.max()
    kept = [
        k
        for k, values in enumerate(panel.values)
        if first[k] >= panel.season and np.isfinite(values[: first[k] + 1]).any()
    ]
    if not kept:
        which = f"series {panel.ids[0]!r}" if len(panel) == 1 else f"one of the {len(panel):,} series"
        seen = " with a value" if lengths.max() - back.max() >= panel.season else ""
        raise DataError(
            f"{panel.source}: expected at least {back.max() + panel.season} steps in {which} ({count} origins {step} "
            f"apart, {'a horizon' if whole else 'a step'} after the last, a season before the first{seen}), got "
            f"{lengths.max()}; ask for fewer origins, or give more history"
        )
    return kept, lengths[kept, None] - back


def what_came(panel: Panel, origins: np.ndarray, horizon: int) -> np.ndarray:
    """(S, K, H) the values after each origin, NaN past the end."""
    came = np.full((*origins.shape, horizon), np.nan)
    for k, values in enumerate(panel.values):
        steps = origins[k][:, None] + np.arange(1, horizon + 1)
        inside = steps < len(values)
        came[k][inside] = values[steps[inside]]
    return came


def naive_forecasts(panel: Panel, origins: np.ndarray, horizon: int) -> np.ndarray:
    """(S, K, H) the seasonal naive forecasts from each origin."""
    return np.stack(
        [naive_from(values, panel.season, row, horizon) for values, row in zip(panel.values, origins, strict=True)]
    )
