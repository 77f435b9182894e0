"""Newer rows for a model that is trained: read by what its training found, so that they mean what they meant then.

Which column is what, how times and numbers are written, how far steps lie apart and what names look like is not guessed
again: two rows would show another frequency, one shop no shops, 05/01 another day, and 1.234 another number.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from cellgate.data.clocks import by_training_clock, kept_clock, on_clock, unzoned_note, zoned_moment
from cellgate.data.errors import DataError
from cellgate.data.frequency import COUNT, Frequency, infer_frequency
from cellgate.data.grid import no_values
from cellgate.data.numbers import DecimalComma
from cellgate.data.panel import Panel, Roles, show_time
from cellgate.data.shapes import read_panel
from cellgate.data.table import Table, read_table, refuse_durations
from cellgate.data.time_formats import CLOCKS, ISO, parted_clock
from cellgate.data.times import counts_by_number, is_plain_iso, read_times
from cellgate.data.words import some

USUAL = {"time": "ds", "target": "y", "id": "unique_id"}  # of every long table
_ISO_FORMS = (ISO, *CLOCKS.values())
_FILLED = 0.6  # of the steps must have a value where the rows seem to follow another frequency


def read_newer(data: Any, trained: Panel, asked: Roles, *, sparse: bool = False, timeless: bool = False) -> Panel:
    """Read series as those of a training were read.

    Args:
        data: see read_table; long tables may also have the usual names, unique_id, ds and y.
        trained: the series of the training.
        asked: what the caller says about the columns; it goes before what was found in training.
        sparse: whether rows may lie several steps apart, as corrections do, and be without any value.
        timeless: whether rows without a time column will do; they are numbered from 0 then.

    Raises:
        DataError: for a table that does not fit the training, saying why.
    """
    table, roles = training_columns(_written_alike(read_table(data), trained), trained, asked, timeless)
    free = replace(roles, freq=asked.freq)
    grid = Frequency(COUNT, 1) if timeless and roles.time is None else trained.frequency
    try:
        panel = read_panel(table, replace(roles, freq=grid))
    except DataError:
        _refuse_other_frequency(table, free, trained)
        raise
    if not sparse:
        for name, values in zip(panel.ids, panel.values, strict=True):
            if not np.isfinite(values).any():
                raise no_values(panel.source, name)
        if _filled(panel) <= _FILLED:
            _refuse_other_frequency(table, free, trained)
    roles = replace(panel.roles, freq=trained.roles.freq, season=trained.roles.season)
    panel = replace(panel, roles=roles, decimal_comma=trained.decimal_comma or panel.decimal_comma)
    return panel.noting(told_of_clock(table, roles.time))


def told_of_clock(table: Table, time: str | None) -> list[str]:
    """Of the notes on a table that on times without the zone of the training's, if there is one."""
    return [note for note in table.notes if note == unzoned_note(time or "")]


def coming_rows(data: Any, panel: Panel) -> Table:
    """A table for with_future, its times and names as those of the series that it continues.

    Raises:
        DataError: for times that cannot be put beside those of the series.
    """
    roles = panel.roles
    table = _renamed(_written_alike(read_table(data), panel), roles.time, USUAL["time"])
    if not roles.wide:
        table = _renamed(table, roles.id, USUAL["id"])
    refuse_durations(table, roles.time)
    table = by_training_clock(table, roles.time, panel, roles.time_format)
    columns = dict(table.columns)
    if roles.id in columns and columns[roles.id].dtype.kind == "f":
        columns[roles.id] = _whole(columns[roles.id])
    if roles.time in columns and roles.time_format and form_of(columns[roles.time], roles.time_format) is None:
        columns[roles.time] = read_times(columns[roles.time], roles.time, table.place)[0][0]
    return replace(table, columns=columns)


