"""Columns of text read as time stamps, or as a plain counter 1, 2, 3, ..."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.numbers import is_missing
from cellgate.data.time_formats import (
    CLOCK_NOTES,
    CLOCKS,
    FORMATS,
    ISO,
    ISO_CELL,
    NUMBERED,
    READERS,
    WEEK_NUMBERS,
    parser,
    parted_clock,
    which_clock,
    with_clock,
)

_SAMPLE = 300
_INTEGER = re.compile(r"[+-]?\d+(\.0+)?")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# Seconds since 1970 from 1990 to 2100, and the same in smaller units: too large for a counter of steps.
_EPOCH = (631_152_000, 4_102_444_800)
_EPOCH_UNITS = (
    (1, "seconds"),
    (1_000, "milliseconds"),
    (1_000_000, "microseconds"),
    (1_000_000_000, "nanoseconds"),
)
_EPOCH_FORMS = {f"{word} since 1970": factor for factor, word in _EPOCH_UNITS}
# Forms of whole numbers, what each cell has to be, and how they are told of.
_DIGITS = {
    "%Y%m%d": ("a date", "%Y%m%d"),
    "%Y%m": ("a month", "%Y%m"),
    "%Y": ("a year", "years"),
    WEEK_NUMBERS: ("a week", "ISO weeks"),
}
_EXCEL, _WHOLE = "Excel's day numbers", "whole numbers"
_FRACTIONS = re.compile(r"steps of (\S+) from (\S+)")
_EXCEL_EPOCH = np.datetime64("1899-12-30", "us")
# What no plain number has: a letter beside a digit, or two digits with a mark of a date or clock between them.
_TIMELY = re.compile(r"(?=.*\d)(?=.*[A-Za-z]|.*\d[-/:]\d|.*\d\.\d+\.\d)")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([AaPp]\.?[Mm]\.?)?")


class Reading(NamedTuple):
    """One way to read a time column.

    Attributes:
        times: (rows,) datetime64[us], or int64 for a counter.
        form: how the cells were written: as `time_format` it reads other rows the same way. None where they were time
            stamps already.
    """

    times: np.ndarray
    form: str | None


def _candidates(cells: list[str]) -> list[str]:
    """The readers that read every one of these cells."""
    return [name for name, reader in READERS.items() if all(_reads(reader, cell) for cell in cells)]


def _reads(reader: Callable[[str], datetime], cell: str) -> bool:
    try:
        reader(cell)
    except ValueError:
        return False
    return True


def looks_like_time(column: np.ndarray) -> bool:
    """Whether the column holds time stamps (a column of plain integers does not look like it)."""
    if column.dtype.kind == "M":
        return True
    if column.dtype.kind != "O":
        return False
    cells = [cell for cell in column[:_SAMPLE].tolist() if not is_missing(cell)]
    if not cells:
        return False
    # Most columns say at once what they are; only the others are tried against every format.
    if sum(bool(_TIMELY.search(cell)) for cell in cells) < 0.9 * len(cells):
        return False
    if all(ISO_CELL.fullmatch(cell) for cell in cells):
        return True
    names: set[str] = set()
    for cell in cells[:20]:
        names.update(_candidates([cell]))
    return any(sum(_reads(READERS[name], cell) for cell in cells) >= 0.9 * len(cells) for name in names)


def reads_by(column: np.ndarray, form: str) -> bool:
    """Whether the cells are words that a strptime format reads."""
    cells = [cell for cell in column[:_SAMPLE].tolist() if not is_missing(cell)] if column.dtype.kind == "O" else []
    reader = parser(parted_clock(form)[0])
    return bool(cells) and all(_reads(reader, cell) for cell in cells)


def nearly_time(column: np.ndarray) -> bool:
    """Whether half of the cells or more are time stamps: a time column with mistakes in it, more likely than not."""
    if column.dtype.kind != "O":
        return False
    cells = [cell for cell in column[:_SAMPLE].tolist() if not is_missing(cell)]
    if sum(bool(_TIMELY.search(cell)) for cell in cells) < 0.5 * len(cells):
        return False
    some = cells[:40]
    return bool(some) and sum(bool(_candidates([cell])) for cell in some) >= 0.5 * len(some)


def is_counter(column: np.ndarray) -> bool:
    """Whether the column holds whole numbers, as years and counters do."""
    if column.dtype.kind in "iu":
        return True
    return column.dtype.kind == "O" and all(_INTEGER.fullmatch(cell) for cell in column[:_SAMPLE].tolist())


def looks_like_clock(column: np.ndarray) -> bool:
    """Whether the column holds times of day, 08:30 or 8:30:00 PM, without a date."""
    cells = [cell for cell in column[:_SAMPLE].tolist() if isinstance(cell, str) and not is_missing(cell)]
    return bool(cells) and all(_CLOCK.fullmatch(cell) for cell in cells)


def is_clock(column: np.ndarray) -> bool:
    """Whether the column holds numbers that only rise, as seconds of a measurement do."""
    if column.dtype.kind == "O":
        if not all(_DECIMAL.fullmatch(cell) for cell in column.tolist()):
            return False
        column = column.astype(np.float64)
    return column.dtype.kind in "iuf" and len(column) > 2 and bool((np.diff(column.astype(np.float64)) > 0).all())


def read_times(
    column: np.ndarray,
    name: str,
    place: Callable[[int], str],
    time_format: str | None = None,
) -> tuple[list[np.ndarray], list[str]]:
    """The times of read_stamps alone, and its notes."""
    readings, notes = read_stamps(column, name, place, time_format)
    return [reading.times for reading in readings], notes


def read_stamps(
    column: np.ndarray,
    name: str,
    place: Callable[[int], str],
    time_format: str | None = None,
) -> tuple[list[Reading], list[str]]:
    """Read a time column.

    Args:
        column: (rows,) text, datetime64 or whole numbers.
        name: its name, for messages.
        place: row -> where it is, for messages.
        time_format: a strptime format, or the `form` of an earlier reading; None to find it.

    Returns:
        The possible readings: one, or two where day and month cannot be told apart by the text alone. And notes on how
        it was read.

    Raises:
        DataError: naming the first cell that is no time stamp.
    """
    if column.dtype.kind == "M":
        _refuse_missing(np.isnat(column), name, place)
        return [Reading(column.astype("datetime64[us]"), None)], []
    if column.dtype.kind in "iuf":
        if column.dtype.kind == "f":
            _refuse_missing(~np.isfinite(column), name, place)
        numbers = column.astype(np.float64)
        column = np.array([f"{number:.0f}" for number in column.tolist()], dtype=object)
        if time_format is None and (numbers == np.round(numbers)).all() and _form_of_digits(column.tolist(), name):
            # A file's 202401 comes out of a library's reader as a number, and means what it means in the file.
            return _read_integers(column.tolist(), name, place)
        if time_format is None or ("%" not in time_format and time_format != WEEK_NUMBERS):
            return _read_counter(numbers, name, place, time_format)
    cells: list[str] = column.tolist()
    _refuse_missing(np.array([is_missing(cell) for cell in cells]), name, place)
    if time_format is not None:
        return _read_as(cells, time_format, name, place)
    if all(_INTEGER.fullmatch(cell) for cell in cells):
        return _read_integers(cells, name, place)
    if all(_DECIMAL.fullmatch(cell) for cell in cells):
        return _read_counter(np.array(cells, dtype=np.float64), name, place)
    quick = _quick_iso(cells)
    if quick is not None:
        return [Reading(quick, ISO)], []
    # A few cells from everywhere find the format; then every cell is held to it.
    sample = [cells[k] for k in np.unique(np.linspace(0, len(cells) - 1, 60).astype(int))]
    names = _candidates(sample) or _candidates(cells[:1])
    if not names:
        raise DataError(
            f"{place(0)}: expected a time stamp in {name!r}, got {cells[0]!r}; "
            "write it as 2024-01-31 or 2024-01-31 13:00, or give --time-format"
        )
    readings, notes, read_by = [], [], []
    for candidate in names[:2]:
        try:
            reading, note = _read_all(cells, candidate, name, place, "a time stamp")
        except DataError:
            if candidate == names[min(len(names), 2) - 1] and not readings:
                raise
            continue
        readings.append(reading)
        read_by.append(candidate)
        if note:
            notes.append(f"{name}: {note}")
    if read_by[0] in FORMATS:
        other = f"; {read_by[1]} would read it too, --time-format chooses" if len(read_by) > 1 else ""
        notes.append(f"{name}: read as {read_by[0]}{other}")
    return readings, list(dict.fromkeys(notes))


def _read_as(cells: list[str], form: str, name: str, place: Callable[[int], str]) -> tuple[list[Reading], list[str]]:
    """Read cells in a form that is known: a strptime format, or that of an earlier reading."""
    if form in _EPOCH_FORMS or form in (_EXCEL, _WHOLE) or _FRACTIONS.fullmatch(form):
        for row, cell in enumerate(cells):
            if not _DECIMAL.fullmatch(cell):
                raise DataError(
                    f"{place(row)}: expected a number in {name!r} ({form}, as in training), got {cell!r}; correct it"
                )
        return _read_counter(np.array(cells, dtype=np.float64), name, place, form)
    if form == ISO or form in CLOCKS.values():
        quick = _quick_iso(cells)
        if quick is not None:
            return [Reading(quick, form)], []
    reading, note = _read_all(cells, form, name, place, f"the format {form!r}", "write every row that way")
    return [reading], [f"{name}: {note}"] if note else []


def is_plain_iso(column: np.ndarray) -> bool:
    """Whether every cell is text like 2024-01-31 or 2024-01-31 13:00, which nobody reads in two ways."""
    return column.dtype.kind == "O" and all(ISO_CELL.fullmatch(str(cell)) for cell in column.tolist())


def _quick_iso(cells: list[str]) -> np.ndarray | None:
    """Every cell by numpy's own reader, where all are plain ISO of one length (so, one kind)."""
    if len({len(cell) for cell in cells}) > 2 or not all(ISO_CELL.fullmatch(cell) for cell in cells):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns about zones, which the slower reader handles
            return np.array(cells, dtype="datetime64[us]")
    except (ValueError, UserWarning, DeprecationWarning):
        return None


