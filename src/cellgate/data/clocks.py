"""Times with a zone for a model of times without one, and the other way round: which clock the rows go by.

Of times without a zone nobody knows by which clock they were written. Where the training's had one, newer ones without
are taken for UTC, in which the training's are kept and shown, and that is told. Where the training's had none, newer
ones with a zone cannot be put beside them: an hour might be another one. Only where both readings are the same, in UTC,
or where whole days and more are counted, the stamp is what it shows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.frequency import MICROSECOND, SECOND, Frequency
from cellgate.data.panel import Panel, show_time
from cellgate.data.table import Table
from cellgate.data.time_formats import CLOCKS, ISO_CELL, parted_clock, read_iso

_ZONE = 5  # the group of ISO_CELL
_DAY = 86_400


def kept_clock(form: str | None) -> str:
    """By which clock a training kept its times: "UTC", "local", "" for times without a zone, "?" where it is not told.

    Args:
        form: how they were written, as times.Reading.form has it.
    """
    written, clock = parted_clock(form or "")
    if "%z" in written and not clock:  # in the folder of an earlier version
        return "?"
    return "UTC" if written.endswith("since 1970") else clock


def zoned_moment(text: str) -> datetime | None:
    """The moment that a stamp of ISO 8601 with a zone names; None for other text."""
    match = ISO_CELL.fullmatch(text)
    try:
        return read_iso(text) if match and match[_ZONE] else None
    except ValueError:
        return None


def without_zone(time: Any, form: str | None) -> bool:
    """Whether a time leaves the zone open that the training's had; numpy's stamps are those of a panel."""
    if kept_clock(form) != "UTC" or isinstance(time, np.datetime64):
        return False
    if isinstance(time, str):
        return bool(ISO_CELL.fullmatch(time.strip())) and zoned_moment(time.strip()) is None
    return isinstance(time, datetime) and time.tzinfo is None


def unzoned_note(name: str) -> str:
    """What is told of times that lack the zone which the training's had."""
    return f"{name}: times without a zone read as UTC, as those of the training are kept"


def on_clock(moment: datetime, form: str | None, frequency: Frequency, place: str, name: str) -> np.datetime64:
    """A moment with a zone as the training's clock shows it.

    Args:
        moment: with its zone.
        form: how the training's times were written.
        frequency: of the training.
        place: where the time stands, for messages; "" for none.
        name: of its column.

    Raises:
        DataError: where the training's times had no zone and it would matter.
    """
    clock = kept_clock(form)
    offset = moment.utcoffset() or timedelta(0)
    if not clock and offset and _within_a_day(frequency):
        raise _foreign(place, name, str(moment))
    local = clock == "local" or not clock
    return np.datetime64((moment if local else moment.astimezone(UTC)).replace(tzinfo=None), "us")


def by_training_clock(table: Table, name: str | None, trained: Panel, form: str | None) -> Table:
    """The time column with the clock of the training; times without a zone are left as they are.

    Raises:
        DataError: as on_clock, naming the row.
    """
    if name is None or name not in table.columns:
        return table
    clock, zone, column = kept_clock(form), table.zones.get(name), table.columns[name]
    if zone is not None and clock != "?":
        if not clock and _within_a_day(trained.frequency) and (zone.local != zone.utc).any():
            row = int(np.argmax(zone.local != zone.utc))
            raise _foreign(table.place(row), name, f"{show_time(zone.local[row])}, in UTC {show_time(zone.utc[row])}")
        kept = zone.utc if clock == "UTC" else zone.local
        return replace(table, columns={**table.columns, name: kept}, zones={})
    if clock == "UTC" and _lacks_zone(column):
        return replace(table, notes=(*table.notes, unzoned_note(name)))
    if clock or column.dtype.kind != "O" or trained.roles.time is None:
        return table
    moments = [zoned_moment(str(cell).strip()) for cell in column.tolist()]
    if None in moments:  # all or none have a zone, or the reader says so
        return table
    stamps = [
        on_clock(moment, form, trained.frequency, table.place(row), name)
        for row, moment in enumerate(moments)
        if moment is not None
    ]
    return replace(table, columns={**table.columns, name: np.array(stamps, dtype="datetime64[us]")})


def _lacks_zone(column: np.ndarray) -> bool:
    if column.dtype.kind == "M":
        return True
    return column.dtype.kind == "O" and all(without_zone(str(cell), CLOCKS["UTC"]) for cell in column.tolist())


def _within_a_day(frequency: Frequency) -> bool:
    return frequency.unit == MICROSECOND or (frequency.unit == SECOND and frequency.step < _DAY)


def _foreign(place: str, name: str, got: str) -> DataError:
    return DataError(
        f"{place + ': ' if place else ''}expected times without a zone in {name!r}, as in training, got {got}; write "
        "them without, by the clock that the training's go by"
    )