def training_columns(table: Table, trained: Panel, asked: Roles, timeless: bool = False) -> tuple[Table, Roles]:
    """The columns of the training in a table of other rows, under the training's names, and the roles to read them by.

    Raises:
        DataError: where columns are missing.
    """
    known = trained.roles
    if asked.time_format == parted_clock(known.time_format or "")[0]:
        asked = replace(asked, time_format=None)  # what was found says by which clock, too
    roles = replace(
        asked,
        time=asked.time or known.time,
        time_format=asked.time_format or known.time_format,
        past=known.past,
        future=known.future,
        static=known.static,
        season=trained.season,
    )
    if known.target is None or _is_array(table) or _is_by_rows(table):
        return table, replace(asked, season=trained.season)
    if timeless and roles.time and not _has(_renamed(table, roles.time, USUAL["time"]), roles.time):
        roles = replace(roles, time=None)
    if known.wide and not _has(table, *USUAL.values()):
        table = _renamed(table, roles.time, USUAL["time"])
        _require(table, [*([roles.time] if roles.time else []), *known.covariates], "")
        return _with_times(table, replace(roles, target=None, id=None, wide=True), trained, asked)
    if known.wide:
        roles = replace(roles, target=USUAL["target"], time=USUAL["time"], id=USUAL["id"], wide=False)
    else:
        roles = replace(roles, target=asked.target or known.target, id=asked.id or known.id, wide=False)
        for role, usual in USUAL.items():
            table = _renamed(table, getattr(roles, role), usual)
        if roles.id is None and _has(table, USUAL["id"]):
            roles = replace(roles, id=USUAL["id"])
    needed = [name for name in (roles.id, roles.time, roles.target, *known.covariates) if name]
    _require(table, needed, " (unique_id, ds and y will do for name, time and value)")
    table = replace(table, columns={name: table.columns[name] for name in dict.fromkeys(needed)})
    if roles.id and table.columns[roles.id].dtype.kind == "f":
        table = replace(table, columns={**table.columns, roles.id: _whole(table.columns[roles.id])})
    return _with_times(table, roles, trained, asked)


def _with_times(table: Table, roles: Roles, trained: Panel, asked: Roles) -> tuple[Table, Roles]:
    """The time column as in training; ISO 8601, which nobody reads in two ways, will always do."""
    name = roles.time
    if name is None:
        return table, roles
    table = by_training_clock(table, name, trained, roles.time_format)
    if asked.time_format is not None:
        return table, roles
    roles = replace(roles, time_format=form_of(table.columns[name], roles.time_format))
    return (_read_in_one_way(table, name, trained), roles) if roles.time_format is None else (table, roles)


def form_of(column: np.ndarray, known: str | None) -> str | None:
    """How to read a time column: as in training; None, to be found, where it is ISO 8601 and the training's was not."""
    return None if is_plain_iso(column) and known not in _ISO_FORMS else known


def stamps_meant(text: str, name: str, trained: Panel, form: str | None) -> list[Any]:
    """What the text of one time may mean: one stamp, or two where day and month leave it open.

    Args:
        text: as a cell of a table has it.
        name: of its column, for messages.
        trained: the series of the training.
        form: how times were written there.

    Raises:
        DataError: for text that is no time, or none as in training, or has a zone where the training's had none.
    """
    if not isinstance(trained.starts[0], np.datetime64) and counts_by_number(form):
        with suppress(ValueError, OverflowError):
            if float(text) == int(float(text)):
                return [int(float(text))]
    moment = zoned_moment(text)
    if moment is not None and kept_clock(form) != "?":
        return [on_clock(moment, form, trained.frequency, "", name)]
    column = np.array([text], dtype=object)
    try:
        readings, _ = read_times(column, name, lambda _: "", form_of(column, form))
    except DataError:
        # Of series numbered by fractions the next number does not show how times are written.
        like = f" or as {show_time(trained.next_times(0, 1)[0])}" if counts_by_number(form) else f" ({form})"
        raise DataError(
            f"expected a time stamp in {name!r}, written as in training{like}, got {text!r}; correct it"
        ) from None
    stamps = [reading[0] for reading in readings]
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:  # days and months are kept in the zone's own time
            stamps.append(np.datetime64(moment.replace(tzinfo=None), "us"))
    return stamps


