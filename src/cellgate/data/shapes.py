"""Tables made into series: which column is what, and which of three shapes the table has.

long     a row a series and step: (id,) time, value
wide     a row a step, a column a series
by rows  a row a series, the values in V2, V3, ... as the M competitions publish them
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from cellgate.data.covariates import read_covariates
from cellgate.data.errors import DataError
from cellgate.data.frequency import Frequency
from cellgate.data.grid import Rows, to_panel
from cellgate.data.numbers import first_word, looks_numeric, read_numbers, require_numbers
from cellgate.data.panel import Panel, Roles
from cellgate.data.prose import TAKE_APART, is_prose
from cellgate.data.table import Table, as_written, or_text, read_table, refuse_durations
from cellgate.data.times import (
    Reading,
    is_clock,
    is_counter,
    looks_like_clock,
    looks_like_time,
    nearly_time,
    read_stamps,
    reads_by,
)
from cellgate.data.words import some

_TIME_NAMES = {
    "ds", "date", "datetime", "time", "timestamp", "month", "year", "day", "week", "quarter", "period", "hour",
    "date_time", "t", "step", "index", "ts", "epoch", "unix", "unixtime", "unix_time",
}  # fmt: skip
_SURE_TIME_NAMES = {"ds", "date", "datetime", "date_time", "timestamp", "time"}  # words in these are times misread
_ID_NAMES = {"unique_id", "id", "series", "series_id", "item_id", "item", "store", "sensor", "sensor_id", "name"}
_TARGET_NAMES = {"y", "value", "target"}


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
    _require_columns(table, roles)
    panel = _shape(table, roles)
    notes = tuple(dict.fromkeys((*table.notes, *panel.notes)))
    return as_written(replace(panel, notes=notes, columns=tuple(table.columns)), table)


def _require_columns(table: Table, roles: Roles) -> None:
    """Refuse names that are no columns, and columns with two roles."""
    taken: dict[str, str] = {}
    for label in ("time", "target", "id", "past", "future", "static"):
        given = getattr(roles, label)
        for name in (given,) if isinstance(given, str) else given or ():
            if name not in table.columns:
                raise DataError(
                    f"--{label} {name}: expected a column of {table.source}, which has {some(table.columns)}"
                )
            if name in taken:
                raise DataError(
                    f"--{label} {name}: expected one role a column, got --{taken[name]} for it too; give one of them"
                )
            taken[name] = label


def _shape(table: Table, roles: Roles) -> Panel:
    """Find which columns are what, and with it which of the three shapes the table has."""
    if _is_wide_by_rows(table, roles):
        return _from_rows(table, roles)
    if roles.wide and roles.target is not None:
        raise DataError(
            f"--target {roles.target}: expected none where every column of numbers is a series (--wide), as all are "
            "predicted; give one of the two"
        )
    columns = {name: column for name, column in table.columns.items() if name not in roles.covariates}
    if not columns:
        raise DataError(
            f"{table.source}: expected a column to predict beside --past, --future and --static, got none; leave out "
            "the one that is to be predicted"
        )
    time = roles.time or _find_time(table, columns, roles)
    refuse_durations(table, time)
    if time:
        columns.pop(time)
    if roles.wide or (roles.target is None and _side_by_side(table)):
        return _from_wide(table, columns, time, roles)
    name = roles.id or _find_id(table, columns, time, roles) or _find_numbered_id(table, columns, time, roles)
    if name:
        columns.pop(name)
    target = roles.target or _find_target(table, columns, time, roles)
    columns.pop(target, None)
    return _from_long(table, replace(roles, time=time, id=name, target=target), list(columns))


# ---------------------------------------------------------------- which column is what


def _find_time(table: Table, columns: dict[str, np.ndarray], roles: Roles) -> str | None:
    columns = {name: column for name, column in columns.items() if name not in (roles.target, roles.id)}
    if not columns:
        return None
    timely = [name for name, column in columns.items() if looks_like_time(column)]
    named = [name for name in columns if name.lower() in _TIME_NAMES]
    for name in (*[n for n in timely if n in named], *timely):
        return name
    for name in named:
        if is_counter(columns[name]) or is_clock(columns[name]):
            return name
    form = roles.time_format
    if form is not None and "%" in form:
        for name, column in columns.items():
            if reads_by(column, form):
                return name
    for name, column in columns.items():
        if nearly_time(column):
            return name  # reading it will say which cell is no time
    for name in named:
        if name.lower() in _SURE_TIME_NAMES and not looks_numeric(columns[name]):
            return name
    if form is not None and "%" in form and not isinstance(roles.freq, Frequency):  # newer rows may have no times
        raise DataError(
            f"--time-format {form}: expected a column of times in {table.source}, found none written so; name it with "
            "--time, or leave the format out"
        )
    # An unnamed first column 0, 1, 2, ... is the row number that a data frame writes beside its columns.
    first = next(iter(columns))
    if len(table.columns) > 1 and is_counter(columns[first]) and not table.source.startswith("the "):
        numbers = np.array(columns[first].tolist(), dtype=np.float64)
        if len(numbers) > 2 and (np.diff(numbers) == 1).all():
            return first
    return None


def _find_id(table: Table, columns: dict[str, np.ndarray], time: str | None, roles: Roles) -> str | None:
    """A column with the name of one, or the one column of repeated words without which rows could not be told apart."""
    for name, column in columns.items():
        if name == roles.target:
            continue
        if name == "unique_id" or (name.lower() in _ID_NAMES and not looks_numeric(column)):
            return name
    if time is not None and not _repeats(table.columns[time]):
        return None  # a row a time: one series, and words beside it say something about its steps
    texts = [
        name
        for name, column in columns.items()
        if column.dtype.kind == "O"
        and name != roles.target
        and not looks_numeric(column)
        and not looks_like_time(column)
        and first_word(column)[1] > 0.9  # words among numbers are mistakes, not names
    ]
    repeated = [name for name in texts if 1 < len(set(columns[name].tolist())) <= len(columns[name]) // 2]
    if time is not None:
        _refuse_clock(table, time, texts)
    if len(repeated) != 1:
        return None
    cells = columns[repeated[0]].tolist()
    if time is None:
        return repeated[0] if _alternates(cells) else None
    told_apart = len(set(zip(table.columns[time].tolist(), cells, strict=True))) == len(cells)
    return repeated[0] if told_apart else _find_numbered_id(table, columns, time, roles) or repeated[0]


def _refuse_clock(table: Table, time: str, texts: list[str]) -> None:
    """Refuse a date and its time of day in two columns, which would make 24 series of an hourly one."""
    dates = table.columns[time].tolist()
    for name in texts:
        cells = table.columns[name]
        if looks_like_clock(cells) and len(set(zip(dates, cells.tolist(), strict=True))) > len(set(dates)):
            raise DataError(
                f"{table.source}: expected date and time of day in one column, got {time!r} and {name!r}; join the "
                "two, or name the column that tells series apart with --id"
            )


def _repeats(times: np.ndarray) -> bool:
    return len(set(times.tolist())) < len(times)


def _alternates(names: list[str]) -> bool:
    """Whether names stand as those of series without times do: all rows of one after the other's, or turn by turn."""
    count = len(set(names))
    runs = 1 + sum(a != b for a, b in pairwise(names))
    return runs == count or all(a == b for a, b in zip(names, names[count:], strict=False))