def _read_all(
    cells: list[str],
    form: str,
    name: str,
    place: Callable[[int], str],
    expected: str,
    remedy: str = "correct it, or give --time-format",
) -> tuple[Reading, str]:
    """Every cell by one reader, and a note."""
    form, clock = parted_clock(form)
    reader = READERS.get(form) or NUMBERED.get(form) or parser(form)
    times = np.empty(len(cells), dtype="datetime64[us]")
    local = np.empty(len(cells), dtype="datetime64[us]")
    zoned = 0
    for row, cell in enumerate(cells):
        try:
            moment = reader(cell)
            zoned += moment.tzinfo is not None
            local[row] = moment.replace(tzinfo=None)
            times[row] = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo is not None else local[row]
        except (ValueError, OverflowError):
            raise DataError(f"{place(row)}: expected {expected} in {name!r}, got {cell!r}; {remedy}") from None
    if zoned and zoned < len(cells):
        row = next(row for row, cell in enumerate(cells) if reader(cell).tzinfo is None)
        raise DataError(
            f"{place(row)}: expected a time zone on every row of {name!r} or on none, got {cells[row]!r} without one "
            f"among {zoned:,} with one; write all of them the same way"
        )
    if not zoned:
        return Reading(times, with_clock(form, clock) if clock else form), ""
    clock = clock or which_clock(times, local)
    return Reading(times if clock == "UTC" else local, with_clock(form, clock)), CLOCK_NOTES[clock]


