"""Columns of text read as time stamps, or as a plain counter 1, 2, 3, ..."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.numbers import is_missing

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
_EXCEL_EPOCH = np.datetime64("1899-12-30", "us")
_ISO = re.compile(r"\d{4}-\d{1,2}(-\d{1,2})?([T ]\d{1,2}(:\d{2}){0,2}([.,]\d+)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?)?")
# What no plain number has: a letter beside a digit, or two digits with a mark of a date or clock between them.
_TIMELY = re.compile(r"(?=.*\d)(?=.*[A-Za-z]|.*\d[-/:]\d|.*\d\.\d+\.\d)")
_QUARTER = re.compile(r"(\d{4})[-\s]?[Qq]([1-4])|[Qq]([1-4])[-\s/]?(\d{4})")
_WEEK = re.compile(r"(\d{4})-?[Ww](\d{1,2})")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*([AaPp]\.?[Mm]\.?)?")
_MIDNIGHT = re.compile(r"([T ])24(:00){1,2}$")
_EUROSTAT_MONTH = re.compile(r"(\d{4})[Mm](\d{1,2})")
# Day-month and month-day pairs stand beside one another: where both read a column, the data decides.
_DATES = (
    "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y",
    "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
    "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y-%b", "%Y %b", "%m/%Y", "%Y/%m",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_FORMATS = (*(date + clock for date in _DATES for clock in _CLOCKS), "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S", "%Y%m%d %H:%M")


def _parser(form: str) -> Callable[[str], datetime]:
    return lambda cell: datetime.strptime(cell, form)


def _iso(cell: str) -> datetime:
    if not _ISO.fullmatch(cell):
        raise ValueError(cell)
    if _MIDNIGHT.search(cell):  # 24:00 ends a day, as meters and timetables write it
        return _iso(_MIDNIGHT.sub(r"\g<1>00:00", cell)) + timedelta(days=1)
    text = cell.replace("UTC", "+00:00").replace(" Z", "Z").replace(",", ".")
    if text.count("-") == 1 and len(text) <= 7:
        year, month = text.split("-")
        return datetime(int(year), int(month), 1)
    try:
        return datetime.fromisoformat(text.replace(" +", "+"))
    except ValueError:
        date, _, clock = text.partition(" ")
        year, month, day = date.split("-")
        return datetime.fromisoformat(f"{year}-{int(month):02}-{int(day):02}" + (f" {clock.zfill(5)}" if clock else ""))


def _quarter(cell: str) -> datetime:
    match = _QUARTER.fullmatch(cell)
    if not match:
        raise ValueError(cell)
    year, quarter = (match[1], match[2]) if match[1] else (match[4], match[3])
    return datetime(int(year), 3 * int(quarter) - 2, 1)


def _week(cell: str) -> datetime:
    """The Monday of an ISO week."""
    match = _WEEK.fullmatch(cell)
    if not match:
        raise ValueError(cell)
    return datetime.fromisocalendar(int(match[1]), int(match[2]), 1)


def _eurostat(cell: str) -> datetime:
    match = _EUROSTAT_MONTH.fullmatch(cell)
    if not match:
        raise ValueError(cell)
    return datetime(int(match[1]), int(match[2]), 1)


_READERS: dict[str, Callable[[str], datetime]] = {
    "ISO 8601": _iso,
    "quarters": _quarter,
    "ISO weeks": _week,
    "months": _eurostat,
    **{form: _parser(form) for form in _FORMATS},
}


def _candidates(cells: list[str]) -> list[str]:
    """The readers that read every one of these cells."""
    return [name for name, reader in _READERS.items() if all(_reads(reader, cell) for cell in cells)]


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
    if all(_ISO.fullmatch(cell) for cell in cells):
        return True
    names: set[str] = set()
    for cell in cells[:20]:
        names.update(_candidates([cell]))
    return any(sum(_reads(_READERS[name], cell) for cell in cells) >= 0.9 * len(cells) for name in names)


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
    """Read a time column.

    Args:
        column: (rows,) text, datetime64 or whole numbers.
        name: its name, for messages.
        place: row -> where it is, for messages.
        time_format: a strptime format, or None to find it.

    Returns:
        The possible readings, each (rows,) datetime64[us], or int64 for a counter: one, or two where
        day and month cannot be told apart by the text alone. And notes on how it was read.

    Raises:
        DataError: naming the first cell that is no time stamp.
    """
    if column.dtype.kind == "M":
        _refuse_missing(np.isnat(column), name, place)
        return [column.astype("datetime64[us]")], []
    if column.dtype.kind in "iuf":
        if column.dtype.kind == "f":
            _refuse_missing(~np.isfinite(column), name, place)
        return _read_counter(column.astype(np.float64), name, place)
    cells: list[str] = column.tolist()
    _refuse_missing(np.array([is_missing(cell) for cell in cells]), name, place)
    if time_format is not None:
        return [_read_all(cells, _parser(time_format), name, place, f"the format {time_format!r}")[0]], []
    if all(_INTEGER.fullmatch(cell) for cell in cells):
        return _read_integers(cells, name, place)
    if all(_DECIMAL.fullmatch(cell) for cell in cells):
        return _read_counter(np.array(cells, dtype=np.float64), name, place)
    quick = _quick_iso(cells)
    if quick is not None:
        return [quick], []
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
            values, note = _read_all(cells, _READERS[candidate], name, place, "a time stamp")
        except DataError:
            if candidate == names[min(len(names), 2) - 1] and not readings:
                raise
            continue
        readings.append(values)
        read_by.append(candidate)
        if note:
            notes.append(f"{name}: {note}")
    if read_by[0] in _FORMATS:
        other = f"; {read_by[1]} would read it too, --time-format chooses" if len(read_by) > 1 else ""
        notes.append(f"{name}: read as {read_by[0]}{other}")
    return readings, list(dict.fromkeys(notes))


def _quick_iso(cells: list[str]) -> np.ndarray | None:
    """Every cell by numpy's own reader, where all are plain ISO of one length (so, one kind)."""
    if len({len(cell) for cell in cells}) > 2 or not all(_ISO.fullmatch(cell) for cell in cells):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy warns about zones, which the slower reader handles
            return np.array(cells, dtype="datetime64[us]")
    except (ValueError, UserWarning, DeprecationWarning):
        return None