def _find_numbered_id(table: Table, columns: dict[str, np.ndarray], time: str | None, roles: Roles) -> str | None:
    """A column of whole numbers by which times are told apart that would stand there twice without it."""
    if time is None:
        return None
    times = table.columns[time].tolist()
    if not _repeats(table.columns[time]):
        return None
    fitting = [
        name
        for name, column in columns.items()
        if name != roles.target
        and (name.lower() in _ID_NAMES or name.lower().endswith(("_id", "_nbr", "_no")))
        and is_counter(column)
        and len(set(zip(times, column.tolist(), strict=True))) == len(times)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _find_target(table: Table, columns: dict[str, np.ndarray], time: str | None, roles: Roles) -> str:
    numeric = [name for name, column in columns.items() if looks_numeric(column) and _has_values(column)]
    named = [name for name in numeric if name.lower() in _TARGET_NAMES]
    if len(named) == 1:
        return named[0]
    if len(numeric) == 1:
        return numeric[0]
    beside = [
        (kind, name)
        for kind in ("past", "future", "static")
        for name in getattr(roles, kind)
        if looks_numeric(table.columns[name])
    ]
    if not numeric and beside:
        kind, name = beside[0]
        raise DataError(
            f"{table.source}: expected a column of numbers to predict beside --{kind} {name}, found none; leave "
            f"--{kind} out if {name!r} is what is to be predicted, or name another column with --target"
        )
    if not numeric:
        prose = next((name for name in columns if is_prose(table.columns[name].tolist())), None)
        if prose is not None and len(table.columns) > 1:
            raise DataError(
                f"{table.source}: expected a column of numbers to predict, found texts in {prose!r}; to learn labels "
                f"of them, --task classify, {TAKE_APART}" + (or_text(table.source) if table.lines is not None else "")
            )
        raise DataError(
            f"{table.source}: expected a column of numbers to predict, found none among {some(table.columns)}; "
            + _nearest_to_numbers(table, columns)
            + (or_text(table.source) if table.lines is not None else "")
        )
    # Rows of several series have their times several times, which a wide table has not.
    once = time is None or len(set(table.columns[time].tolist())) == table.rows
    raise DataError(
        f"{table.source}: expected one column of numbers to predict, found {len(numeric)}: {some(numeric)}; "
        f"choose one, such as --target {shlex.quote(numeric[0])}"
        + (", or predict all of them with --wide" if once else "")
    )


def _has_values(column: np.ndarray) -> bool:
    return bool(np.isfinite(read_numbers(column)[0]).any())


def _nearest_to_numbers(table: Table, columns: dict[str, np.ndarray]) -> str:
    """What to do where no column is one of numbers: the first wrong cell of the column that is nearest to it."""
    found = [(share, name, row) for name, column in columns.items() for row, share in [first_word(column)]]
    share, name, row = min(found, default=(1.0, "", 0))
    if share == 0.0:
        return "every cell of the others is empty; check the file, or name the column with --target"
    if share < 1.0:
        cell = str(columns[name][row])[:40]
        return f"the nearest is {name!r}, with {cell!r} at {table.place(row).rsplit(', ', 1)[-1]}; correct or empty it"
    return "check the file, or name the column with --target"


def _side_by_side(table: Table) -> bool:
    """Whether an array brought several series; a file's many columns need --wide."""
    return table.source == "the array" and len(table.columns) > 1


# ---------------------------------------------------------------- the three shapes of table


def _from_long(table: Table, roles: Roles, unused: list[str]) -> Panel:
    assert roles.target is not None
    values, notes = require_numbers(table.columns[roles.target], roles.target, table.place, table.decimal_comma)
    if unused:
        words = [] if roles.id else [name for name in unused if first_word(table.columns[name])[1] > 0.9]
        told = f"; where {words[0]} names series, say --id {words[0]}" if len(words) == 1 else ""
        notes.append(f"not used: {some(unused)}; --past, --future and --static take columns beside the target{told}")
    covariates = read_covariates(table, roles.past, roles.future, roles.static)
    if roles.id:
        ids = np.array([str(cell) for cell in table.columns[roles.id]], dtype=object)
        blank = np.array([not cell for cell in ids])
        if blank.any():
            raise DataError(f"{table.place(int(np.argmax(blank)))}: expected a series' name in {roles.id!r}, got none")
        names = list(dict.fromkeys(ids.tolist()))
        groups = _group(ids, names)
    else:
        names, groups = [roles.target], [np.arange(table.rows)]
    if roles.time is None:
        notes.append("no time column: the rows are taken in their order")
        steps = np.concatenate([np.arange(len(g)) for g in groups])[np.argsort(np.concatenate(groups))]
        readings = [Reading(steps, None)]
    else:
        readings, told = read_stamps(table.columns[roles.time], roles.time, table.place, roles.time_format)
        notes += told
    return to_panel(Rows(table, roles, names, groups, readings, values, covariates, notes + covariates.notes))


def _group(ids: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """The rows of each name, in the order of names."""
    code = {name: k for k, name in enumerate(names)}
    codes = np.array([code[name] for name in ids.tolist()])
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(codes, minlength=len(names)))[:-1])


