"""How far apart the steps of a series are: found from its time stamps, and continued past its end."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SECOND, MICROSECOND, BUSINESS_DAY, MONTH, COUNT = "second", "microsecond", "business day", "month", "count"
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
# Steps that people choose, in seconds: what a step that is only nearly regular is meant to be.
_ROUND_STEPS = (
    1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800,
    43_200, _DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY,
)  # fmt: skip
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
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_OFFICE_WEEK = "1111100"
_BY_CHANCE = 1e-4  # how likely it may be that rows of a weekday are only missing, where it is taken for a day off


@dataclass(frozen=True)
class Frequency:
    """A regular grid of time.

    Attributes:
        unit: "second", "microsecond" where seconds are too coarse, "business day", "month", or "count" where steps are
            only numbered.
        step: how many units lie between two steps.
        month_end: for months, whether stamps stand on the last day.
        day: for months, the day of the month where not every month has it, 29 or 30; 0 for the day of the first stamp.
        week: for business days, which weekdays are such, "1111110" for Monday to Saturday; "" for Monday to Friday.
    """

    unit: str
    step: int
    month_end: bool = False
    day: int = 0
    week: str = ""

    def __str__(self) -> str:
        """In words: "monthly", "every 30 minutes", "every day but Sunday"."""
        if self.week and self.step == 1:
            at_work = self.week.count("1") <= 3
            named = [day for day, mark in zip(_WEEKDAYS, self.week, strict=True) if (mark == "1") == at_work]
            return f"every {'' if at_work else 'day but '}{' and '.join(named)}"
        if (self.unit, self.step) in _NAMES:
            return _NAMES[self.unit, self.step]
        if self.unit == SECOND:
            for size, word in ((_DAY, "days"), (3600, "hours"), (60, "minutes")):
                if self.step % size == 0:
                    return f"every {self.step // size} {word}"
            return f"every {self.step} seconds"
        if self.unit == MICROSECOND:
            return f"every {self.step / 1000:g} milliseconds" if self.step >= 100 else f"every {self.step} microseconds"
        return f"every {self.step} {'months' if self.unit == MONTH else self.unit + 's'}"

    @property
    def steps(self) -> str:
        """In words of messages: "monthly steps", "a step every 30 minutes"."""
        return (
            f"a step {self}" if str(self).startswith("every") else f"{self}" if self.unit == COUNT else f"{self} steps"
        )

    @property
    def series(self) -> str:
        """In words of messages: "monthly series", "series with a step every 30 minutes"."""
        return f"series with a step {self}" if str(self).startswith("every") else f"{self} series"

    @property
    def season(self) -> int | None:
        """Steps in the cycle that such data usually follows; 1 for none, None where nothing is known."""
        if self.unit in (COUNT, MICROSECOND):
            return None
        if self.unit == MONTH:
            return 12 // self.step if 12 % self.step == 0 else 1
        if self.unit == BUSINESS_DAY:
            return self._week.count("1")
        if self.step % (7 * _DAY) == 0:
            weeks = self.step // (7 * _DAY)
            return 52 // weeks if 52 % weeks == 0 else 1
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
        if self.unit in (SECOND, MICROSECOND):
            return start + steps * np.timedelta64(self._microseconds, "us")
        if self.unit == BUSINESS_DAY:
            day = start.astype("datetime64[D]")
            days = np.busday_offset(day, steps * self.step, roll="forward", weekmask=self._week)
            return days.astype("datetime64[us]") + (start - day)
        return self._add_months(start, steps * self.step)

    def positions(self, times: np.ndarray, start: Any) -> tuple[np.ndarray, np.ndarray]:
        """The step each stamp stands on.

        Returns:
            (n,) int64 steps from start, and (n,) whether the stamp stands on the grid exactly.
        """
        if self.unit == COUNT:
            off = times - int(start)
            return off // self.step, off % self.step == 0
        start = np.datetime64(start, "us")
        if self.unit in (SECOND, MICROSECOND):
            off = (times - start).astype(np.int64)
            return off // self._microseconds, off % self._microseconds == 0
        if self.unit == BUSINESS_DAY:
            days, day = times.astype("datetime64[D]"), start.astype("datetime64[D]")
            off = np.busday_count(day, days, weekmask=self._week)
            exact = np.is_busday(days, weekmask=self._week) & (times - days == start - day) & (off % self.step == 0)
            return off // self.step, exact
        months = times.astype("datetime64[M]").astype(np.int64) - start.astype("datetime64[M]").astype(np.int64)
        exact = (months % self.step == 0) & (times == self._add_months(start, months))
        return months // self.step, exact

    def place(self, times: np.ndarray, start: Any) -> tuple[np.ndarray, np.ndarray]:
        """The step each stamp is meant to stand on: as `positions`, or beside the grid by no more than `near` allows.

        Returns:
            (n,) int64 steps from start, and (n,) whether that is beyond doubt.
        """
        steps, exact = self.positions(times, start)
        if exact.all() or self.unit in (COUNT, BUSINESS_DAY):
            return steps, exact
        start = np.datetime64(start, "us")
        if self.unit == MONTH:
            months = times.astype("datetime64[M]").astype(np.int64) - start.astype("datetime64[M]").astype(np.int64)
            return months // self.step, months % self.step == 0
        off = (times - start).astype(np.int64)
        steps = np.round(off / self._microseconds).astype(np.int64)
        return steps, np.abs(off - steps * self._microseconds) <= self._allowed

    def remedy(self, stamp: Any) -> str:
        """What to do about a stamp that is not on the grid."""
        day = np.datetime64(stamp, "D") if self.unit == BUSINESS_DAY else None
        if day is None or np.is_busday(day, weekmask=self._week):
            return "correct the time stamp"
        name = _WEEKDAYS[(int(day.astype(np.int64)) + 3) % 7]
        return f"a {name} is no step of these series: leave its rows out, or train with --freq D"

    @property
    def _week(self) -> str:
        """The weekdays of business days, as numpy has them."""
        return self.week or _OFFICE_WEEK

    @property
    def _allowed(self) -> float:
        """How many microseconds beside the grid are beyond doubt: a tenth of a step; a day, for weeks."""
        size = self._microseconds
        return 0.1 * size if size < 7 * _DAY * 1_000_000 else _DAY * 1_000_000

    @property
    def _microseconds(self) -> int:
        return self.step * (1_000_000 if self.unit == SECOND else 1)

    def near(self, times: np.ndarray) -> tuple[np.ndarray, Any, str] | None:
        """The steps that stamps beside the grid are meant to stand on, where that is beyond doubt.

        Months are taken by the month, whatever the day; fixed steps by the nearest one, if no stamp is further from it
        than a tenth of a step (a day, for weeks, which holidays shift).

        Args:
            times: (n,) datetime64[us], sorted.

        Returns:
            (n,) int64 steps, each once; the stamp of step 0; and a note. None where there is doubt.
        """
        if self.unit == MONTH:
            months = times.astype("datetime64[M]").astype(np.int64)
            steps, rest = np.divmod(months - months[0], self.step)
            if rest.any() or (np.diff(steps) <= 0).any():
                return None
            return steps, times[0], "the days of the month differ: taken by the month"
        if self.unit not in (SECOND, MICROSECOND):
            return None
        size = self._microseconds
        allowed = self._allowed
        stamps = times.astype(np.int64)
        # The grid that goes through full hours and midnights, if the first stamp is near it; else through the middle.
        origin = int(np.round(stamps[0] / size)) * size
        if abs(origin - stamps[0]) > allowed or size >= 7 * _DAY * 1_000_000:
            off = stamps - stamps[0]
            origin = int(stamps[0] + np.median(off - np.round(off / size).astype(np.int64) * size))
        steps = np.round((stamps - origin) / size).astype(np.int64)
        away = np.abs(stamps - origin - steps * size)
        if away.max() > allowed or (np.diff(steps) <= 0).any():
            return None
        beside = int((away > 0).sum())
        worst = (
            Frequency(MICROSECOND, int(away.max()))
            if away.max() % 1_000_000
            else Frequency(SECOND, int(away.max()) // 1_000_000)
        )
        note = f"{beside:,} stamps stand up to {str(worst).removeprefix('every ')} beside the grid: taken as on it"
        return steps - steps[0], (origin + steps[0] * size).astype("datetime64[us]"), note

    def _add_months(self, start: np.datetime64, months: np.ndarray) -> np.ndarray:
        """Start moved by months; the day is kept, or the month's last where asked or where the day does not exist."""
        first = start.astype("datetime64[M]")
        clock = start - start.astype("datetime64[D]")
        day = (start.astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
        if day == _month_lengths(first) - 1:  # on 28 February, what comes every 30th is not on its day
            day = max(day, self.day - 1)
        target = first + months.astype("timedelta64[M]")
        length = _month_lengths(target)
        days = length - 1 if self.month_end else np.minimum(day, length - 1)
        return (target.astype("datetime64[D]") + days.astype("timedelta64[D]")).astype("datetime64[us]") + clock

    def to_json(self) -> dict[str, object]:
        """As plain values for a config file; versions without weeks of other days read those that have none."""
        return {name: value for name, value in asdict(self).items() if name != "week" or value}


def _month_lengths(months: Any) -> Any:
    """How many days months have."""
    return ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)


