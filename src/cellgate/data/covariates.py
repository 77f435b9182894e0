"""Columns beside the target, as numbers: what is past, known ahead or static; words become categories.

past     measured together with the target, so known up to the last step only: a temperature, a queue's length
future   known before it happens: a price that is set, a holiday, a planned promotion
static   the same throughout a series: a shop's region, a sensor's type
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.frequency import COUNT
from cellgate.data.numbers import looks_numeric, require_numbers
from cellgate.data.panel import Panel, show_time
from cellgate.data.table import Table, read_table
from cellgate.data.times import looks_like_time, read_times

_MOST_CATEGORIES = 1000  # more different words than this are names or remarks, not categories
_BLANK = frozenset({"", "nan", "null", "nat", "<na>"})  # in a column of words "none" and "-" are words


@dataclass
class Covariates:
    """The columns beside the target, row by row of the table.

    Attributes:
        past: (rows, P) float64.
        future: (rows, F) float64.
        static: (rows, C) float64.
        categories: column -> its values, where the numbers are positions in it.
        notes: how they were read.
    """

    past: np.ndarray
    future: np.ndarray
    static: np.ndarray
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def tiled(self, times: int) -> Covariates:
        """The same rows again and again, for series side by side that share them."""
        return replace(
            self, past=np.tile(self.past, (times, 1)), future=np.tile(self.future, (times, 1)), static=self.static
        )


def read_covariates(table: Table, past: Sequence[str], future: Sequence[str], static: Sequence[str]) -> Covariates:
    """Read the named columns of a table.

    Raises:
        DataError: for a cell that is not what its column is.
    """
    held = Covariates(
        past=np.empty((table.rows, len(past))),
        future=np.empty((table.rows, len(future))),
        static=np.empty((table.rows, len(static))),
    )
    for array, names in ((held.past, past), (held.future, future), (held.static, static)):
        for j, name in enumerate(names):
            array[:, j] = _read_column(table, name, held)
    return held


def _read_column(table: Table, name: str, held: Covariates) -> np.ndarray:
    column = table.columns[name]
    if looks_like_time(column):
        raise DataError(
            f"{table.source}: expected numbers or words in {name!r}, got time stamps; leave the column out "
            "(the calendar is read from the time column anyway), or make a number of it, such as days since then"
        )
    if column.dtype.kind != "O" or looks_numeric(column):
        numbers, told = require_numbers(column, name, table.place, table.decimal_comma)
        held.notes += told
        return numbers
    words = np.array([str(cell) for cell in column.tolist()], dtype=object)
    blank = np.array([word.lower() in _BLANK for word in words.tolist()])
    found = tuple(sorted(set(words[~blank].tolist())))
    if len(found) > _MOST_CATEGORIES:
        raise DataError(
            f"{table.source}: expected at most {_MOST_CATEGORIES:,} different words in {name!r}, got {len(found):,} "
            f"({found[0]!r}, {found[1]!r}, ...); leave the column out, or group its values"
        )
    held.categories[name] = found
    position = {word: float(k) for k, word in enumerate(found)}
    return np.array([np.nan if gone else position[word] for word, gone in zip(words.tolist(), blank, strict=True)])


def static_of(
    table: Table, covariates: Covariates, names: Sequence[str], series: str, rows: np.ndarray
) -> np.ndarray | None:
    """(C,) the static values of one series, or None without such columns; cells left empty are filled by the others.

    Raises:
        DataError: where a value changes within the series.
    """
    if not names:
        return None
    values = np.full(len(names), np.nan)
    for j, name in enumerate(names):
        known = rows[np.isfinite(covariates.static[rows, j])]
        if not len(known):
            continue
        differs = covariates.static[known, j] != covariates.static[known[0], j]
        if differs.any():
            row = int(known[np.argmax(differs)])
            raise DataError(
                f"{table.place(row)}: expected one value of the static column {name!r} throughout series {series!r}, "
                f"got {table.columns[name][row]!s} after {table.columns[name][known[0]]!s}; "
                "correct it, or give the column as --past or --future"
            )
        values[j] = covariates.static[known[0], j]
    return values


def with_future(panel: Panel, data: Any) -> Panel:
    """A panel whose future columns go on by what a table of coming rows says.

    Args:
        panel: series with future columns.
        data: a file, frame or array with the same time, id and future columns; rows of the past are passed over,
            others are not needed, and the target may be missing. Of series without a row nothing more is known.

    Raises:
        DataError: for missing columns, stamps that are not on the grid, or where no series has a row after its end.
    """
    table, roles, names = read_table(data), panel.roles, panel.future_names
    if not names:
        raise DataError(
            f"{table.source}: expected series with future columns to continue, got series without; "
            "name the columns in training, with --future"
        )
    several = roles.id is not None and not roles.wide
    needed = [*names, *([roles.time] if roles.time else []), *([roles.id] if several and roles.id else [])]
    absent = [name for name in needed if name not in table.columns]
    if absent:
        raise DataError(
            f"{table.source}: expected the columns {', '.join(needed)}, as in training, found no "
            f"{', '.join(absent)}; add them"
        )
    held = read_covariates(table, (), names, ())
    if several and roles.id:
        named = np.array([str(cell) for cell in table.columns[roles.id]], dtype=object)
        groups = [np.flatnonzero(named == name) for name in panel.ids]
    else:
        groups = [np.arange(table.rows)] * len(panel)
    readings: list[np.ndarray | None] = [None]
    if roles.time:
        readings = list(read_times(table.columns[roles.time], roles.time, table.place, roles.time_format)[0])
    failure: DataError | None = None
    for times in readings:
        try:
            future = [_continue(panel, k, table, rows, times, held.future) for k, rows in enumerate(groups)]
            if not any(map(len, future)):
                raise _nothing_coming(panel, table)
            break
        except DataError as error:
            failure = failure or error
    else:
        assert failure is not None
        raise failure
    # The words of the coming rows take the numbers that the panel gives them; new ones are unknown to it.
    known = {name: panel.categories[name] for name in names if name in panel.categories}
    bare = replace(panel, past=(), past_names=(), static=None, static_names=(), notes=(), unlike=())
    coming = replace(bare, source=table.source, future=tuple(future), categories=held.categories)
    coming = coming.with_categories(known)
    joined = tuple(
        np.concatenate([own[: len(values)], new])
        for own, values, new in zip(panel.future, panel.values, coming.future, strict=True)
    )
    notes = tuple(dict.fromkeys((*panel.notes, *table.notes)))
    return replace(panel, future=joined, notes=notes).noting(coming.unlike)


def _continue(
    panel: Panel, k: int, table: Table, rows: np.ndarray, times: np.ndarray | None, held: np.ndarray
) -> np.ndarray:
    """(K, F) what the rows say of the steps that follow series k; NaN where they are silent."""
    length = len(panel.values[k])
    if times is None:
        return held[rows]
    if (times.dtype.kind == "i") != (panel.frequency.unit == COUNT):
        raise DataError(
            f"{table.place(int(rows[0]) if len(rows) else 0)}: expected times as in training, got another kind in "
            f"{panel.roles.time!r}; write them the same way"
        )
    steps, exact = panel.frequency.place(times[rows], panel.starts[k])
    after = steps >= length
    if not exact[after].all():
        row = int(rows[after][np.argmin(exact[after])])
        raise DataError(
            f"{table.place(row)}: expected {panel.frequency.steps} that go on from series {panel.ids[k]!r}, got "
            f"{show_time(times[row])}; {panel.frequency.remedy(times[row])}"
        )
    if not after.any():
        return held[:0]
    coming, places = steps[after] - length, rows[after]
    order = np.argsort(coming, kind="stable")
    twice = np.flatnonzero(np.diff(coming[order]) == 0)
    if len(twice):
        row = int(places[order[twice[0] + 1]])
        raise DataError(
            f"{table.place(row)}: expected each time once in series {panel.ids[k]!r}, got {show_time(times[row])} "
            "again; remove one"
        )
    if coming.max() >= max(10_000, 100 * len(places)):
        row = int(places[np.argmax(coming)])
        raise DataError(
            f"{table.place(row)}: expected rows that follow series {panel.ids[k]!r} closely, got "
            f"{show_time(times[row])}, {int(coming.max()) + 1:,} steps after its end; correct the time stamp"
        )
    array = np.full((int(coming.max()) + 1, held.shape[1]), np.nan)
    array[coming] = held[places]
    return array


def _nothing_coming(panel: Panel, table: Table) -> DataError:
    """The first of the series that end last stands for all."""
    ends = [panel.times(k)[-1] if len(values) else panel.starts[k] for k, values in enumerate(panel.values)]
    last = max(range(len(panel)), key=lambda k: ends[k])
    told = f"ends at {show_time(ends[last])}" if len(panel.values[last]) else "is empty"
    return DataError(
        f"{table.source}: expected rows after the end of series {panel.ids[last]!r}, which {told}, found none; "
        "add the rows to predict"
    )