def _read_integers(cells: list[str], name: str, place: Callable[[int], str]) -> tuple[list[Reading], list[str]]:
    """Years, dates written 20240131 or 202401, or a counter."""
    numbers = np.array(cells, dtype=np.float64)
    form = _form_of_digits(cells, name)
    if form is None and {len(cell) for cell in cells} == {4} and ((numbers > 1500) & (numbers < 2500)).all():
        form = "%Y"
    if form is None:
        return _read_counter(numbers, name, place)
    expected, told = _DIGITS[form]
    return [_read_all(cells, form, name, place, expected)[0]], [f"{name}: read as {told}"]


def _form_of_digits(cells: list[str], name: str) -> str | None:
    """How whole numbers are dates, 20240131 or 202401, or weeks; None for counters and for years."""
    width = {len(cell) for cell in cells}
    if width == {8} and _candidates_by("%Y%m%d", cells):
        return "%Y%m%d"
    if width == {6} and _candidates_by("%Y%m", cells) and all(1500 < int(cell[:4]) < 2500 for cell in cells):
        return "%Y%m"
    return WEEK_NUMBERS if width == {6} and "week" in name.lower() else None


def _read_counter(
    numbers: np.ndarray, name: str, place: Callable[[int], str], form: str | None = None
) -> tuple[list[Reading], list[str]]:
    """Numbers as times: seconds since 1970, Excel's days, equal fractions of anything, or plain steps.

    With a form, the one that it says; then nothing is noted.
    """
    low, high = float(numbers.min()), float(numbers.max())
    for written, factor in _EPOCH_FORMS.items():
        if written == form or (form is None and _EPOCH[0] * factor <= low and high < _EPOCH[1] * factor):
            stamps = np.round(numbers * (1_000_000 / factor)).astype(np.int64).astype("datetime64[us]")
            return [Reading(stamps, written)], [] if form else [f"{name}: read as {written} (UTC)"]
    if form == _EXCEL or (form is None and "date" in name.lower() and low >= 20_000 and high < 80_000):
        stamps = _EXCEL_EPOCH + np.round(numbers * 86_400).astype(np.int64) * np.timedelta64(1_000_000, "us")
        return [Reading(stamps, _EXCEL)], [] if form else [f"{name}: read as {_EXCEL}"]
    known = _FRACTIONS.fullmatch(form or "")
    if known or (form is None and (numbers != np.round(numbers)).any()):
        gaps = np.diff(np.sort(numbers))
        step = float(known[1]) if known else float(np.median(gaps)) if len(gaps) else 0.0
        first = float(known[2]) if known else low
        if step > 0:
            steps = (numbers - first) / step
            beside = np.abs(steps - np.round(steps)) >= 0.01
            if not beside.any():
                whole = np.round(steps).astype(np.int64)
                notes = [] if known else [f"{name}: steps of {step:g}, numbered from 0"]
                return [Reading(whole, f"steps of {step!r} from {first!r}")], notes
            if known:
                row = int(np.argmax(beside))
                raise DataError(
                    f"{place(row)}: expected a number that is {first:g} and steps of {step:g} in {name!r}, as in "
                    f"training, got {numbers[row]:g}; correct it"
                )
    return [Reading(_whole_numbers(numbers, name, place), _WHOLE)], []


def counts_by_number(form: str | None) -> bool:
    """Whether numbered steps are written as their numbers; not in the fractions of something that they count."""
    return form is None or not _FRACTIONS.fullmatch(form)


def _candidates_by(form: str, cells: list[str]) -> bool:
    try:
        for cell in cells:
            datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


def _whole_numbers(numbers: np.ndarray, name: str, place: Callable[[int], str]) -> np.ndarray:
    broken = numbers != np.round(numbers)
    if broken.any():
        row = int(np.argmax(broken))
        raise DataError(f"{place(row)}: expected a time stamp or a whole number in {name!r}, got {numbers[row]:g}")
    return numbers.astype(np.int64)


def _refuse_missing(missing: np.ndarray, name: str, place: Callable[[int], str]) -> None:
    if missing.any():
        raise DataError(
            f"{place(int(np.argmax(missing)))}: expected a time stamp in {name!r}, got none; "
            "fill it in or remove the row (a gap in time is fine, a row without a time is not)"
        )
