"""How far apart the steps of a series are: found from its time stamps, and continued past its end."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

SECOND, BUSINESS_DAY, MONTH, COUNT = "second", "business day", "month", "count"
_DAY = 86_400
_NAMES = {
    (SECOND, 1): "every second",
    (SECOND, 60): "every minute",
    (SECOND, 3600): "hourly",
    (SECOND, _DAY): "daily",
    (SECOND, 7 * _DAY): "weekly",
    (BUSINESS_DAY, 1): "every business day",
    (MONTH, 1): "monthly",
    (MONTH, 3): "quarterly",
    (MONTH, 12): "yearly",
    (COUNT, 1): "numbered steps",
}
# Alias -> (unit, step), the names of pandas old and new, and plain words.
_ALIASES = {
    "s": (SECOND, 1), "sec": (SECOND, 1), "second": (SECOND, 1),
    "t": (SECOND, 60), "min": (SECOND, 60), "minute": (SECOND, 60),
    "h": (SECOND, 3600), "hour": (SECOND, 3600), "hourly": (SECOND, 3600),
    "d": (SECOND, _DAY), "day": (SECOND, _DAY), "daily": (SECOND, _DAY),
    "w": (SECOND, 7 * _DAY), "week": (SECOND, 7 * _DAY), "weekly": (SECOND, 7 * _DAY),
    "b": (BUSINESS_DAY, 1), "business": (BUSINESS_DAY, 1),
    "m": (MONTH, 1), "ms": (MONTH, 1), "me": (MONTH, 1), "month": (MONTH, 1), "monthly": (MONTH, 1),
    "q": (MONTH, 3), "qs": (MONTH, 3), "qe": (MONTH, 3), "quarter": (MONTH, 3), "quarterly": (MONTH, 3),
    "y": (MONTH, 12), "a": (MONTH, 12), "ys": (MONTH, 12), "ye": (MONTH, 12), "as": (MONTH, 12),
    "year": (MONTH, 12), "yearly": (MONTH, 12),
    "step": (COUNT, 1),
}  # fmt: skip


@dataclass(frozen=True)
class Frequency:
    """A regular grid of time.

    Attributes:
        unit: "second", "business day", "month", or "count" where steps are only numbered.
        step: how many units lie between two steps.
        month_end: for months, whether stamps stand on the last day.
    """

    unit: str
    step: int
    month_end: bool = False

    def __str__(self) -> str:
        """In words: "monthly", "every 30 minutes"."""
        if (self.unit, self.step) in _NAMES:
            return _NAMES[self.unit, self.step]
        if self.unit == SECOND:
            for size, word in ((_DAY, "days"), (3600, "hours"), (60, "minutes")):
                if self.step % size == 0:
                    return f"every {self.step // size} {word}"
            return f"every {self.step} seconds"
        return f"every {self.step} {'months' if self.unit == MONTH else self.unit + 's'}"

    @property
    def season(self) -> int | None:
        """Steps in the cycle that such data usually follows; 1 for none, None where nothing is known."""
        if self.unit == COUNT:
            return None
        if self.unit == MONTH:
            return 12 // self.step if 12 % self.step == 0 else 1
        if self.unit == BUSINESS_DAY:
            return 5
        if self.step == 7 * _DAY:
            return 52
        if self.step == _DAY:
            return 7
        if self.step < 60:
            return max(1, 60 // self.step)  # seconds: the minute
        if self.step < 300:
            return 3600 // self.step  # a few minutes: the hour
        return _DAY // self.step if _DAY % self.step == 0 else 1

    def grid(self, start: Any, first: int, count: int) -> np.ndarray:
        """The stamps of steps first, ..., first + count - 1, where step 0 stands at start (datetime64, or int).

        Returns:
            (count,) datetime64[us], or int64 for numbered steps.
        """
        steps = np.arange(first, first + count, dtype=np.int64)
        if self.unit == COUNT:
            return int(start) + steps * self.step
        start = np.datetime64(start, "us")
        if self.unit == SECOND:
            return start + steps * np.timedelta64(self.step * 1_000_000, "us")
        if self.unit == BUSINESS_DAY:
            day = start.astype("datetime64[D]")
            return np.busday_offset(day, steps * self.step, roll="forward").astype("datetime64[us]") + (start - day)
        return _add_months(start, steps * self.step, self.month_end)

    def positions(self, times: np.ndarray, start: Any) -> tuple[np.ndarray, np.ndarray]:
        """The step each stamp stands on.

        Returns:
            (n,) int64 steps from start, and (n,) whether the stamp stands on the grid exactly.
        """
        if self.unit == COUNT:
            off = times - int(start)
            return off // self.step, off % self.step == 0
        start = np.datetime64(start, "us")
        if self.unit == SECOND:
            off = (times - start).astype(np.int64)
            size = self.step * 1_000_000
            return off // size, off % size == 0
        if self.unit == BUSINESS_DAY:
            days, day = times.astype("datetime64[D]"), start.astype("datetime64[D]")
            off = np.busday_count(day, days)
            exact = np.is_busday(days) & (times - days == start - day) & (off % self.step == 0)
            return off // self.step, exact
        months = times.astype("datetime64[M]").astype(np.int64) - start.astype("datetime64[M]").astype(np.int64)
        exact = (months % self.step == 0) & (times == _add_months(start, months, self.month_end))
        return months // self.step, exact

    def to_json(self) -> dict[str, object]:
        """As plain values for a config file."""
        return {"unit": self.unit, "step": self.step, "month_end": self.month_end}


def _add_months(start: np.datetime64, months: np.ndarray, month_end: bool) -> np.ndarray:
    """Start moved by months; the day is kept, or the month's last where asked or where the day does not exist."""
    first = start.astype("datetime64[M]")
    clock = start - start.astype("datetime64[D]")
    day = (start.astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    target = first + months.astype("timedelta64[M]")
    length = ((target + 1).astype("datetime64[D]") - target.astype("datetime64[D]")).astype(np.int64)
    days = length - 1 if month_end else np.minimum(day, length - 1)
    return (target.astype("datetime64[D]") + days.astype("timedelta64[D]")).astype("datetime64[us]") + clock


def parse_frequency(text: str) -> Frequency | None:
    """A frequency by its alias ("h", "30min", "MS", "weekly"), or None if it is not one."""
    match = re.fullmatch(r"(\d*)\s*([A-Za-z]+)(-[A-Za-z]{3})?", text.strip())
    if not match or match[2].lower() not in _ALIASES:
        return None
    unit, step = _ALIASES[match[2].lower()]
    return Frequency(unit, step * int(match[1] or 1), match[2].upper() in {"ME", "QE", "YE", "M", "Q", "A", "Y"})


def infer_frequency(times: np.ndarray) -> Frequency | None:
    """The grid on which most of these stamps stand.

    Args:
        times: (n,) one series' stamps, sorted and different: datetime64[us] or int64.

    Returns:
        The frequency, or None where fewer than three stamps or no common distance leave it open.
    """
    if len(times) < 3:
        return None
    if times.dtype.kind == "i":
        step = _most_common(np.diff(times))
        return Frequency(COUNT, step) if step else None
    gaps = np.diff(times).astype(np.int64)
    common = _most_common(gaps)
    if not common:
        return None
    days = times.astype("datetime64[D]")
    same_clock = len(np.unique(times - days)) == 1
    if common >= 28 * _DAY * 1_000_000 and same_clock:
        months = times.astype("datetime64[M]")
        day = (days - months.astype("datetime64[D]")).astype(np.int64)
        length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
        at_end = bool((day == length - 1).all())
        # The same day every month, or its last where the month is shorter (30 January, 28 February).
        if at_end or (day == np.minimum(day.max(), length - 1)).all():
            return Frequency(MONTH, _most_common(np.diff(months.astype(np.int64))) or 1, at_end)
    if common == _DAY * 1_000_000 and same_clock and len(times) >= 10 and np.is_busday(days).all():
        return Frequency(BUSINESS_DAY, 1)
    if common % 1_000_000:
        return None
    return Frequency(SECOND, common // 1_000_000)


def _most_common(gaps: np.ndarray) -> int:
    """The distance that most neighbours have, the smallest where several tie; 0 for none."""
    counts = Counter(gaps.tolist())
    best = max(counts.values(), default=0)
    return min((gap for gap, count in counts.items() if count == best), default=0)


def infer_season(values: np.ndarray, longest: int = 400) -> int:
    """The cycle of a series by its autocorrelation, for steps that are only numbered; 1 where none shows.

    The series is differenced first, so that a trend does not pass for a cycle; a lag counts when its
    correlation is a peak above 0.3, and the shortest within a tenth of the highest is taken.
    """
    known = values[np.isfinite(values)]
    change = np.diff(known)
    longest = min(longest, len(change) // 3)
    if longest < 3 or change.std() == 0:
        return 1
    change = change - change.mean()
    spectrum = np.fft.rfft(change, 2 * len(change))
    correlation = np.fft.irfft(spectrum * spectrum.conj())[: longest + 2]
    correlation = correlation / correlation[0]
    inner = correlation[2:-1]
    peaks = 2 + np.flatnonzero((inner > correlation[1:-2]) & (inner >= correlation[3:]) & (inner > 0.3))
    if not len(peaks):
        return 1
    return int(peaks[correlation[peaks] >= 0.9 * correlation[peaks].max()][0])
