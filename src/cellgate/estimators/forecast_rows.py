"""What a Forecaster is given: series to train on, newer ones read as those were, steps that came after a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cellgate.data import DataError, Panel, Roles, read_panel, with_future
from cellgate.data.clocks import kept_clock
from cellgate.data.extend import extend_panel, with_later_future
from cellgate.data.frame_kind import FrameKind
from cellgate.data.frequency import COUNT
from cellgate.data.newer import coming_rows, read_newer, told_of_clock
from cellgate.data.panel import as_names, show_time
from cellgate.data.table import read_table
from cellgate.data.words import counted, some

if TYPE_CHECKING:
    from cellgate.estimators.forecaster import Forecaster


def asked_roles(forecaster: Forecaster) -> Roles:
    """What the arguments say about the columns.

    Raises:
        InputError: for an argument that says nothing of a table.
    """
    forecaster._check_table_arguments()
    return Roles(
        forecaster.time,
        forecaster.target,
        forecaster.id,
        forecaster.wide,
        forecaster.freq,
        forecaster.season,
        forecaster.time_format,
        *(as_names(getattr(forecaster, kind)) for kind in ("past", "future", "static")),
    )


def read_to_train(forecaster: Forecaster, data: Any) -> Panel:
    """Series to train on: what the arguments leave open is found."""
    if isinstance(data, Panel):
        if forecaster.season is None:
            return data
        return replace(data, season=forecaster.season, roles=replace(data.roles, season=forecaster.season))
    return read_panel(data, asked_roles(forecaster))


def read_like_training(forecaster: Forecaster, data: Any) -> Panel:
    """Series like those of the training, read by what was found then."""
    if not isinstance(data, Panel):
        data = _called_as_in_training(forecaster, read_newer(data, forecaster.panel_, asked_roles(forecaster)))
    return like_training(forecaster, data)


def read_tail(forecaster: Forecaster, data: Any) -> Panel:
    """Steps that came after a forecast; of the columns beside the target future ones are read, where all are there."""
    if isinstance(data, Panel):
        _require_frequency(forecaster, data)
        return data
    trained, table = forecaster.panel_, read_table(data)
    future = trained.future_names if set(trained.future_names) <= set(table.columns) else ()
    bare = replace(trained, roles=replace(trained.roles, past=(), future=future, static=()))
    asked = replace(asked_roles(forecaster), past=(), future=(), static=())
    tail = _called_as_in_training(forecaster, read_newer(table, bare, asked, sparse=True))
    return tail.with_categories(trained.categories)


def like_training(forecaster: Forecaster, panel: Panel, gaps: bool = True) -> Panel:
    """The series with the season and the categories of the training.

    Args:
        forecaster: a fitted one.
        panel: the series.
        gaps: whether empty cells are noted in columns of which the training had none empty.

    Raises:
        DataError: where frequency or columns differ.
    """
    _require_frequency(forecaster, panel)
    trained = forecaster.panel_
    for kind in ("past", "future", "static"):
        needed, there = getattr(trained, f"{kind}_names"), getattr(panel, f"{kind}_names")
        if needed != there:
            raise DataError(
                f"{panel.source}: expected the {kind} columns {', '.join(needed) or 'none'}, as in training, got "
                f"{', '.join(there) or 'none'}; give a table with the columns of the training"
            )
    panel = replace(panel, season=forecaster.task_.season).with_categories(trained.categories)
    return panel.noting(forecaster.coding_.new_gaps(panel)) if gaps else panel


def _require_frequency(forecaster: Forecaster, panel: Panel) -> None:
    trained = forecaster.panel_.frequency
    if (panel.frequency.unit, panel.frequency.step) != (trained.unit, trained.step):
        raise DataError(f"{panel.source}: expected {trained.series}, as in training, got {panel.frequency}")


def series_to_continue(forecaster: Forecaster, data: Any, future: Any) -> Panel:
    """The series to forecast, with everything known of the steps ahead, be it enough or not."""
    panel = forecaster.panel_ if data is None else read_like_training(forecaster, data)
    if future is not None:
        panel = _with_coming(panel, future)
    empty = [name for name, values in zip(panel.ids, panel.values, strict=True) if not len(values)]
    if empty:
        raise DataError(
            f"{panel.source}: expected a step or more to continue in series {empty[0]!r}, got none; leave it out"
        )
    return panel


def _with_coming(panel: Panel, future: Any) -> Panel:
    """The series with what a table says of the steps to come."""
    rows = coming_rows(future, panel)
    return with_future(panel, rows).noting(told_of_clock(rows, panel.roles.time))


def series_to_open(forecaster: Forecaster, data: Any, future: Any) -> tuple[Panel, str]:
    """The series that a forecaster is explained on, and a note where they are not all of it to its end.

    Args:
        forecaster: a fitted one.
        data: series to look at; the history for None.
        future: a table with the future-known columns of the steps to come, or None.
    """
    panel = forecaster.panel_ if data is None else read_like_training(forecaster, data)
    if future is None:
        return before_the_unknown(panel, forecaster.task_.horizon)
    whole = _with_coming(panel, future)
    foretold = whole.foretold(forecaster.task_.horizon)
    if not 0 < len(foretold) < len(whole):
        return whole, ""
    left_out = some([name for k, name in enumerate(whole.ids) if k not in set(foretold)])
    told = f"without the series of which nothing is known of {', '.join(whole.future_names)} after the end: {left_out}"
    return whole.select(foretold), told


def before_the_unknown(panel: Panel, horizon: int) -> tuple[Panel, str]:
    """The series a horizon before their ends, where future columns are not known for the steps after, and a note.

    Series of which they are not known there either are left out, as long as there are others.
    """
    if not panel.future or min(panel.known_ahead(k) for k in range(len(panel))) >= horizon:
        return panel, ""
    names, steps, opened = ", ".join(panel.future_names), counted(horizon, "step"), panel
    told, where = "", f"after the end ({names})"
    if min(len(values) for values in panel.values) > horizon + 1:
        opened, where = panel.split(horizon)[0], "in those"
        told = (
            f"{names} {'is' if len(panel.future_names) == 1 else 'are'} not known for the {steps} after the end: "
            f"opened {steps} before it; --future-data (in Python future=) gives them"
        )
    there = [k for k in range(len(opened)) if opened.known_ahead(k) >= horizon]
    if not 0 < len(there) < len(opened):
        return opened, told
    left_out = some([name for k, name in enumerate(opened.ids) if k not in set(there)])
    without = f"without the series that lack a future column {where}: {left_out}"
    return opened.select(there), f"{told}; {without}" if told else without


def chosen(panel: Panel, ids: Any) -> Panel:
    """Some of the series by name, all for None.

    Raises:
        DataError: for a name that none of them has.
    """
    if ids is None:
        return panel
    asked = {str(name) for name in ([ids] if isinstance(ids, str) or not hasattr(ids, "__iter__") else ids)}
    unknown = sorted(asked.difference(panel.ids))
    if unknown or not asked:
        got = repr(unknown[0]) if unknown else "none"
        raise DataError(f"ids: expected names of the series, {some(panel.ids, 3)}, got {got}; correct them")
    return panel.select([k for k, name in enumerate(panel.ids) if name in asked])


def updated_history(forecaster: Forecaster, data: Any, append: bool) -> tuple[Panel, tuple[str, ...]]:
    """The history with newer rows in it, and what of them the training did not have.

    Raises:
        DataError: for rows that do not fit it.
    """
    history = forecaster.panel_
    if isinstance(data, Panel):
        newer = data
    else:
        bare = isinstance(data, np.ndarray) or (isinstance(data, Sequence) and not isinstance(data, str))
        if bare and not append and history.roles.time is not None:
            raise _untimed("the array", history.roles.time)
        newer = read_newer(data, history, asked_roles(forecaster), sparse=True, timeless=append)
        newer = _called_as_in_training(forecaster, newer)
    if append:
        unknown = [name for name in newer.ids if name not in history.ids]
        if unknown:
            raise DataError(
                f"{newer.source}: expected values for the series {some(history.ids, 3)}, got some for {unknown[0]!r}; "
                "name the series, or give rows with a time"
            )
        ends = [history.next_times(history.ids.index(name), 1)[0] for name in newer.ids]
        newer = replace(newer, starts=tuple(ends), frequency=history.frequency)
    newer = like_training(forecaster, newer, gaps=False)  # the history may have what newer rows leave open
    if not append and newer.frequency.unit == COUNT and newer.roles.time is None:
        return _whole_history(history, newer), newer.unlike
    return extend_panel(history, newer), newer.unlike


def _untimed(source: str, time: str | None) -> DataError:
    return DataError(
        f"{source}: expected rows with a time, in {time!r}, got values without one; give a table with that column, or "
        "append=True to put them after the last step"
    )


def _whole_history(history: Panel, newer: Panel) -> Panel:
    """Rows without a time are the history from its first step on."""
    if history.roles.time is not None:
        raise _untimed(newer.source, history.roles.time)
    known = dict(zip(history.ids, zip(history.starts, history.values, strict=True), strict=True))
    starts = []
    for name, values in zip(newer.ids, newer.values, strict=True):
        start, before = known.get(name, (0, ()))
        if len(values) < len(before):
            raise DataError(
                f"{newer.source}: expected the whole history of series {name!r}, {len(before):,} steps or more, as "
                f"there is no time column, got {len(values):,}; to put them after the last step, give append=True"
            )
        starts.append(start)
    return extend_panel(history, replace(newer, starts=tuple(starts)))


def _called_as_in_training(forecaster: Forecaster, panel: Panel) -> Panel:
    """One array is the one series of the training, whatever that was called."""
    trained = forecaster.panel_
    if panel.source == "the array" and len(panel) == len(trained) == 1:
        return replace(panel, ids=trained.ids)
    return panel


def forecast_and_what_followed(forecaster: Forecaster, tail: Any, history: Any) -> tuple[Panel, list[np.ndarray]]:
    """The series to forecast, and the values that came after each, (up to horizon,) each, empty where there are none.

    The series have their future columns as they turned out, by the history or by the tail.

    Raises:
        DataError: for other series, where nothing follows, or where a driver of a step that is scored is not known.
    """
    made = series_to_continue(forecaster, history, None)
    later = read_tail(forecaster, tail)
    actual, offsets = _what_followed(made, later, forecaster.task_.horizon)
    if made.future and later.future_names == made.future_names:
        made = with_later_future(made, later, offsets)
    made = made.noting(() if isinstance(tail, Panel) else later.unlike)
    scored = [int(known[-1]) + 1 if len(known) else 0 for known in map(np.flatnonzero, map(np.isfinite, actual))]
    remedy = "give the column in the rows that followed, or in the history"
    forecaster.coding_.require_future(made, scored, remedy)
    return made, actual


def _what_followed(made: Panel, tail: Panel, horizon: int) -> tuple[list[np.ndarray], list[int]]:
    """The values that came after each series, and how many steps after its start the rows of the tail begin.

    Rows with a time are placed by it; those without follow the last step.

    Raises:
        DataError: for other series, or where nothing follows.
    """
    place = {name: k for k, name in enumerate(tail.ids)}
    unknown = [name for name in tail.ids if name not in made.ids]
    if unknown:
        raise DataError(
            f"{tail.source}: expected the series of the history, {some(made.ids, 3)}, got {unknown[0]!r}; "
            "leave it out, or give what came before it as history="
        )
    timed = tail.roles.time is not None or tail.frequency.unit != COUNT
    found, offsets = [], []
    for k, name in enumerate(made.ids):
        values, late = tail.values[place[name]] if name in place else np.empty(0), 0
        if timed and len(values):
            late = _steps_late(made, k, tail, place[name])
            values = values[-late:] if late < 0 else np.concatenate([np.full(min(late, horizon), np.nan), values])
        found.append(values[:horizon])
        offsets.append(len(made.values[k]) + late)
    if not any(len(values) for values in found):
        last = show_time(made.times(0)[-1])
        raise DataError(
            f"{tail.source}: expected steps after {last}, where the history ends, got none later; give the rows that "
            "followed, or what came before these as history="
        )
    return found, offsets


def _steps_late(made: Panel, k: int, tail: Panel, j: int) -> int:
    """How many steps after the step that follows series k the rows begin; negative where they begin before it."""
    offset, exact = made.frequency.place(np.array([tail.starts[j]]), made.starts[k])
    if not exact[0]:
        raise DataError(
            f"{tail.source}: expected {made.frequency} steps after {show_time(made.times(k)[-1])} in series "
            f"{made.ids[k]!r}, got {show_time(tail.starts[j])}; correct the time stamps"
        )
    return int(offset[0]) - len(made.values[k])


def in_kind(kind: FrameKind | None, columns: dict[str, np.ndarray], roles: Roles) -> Any:
    """Columns as a frame of a caller's kind, names and times of the types that it has there; as they are for None."""
    if kind is None:
        return columns
    id = next((name for name in (roles.id, "unique_id") if name in kind.types), None)
    time = next((name for name in (roles.time, "ds") if name in kind.types), None)
    clock = {"": "local", "?": None}.get(kept := kept_clock(roles.time_format), kept)
    alike = {"unique_id": id, "ds": time, **({"cutoff": time} if "cutoff" in columns else {})}
    return kind.frame(columns, alike, clock)
