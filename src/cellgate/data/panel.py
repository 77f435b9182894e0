"""Tables made into regular series: which column is what, which grid, what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.frequency import COUNT, Frequency, infer_frequency, infer_season, parse_frequency
from cellgate.data.numbers import looks_numeric, require_numbers
from cellgate.data.table import Table, read_table
from cellgate.data.times import is_counter, looks_like_time, read_times

_TIME_NAMES = {
    "ds", "date", "datetime", "time", "timestamp", "month", "year", "day", "week", "quarter", "period", "hour",
    "date_time", "t", "step", "index",
}  # fmt: skip
_ID_NAMES = {"unique_id", "id", "series", "series_id", "item_id", "item", "store", "sensor", "sensor_id", "name"}
_TARGET_NAMES = {"y", "value", "target"}
_LARGEST_GRID = 20  # a grid of more than so many steps a row is no regular series
_SHOWN = 6


@dataclass(frozen=True)
class Roles:
    """What the caller says about the columns; None and False leave it to be found."""

    time: str | None = None
    target: str | None = None
    id: str | None = None
    wide: bool = False
    freq: str | None = None
    season: int | None = None
    time_format: str | None = None


@dataclass(frozen=True)
class Panel:
    """One or more series, each on a regular grid of the same frequency.

    Attributes:
        source: what the data is called in messages.
        ids: one name a series.
        values: one (T,) float64 array a series, NaN where nothing was observed.
        starts: the stamp of each series' first step, datetime64[us] or int.
        frequency: the grid.
        season: steps in a cycle, 1 for none.
        roles: the columns as they were used.
        notes: everything that was assumed, one line each.
    """

    source: str
    ids: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    starts: tuple[Any, ...]
    frequency: Frequency
    season: int
    roles: Roles = Roles()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many series."""
        return len(self.ids)

    def times(self, series: int) -> np.ndarray:
        """(T,) the stamps of one series."""
        return self.frequency.grid(self.starts[series], 0, len(self.values[series]))

    def future(self, series: int, steps: int) -> np.ndarray:
        """(steps,) the stamps that follow a series."""
        return self.frequency.grid(self.starts[series], len(self.values[series]), steps)

    def split(self, tail: int) -> tuple[Panel, Panel]:
        """All but the last `tail` steps of every series, and those steps."""
        head = replace(self, values=tuple(values[: len(values) - tail] for values in self.values))
        rest = replace(
            self,
            values=tuple(values[len(values) - tail :] for values in self.values),
            starts=tuple(head.future(k, 1)[0] for k in range(len(self))),
        )
        return head, rest

    def summary(self) -> list[tuple[str, str]]:
        """What was read and assumed, as (label, text) pairs for the echo block."""
        steps = sum(len(values) for values in self.values)
        missing = sum(int(np.isnan(values).sum()) for values in self.values)
        span = ""
        if len(self) == 1:
            first, last = show_time(self.starts[0]), show_time(self.times(0)[-1])
            span = f", {first} to {last}"
        count = "1 series" if len(self) == 1 else f"{len(self)} series"
        used = ", ".join(
            f"{label} = {name}"
            for label, name in (("id", self.roles.id), ("time", self.roles.time), ("value", self.roles.target))
            if name
        )
        pairs = [("data", f"{self.source}: {count}, {steps:,} steps, {self.frequency}{span}")]
        if used:
            pairs.append(("columns", used))
        pairs.append(("season", f"{self.season} steps" if self.season > 1 else "none"))
        if missing:
            pairs.append(("missing", f"{missing:,} steps without a value: left out of the loss and of every score"))
        return pairs + [("note", note) for note in self.notes]


def show_time(stamp: Any) -> str:
    """A stamp as short as it can be said: 1960-12-01, 2020-01-01 13:00, or a step's number."""
    if not isinstance(stamp, np.datetime64):
        return str(stamp)
    text = str(stamp.astype("datetime64[s]"))
    return text[:10] if text.endswith("T00:00:00") else text.replace("T", " ").removesuffix(":00")


