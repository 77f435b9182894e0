"""A history and newer rows, as one history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.grid import LARGEST_GRID
from cellgate.data.panel import Panel, show_time


def extend_panel(panel: Panel, newer: Panel) -> Panel:
    """The series of `panel` joined with those of the same name in `newer`; new names are added.

    Newer values stand where the two overlap; where `newer` has none, what was known stays; steps that neither has are
    missing. Columns beside the target are joined the same way.

    Raises:
        DataError: for stamps that are not on the grid of the history, or so far from it that a gap would be nearly all.
    """
    place = {name: j for j, name in enumerate(newer.ids)}
    pairs = [_Pair(k, place.pop(name, None)) for k, name in enumerate(panel.ids)]
    pairs = [pair if pair.newer is None else replace(pair, offset=_offset(panel, newer, pair)) for pair in pairs]
    pairs += [_Pair(None, j) for j in place.values()]

    def joined(field: str) -> tuple[np.ndarray, ...]:
        older, later = getattr(panel, field), getattr(newer, field)
        return tuple(pair.of(older, later, _joined) for pair in pairs) if older else ()

    values, future = joined("values"), joined("future")
    if future:  # what was known of the future stays at least as long as the values
        future = tuple(_at_least(array, len(own)) for array, own in zip(future, values, strict=True))
    static = None
    if panel.static is not None and newer.static is not None:
        static = np.stack([pair.of(list(panel.static), list(newer.static), _preferred) for pair in pairs])
    return replace(
        panel,
        source=newer.source,
        ids=tuple(pair.of(panel.ids, newer.ids, lambda old, new, offset: old) for pair in pairs),
        values=values,
        starts=tuple(
            pair.of(panel.starts, newer.starts, lambda old, new, offset: new if offset < 0 else old) for pair in pairs
        ),
        past=joined("past"),
        future=future,
        static=static,
    )


def with_later_future(panel: Panel, later: Panel, offsets: Sequence[int]) -> Panel:
    """The series with what later rows say of their future columns too; the values of those rows are left alone.

    Args:
        panel: series with future columns.
        later: rows of some of them, with the same future columns.
        offsets: how many steps after the start of each series its later rows begin; of no meaning without such rows.
    """
    place = {name: j for j, name in enumerate(later.ids)}
    joined = [
        _joined(own, later.future[place[name]], offset)[max(0, -offset) :] if name in place else own
        for name, own, offset in zip(panel.ids, panel.future, offsets, strict=True)
    ]
    return replace(panel, future=tuple(joined))


@dataclass(frozen=True)
class _Pair:
    """A series by its place in the history and in the newer rows; None where it is not.

    `offset`: how many steps after the history's start the newer rows begin.
    """

    older: int | None
    newer: int | None
    offset: int = 0

    def of(self, older: Sequence[Any], later: Sequence[Any], join: Callable[[Any, Any, int], Any]) -> Any:
        """What both have to say: of one of them that, of both what `join` makes of it."""
        if self.older is None:
            assert self.newer is not None
            return later[self.newer]
        return older[self.older] if self.newer is None else join(older[self.older], later[self.newer], self.offset)


def _offset(panel: Panel, newer: Panel, pair: _Pair) -> int:
    assert pair.older is not None
    assert pair.newer is not None
    begins, start = newer.starts[pair.newer], panel.starts[pair.older]
    offset, exact = panel.frequency.place(np.array([begins]), start)
    if not exact[0]:
        raise DataError(
            f"{newer.source}: expected {panel.frequency} steps that continue series {panel.ids[pair.older]!r} from "
            f"{show_time(start)}, got {show_time(begins)}; {panel.frequency.remedy(begins)}"
        )
    steps, length = int(offset[0]), len(newer.values[pair.newer])
    require_near(newer.source, panel, pair.older, max(steps + length - len(panel.values[pair.older]), -steps), begins)
    return steps


def require_near(source: str, panel: Panel, k: int, apart: int, stamp: Any, length: int | None = None) -> None:
    """Refuse a row so far from a series that a regular table would not have it: most likely a year mistyped.

    Args:
        source: what the row is called in messages.
        panel: the series.
        k: which of them.
        apart: how many steps the series would get longer.
        stamp: the time of the row.
        length: how many steps the series has had, where the panel holds the last ones only.

    Raises:
        DataError: for more than 20 steps a step of the series.
    """
    length = len(panel.values[k]) if length is None else length
    if apart > LARGEST_GRID * max(length, 10):
        raise DataError(
            f"{source}: expected rows near series {panel.ids[k]!r}, which goes up to {show_time(panel.times(k)[-1])}, "
            f"got {show_time(stamp)}, {apart:,} steps apart; correct the time stamp"
        )


def append_rows(panel: Panel, rows: Sequence[np.ndarray]) -> Panel:
    """Every series with values appended after its last step."""
    return replace(panel, values=tuple(np.concatenate(pair) for pair in zip(panel.values, rows, strict=True)))


def _preferred(old: np.ndarray, new: np.ndarray, offset: int) -> np.ndarray:
    return np.where(np.isnan(new), old, new)


def _joined(old: np.ndarray, new: np.ndarray, offset: int) -> np.ndarray:
    """New values over old ones, `offset` steps later; a missing value covers nothing."""
    before = max(0, -offset)
    whole = np.full((max(before + len(old), before + offset + len(new)), *old.shape[1:]), np.nan)
    whole[before : before + len(old)] = old
    place = whole[before + offset : before + offset + len(new)]
    place[...] = _preferred(place, new, 0)
    return whole


def _at_least(array: np.ndarray, length: int) -> np.ndarray:
    short = length - len(array)
    if short <= 0:
        return array
    return np.concatenate([array, np.full((short, *array.shape[1:]), np.nan)])
