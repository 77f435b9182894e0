"""What a person should know about series before training on them."""

from __future__ import annotations

import numpy as np

from cellgate.data.panel import Panel

_NAMED = 3


def findings(panel: Panel) -> list[str]:
    """Peculiarities that training copes with but that may be mistakes in the data, one line each.

    Lengths that differ much, long runs without a value, constant series, values far outside the usual, steps that
    repeat the one before for long: each with how many series show it, and the first of them by name.
    """
    lengths = np.array([len(values) for values in panel.values])
    lines = []
    if len(panel) > 1:
        lines.append(
            f"lengths from {lengths.min():,} to {lengths.max():,} steps, {int(np.median(lengths)):,} in the middle"
        )
    checks = (
        ("shorter than two seasons: their season is learnt from the others only", _short(panel)),
        ("with a tenth or more of the values missing", [np.isnan(v).mean() >= 0.1 for v in panel.values]),
        ("ending without a value: the forecast starts from a filled-in one", [np.isnan(v[-1]) for v in panel.values]),
        ("that never change: predicted as they are", [_spread(v) == 0 for v in panel.values]),
        ("with values more than ten usual spreads away: check for wrong units", [_far(v) for v in panel.values]),
        ("with zero or negative values: logarithms are not used", [np.nanmin(v) <= 0 for v in panel.values]),
    )
    for text, holds in checks:
        named = [panel.ids[k] for k, yes in enumerate(holds) if yes]
        if named:
            some = ", ".join(named[:_NAMED]) + (", ..." if len(named) > _NAMED else "")
            lines.append(f"{len(named)} of {len(panel)} series {text} ({some})")
    return lines


def _short(panel: Panel) -> list[bool]:
    return [panel.season > 1 and len(values) < 2 * panel.season for values in panel.values]


def _spread(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max() - known.min())


def _far(values: np.ndarray) -> bool:
    """Whether a value lies more than ten interquartile ranges from the middle."""
    known = values[np.isfinite(values)]
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return bool(high > low and np.abs(known - middle).max() > 10 * (high - low))