def likeliest_stamp(stamps: list[Any], panel: Panel, k: int, before: Any) -> Any:
    """The reading that is on the grid of a series, and nearest to the row before."""

    def unlikely(stamp: Any) -> tuple[bool, int]:
        if isinstance(stamp, np.datetime64) != isinstance(panel.starts[k], np.datetime64):
            return True, 0
        steps, exact = panel.frequency.positions(np.array([stamp, before]), panel.starts[k])
        return not exact[0], abs(int(steps[0] - steps[1]))

    return min(stamps, key=unlikely)


def _read_in_one_way(table: Table, name: str, trained: Panel) -> Table:
    """With the dates read, where day and month could be taken for one another and the frequency tells them apart.

    Raises:
        DataError: where it does not.
    """
    readings = read_times(table.columns[name], name, table.place)[0]
    if len(readings) < 2 or (readings[0] == readings[1]).all():
        return table
    fitting = [times for times in readings if infer_frequency(np.unique(times)) == trained.frequency]
    if len(fitting) != 1:
        row = int(np.argmax(readings[0] != readings[1]))
        both = " or ".join(show_time(times[row]) for times in readings)
        raise DataError(
            f"{table.place(row)}: expected a date that can be read in one way in {name!r}, got "
            f"{table.columns[name][row]!r}, which may be {both}; write it as 2024-01-31, or set time_format"
        )
    return replace(table, columns={**table.columns, name: fitting[0]})


def _written_alike(table: Table, trained: Panel) -> Table:
    """With the decimal sign of the training, which one row may not show: 1.234 is a thousand beside 1.234,50."""
    return replace(table, decimal_comma=DecimalComma.KNOWN) if trained.decimal_comma else table


def _is_array(table: Table) -> bool:
    return table.source == "the array"


def _is_by_rows(table: Table) -> bool:
    return len(table.columns) > 3 and all(re.fullmatch(r"V\d+", name) for name in table.columns)


def _has(table: Table, *names: str) -> bool:
    return all(name in table.columns for name in names)


def _renamed(table: Table, name: str | None, usual: str) -> Table:
    """With a column of the usual name called as in training, where no column is called so."""
    if name is None or name in table.columns or usual not in table.columns:
        return table
    zones = {name if key == usual else key: zone for key, zone in table.zones.items()}
    columns = {name if key == usual else key: column for key, column in table.columns.items()}
    durations = frozenset(name if key == usual else key for key in table.durations)
    return replace(table, columns=columns, zones=zones, durations=durations)


def _require(table: Table, needed: list[str], remark: str) -> None:
    absent = [name for name in needed if name not in table.columns]
    if absent:
        there = some(table.columns)
        raise DataError(
            f"{table.source}: expected the columns {', '.join(needed)}, as in training, found no "
            f"{', '.join(absent)} among {there}; add or rename them{remark}"
        )


def _whole(names: np.ndarray) -> np.ndarray:
    """Names that pandas made floats of because one was missing, as whole numbers again."""
    return names.astype(np.int64) if np.isfinite(names).all() and (names == np.round(names)).all() else names


def _filled(panel: Panel) -> float:
    return float(np.mean(np.isfinite(np.concatenate(panel.values))))


def _refuse_other_frequency(table: Table, roles: Roles, trained: Panel) -> None:
    """Say that rows follow another frequency than the training, where they show one."""
    try:
        found = read_panel(table, roles).frequency
    except DataError:
        return
    if (found.unit, found.step) != (trained.frequency.unit, trained.frequency.step):
        raise DataError(f"{table.source}: expected {trained.frequency.series}, as in training, got {found}") from None