def read_panel(data: Any, roles: Roles | None = None) -> Panel:
    """Read series from a file, a frame or an array; whatever is not said in `roles` is found and noted.

    Args:
        data: see read_table.
        roles: what the caller knows about the columns.

    Raises:
        DataError: for a table that cannot be used, naming the line and what to do.
    """
    roles = roles or Roles()
    table = read_table(data)
    for label in ("time", "target", "id"):
        name = getattr(roles, label)
        if name is not None and name not in table.columns:
            raise DataError(f"--{label} {name}: expected a column of {table.source}, which has {_names(table.columns)}")
    panel = _shape(table, roles)
    return replace(panel, notes=tuple(dict.fromkeys((*table.notes, *panel.notes))))


def _shape(table: Table, roles: Roles) -> Panel:
    """Find which columns are what, and with it which of the three shapes the table has."""
    if _is_wide_by_rows(table, roles):
        return _from_rows(table, roles)
    columns = dict(table.columns)
    time = roles.time or _find_time(table, columns)
    if time:
        columns.pop(time)
    if roles.wide or (roles.target is None and _side_by_side(table)):
        return _from_wide(table, columns, time, roles)
    name = roles.id or _find_id(columns, roles)
    if name:
        columns.pop(name)
    target = roles.target or _find_target(table, columns)
    return _from_long(table, replace(roles, time=time, id=name, target=target))


# ---------------------------------------------------------------- which column is what


