"""How time stamps are written: ISO 8601, quarters, weeks, and dates by strptime's formats; and which clock is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import numpy as np

ISO = "ISO 8601"
_KEPT = {"UTC": ", in UTC", "local": ", by the local clock"}  # of stamps with a zone, which clock is kept
CLOCKS = {clock: ISO + kept for clock, kept in _KEPT.items()}
WEEK_NUMBERS = "ISO weeks as numbers"
AS_UTC = "taken as UTC"  # how every note of such times ends
CLOCK_NOTES = {
    "UTC": f"times with a zone {AS_UTC}",
    "local": "the local time of the zone is kept, as every stamp has the same hour of the day",
}
ISO_CELL = re.compile(r"\d{4}-\d{1,2}(-\d{1,2})?([T ]\d{1,2}(:\d{2}){0,2}([.,]\d+)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?)?")
_QUARTER = re.compile(r"(\d{4})[-\s]?[Qq]([1-4])|[Qq]([1-4])[-\s/]?(\d{4})")
_WEEK = re.compile(r"(\d{4})-?[Ww](\d{1,2})")
_MIDNIGHT = re.compile(r"([T ])24(:00){1,2}$")
_EUROSTAT_MONTH = re.compile(r"(\d{4})[Mm](\d{1,2})")
# Day-month and month-day pairs stand beside one another: where both read a column, the data decides.
_DATES = (
    "%Y/%m/%d", "%Y.%m.%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y",
    "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y",
    "%b %Y", "%B %Y", "%b-%Y", "%b-%y", "%Y-%b", "%Y %b", "%m/%Y", "%Y/%m",
)  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
FORMATS = (
    *(date + clock for date in _DATES for clock in _CLOCKS),
    *(f"%Y-%m-%d{clock}" for clock in _CLOCKS if "%p" in clock),  # the others are ISO 8601
    "%Y%m%dT%H%M%S",
    "%Y%m%d%H%M%S",
    "%Y%m%d %H:%M",
)


def with_clock(form: str, clock: str) -> str:
    """A way of writing times with a zone, and which clock is kept of them, "UTC" or "local"."""
    return form + _KEPT[clock]


def parted_clock(form: str) -> tuple[str, str]:
    """What `with_clock` joined; "" for no clock."""
    for clock, kept in _KEPT.items():
        if form.endswith(kept):
            return form.removesuffix(kept), clock
    return form, ""


def with_noted_clock(form: str, notes: Iterable[str]) -> str:
    """The form with the clock that was kept, where only the notes of the training tell it.

    So it is in folders of early versions, of times that were read by a format that was given, with %z in it.
    """
    if "%z" not in form or parted_clock(form)[1]:
        return form
    told = {note.partition(": ")[2] for note in notes}
    return next((with_clock(form, clock) for clock, note in CLOCK_NOTES.items() if note in told), form)


def parser(form: str) -> Callable[[str], datetime]:
    """The reader of a strptime format."""
    return lambda cell: datetime.strptime(cell, form)


def read_iso(cell: str) -> datetime:
    """A stamp of ISO 8601, a month alone, or one of the usual liberties: a short month, 24:00, a comma."""
    if not ISO_CELL.fullmatch(cell):
        raise ValueError(cell)
    if _MIDNIGHT.search(cell):  # 24:00 ends a day, as meters and timetables write it
        return read_iso(_MIDNIGHT.sub(r"\g<1>00:00", cell)) + timedelta(days=1)
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


def _week_number(cell: str) -> datetime:
    return _week(f"{cell[:4]}W{cell[4:]}")


READERS: dict[str, Callable[[str], datetime]] = {
    ISO: read_iso,
    "quarters": _quarter,
    "ISO weeks": _week,
    "months": _eurostat,
    **{form: parser(form) for form in FORMATS},
}
# Written as whole numbers, which only their width or a name tells from a counter.
NUMBERED: dict[str, Callable[[str], datetime]] = {
    "%Y%m%d": parser("%Y%m%d"),
    "%Y%m": parser("%Y%m"),
    "%Y": parser("%Y"),
    WEEK_NUMBERS: _week_number,
}


def which_clock(utc: np.ndarray, local: np.ndarray) -> str:
    """Which of the two to keep of times with a zone, "UTC" or "local".

    Days, months and the like begin at the same hour of the local clock, which in UTC moves with summer time; hours and
    less are regular in UTC only.
    """
    if len(local) > 1 and len(np.unique(local - local.astype("datetime64[D]"))) == 1 and (local != utc).any():
        return "local"
    return "UTC"
