"""Files and frames as named columns that remember which line each row came from.

A text file's cells stay text here; numbers.py and times.py read them, because what a cell means
depends on the role its column gets. Columns of frames keep their types.
"""

from __future__ import annotations

import csv
import importlib.util
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cellgate.data.bundled import bundled_names, bundled_path
from cellgate.data.errors import DataError
from cellgate.data.numbers import looks_numeric
from cellgate.data.times import looks_like_time

TEXT_SUFFIXES = {".csv", ".tsv", ".txt", ".tab", ".dat"}
ARROW_SUFFIXES = {".parquet", ".pq", ".arrow", ".feather", ".ipc"}
_SNIFFED_LINES = 50


@dataclass(frozen=True)
class Table:
    """Named columns of one length.

    Attributes:
        source: what to call it in messages, "sales.csv" or "the frame".
        columns: name -> (rows,) array; object arrays of str for text files.
        lines: (rows,) line numbers in the text file, or None for a frame.
        notes: what reading had to assume.
    """

    source: str
    columns: dict[str, np.ndarray]
    lines: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def place(self, row: int) -> str:
        """Where a row is found, in words: "sales.csv, line 17"."""
        return f"{self.source}, row {row}" if self.lines is None else f"{self.source}, line {self.lines[row]}"


def read_table(data: Any) -> Table:
    """Read a path, a bundled name, a data frame or an array.

    Args:
        data: the path of a CSV, TSV, Parquet, Arrow or Feather file; a bundled name such as
            "airline"; a pandas, polars or pyarrow frame (anything narwhals takes); a (T,) array,
            or a (T, n) array of n series side by side.

    Raises:
        DataError: if it cannot be read, with the line where that shows.
    """
    if isinstance(data, str | Path):
        return _read_path(data)
    if isinstance(data, np.ndarray) or (isinstance(data, Sequence) and not isinstance(data, bytes)):
        return _from_array(np.asarray(data))
    return _from_frame(data, "the frame", ())


def _read_path(data: str | Path) -> Table:
    path = Path(data)
    if not path.exists():
        if str(data) in bundled_names():
            return _read_text(bundled_path(str(data)), str(data))
        raise DataError(
            f"{data}: expected a file, found none; give a path, or a bundled name ({', '.join(bundled_names())})"
        )
    if path.is_dir():
        raise DataError(f"{path}: expected a file, got a folder; name the file in it")
    suffix = path.suffix.lower()
    if suffix in ARROW_SUFFIXES:
        return _read_arrow(path, suffix)
    if suffix in {".xlsx", ".xls", ".ods"}:
        raise DataError(f"{path.name}: expected CSV, TSV, Parquet or Arrow, got a spreadsheet; save it as CSV")
    return _read_text(path, path.name)


# ---------------------------------------------------------------- text


def _read_text(path: Path, source: str) -> Table:
    text, notes = _decode(path.read_bytes(), source)
    delimiter = _sniff_delimiter(text, source)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    records: list[list[str]] = []
    lines: list[int] = []
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                records.append(record)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{source}, line {reader.line_num}: {error}; check the quotes around there") from None
    if not records:
        raise DataError(f"{source}: expected rows, got an empty file")
    if _is_header(records[0]):
        names = [name.strip() for name in records[0]]
        records, lines = records[1:], lines[1:]
        if not records:
            raise DataError(f"{source}: expected rows below the header, got none")
    else:
        names = [f"column{k + 1}" for k in range(len(records[0]))]
        notes.append(f"no header: columns named {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}")
    return _columns(source, names, records, lines, notes, delimiter)


def _columns(
    source: str, names: list[str], records: list[list[str]], lines: list[int], notes: list[str], delimiter: str
) -> Table:
    width = len(names)
    for k, record in enumerate(records):
        if len(record) == width:
            continue
        if len(record) > width and not any(cell.strip() for cell in record[width:]):
            records[k] = record[:width]  # delimiters at the end of a line hold nothing
            continue
        raise DataError(
            f"{source}, line {lines[k]}: expected {width} cells as in the first line, got {len(record)}; "
            f"quote a cell that contains {delimiter!r}, or complete the line"
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
    return Table(source, columns, np.array(lines), tuple(notes))


def _decode(raw: bytes, source: str) -> tuple[str, list[str]]:
    """The text and how it was decoded, where that was a guess."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16"), []
    if b"\x00" in raw[:4096]:
        raise DataError(
            f"{source}: expected a text table, got binary data; save it as CSV, or name it .parquet or .arrow"
        )
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), ["not UTF-8: read as Windows-1252"]


def _sniff_delimiter(text: str, source: str) -> str:
    """The delimiter that splits the first lines into the most alike and most numerous cells."""
    head = [line for line in text.splitlines()[:_SNIFFED_LINES] if line.strip()]
    best, best_score = ",", (0.0, 0)
    for delimiter in (",", "\t", ";", "|"):
        try:
            widths = Counter(len(record) for record in csv.reader(head, delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            continue
        if not widths:
            continue
        width, count = widths.most_common(1)[0]
        # "1,5;2,5" splits evenly at both; the comma inside the numbers leaves no numeric cell whole.
        score = (count / len(head), width if width > 1 else 0)
        if width > 1 and score > best_score:
            best, best_score = delimiter, score
    first = head[0] if head else ""
    if best == "," and ";" in first and first.count(";") >= first.count(","):
        return ";"
    return best


def _is_header(record: list[str]) -> bool:
    """Whether the first record names columns: some cell is neither number, time nor missing."""
    cells = np.array([cell.strip() for cell in record], dtype=object)
    return not all(looks_numeric(cells[k : k + 1]) or looks_like_time(cells[k : k + 1]) for k in range(len(cells)))


# ---------------------------------------------------------------- frames and arrays


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
        raise DataError(f"{path.name}: expected a {suffix[1:]} file, got one that cannot be read ({error})") from error
    return _from_frame(frame, path.name, ())


def _from_frame(frame: Any, source: str, notes: tuple[str, ...]) -> Table:
    import narwhals as nw

    try:
        eager = nw.from_native(frame, eager_only=True)
    except TypeError:
        raise DataError(
            f"data: expected a path, an array or a data frame (pandas, polars, pyarrow), got {type(frame).__name__}"
        ) from None
    columns: dict[str, np.ndarray] = {}
    told = list(notes)
    for name in eager.columns:
        series = eager[name]
        dtype = series.dtype
        if isinstance(dtype, nw.Datetime):
            if dtype.time_zone is not None:
                series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
                told.append(f"{name}: times in {dtype.time_zone} taken as UTC")
            columns[name] = series.to_numpy().astype("datetime64[us]")
        elif isinstance(dtype, nw.Date):
            columns[name] = np.array(series.to_list(), dtype="datetime64[us]")
        elif dtype.is_numeric():
            columns[name] = series.to_numpy()
        else:
            columns[name] = np.array(["" if cell is None else str(cell) for cell in series.to_list()], dtype=object)
    if not columns or not len(eager):
        raise DataError(f"{source}: expected rows, got an empty frame")
    return Table(source, columns, None, tuple(told))


def _from_array(array: np.ndarray) -> Table:
    if array.ndim not in (1, 2) or array.size == 0 or array.dtype.kind not in "iufb":
        raise DataError(f"data: expected numbers of shape (T,) or (T, n), got {array.dtype} of shape {array.shape}")
    if array.ndim == 1:
        return Table("the array", {"y": array})
    return Table("the array", {f"series{k}": array[:, k] for k in range(array.shape[1])})
