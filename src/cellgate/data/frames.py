"""Data frames of pandas, polars and pyarrow as columns of plain numpy arrays."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.time_formats import CLOCK_NOTES, which_clock
from cellgate.data.times import looks_like_time

_SAMPLE = 300
_ROW_NUMBERS = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True)
class Zoned:
    """Time stamps with a zone, by both clocks.

    Attributes:
        utc: (rows,) datetime64[us].
        local: (rows,) datetime64[us], as the clocks of the zone show it.
        clock: which of the two was kept, "UTC" or "local".
    """

    utc: np.ndarray
    local: np.ndarray
    clock: str


@dataclass(frozen=True)
class FrameColumns:
    """What a frame holds.

    Attributes:
        columns: name -> (rows,) numbers, datetime64[us] without zone, or object arrays of str with "" for missing.
        notes: what had to be assumed.
        zones: name -> both clocks, of the columns of times with a zone.
        durations: the names of the columns of durations, which are numbers of seconds here.
    """

    columns: dict[str, np.ndarray]
    notes: tuple[str, ...]
    zones: dict[str, Zoned]
    durations: frozenset[str]


def from_frame(frame: Any, source: str) -> FrameColumns:
    """The columns of a frame, and what had to be assumed.

    Args:
        frame: what narwhals takes, or a pandas Series; a pandas index of times or with a name becomes a column.
        source: what to call it in messages.

    Raises:
        DataError: for what is no frame, or an empty one.
    """
    import narwhals as nw

    notes: list[str] = []
    frame = with_index(frame, notes)
    try:
        eager = nw.from_native(frame, eager_only=True, allow_series=True)
        if isinstance(eager, nw.Series):
            eager = eager.alias(eager.name or "y").to_frame()
    except TypeError:
        remedy = "; call .collect() first" if type(frame).__name__ == "LazyFrame" else ""
        raise DataError(
            f"data: expected a path, an array, a mapping of columns or a data frame (pandas, polars, pyarrow), "
            f"got {type(frame).__name__}{remedy}"
        ) from None
    except Exception as error:  # narwhals' own errors: two columns of one name
        raise DataError(
            f"{source}: expected different column names, got {' '.join(str(error).split())[:200]}"
        ) from None
    columns: dict[str, np.ndarray] = {}
    zones: dict[str, Zoned] = {}
    durations = []
    for name, series in zip(eager.columns, eager.iter_columns(), strict=True):
        # A frame may name its columns by numbers, or by tuples.
        told = "/".join(map(str, name)) if isinstance(name, tuple) else str(name)
        if told in columns:
            raise DataError(f"{source}: expected different column names, got {told!r} twice; rename one")
        if _ROW_NUMBERS.fullmatch(told):
            if series.dtype.is_numeric():
                continue  # the row numbers that pandas writes beside a frame whose rows it has chosen
            told = "index" if "ds" in eager.columns else "ds"
        columns[told] = _column(series, told, notes, zones)
        if isinstance(series.dtype, nw.Duration):
            durations.append(told)
    if not columns or not len(eager):
        raise DataError(f"{source}: expected rows, got an empty frame")
    return FrameColumns(columns, (*notes, *map(seconds_note, durations)), zones, frozenset(durations))


def seconds_note(name: str) -> str:
    """What is told of a column of durations."""
    return f"{name}: durations, read as seconds"


def with_index(frame: Any, notes: list[str]) -> Any:
    """A pandas frame or Series with what its index says as a column: narwhals, rightly, knows no index."""
    if type(frame).__module__.partition(".")[0] != "pandas" or not hasattr(frame, "index"):
        return frame
    if not hasattr(frame, "columns"):
        frame = frame.to_frame(name="y" if frame.name is None else frame.name)
    names = _level_names(frame)
    said = [k for k, name in enumerate(names) if name is None]
    if len(said) == len(names):
        return frame
    notes.append("the index of the frame is taken as a column")
    if said:
        frame = frame.reset_index(level=said, drop=True)
    return frame.reset_index(names=[name for name in names if name is not None])


def _level_names(frame: Any) -> list[Any]:
    """A name for the column of each level of a pandas index; None for what says nothing beside the columns.

    Times without a name are "ds", words beside them "unique_id"; a single level of words or row numbers is no column,
    and one that repeats a column of its name is that column.
    """
    index = frame.index
    levels = [index.get_level_values(k) for k in range(index.nlevels)]
    timely = [_is_timely(level) for level in levels]
    several = len(levels) > 1
    names: list[Any] = []
    for k, level in enumerate(levels):
        name, usual = level.name, "ds" if timely[k] else "unique_id"
        if name is not None and name in frame.columns:
            if np.array_equal(np.asarray(frame[name]), np.asarray(level)):
                names.append(None)
                continue
            name = None  # another thing by the name of a column
            usual = usual if timely[k] else f"index{k}"
        if name is None and not timely[k] and not (several and (any(timely) or any(index.names))):
            names.append(None)
            continue
        if name is None:
            words = timely[k] or sum(not other for other in timely) == 1
            free = words and usual not in frame.columns and usual not in (*names, *index.names)
            name = usual if free else f"index{k}"
        names.append(name)
    return names


def _is_timely(level: Any) -> bool:
    """Whether a level of a pandas index holds times, be they objects or words."""
    if type(level).__name__ in ("DatetimeIndex", "PeriodIndex", "TimedeltaIndex"):
        return True
    cells = [str(cell) for cell in level[:_SAMPLE]] if str(level.dtype) in ("object", "str", "string") else []
    return looks_like_time(np.array(cells, dtype=object))


def type_of(series: Any) -> Any:
    """The type of a narwhals Series; pandas' times of zones such as America/New_York, which narwhals does not know."""
    import narwhals as nw

    native = getattr(series.to_native(), "dtype", None)
    if isinstance(series.dtype, nw.Unknown) and getattr(native, "tz", None) is not None:
        return nw.Datetime(native.unit, str(native.tz))  # pyright: ignore[reportOptionalMemberAccess]
    return series.dtype


