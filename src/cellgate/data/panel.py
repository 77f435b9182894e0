"""One or more series on a regular grid, with what is known beside them: past, future and static columns."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cellgate.data.categories import recoding
from cellgate.data.errors import DataError
from cellgate.data.frequency import Frequency
from cellgate.data.words import counted, some


def as_names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of columns, given as one or as several."""
    if given is None or isinstance(given, str):
        return (given,) if given else ()
    return tuple(given)  # an array of names has no truth of its own


@dataclass(frozen=True)
class Roles:
    """What the caller says about the columns; None, False and () leave it to be found, or say that there are none.

    Attributes:
        time: the column of time stamps.
        target: the column to predict.
        id: the column that tells several series apart.
        wide: whether every column of numbers is a series.
        freq: the frequency, "h", "D", "MS", ..., or a Frequency that the rows have to keep to.
        season: steps in a cycle.
        time_format: of the time column, as strptime has it; in the roles that a panel was read by, what was found, in
            the words of times.Reading.form.
        past: columns known up to the last step only, such as a measured temperature.
        future: columns known for the steps to predict as well, such as a price or a holiday.
        static: columns that are the same throughout a series, such as a shop's region.
    """

    time: str | None = None
    target: str | None = None
    id: str | None = None
    wide: bool = False
    freq: str | Frequency | None = None
    season: int | None = None
    time_format: str | None = None
    past: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take lists of names, as JSON and callers give them, for tuples."""
        for kind in ("past", "future", "static"):
            object.__setattr__(self, kind, as_names(getattr(self, kind)))

    @property
    def covariates(self) -> tuple[str, ...]:
        """All columns beside the target, in the order past, future, static."""
        return (*self.past, *self.future, *self.static)


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
        past: one (T, P) float64 array a series, NaN where nothing was observed; () without such columns.
        future: one (T + K, F) float64 array a series, K >= 0 known steps after the last value, K its own for each
            series; () without such columns.
        static: (S, C) float64, or None without such columns.
        past_names: (P,) names of the columns of `past`.
        future_names: (F,) those of `future`.
        static_names: (C,) those of `static`.
        categories: column -> its values, for columns that are categorical: the numbers in the arrays are positions
            in it, NaN for none, and the number after the last position for a value that training did not have.
        integer_ids: whether the table named its series by whole numbers.
        columns: all columns of the table in its order, used or not; () where it is not known.
        decimal_comma: whether numbers were written with a decimal comma.
        unlike: of the notes those on what the training did not have, of rows that were read as it read its own.
        signed: whether steps or series that these are a part without have a value of 0 or less. Then values may have no
            logarithm, which is a fact about the column and not about its course.
    """

    source: str
    ids: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    starts: tuple[Any, ...]
    frequency: Frequency
    season: int
    roles: Roles = Roles()
    notes: tuple[str, ...] = ()
    past: tuple[np.ndarray, ...] = ()
    future: tuple[np.ndarray, ...] = ()
    static: np.ndarray | None = None
    past_names: tuple[str, ...] = ()
    future_names: tuple[str, ...] = ()
    static_names: tuple[str, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    integer_ids: bool = False
    columns: tuple[str, ...] = ()
    decimal_comma: bool = False
    unlike: tuple[str, ...] = ()
    signed: bool = False

    def __len__(self) -> int:
        """How many series."""
        return len(self.ids)

    def __repr__(self) -> str:
        """What it holds in a line: a notebook shows it wherever a cell ends with it."""
        return f"<Panel of {dict(self.summary())['data']}>"

    def times(self, series: int) -> np.ndarray:
        """(T,) the stamps of one series."""
        return self.frequency.grid(self.starts[series], 0, len(self.values[series]))

    def next_times(self, series: int, steps: int) -> np.ndarray:
        """(steps,) the stamps that follow a series."""
        return self.frequency.grid(self.starts[series], len(self.values[series]), steps)

    def known_ahead(self, series: int) -> int:
        """How many steps after the end of a series have a value of every future column; 0 without such columns."""
        if not self.future:
            return 0
        coming = self.future[series][len(self.values[series]) :]
        open_steps = np.flatnonzero(~np.isfinite(coming).all(axis=1))
        return int(open_steps[0]) if len(open_steps) else len(coming)

    def foretold(self, steps: int | None = None) -> list[int]:
        """The series of which a future column is known at any step after the end; all without such columns.

        Args:
            steps: look only so far.
        """
        if not self.future:
            return list(range(len(self)))
        coming = [future[len(values) :][:steps] for future, values in zip(self.future, self.values, strict=True)]
        return [k for k, rows in enumerate(coming) if np.isfinite(rows).any()]

    def named(self, repeats: int) -> np.ndarray:
        """(S * repeats,) the name of each series so many times: int64 where the table had such, else objects."""
        if self.integer_ids:
            with contextlib.suppress(ValueError, OverflowError):  # a series that came later may have another name,
                numbers = np.array([int(name) for name in self.ids], dtype=np.int64)
                if tuple(map(str, numbers.tolist())) == self.ids:  # or 01 beside 1
                    return np.repeat(numbers, repeats)
        return np.repeat(np.array(self.ids, dtype=object), repeats)

    # ------------------------------------------------------------ parts

    def select(self, series: Sequence[int]) -> Panel:
        """Some of the series, by position."""
        others = set(range(len(self))).difference(series)
        return replace(
            self,
            signed=self.signed or any(_signed(self.values[k]) for k in others),
            ids=tuple(self.ids[k] for k in series),
            values=tuple(self.values[k] for k in series),
            starts=tuple(self.starts[k] for k in series),
            past=tuple(self.past[k] for k in series) if self.past else (),
            future=tuple(self.future[k] for k in series) if self.future else (),
            static=None if self.static is None else self.static[list(series)],
        )

    def until(self, ends: Sequence[int]) -> Panel:
        """Every series up to a step of its own (excluded), as it was known then: its future columns stay known."""
        return replace(
            self,
            signed=self.signed or any(_signed(values[end:]) for values, end in zip(self.values, ends, strict=True)),
            values=tuple(values[:end] for values, end in zip(self.values, ends, strict=True)),
            past=tuple(past[:end] for past, end in zip(self.past, ends, strict=True)) if self.past else (),
        )

    def since(self, begins: Sequence[int]) -> Panel:
        """Every series from a step of its own on."""
        return replace(
            self,
            values=tuple(values[begin:] for values, begin in zip(self.values, begins, strict=True)),
            starts=tuple(
                self.frequency.grid(start, begin, 1)[0] for start, begin in zip(self.starts, begins, strict=True)
            ),
            past=tuple(past[begin:] for past, begin in zip(self.past, begins, strict=True)) if self.past else (),
            future=tuple(f[begin:] for f, begin in zip(self.future, begins, strict=True)) if self.future else (),
        )

    def split(self, tail: int) -> tuple[Panel, Panel]:
        """All but the last `tail` steps of every series, and those steps.

        The first part still knows the future columns of the second, as it would have then; not its past columns.
        """
        ends = [max(len(values) - tail, 0) for values in self.values]
        return self.until(ends), self.since(ends)

    def with_categories(self, categories: dict[str, tuple[str, ...]]) -> Panel:
        """The same series with their categories numbered as in another panel (that of the training).

        A value that is not among them becomes the number after theirs, which stands for an unknown one, and a note says
        so.

        Raises:
            DataError: where a column is categorical in one of the panels and numeric in the other.
        """
        unlike, panel, kept = [], self, {}
        for kind in ("past", "future", "static"):
            held = getattr(self, kind)
            for j, name in enumerate(getattr(self, f"{kind}_names")):
                here, there = self.categories.get(name), categories.get(name)
                if there is not None:
                    kept[name] = there
                if here == there:
                    continue
                values = held[:, j] if kind == "static" else np.concatenate([array[:, j] for array in held] or [[]])
                table = recoding(here, values, there)
                if table is None:
                    was, now = ("numbers", "words") if there is None else ("words", "numbers")
                    raise DataError(
                        f"{self.source}: expected {was} in {name!r}, as in training, got {now}; correct the column"
                    )
                new = [] if there is None else np.flatnonzero(table[: len(here or ())] == len(there)).tolist()
                if new:
                    unknown = some([repr((here or ())[k]) for k in new], 3)
                    unlike.append(f"{name}: {unknown} did not occur in training and is taken as unknown")
                panel = panel._recoded(kind, j, table)
        return replace(panel, categories=kept).noting(unlike)

    def noting(self, unlike: Sequence[str]) -> Panel:
        """With more notes on what the training did not have."""
        notes = tuple(dict.fromkeys((*self.notes, *unlike)))
        return replace(self, notes=notes, unlike=tuple(dict.fromkeys((*self.unlike, *unlike))))

    def _recoded(self, kind: str, column: int, table: np.ndarray) -> Panel:
        """With the codes of one column looked up in a table, whose last entry stands for NaN."""

        def recode(array: np.ndarray) -> np.ndarray:
            array = array.copy()
            codes = array[:, column]
            array[:, column] = table[np.where(np.isnan(codes), len(table) - 1, codes).astype(np.int64)]
            return array

        held = getattr(self, kind)
        return replace(self, **{kind: recode(held) if kind == "static" else tuple(recode(array) for array in held)})

    # ------------------------------------------------------------ what it is, in words

    def summary(self) -> list[tuple[str, str]]:
        """What was read and assumed, as (label, text) pairs for the echo block."""
        steps = sum(len(values) for values in self.values)
        missing = sum(int(np.isnan(values).sum()) for values in self.values)
        span = ""
        if len(self) == 1 and len(self.values[0]):
            first, last = show_time(self.starts[0]), show_time(self.times(0)[-1])
            span = f", {first} to {last}"
        count = "1 series" if len(self) == 1 else f"{len(self):,} series"
        used = ", ".join(
            f"{label} = {name}"
            for label, name in (("id", self.roles.id), ("time", self.roles.time), ("value", self.roles.target))
            if name
        )
        pairs = [("data", f"{self.source}: {count}, {counted(steps, 'step')}, {self.frequency}{span}")]
        if used:
            pairs.append(("columns", used))
        for kind, what in (("past", "up to the last step"), ("future", self._ahead()), ("static", "one for a series")):
            names = getattr(self, f"{kind}_names")
            if names:
                pairs.append((kind, f"{', '.join(self._named(name) for name in names)}: {what}"))
        pairs.append(("season", f"{self.season} steps" if self.season > 1 else "none"))
        if missing:
            pairs.append(
                ("missing", f"{counted(missing, 'step')} without a value: left out of the loss and of every score")
            )
        return pairs + [("note", note) for note in self.notes]

    def _named(self, name: str) -> str:
        return f"{name} ({len(self.categories[name])} categories)" if name in self.categories else name

    def _ahead(self) -> str:
        if not self.future:
            return ""
        ahead = [self.known_ahead(k) for k in range(len(self))]
        least, most = min(ahead), max(ahead)
        steps = counted(least, "step") if least == most else f"{least} to {counted(most, 'step')}"
        return f"known for {steps} after the last value"


def _signed(values: np.ndarray) -> bool:
    return bool((values <= 0).any())


def show_time(stamp: Any) -> str:
    """A stamp as short as it can be said: 1960-12-01, 2020-01-01 13:00, or a step's number."""
    if not isinstance(stamp, np.datetime64):
        return str(stamp)
    if stamp.astype("datetime64[s]") != stamp:
        return str(stamp.astype("datetime64[us]")).replace("T", " ").rstrip("0")
    text = str(stamp.astype("datetime64[s]"))
    return text[:10] if text.endswith("T00:00:00") else text.replace("T", " ").removesuffix(":00")


def show_times(stamps: np.ndarray, like: np.ndarray | None = None) -> list[str]:
    """Stamps all in one form, the shortest that says each of them: 2024-01-31 23:00 and 2024-02-01 00:00.

    Readers of CSV files take the form of a column's first cell for that of all.

    Args:
        stamps: (n,) of one column, datetime64 or the numbers of steps.
        like: (m,) further stamps that the form has to have room for, if there are any.
    """
    if stamps.dtype.kind != "M":
        return [str(stamp) for stamp in stamps.tolist()]
    every = stamps if like is None else np.concatenate([stamps, like])
    every = every[~np.isnat(every)]
    whole = (unit for unit in ("D", "m", "s", "ms") if (every.astype(f"datetime64[{unit}]") == every).all())
    shown = np.datetime_as_string(stamps.astype(f"datetime64[{next(whole, 'us')}]"))
    return [text[:10] + text[10:].replace("T", " ") for text in shown.tolist()]  # NaT stays
