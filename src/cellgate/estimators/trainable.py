"""What a Forecaster can be fitted to and measured on: how much is held back, which series are long enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cellgate.data import DataError, Panel
from cellgate.data.words import some
from cellgate.tasks.narrowness import MANY_SERIES

FOLDED_STEPS = 10_000  # up to so many steps in all, several models are trained, each with another stretch held back
_STRETCHES = 10


def require_trainable(panel: Panel, params: dict[str, Any]) -> None:
    """Refuse series too short to fit on, as fit_forecaster does, without fitting.

    Args:
        panel: the series.
        params: "horizon", "season" and "validation" of the Forecaster's arguments.

    Raises:
        DataError: for series that are too short.
    """
    panel, held = held_back(panel, params)
    train_ends(panel, np.array([len(values) for values in panel.values]), panel.season, held)


def measurable(panel: Panel, tail: int) -> list[int]:
    """The series that can be measured on their last `tail` steps: two or more before those, a value among them.

    Raises:
        DataError: where there is none.
    """
    found = [k for k, values in enumerate(panel.values) if len(values) > tail + 1 and np.isfinite(values[:-tail]).any()]
    if not found:
        longest = max(len(values) for values in panel.values)
        which = "the series" if len(panel) == 1 else f"one of the {len(panel):,} series"
        what = "steps" if longest <= tail + 1 else "steps, a value before the last ones,"
        raise DataError(
            f"{panel.source}: expected more than {tail + 1} {what} in {which}, of which the last {tail} are held out, "
            f"got {longest}; give more history, or a smaller --horizon or --holdout"
        )
    return found


def learnt_from(panel: Panel, params: dict[str, Any]) -> list[int]:
    """The series long enough to learn from: of more than a season, so that a step follows one that has one behind it.

    Args:
        panel: the series.
        params: "horizon", "season" and "validation" of the Forecaster's arguments.
    """
    season = held_back(panel, params)[0].season
    return [k for k, values in enumerate(panel.values) if len(values) > season]


def left_out_note(names: Sequence[str], all_series: int, held: int = 0) -> str:
    """Which series a training or a measurement leaves out, and why, in a line.

    Args:
        names: of the series that are left out.
        all_series: how many there are.
        held: the last steps that are kept out of a training to measure on.
    """
    why = f"too short without the last {held} steps, which are held out" if held else "too short"
    return f"{len(names):,} of {all_series:,} series, {why}: {some(names)}"


def held_back(panel: Panel, params: dict[str, Any]) -> tuple[Panel, int]:
    """The series with the season that they are long enough for, and how many last steps of each are held back.

    A horizon or a season, whichever is more. Of a few long series, for which one model is trained, it is ten of them,
    up to a tenth of the longest: a single day that happens to be quiet would choose a model that is good for quiet days
    only, and intervals as narrow as that day. A short history has several such stretches by its folds, and many
    series have as many.
    """
    longest = max(len(values) for values in panel.values)
    if params["season"] is None and longest < 2 * panel.season + 2:
        panel = replace(panel, season=1)  # no series shows its season twice
    held = max(1, min(max(params["horizon"], panel.season), longest // 4))
    if len(panel) < MANY_SERIES and sum(len(values) for values in panel.values) > FOLDED_STEPS:
        held = max(held, min(_STRETCHES * held, longest // _STRETCHES))
    return panel, params["validation"] or held


def train_ends(panel: Panel, lengths: np.ndarray, season: int, held: int) -> np.ndarray:
    """(S,) where each series' training part ends; series too short to hold any back are trained on whole.

    Raises:
        DataError: where all are.
    """
    fewest = season + 2  # an origin with a season behind it, and a step to aim at
    train_end = np.where(lengths - held >= fewest, lengths - held, lengths)
    if (train_end == lengths).all():
        raise DataError(
            f"{panel.source}: expected a series of at least {fewest + held} steps "
            f"(a season of {season}, {held} to stop by, and 2), got {int(lengths.max())}; "
            "give more history, or a smaller --season or --horizon"
        )
    return train_end