def _column(series: Any, name: str, notes: list[str], zones: dict[str, Zoned]) -> np.ndarray:
    import narwhals as nw

    dtype = type_of(series)
    if isinstance(dtype, nw.Datetime):
        if dtype.time_zone is not None:
            utc, local = (clock.to_numpy().astype("datetime64[us]") for clock in _clocks(series))
            zones[name] = Zoned(utc, local, which_clock(utc, local))
            note = CLOCK_NOTES[zones[name].clock]
            notes.append(f"{name}: {note.replace('with a zone', f'in {dtype.time_zone}')}")
            return utc if zones[name].clock == "UTC" else local
        return series.to_numpy().astype("datetime64[us]")
    if isinstance(dtype, nw.Duration):
        return series.dt.total_microseconds().to_numpy().astype(np.float64) / 1e6  # seconds
    if isinstance(dtype, nw.Date):
        return np.array(series.to_list(), dtype="datetime64[us]")
    if dtype.is_numeric():
        numbers = series.to_numpy()
        if numbers.dtype.kind in "iuf":
            return numbers
        return np.array([np.nan if cell is None else float(cell) for cell in series.to_list()])  # decimals, nulls
    cells = series.to_list()
    if "Period" in {type(cell).__name__ for cell in cells}:  # pandas' months and quarters
        stamps = [np.datetime64("NaT") if is_null(cell) else cell.to_timestamp().to_datetime64() for cell in cells]
        return np.array(stamps).astype("datetime64[us]")
    return np.array(["" if is_null(cell) else str(cell) for cell in cells], dtype=object)


def _clocks(series: Any) -> tuple[Any, Any]:
    """Times with a zone by UTC and by the clocks of the zone, both without one."""
    import narwhals as nw

    if isinstance(series.dtype, nw.Unknown):
        times = series.to_native().dt
        return times.tz_convert("UTC").dt.tz_localize(None), times.tz_localize(None)
    return series.dt.convert_time_zone("UTC").dt.replace_time_zone(None), series.dt.replace_time_zone(None)


def is_null(cell: Any) -> bool:
    """Whether a cell of a frame is none: None, NaN, pandas' NA or NaT."""
    return cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NAType", "NaTType")
