"""A history and newer rows, as one history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.panel import Panel, show_time


def extend_panel(panel: Panel, newer: Panel) -> Panel:
    """The series of `panel` continued by those of the same name in `newer`; new names are added.

    Newer values stand where the two overlap; steps that neither has are missing. A series that `newer` begins before is
    replaced by it. Columns beside the target are continued the same way.

    Raises:
        DataError: for stamps that are not on the grid of the history.
    """
    place = {name: k for k, name in enumerate(newer.ids)}
    parts = []
    for k, name in enumerate(panel.ids):
        if name not in place:
            parts.append((panel, k, None, 0))
            continue
        j = place.pop(name)
        offset, exact = panel.frequency.positions(np.array([newer.starts[j]]), panel.starts[k])
        if not exact[0]:
            raise DataError(
                f"{newer.source}: expected {panel.frequency} steps that continue series {name!r} from "
                f"{show_time(panel.starts[k])}, got {show_time(newer.starts[j])}; correct the time stamps"
            )
        parts.append((newer, j, None, 0) if offset[0] <= 0 else (panel, k, j, int(offset[0])))
    parts += [(newer, j, None, 0) for j in place.values()]

    def joined(field: str) -> tuple[np.ndarray, ...]:
        arrays = []
        for base, k, j, offset in parts:
            own = getattr(base, field)
            if own:
                arrays.append(own[k] if j is None else _overlay(own[k], getattr(newer, field)[j], offset))
        return tuple(arrays)

    values, future = joined("values"), joined("future")
    if future:  # what was known of the future stays at least as long as the values
        future = tuple(_at_least(array, len(own)) for array, own in zip(future, values, strict=True))
    statics = [base.static[k] for base, k, _, _ in parts if base.static is not None]
    return replace(
        panel,
        source=newer.source,
        ids=tuple(base.ids[k] for base, k, _, _ in parts),
        values=values,
        starts=tuple(base.starts[k] for base, k, _, _ in parts),
        past=joined("past"),
        future=future,
        static=np.stack(statics) if statics else None,
    )


def append_rows(panel: Panel, rows: Sequence[np.ndarray]) -> Panel:
    """Every series with values appended after its last step."""
    return replace(panel, values=tuple(np.concatenate(pair) for pair in zip(panel.values, rows, strict=True)))


def _overlay(old: np.ndarray, new: np.ndarray, offset: int) -> np.ndarray:
    whole = _at_least(old, offset + len(new)).copy()
    whole[offset : offset + len(new)] = new
    return whole


def _at_least(array: np.ndarray, length: int) -> np.ndarray:
    short = length - len(array)
    if short <= 0:
        return array
    return np.concatenate([array, np.full((short, *array.shape[1:]), np.nan)])


def alias(frequency: Any) -> str:
    """A frequency as the --freq that gives it."""
    name = {
        "second": "s",
        "microsecond": "us",
        "business day": "B",
        "month": "ME" if frequency.month_end else "MS",
        "count": "step",
    }
    return f"{frequency.step}{name[frequency.unit]}"