def _names(columns: Sequence[str] | dict[str, np.ndarray]) -> str:
    names = list(columns)
    return ", ".join(names[:_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")


def _find_time(table: Table, columns: dict[str, np.ndarray]) -> str | None:
    timely = [name for name, column in columns.items() if looks_like_time(column)]
    named = [name for name in columns if name.lower() in _TIME_NAMES]
    for name in (*[n for n in timely if n in named], *timely):
        return name
    for name in named:
        if is_counter(columns[name]):
            return name
    # An unnamed first column 0, 1, 2, ... is the row number that a data frame writes beside its columns.
    first = next(iter(columns))
    if len(columns) > 1 and is_counter(columns[first]) and not table.source.startswith("the "):
        numbers = np.array(columns[first].tolist(), dtype=np.float64)
        if len(numbers) > 2 and (np.diff(numbers) == 1).all():
            return first
    return None


def _find_id(columns: dict[str, np.ndarray], roles: Roles) -> str | None:
    for name, column in columns.items():
        if name == roles.target:
            continue
        if name == "unique_id" or (name.lower() in _ID_NAMES and not looks_numeric(column)):
            return name
    texts = [
        name
        for name, column in columns.items()
        if column.dtype.kind == "O"
        and name != roles.target
        and not looks_numeric(column)
        and not looks_like_time(column)
    ]
    repeated = [name for name in texts if 1 < len(set(columns[name].tolist())) <= len(columns[name]) // 2]
    return repeated[0] if len(repeated) == 1 else None


def _find_target(table: Table, columns: dict[str, np.ndarray]) -> str:
    numeric = [name for name, column in columns.items() if looks_numeric(column)]
    named = [name for name in numeric if name.lower() in _TARGET_NAMES]
    if len(named) == 1:
        return named[0]
    if len(numeric) == 1:
        return numeric[0]
    if not numeric:
        raise DataError(
            f"{table.source}: expected a column of numbers to predict, found none among {_names(table.columns)}; "
            "check the file, or name the column with --target"
        )
    raise DataError(
        f"{table.source}: expected one column of numbers to predict, found {len(numeric)}: {_names(numeric)}; "
        f"choose one with --target {numeric[-1]!r}, or predict all of them with --wide"
    )


def _side_by_side(table: Table) -> bool:
    """Whether an array brought several series; a file's many columns need --wide."""
    return table.source == "the array" and len(table.columns) > 1


# ---------------------------------------------------------------- the three shapes of table


def _from_long(table: Table, roles: Roles) -> Panel:
    assert roles.target is not None
    values, notes = require_numbers(table.columns[roles.target], roles.target, table.place)
    if roles.id:
        ids = np.array([str(cell) for cell in table.columns[roles.id]], dtype=object)
        blank = np.array([not cell for cell in ids])
        if blank.any():
            raise DataError(f"{table.place(int(np.argmax(blank)))}: expected a series' name in {roles.id!r}, got none")
        names = list(dict.fromkeys(ids.tolist()))
        groups = _group(ids, names)
    else:
        names, groups = ["y" if roles.target is None else roles.target], [np.arange(table.rows)]
    if roles.time is None:
        notes.append("no time column: the rows are taken in their order")
        readings: list[np.ndarray] = [
            np.concatenate([np.arange(len(g)) for g in groups])[np.argsort(np.concatenate(groups))]
        ]
    else:
        readings, told = read_times(table.columns[roles.time], roles.time, table.place, roles.time_format)
        notes += told
    return _regular(table, roles, names, groups, readings, values, notes)


def _group(ids: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """The rows of each name, in the order of names."""
    code = {name: k for k, name in enumerate(names)}
    codes = np.array([code[name] for name in ids.tolist()])
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])


def _from_wide(table: Table, columns: dict[str, np.ndarray], time: str | None, roles: Roles) -> Panel:
    """A column a series."""
    values, notes, names = [], [], []
    for name, column in columns.items():
        if roles.wide and not looks_numeric(column):
            notes.append(f"{name}: not numbers, left out")
            continue
        numbers, told = require_numbers(column, name, table.place)
        values.append(numbers)
        names.append(name)
        notes += told
    if not names:
        raise DataError(f"{table.source}: expected columns of numbers, found none among {_names(table.columns)}")
    rows = table.rows
    if time is None:
        readings = [np.tile(np.arange(rows), len(names))]
    else:
        times, told = read_times(table.columns[time], time, table.place, roles.time_format)
        readings = [np.tile(reading, len(names)) for reading in times]
        notes += told
    stacked = Table(
        table.source,
        {"y": np.empty(rows * len(names))},
        None if table.lines is None else np.tile(table.lines, len(names)),
    )
    groups = [np.arange(k * rows, (k + 1) * rows) for k in range(len(names))]
    used = replace(roles, time=time, target=_names(names), wide=True)
    return _regular(stacked, used, names, groups, readings, np.concatenate(values), notes)


def _is_wide_by_rows(table: Table, roles: Roles) -> bool:
    """A row a series, as the M competitions publish them: a name, then V2, V3, ... with the values in order."""
    if roles.time or roles.target or roles.id:
        return False
    rest = list(table.columns)[1:]
    return len(rest) > 2 and all(re.fullmatch(r"V\d+", name) for name in table.columns)


def _from_rows(table: Table, roles: Roles) -> Panel:
    first, *rest = table.columns
    notes = ["a row a series, as in the M competitions; empty cells at the end are no part of it"]
    columns = []
    for name in rest:
        numbers, told = require_numbers(table.columns[name], name, table.place)
        columns.append(numbers)
        notes += told
    matrix = np.stack(columns, axis=1)
    values = []
    for row in matrix:
        known = np.flatnonzero(np.isfinite(row))
        values.append(row[: known[-1] + 1] if len(known) else row[:0])
    names = [str(name) for name in table.columns[first]]
    lengths = np.array([len(v) for v in values])
    ends = np.cumsum(lengths)
    groups = [np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    flat = np.concatenate(values)
    lines = None if table.lines is None else np.repeat(table.lines, lengths)
    stacked = Table(table.source, {"y": flat}, lines)
    steps = np.concatenate([np.arange(length) for length in lengths])
    return _regular(stacked, replace(roles, id=first, target="V2 on", wide=True), names, groups, [steps], flat, notes)


# ---------------------------------------------------------------- the grid


def _regular(
    table: Table,
    roles: Roles,
    names: list[str],
    groups: list[np.ndarray],
    readings: list[np.ndarray],
    values: np.ndarray,
    notes: list[str],
) -> Panel:
    """Put every series on the grid, by the first reading of its times that fits one."""
    duplicated = [name for name, count in zip(*np.unique(names, return_counts=True), strict=True) if count > 1]
    if duplicated:
        raise DataError(f"{table.source}: expected a name once a series, got {duplicated[0]!r} twice; rename one")
    failure: DataError | None = None
    for times in readings:
        try:
            return _on_grid(table, roles, names, groups, times, values, list(notes))
        except DataError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _on_grid(
    table: Table,
    roles: Roles,
    names: list[str],
    groups: list[np.ndarray],
    times: np.ndarray,
    values: np.ndarray,
    notes: list[str],
) -> Panel:
    ordered, unsorted = [], 0
    for name, rows in zip(names, groups, strict=True):
        order = rows[np.argsort(times[rows], kind="stable")]
        unsorted += int((np.diff(times[rows].astype(np.int64)) < 0).any())
        twice = np.flatnonzero(np.diff(times[order].astype(np.int64)) == 0)
        if len(twice):
            _refuse_duplicate(table, roles, name, int(order[twice[0]]), int(order[twice[0] + 1]), times)
        ordered.append(order)
    if unsorted:
        notes.append("rows were not in the order of time: sorted")
    frequency = _choose_frequency(table, roles, ordered, times)
    grids, starts, missing = [], [], 0
    for name, rows in zip(names, ordered, strict=True):
        if not len(rows):
            raise DataError(f"{table.source}: expected values in series {name!r}, got none; remove it")
        start: Any = times[rows[0]]
        if frequency.unit == COUNT:
            start = int(start)
        steps, exact = frequency.positions(times[rows], start)
        if not exact.all():
            _refuse_irregular(table, frequency, times, rows, int(np.argmin(exact)))
        if steps[-1] + 1 > _LARGEST_GRID * max(len(rows), 10):
            widest = int(np.argmax(np.diff(steps)))
            raise DataError(
                f"{table.place(rows[widest + 1])}: expected {frequency} steps, got a gap of {np.diff(steps)[widest]:,} "
                f"steps after {show_time(times[rows[widest]])}; give --freq, or cut the part before the gap"
            )
        grid = np.full(int(steps[-1]) + 1, np.nan)
        grid[steps] = values[rows]
        missing += len(grid) - len(rows)
        grids.append(grid)
        starts.append(start)
        if not np.isfinite(grid).any():
            raise DataError(f"{table.source}: expected values in series {name!r}, got only missing ones; remove it")
    if missing:
        notes.append(f"{missing:,} steps have no row in the table")
    season = roles.season or frequency.season or _common_season(grids, notes)
    return Panel(
        table.source, tuple(names), tuple(grids), tuple(starts), frequency, season, roles, tuple(dict.fromkeys(notes))
    )


def _choose_frequency(table: Table, roles: Roles, ordered: list[np.ndarray], times: np.ndarray) -> Frequency:
    longest = max(ordered, key=len)
    found = infer_frequency(times[longest])
    if roles.freq is not None:
        asked = parse_frequency(roles.freq)
        if asked is None:
            raise DataError(f"--freq {roles.freq}: expected a frequency such as h, 30min, D, W, MS, Q or Y")
        if times.dtype.kind == "i":
            # Numbered steps keep their numbers; the frequency given tells their season.
            return Frequency(COUNT, found.step if found else 1)
        return replace(asked, month_end=bool(found and found.month_end))
    if found is None:
        if len(longest) < 3:
            raise DataError(
                f"{table.source}: expected at least 3 rows in a series to find its frequency, got {len(longest)}; "
                "give more history, or say --freq"
            )
        raise DataError(f"{table.source}: expected steps a whole number of seconds apart; round the time stamps")
    return found


def _common_season(grids: list[np.ndarray], notes: list[str]) -> int:
    """The season most of (up to 30 of) the series show."""
    chosen = [grids[k] for k in np.unique(np.linspace(0, len(grids) - 1, 30).astype(int))]
    found, counts = np.unique([infer_season(grid) for grid in chosen], return_counts=True)
    season = int(found[np.argmax(counts)])
    notes.append(
        f"season of {season} steps found by autocorrelation; --season overrides it"
        if season > 1
        else "no season shows in the autocorrelation; --season gives one"
    )
    return season


def _refuse_duplicate(table: Table, roles: Roles, name: str, first: int, second: int, times: np.ndarray) -> None:
    series = f" in series {name!r}" if roles.id else ""
    remedy = (
        "remove one"
        if roles.id or roles.wide
        else "remove one, or name the column that tells the series apart with --id"
    )
    raise DataError(
        f"{table.place(second)}: expected each time once{series}, got {show_time(times[second])} again "
        f"(first at {table.place(first).rsplit(', ', 1)[-1]}); {remedy}"
    )


def _refuse_irregular(table: Table, frequency: Frequency, times: np.ndarray, rows: np.ndarray, bad: int) -> None:
    before = show_time(times[rows[bad - 1]]) if bad else show_time(times[rows[0]])
    raise DataError(
        f"{table.place(rows[bad])}: expected {frequency} steps, got {show_time(times[rows[bad]])} after {before}; "
        "correct the time stamp, put the data on a regular grid, or give --freq"
    )
