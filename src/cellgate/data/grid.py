"""Rows put on a regular grid of time, series by series: sorted, gaps left open, what does not fit refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from cellgate.data.covariates import Covariates, static_of
from cellgate.data.cycles import infer_season
from cellgate.data.errors import DataError
from cellgate.data.frequency import COUNT, Frequency, infer_frequency, parse_frequency, round_frequency
from cellgate.data.numbers import looks_numeric
from cellgate.data.panel import Panel, Roles, show_time
from cellgate.data.table import Table
from cellgate.data.times import Reading
from cellgate.data.words import by_name, counted

LARGEST_GRID = 20  # a grid of more than so many steps a row is no regular series


@dataclass(frozen=True)
class Rows:
    """A table whose columns have been read, its rows told apart by series.

    Attributes:
        table: where the rows come from, for messages.
        roles: the columns as they were used.
        names: one a series.
        groups: the rows of each series, each (n,) int.
        readings: the possible times of the rows, the likeliest first.
        values: (rows,) the target.
        covariates: what stands beside it.
        notes: what was assumed so far.
    """

    table: Table
    roles: Roles
    names: Sequence[str]
    groups: Sequence[np.ndarray]
    readings: Sequence[Reading]
    values: np.ndarray
    covariates: Covariates
    notes: Sequence[str]


def to_panel(rows: Rows) -> Panel:
    """Put every series on the grid, by the first reading of its times that fits one.

    Raises:
        DataError: where no reading fits, with what is wrong with the first.

    Where the likeliest reading leaves steps without a row, one that leaves fewer is the one that was meant.
    """
    duplicated = [name for name, count in zip(*np.unique(rows.names, return_counts=True), strict=True) if count > 1]
    if duplicated:
        raise DataError(
            f"{rows.table.source}: expected a name once a series, got {str(duplicated[0])!r} twice; rename one"
        )
    failure: DataError | None = None
    best: tuple[int, Panel] | None = None
    for reading in rows.readings:
        roles = replace(rows.roles, time_format=reading.form or rows.roles.time_format)
        notes = _exchanged(rows.notes, rows.readings[0].form, reading.form)
        try:
            panel = _on_grid(replace(rows, roles=roles, notes=notes), reading.times)
        except DataError as error:
            failure = failure or error
            continue
        steps = sum(len(values) for values in panel.values)
        if best is None or steps < best[0]:
            best = steps, panel
        if best[0] <= len(rows.values):
            break
    if best is not None:
        return best[1]
    assert failure is not None
    raise failure


def _exchanged(notes: Sequence[str], likeliest: str | None, used: str | None) -> Sequence[str]:
    """Notes on how times were read that name the reading that was used first, and the likeliest as the other."""
    if likeliest is None or used is None or likeliest == used:
        return notes
    begun, other = f": read as {likeliest}; {used} ", f": read as {used}; {likeliest} "
    return [note.replace(begun, other) for note in notes]


def _on_grid(rows: Rows, times: np.ndarray) -> Panel:
    table, roles, notes = rows.table, rows.roles, list(rows.notes)
    ordered, unsorted = [], False
    for name, group in zip(rows.names, rows.groups, strict=True):
        order = group[np.argsort(times[group], kind="stable")]
        unsorted |= bool((np.diff(times[group].astype(np.int64)) < 0).any())
        twice = np.flatnonzero(np.diff(times[order].astype(np.int64)) == 0)
        if len(twice):
            _refuse_duplicate(table, roles, name, int(order[twice[0]]), int(order[twice[0] + 1]), times)
        ordered.append(order)
    if unsorted:
        notes.append("rows were not in the order of time: sorted")
    frequency, made = _fit(rows, ordered, times)
    notes += [series.note for series in made if series.note]
    silent = min(_silent_end(series.values) for series in made)
    if silent and not roles.future:
        notes.append(
            f"no value in the last {counted(silent, 'step')}{' of every series' if len(made) > 1 else ''}: forecasts "
            "begin after them; where they are to be predicted, leave their rows out"
        )
    missing = sum(series.without_row for series in made)
    if missing:
        notes.append(f"{missing:,} step{'s have' if missing > 1 else ' has'} no row in the table")
    if frequency.week and roles.freq is None:
        notes.append(f"no row on any other weekday: steps are {frequency}; --freq D has the days between as well")
    grids = [series.values for series in made]
    season = _season_said(roles, frequency)
    if season is None:
        season = _common_season(rows.names, grids)
        notes.append(_season_note(season))
    return Panel(
        source=table.source,
        ids=tuple(rows.names),
        values=tuple(grids),
        starts=tuple(series.start for series in made),
        frequency=frequency,
        season=season,
        roles=roles,
        notes=tuple(dict.fromkeys(notes)),
        past=tuple(series.past for series in made) if roles.past else (),
        future=tuple(series.future for series in made) if roles.future else (),
        static=np.array([series.static for series in made]) if roles.static else None,
        past_names=roles.past,
        future_names=roles.future,
        static_names=roles.static,
        categories=rows.covariates.categories,
    )


def _fit(rows: Rows, ordered: Sequence[np.ndarray], times: np.ndarray) -> tuple[Frequency, list[_Series]]:
    """The grid, and every series on it: exactly, or else with stamps that stand a little beside it.

    Raises:
        DataError: where neither is so.
    """
    longest = ordered[max(by_name(rows.names), key=lambda k: len(ordered[k]))]  # the first by name, where several are
    frequency = _choose_frequency(rows.table, rows.roles, longest, times)
    tries = [(frequency, True)]
    rounded = round_frequency(times[longest])
    if rounded is not None and rows.roles.freq is None:
        tries.append((rounded, False))
    tries.append((frequency, False))
    failure: DataError | None = None
    for tried, exactly in tries:
        try:
            return tried, [
                _one(rows, name, group, times, tried, exactly) for name, group in zip(rows.names, ordered, strict=True)
            ]
        except DataError as error:
            failure = failure or error
    assert failure is not None
    raise failure


@dataclass(frozen=True)
class _Series:
    start: Any
    values: np.ndarray
    past: np.ndarray
    future: np.ndarray
    static: np.ndarray | None
    without_row: int
    note: str


def _one(rows: Rows, name: str, group: np.ndarray, times: np.ndarray, frequency: Frequency, exactly: bool) -> _Series:
    """One series on the grid, or with `exactly` False near it; `group` in the order of time."""
    table, roles = rows.table, rows.roles
    if not len(group):
        raise DataError(f"{table.source}: expected values in series {name!r}, got none; remove it")
    start: Any = times[group[0]]
    if frequency.unit == COUNT:
        start = int(start)
    steps, exact = frequency.positions(times[group], start)
    note = ""
    if not exact.all():
        near = None if exactly else frequency.near(times[group])
        if near is None:
            _refuse_irregular(rows, frequency, times, group, int(np.argmin(exact)), name)
        steps, start, note = near
    if steps[-1] + 1 > LARGEST_GRID * max(len(group), 10):
        widest = int(np.argmax(np.diff(steps)))
        raise DataError(
            f"{table.place(group[widest + 1])}: expected {frequency.steps}, got a gap of {np.diff(steps)[widest]:,} "
            f"steps after {show_time(times[group[widest]])}; {_other(roles)}, or cut the part before the gap"
        )
    values = np.full(int(steps[-1]) + 1, np.nan)
    values[steps] = rows.values[group]
    # Newer rows may all be without a value; data.newer says where they may not.
    if not np.isfinite(values).any() and not isinstance(roles.freq, Frequency):
        raise no_values(table.source, name)
    beside = rows.covariates
    past, future = (np.full((len(values), array.shape[1]), np.nan) for array in (beside.past, beside.future))
    past[steps], future[steps] = beside.past[group], beside.future[group]
    length = len(values)
    if roles.future:
        # Rows after the last value that say something of the future columns are the steps to predict.
        seen, said = np.flatnonzero(np.isfinite(values)), np.flatnonzero(np.isfinite(future).any(1))
        last = int(seen[-1]) if len(seen) else -1
        if len(said) and said[-1] > last:
            length, future = last + 1, future[: said[-1] + 1]
    static = static_of(table, beside, roles.static, name, group)
    return _Series(start, values[:length], past[:length], future, static, len(values) - len(group), note)


def no_values(source: str, name: str) -> DataError:
    """The error for a series without a single value."""
    return DataError(f"{source}: expected values in series {name!r}, got only missing ones; remove it")


def _choose_frequency(table: Table, roles: Roles, longest: np.ndarray, times: np.ndarray) -> Frequency:
    if isinstance(roles.freq, Frequency):
        if (times.dtype.kind == "i") != (roles.freq.unit == COUNT):
            got = "numbered steps" if times.dtype.kind == "i" else "time stamps"
            raise DataError(
                f"{table.source}: expected {roles.freq.series}, as in training, got {got}; write them alike"
            )
        return roles.freq
    found = infer_frequency(times[longest])
    if roles.freq is not None:
        asked = parse_frequency(roles.freq)
        if asked is None:
            raise DataError(f"--freq {roles.freq}: expected a frequency such as h, 30min, D, Mon-Sat, W, MS, Q or Y")
        if times.dtype.kind == "i":
            # Numbered steps keep their numbers; the frequency given tells their season.
            return Frequency(COUNT, found.step if found else 1)
        return replace(asked, month_end=bool(found and found.month_end), day=found.day if found else 0)
    if found is None:
        if len(longest) < 3:
            raise DataError(
                f"{table.source}: expected at least 3 rows in a series to find its frequency, got {len(longest)}; "
                "give more history, or say --freq"
            )
        raise DataError(f"{table.source}: expected times that differ, got the same again and again; correct them")
    return found


def _silent_end(values: np.ndarray) -> int:
    """How many steps at the end have no value."""
    known = np.flatnonzero(np.isfinite(values))
    return len(values) - 1 - int(known[-1]) if len(known) else len(values)


def _season_said(roles: Roles, frequency: Frequency) -> int | None:
    """The season by what is said or by the frequency; None where only the values can show it."""
    named = parse_frequency(roles.freq) if isinstance(roles.freq, str) else None  # that of numbered steps
    return roles.season or frequency.season or (named.season if named else None)


def season_before(panel: Panel, ends: Sequence[int]) -> Panel:
    """The series with the season that their first steps show, where it is found from the values.

    Args:
        panel: as it was read.
        ends: how many steps of each series may tell of it: those before what is to be forecast.
    """
    if _season_said(panel.roles, panel.frequency) is not None:
        return panel
    season = _common_season(panel.ids, [values[:end] for values, end in zip(panel.values, ends, strict=True)])
    told = _season_note(panel.season)
    notes = tuple(_season_note(season) if note == told else note for note in panel.notes)
    return replace(panel, season=season, notes=notes)


def _common_season(names: Sequence[str], grids: Sequence[np.ndarray]) -> int:
    """The season most of (up to 30 of) the series show; the same ones in whatever order they come."""
    order = by_name(names)
    chosen = [grids[order[k]] for k in np.unique(np.linspace(0, len(grids) - 1, 30).astype(int))]
    found, counts = np.unique([infer_season(grid) for grid in chosen], return_counts=True)
    return int(found[np.argmax(counts)])


def _season_note(season: int) -> str:
    """What is told of a season that the values show."""
    if season > 1:
        return f"season of {season} steps found from the values; --season overrides it"
    return "no season shows in the values; --season gives one"


def _refuse_duplicate(table: Table, roles: Roles, name: str, first: int, second: int, times: np.ndarray) -> NoReturn:
    series = f" in series {name!r}" if roles.id else ""
    remedy = "remove one"
    other = _told_apart_by(table, roles, times)
    if other:
        remedy += f", or, if {roles.id!r} and {other!r} together tell series apart, join the two in one column"
    elif not roles.id and not roles.wide:
        remedy += ", or name the column that tells the series apart with --id"
    if _is_clock_change(times[second]):
        remedy = "were clocks put back in that night? then write times in UTC or with their offset (+02:00); " + remedy
    raise DataError(
        f"{table.place(second)}: expected each time once{series}, got {show_time(times[second])} again "
        f"(first at {table.place(first).rsplit(', ', 1)[-1]}); {remedy}"
    )


def _is_clock_change(stamp: Any) -> bool:
    """Whether clocks may be put back at this local time: a Sunday in spring or autumn, between one and three."""
    if not isinstance(stamp, np.datetime64):
        return False
    moment = stamp.astype("datetime64[s]").item()
    return moment.weekday() == 6 and moment.month in (3, 4, 10, 11) and 1 <= moment.hour < 3


def _other(roles: Roles) -> str:
    """What to do about a frequency that the rows do not have."""
    return f"give another --freq than {roles.freq}" if isinstance(roles.freq, str) else "give --freq"


def _told_apart_by(table: Table, roles: Roles, times: np.ndarray) -> str:
    """A column that, with the one that names the series, tells rows of one time apart; "" for none."""
    used = {roles.time, roles.target, roles.id, *roles.covariates}
    names = table.columns.get(roles.id or "")
    if names is None or table.rows != len(times):
        return ""
    for other, cells in table.columns.items():
        if other in used or looks_numeric(cells):
            continue
        rows = zip(times.tolist(), names.tolist(), cells.tolist(), strict=True)
        if len(set(rows)) == len(times):
            return other
    return ""


def _refuse_irregular(
    rows: Rows, frequency: Frequency, times: np.ndarray, group: np.ndarray, bad: int, name: str
) -> NoReturn:
    before = show_time(times[group[max(bad - 1, 0)]])
    series = f" in series {name!r}" if len(rows.names) > 1 else ""
    distances = np.diff(times[group].astype(np.int64))
    expected = frequency.steps
    remedy = frequency.remedy(times[group[bad]])
    if remedy == "correct the time stamp":
        remedy += f", put the data on a regular grid, or {_other(rows.roles)}"
    if (
        frequency.unit != COUNT
        and len(distances) > 2
        and np.unique(distances, return_counts=True)[1].max() < 0.5 * len(distances)
    ):
        expected = "steps a regular distance apart"
        remedy = "put the data on a regular grid first: a mean, sum or count for every hour, say"
    elif len(rows.names) > 1:
        remedy += "; series of different frequencies need a model each"
    raise DataError(
        f"{rows.table.place(group[bad])}: expected {expected}{series}, got {show_time(times[group[bad]])} "
        f"after {before}; {remedy}"
    )
