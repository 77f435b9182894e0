"""Files, frames and arrays as named columns that remember which line each row came from.

A text file's cells stay text here; numbers.py and times.py read them, because what a cell means
depends on the role its column gets. Columns of frames keep their types.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellgate.data.bundled import bundled_names, bundled_path
from cellgate.data.delimited import Delimited, read_delimited
from cellgate.data.errors import DataError
from cellgate.data.files import STANDARD_INPUT
from cellgate.data.frames import Zoned, from_frame, seconds_note
from cellgate.data.numbers import DecimalComma, has_decimal_comma, looks_numeric, unmasked
from cellgate.data.panel import Panel
from cellgate.data.sequences import ARRAY_SUFFIXES, CONLL_SUFFIXES
from cellgate.data.time_formats import CLOCKS
from cellgate.data.times import looks_like_time
from cellgate.data.words import counted

TEXT_SUFFIXES = {".csv", ".tsv", ".txt", ".tab", ".dat"}
ARROW_SUFFIXES = {".parquet", ".pq", ".arrow", ".feather", ".ipc"}
_PROSE = {".txt", ".text", ".md", ""}


@dataclass(frozen=True)
class Table:
    """Named columns of one length.

    Attributes:
        source: what to call it in messages, "sales.csv" or "the frame".
        columns: name -> (rows,) array; object arrays of str for text files.
        lines: (rows,) line numbers in the text file, or None for a frame.
        notes: what reading had to assume.
        decimal_comma: what is known of the decimal sign before the cells are read.
        zones: name -> both clocks, of a frame's columns of times with a zone.
        durations: the names of the columns of durations, which are numbers of seconds here.
    """

    source: str
    columns: dict[str, np.ndarray]
    lines: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    decimal_comma: DecimalComma = DecimalComma.UNLIKELY
    zones: dict[str, Zoned] = field(default_factory=dict)
    durations: frozenset[str] = frozenset()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def place(self, row: int) -> str:
        """Where a row is found, in words: "sales.csv, line 17"."""
        return f"{self.source}, row {row}" if self.lines is None else f"{self.source}, line {self.lines[row]}"


def read_table(data: Any) -> Table:
    """Read a path, a bundled name, a data frame, a mapping of columns or an array; a Table is one already.

    Args:
        data: the path of a CSV, TSV (also compressed by gzip), Parquet, Arrow or Feather file; a bundled name such as
            "airline"; a pandas, polars or pyarrow frame (anything narwhals takes) or a pandas Series; a mapping of
            names to columns; a (T,) array or tensor, or one of (T, n), n series side by side.

    Raises:
        DataError: if it cannot be read, with the line where that shows.
    """
    if isinstance(data, Table):
        return data
    if type(data).__module__ == "torch":
        data = data.detach().cpu().double().numpy()
    if isinstance(data, str | Path):
        return _read_path(data)
    if isinstance(data, Mapping):
        return _from_mapping(data)
    if isinstance(data, np.ndarray) or (isinstance(data, Sequence) and not isinstance(data, bytes | bytearray)):
        return _from_array(data)
    return _from_frame(data, "the frame")


def _from_frame(frame: Any, source: str) -> Table:
    read = from_frame(frame, source)
    return Table(source, read.columns, None, read.notes, zones=read.zones, durations=read.durations)


def _read_path(data: str | Path) -> Table:
    path = Path(data)
    try:
        if "\0" in str(data):
            raise ValueError("a zero character in it")
        there = path.exists()
    except (OSError, ValueError) as error:
        raise DataError(f"{str(data)[:80]!r}: expected the path of a file, got no possible name ({error})") from None
    if not there:
        if str(data) in bundled_names():
            return _from_delimited(read_delimited(bundled_path(str(data)), str(data)), str(data))
        other = f"; standard input is {STANDARD_INPUT}" if str(data) == "-" and STANDARD_INPUT.exists() else ""
        raise DataError(
            f"{data}: expected a file, found none; give a path, or a bundled name ({', '.join(bundled_names())}){other}"
        )
    if path.is_dir():
        raise DataError(f"{path}: expected a file, got a folder; name the file in it")
    suffix = path.suffix.lower()
    if suffix in ARROW_SUFFIXES:
        return _read_arrow(path, suffix)
    if suffix in ARRAY_SUFFIXES | CONLL_SUFFIXES:
        arrays = suffix in ARRAY_SUFFIXES
        kind, remedy = ("NumPy arrays", "classify or regress") if arrays else ("words with tags", "tag")
        raise DataError(
            f"{path.name}: expected a table (CSV, TSV, Parquet, Arrow), got a file of {kind}; learn them with --task "
            f"{remedy}, or save the series in it as CSV"
        )
    if suffix in {".xlsx", ".xls", ".ods"}:
        raise DataError(f"{path.name}: expected CSV, TSV, Parquet or Arrow, got a spreadsheet; save it as CSV")
    return _from_delimited(read_delimited(path, path.name), path.name)


def as_written(panel: Panel, table: Table) -> Panel:
    """A panel that remembers what the table says beside its cells: its clock, names as numbers, the decimal sign."""
    zone = table.zones.get(panel.roles.time or "")
    roles = replace(panel.roles, time_format=CLOCKS[zone.clock]) if zone else panel.roles
    integers = panel.roles.id in table.columns and table.columns[panel.roles.id].dtype.kind in "iu"
    return replace(panel, roles=roles, integer_ids=integers, decimal_comma=has_decimal_comma(panel.notes))


def refuse_durations(table: Table, time: str | None) -> None:
    """Refuse a time column of durations: without the moment that they count from they have no calendar.

    Raises:
        DataError: with the two ways to make times of them.
    """
    if time in table.durations:
        raise DataError(
            f"{table.source}: expected time stamps in {time!r}, got durations (timedelta); add the moment that they "
            "count from, such as pandas.Timestamp('2024-01-01'), or give their total_seconds() to number the steps"
        )


# ---------------------------------------------------------------- text


def _from_delimited(read: Delimited, source: str) -> Table:
    records, lines, notes = read.records, read.lines, read.notes
    if _is_header(records[0]):
        names = [name.strip() for name in records[0]]
        records, lines = records[1:], lines[1:]
        if not records:
            raise DataError(f"{source}: expected rows below the header, got none")
    else:
        names = [f"column{k + 1}" for k in range(len(records[0]))]
        notes = [*notes, f"no header: columns named {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"]
    columns = _columns(source, names, records, lines, read.delimiter)
    # Where semicolons part the cells, the comma is the decimal sign.
    decimal_comma = DecimalComma.LIKELY if read.delimiter == ";" else DecimalComma.UNLIKELY
    return Table(source, columns, np.array(lines), tuple(notes), decimal_comma)


def _columns(
    source: str, names: list[str], records: list[list[str]], lines: list[int], delimiter: str
) -> dict[str, np.ndarray]:
    width = len(names)
    for k, record in enumerate(records):
        if len(record) == width:
            continue
        if len(record) > width and not any(cell.strip() for cell in record[width:]):
            records[k] = record[:width]  # delimiters at the end of a line hold nothing
            continue
        raise DataError(
            f"{source}, line {lines[k]}: expected {counted(width, 'cell')} as in the first line, got {len(record)}; "
            f"quote a cell that contains {delimiter!r}, or complete the line{or_text(source)}"
        )
    columns: dict[str, np.ndarray] = {}
    for k, (name, cells) in enumerate(zip(names, zip(*records, strict=True), strict=True)):
        column = np.array([cell.strip() for cell in cells], dtype=object)
        if not name:
            if not any(column):
                continue  # an unnamed empty column is a delimiter at the end of every line
            name = f"column{k + 1}"
        if name in columns:
            raise DataError(f"{source}: expected different column names, got {name!r} twice; rename one")
        columns[name] = column
    return columns


def or_text(source: str) -> str:
    """What a file that is no table may be for, by its name."""
    return "; a text to learn to write is for --task generate" if Path(source).suffix.lower() in _PROSE else ""


def _is_header(record: list[str]) -> bool:
    """Whether the first record names columns: some cell is neither number, time nor missing."""
    cells = np.array([cell.strip() for cell in record], dtype=object)
    return not all(looks_numeric(cells[k : k + 1]) or looks_like_time(cells[k : k + 1]) for k in range(len(cells)))


# ---------------------------------------------------------------- Arrow files, mappings and arrays


def _read_arrow(path: Path, suffix: str) -> Table:
    parquet = suffix in {".parquet", ".pq"}
    try:
        if importlib.util.find_spec("pyarrow"):
            if parquet:
                import pyarrow.parquet as reader  # pyright: ignore[reportMissingImports]

                frame = reader.read_table(path)
            else:
                import pyarrow.feather as reader  # pyright: ignore[reportMissingImports]

                frame = reader.read_table(path)
        elif importlib.util.find_spec("polars"):
            import polars  # pyright: ignore[reportMissingImports]

            frame = polars.read_parquet(path) if parquet else polars.read_ipc(path)
        else:
            raise DataError(
                f"{path.name}: expected pyarrow or polars to read {suffix}, found neither; "
                "pip install pyarrow, or use CSV"
            )
    except DataError:
        raise
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path.name}: expected a {suffix[1:]} file, got one that cannot be read ({told}); "
            "copy it again, or name it by what it is"
        ) from error
    return _from_frame(frame, path.name)


def _from_mapping(data: Mapping[Any, Any]) -> Table:
    """Columns by name, as `predict` gives them and as a frame takes them."""
    columns: dict[str, np.ndarray] = {}
    durations = []
    for name, cells in data.items():
        array = unmasked(cells)
        if array.dtype.kind == "m":
            durations.append(str(name))
            array = array / np.timedelta64(1, "s")
        if array.ndim != 1:
            raise DataError(f"data[{name!r}]: expected a column of shape (rows,), got one of shape {array.shape}")
        if array.dtype.kind in "iufbM":
            columns[str(name)] = array.astype("datetime64[us]") if array.dtype.kind == "M" else array
        else:
            columns[str(name)] = np.array(["" if cell is None else str(cell) for cell in cells], dtype=object)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or not next(iter(lengths.values())):
        told = ", ".join(f"{name} {length}" for name, length in list(lengths.items())[:6]) or "none"
        raise DataError(f"data: expected columns of one length, and rows in them, got {told}; complete them")
    notes = tuple(map(seconds_note, durations))
    return Table("the columns", columns, None, notes, durations=frozenset(durations))


def _from_array(data: Any) -> Table:
    try:
        array = unmasked(data)
        if array.dtype == object:  # a list with None in it
            array = array.astype(np.float64)
    except (ValueError, TypeError):
        raise DataError(
            f"data: expected numbers of shape (T,) or (T, n), got a {type(data).__name__} with words or lists of "
            "different lengths in it; give series of different lengths as a table with a column that names them"
        ) from None
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "iufb":
        raise DataError(f"data: expected numbers of shape (T,) or (T, n), got {array.dtype} of shape {array.shape}")
    if array.ndim == 1:
        return Table("the array", {"y": array})
    return Table("the array", {f"series{k}": array[:, k] for k in range(array.shape[1])})
