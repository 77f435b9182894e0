"""What a Forecaster can be fitted to: how many steps are held back, and where training parts end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cellgate.data import DataError, Panel


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


def held_back(panel: Panel, params: dict[str, Any]) -> tuple[Panel, int]:
    """The series with the season that they are long enough for, and how many steps are held back."""
    longest = max(len(values) for values in panel.values)
    if params["season"] is None and longest < 2 * panel.season + 2:
        panel = replace(panel, season=1)  # no series shows its season twice
    return panel, params["validation"] or max(1, min(max(params["horizon"], panel.season), longest // 4))


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