def _from_wide(table: Table, columns: dict[str, np.ndarray], time: str | None, roles: Roles) -> Panel:
    """A column a series; past and future columns go with all of them."""
    if roles.static:
        raise DataError(
            f"--static {roles.static[0]}: expected a table with a row a series and step, got a column a series "
            "(--wide), where nothing is static; bring the table into long form: id, time, value"
        )
    values, notes, names = [], [], []
    for name, column in columns.items():
        if roles.wide and not looks_numeric(column):
            notes.append(f"{name}: not numbers, left out")
            continue
        numbers, told = require_numbers(column, name, table.place, table.decimal_comma)
        values.append(numbers)
        names.append(name)
        notes += told
    if not names:
        raise DataError(f"{table.source}: expected columns of numbers, found none among {some(table.columns)}")
    covariates = read_covariates(table, roles.past, roles.future, ())
    rows = table.rows
    if time is None:
        readings = [Reading(np.tile(np.arange(rows), len(names)), None)]
    else:
        found, told = read_stamps(table.columns[time], time, table.place, roles.time_format)
        readings = [Reading(np.tile(times, len(names)), form) for times, form in found]
        notes += told
    stacked = Table(
        table.source,
        {"y": np.empty(rows * len(names))},
        None if table.lines is None else np.tile(table.lines, len(names)),
    )
    groups = [np.arange(k * rows, (k + 1) * rows) for k in range(len(names))]
    used = replace(roles, time=time, target=some(names), wide=True)
    flat, notes = np.concatenate(values), notes + covariates.notes
    return to_panel(Rows(stacked, used, names, groups, readings, flat, covariates.tiled(len(names)), notes))


def _is_wide_by_rows(table: Table, roles: Roles) -> bool:
    """A row a series, as the M competitions publish them: a name, then V2, V3, ... with the values in order."""
    if roles.time or roles.target or roles.id or roles.covariates:
        return False
    rest = list(table.columns)[1:]
    return len(rest) > 2 and all(re.fullmatch(r"V\d+", name) for name in table.columns)


def _from_rows(table: Table, roles: Roles) -> Panel:
    first, *rest = table.columns
    notes = ["a row a series, as in the M competitions; empty cells at the end are no part of it"]
    columns = []
    for name in rest:
        numbers, told = require_numbers(table.columns[name], name, table.place, table.decimal_comma)
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
    used = replace(roles, id=first, target="V2 on", wide=True)
    return to_panel(
        Rows(stacked, used, names, groups, [Reading(steps, None)], flat, read_covariates(stacked, (), (), ()), notes)
    )