def _read_all(
    cells: list[str], reader: Callable[[str], datetime], name: str, place: Callable[[int], str], expected: str
) -> tuple[np.ndarray, str]:
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
            raise DataError(
                f"{place(row)}: expected {expected} in {name!r}, got {cell!r}; correct it, or give --time-format"
            ) from None
    if zoned and zoned < len(cells):
        row = next(row for row, cell in enumerate(cells) if reader(cell).tzinfo is None)
        raise DataError(
            f"{place(row)}: expected a time zone on every row of {name!r} or on none, got {cells[row]!r} without one "
            f"among {zoned:,} with one; write all of them the same way"
        )
    return wall_clock(times, local) if zoned else (times, "")


def wall_clock(utc: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, str]:
    """Which of the two to keep of times with a zone, and a note.

    Days, months and the like begin at the same hour of the local clock, which in UTC moves with summer time; hours and
    less are regular in UTC only.
    """
    if len(local) > 1 and len(np.unique(local - local.astype("datetime64[D]"))) == 1 and (local != utc).any():
        return local, "the local time of the zone is kept, as every stamp has the same hour of the day"
    return utc, "times with a zone taken as UTC"


def _read_integers(cells: list[str], name: str, place: Callable[[int], str]) -> tuple[list[np.ndarray], list[str]]:
    """Years, dates written 20240131 or 202401, or a counter."""
    numbers = np.array(cells, dtype=np.float64)
    width = {len(cell) for cell in cells}
    if width == {8} and _candidates_by("%Y%m%d", cells):
        return [_read_all(cells, _parser("%Y%m%d"), name, place, "a date")[0]], [f"{name}: read as %Y%m%d"]
    if width == {6} and _candidates_by("%Y%m", cells) and ((numbers // 100 > 1500) & (numbers // 100 < 2500)).all():
        return [_read_all(cells, _parser("%Y%m"), name, place, "a month")[0]], [f"{name}: read as %Y%m"]
    if width == {4} and ((numbers > 1500) & (numbers < 2500)).all():
        return [_read_all(cells, _parser("%Y"), name, place, "a year")[0]], [f"{name}: read as years"]
    if width == {6} and "week" in name.lower():
        weeks = [f"{cell[:4]}W{cell[4:]}" for cell in cells]
        return [_read_all(weeks, _week, name, place, "a week")[0]], [f"{name}: read as ISO weeks"]
    return _read_counter(numbers, name, place)


def _read_counter(numbers: np.ndarray, name: str, place: Callable[[int], str]) -> tuple[list[np.ndarray], list[str]]:
    """Numbers as times: seconds since 1970, Excel's days, equal fractions of anything, or plain steps."""
    low, high = float(numbers.min()), float(numbers.max())
    for factor, word in _EPOCH_UNITS:
        if _EPOCH[0] * factor <= low and high < _EPOCH[1] * factor:
            stamps = np.round(numbers * (1_000_000 / factor)).astype(np.int64).astype("datetime64[us]")
            return [stamps], [f"{name}: read as {word} since 1970 (UTC)"]
    if "date" in name.lower() and low >= 20_000 and high < 80_000:
        stamps = _EXCEL_EPOCH + np.round(numbers * 86_400).astype(np.int64) * np.timedelta64(1_000_000, "us")
        return [stamps], [f"{name}: read as Excel's day numbers"]
    if (numbers != np.round(numbers)).any():
        order = np.argsort(numbers, kind="stable")
        gaps = np.diff(numbers[order])
        step = float(np.median(gaps)) if len(gaps) else 0.0
        if step > 0:
            steps = (numbers - low) / step
            if (np.abs(steps - np.round(steps)) < 0.01).all():
                return [np.round(steps).astype(np.int64)], [f"{name}: steps of {step:g}, numbered from 0"]
    return [_whole_numbers(numbers, name, place)], []


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