def parse_frequency(text: str) -> Frequency | None:
    """A frequency by its alias ("h", "30min", "MS", "weekly", "Mon-Sat"), or None if it is not one."""
    if text.strip() in ("ms", "us"):  # for pandas, "ms" is a millisecond and "MS" a month
        return Frequency(MICROSECOND, 1_000 if text.strip() == "ms" else 1)
    span = re.fullmatch(r"([A-Za-z]{3,9})\s*-\s*([A-Za-z]{3,9})", text.strip())
    first, last = (_weekday(word) for word in span.groups()) if span else (None, None)
    if first is not None and last is not None:
        days = {(first + k) % 7 for k in range((last - first) % 7 + 1)}
        return _by_weekdays("".join("01"[day in days] for day in range(7)))
    match = re.fullmatch(r"(\d*)\s*([A-Za-z]+)(-[A-Za-z]{3})?", text.strip())
    times = int(match[1] or 1) if match else 0
    if not match or match[2].lower() not in _ALIASES or not times:
        return None
    unit, step = _ALIASES[match[2].lower()]
    return Frequency(unit, step * times, match[2].upper() in {"ME", "QE", "YE", "M", "Q", "A", "Y"})


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
        length = _month_lengths(months)
        last = day == length - 1
        # The same day every month, or its last where the month is shorter (30 January, 28 February); also days that
        # move about, such as the first on which a market is open, unless they are a number of weeks apart.
        same_day = bool((day == np.minimum(day.max(), length - 1)).all())
        apart = np.diff(months.astype(np.int64))
        if same_day or last.all() or ((apart > 0).all() and (gaps % common != 0).any()):
            at_end = bool(last.mean() > 0.5 and (last.all() or not same_day))
            some_lack_it = same_day and not at_end and day.max() >= 28
            return Frequency(MONTH, _most_common(apart) or 1, at_end, int(day.max()) + 1 if some_lack_it else 0)
    if common == _DAY * 1_000_000 and same_clock and len(times) >= 10 and np.is_busday(days).all():
        return Frequency(BUSINESS_DAY, 1)
    if common == _DAY * 1_000_000 and same_clock:
        return _by_weekdays(_weekdays_worked(days))
    if common % 1_000_000:
        return Frequency(MICROSECOND, common)
    return Frequency(SECOND, common // 1_000_000)


def _weekday(word: str) -> int | None:
    """The number of a weekday by its name or the beginning of it, 0 for Monday; None for another word."""
    return next((k for k, name in enumerate(_WEEKDAYS) if name.lower().startswith(word.lower())), None)


def _by_weekdays(week: str) -> Frequency:
    """Steps of a day on the weekdays that are marked."""
    if week == "1111111":
        return Frequency(SECOND, _DAY)
    return Frequency(BUSINESS_DAY, 1, week="" if week == _OFFICE_WEEK else week)


def _weekdays_worked(days: np.ndarray) -> str:
    """The weekdays of daily rows, all of them where some may lack theirs by chance: a shop is closed every Sunday.

    Args:
        days: (n,) datetime64[D], sorted and different.
    """
    there = np.bincount((days.astype(np.int64) + 3) % 7, minlength=7) > 0  # 1 January 1970 was a Thursday
    week = "".join("01"[seen] for seen in there.astype(int))
    end = days[-1] + 1
    expected = int(np.busday_count(days[0], end, weekmask=week))
    missed = (expected - len(days) + 1) / (expected + 2)  # of the other days' rows
    off = [int(np.busday_count(days[0], end, weekmask=np.arange(7) == day)) for day in np.flatnonzero(~there)]
    return week if off and missed ** min(off) < _BY_CHANCE else "1111111"


def round_frequency(times: np.ndarray) -> Frequency | None:
    """The step that people choose which is nearest to the usual distance of these stamps, within a twentieth."""
    if len(times) < 3 or times.dtype.kind != "M":
        return None
    usual = float(np.median(np.diff(times).astype(np.int64))) / 1e6
    nearest = min(_ROUND_STEPS, key=lambda step: abs(step - usual))
    return Frequency(SECOND, nearest) if abs(nearest - usual) <= 0.05 * nearest else None


def _most_common(gaps: np.ndarray) -> int:
    """The distance that most neighbours have, the smallest where several tie; 0 for none."""
    counts = Counter(gaps.tolist())
    best = max(counts.values(), default=0)
    return min((gap for gap, count in counts.items() if count == best), default=0)
