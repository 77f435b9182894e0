"""Text files of cells: how the bytes are decoded, what parts the cells, where the table begins."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cellgate.data.errors import DataError
from cellgate.data.files import bytes_of

_SNIFFED_LINES = 50
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[ \t]*\r?\n', re.IGNORECASE)
_SPACES = (r"\s{2,}|\t", r"\s+")  # where neither comma nor tab parts the cells
# First bytes of what is no text, whatever the file is called -> what it is, and what to do.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "a Parquet file", "name it .parquet"),
    (b"ARROW1", "an Arrow file", "name it .arrow"),
    (b"PK\x03\x04", "a spreadsheet or a zip archive", "save the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save the sheet as CSV"),
    (b"%PDF", "a PDF", "give the table itself, as CSV"),
    (b"\x89PNG", "a PNG picture", "give the table itself, as CSV"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the table itself, as CSV"),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd", "unpack it first"),
    (b"BZh", "a file compressed by bzip2", "unpack it first"),
    (b"\xfd7zXZ", "a file compressed by xz", "unpack it first"),
    (b"7z\xbc\xaf", "a 7-zip archive", "unpack it first"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"\x89HDF", "an HDF5 file", "save the table as CSV or Parquet"),
    (b"\x93NUMPY", "a NumPy array", "load it with numpy and pass the array, or save it as CSV"),
)
_MARKUP = (("<", "a web page or XML"), ("{", "JSON"), ("[", "JSON"))


@dataclass
class Delimited:
    """The cells of a text file.

    Attributes:
        records: the rows, each a list of cells.
        lines: the line in the file on which each row begins, from 1.
        delimiter: what parts the cells; " " for runs of spaces.
        notes: what had to be assumed.
    """

    records: list[list[str]]
    lines: list[int]
    delimiter: str
    notes: list[str] = field(default_factory=list)


def read_delimited(path: Path, source: str) -> Delimited:
    """Read a text file as rows of cells.

    Args:
        path: the file; one compressed by gzip is unpacked.
        source: its name in messages.

    Raises:
        DataError: if it is no text or no table.
    """
    text, notes = decode(bytes_of(path), source)
    start = text.lstrip()[:1]
    for mark, kind in _MARKUP:
        if start == mark:
            raise DataError(
                f"{source}: expected a table (CSV, TSV, Parquet, Arrow), got {kind}; save the table in it as CSV"
            )
    body, skipped = _after_comments(text)
    if skipped:
        notes.append(f"{skipped} line{'s' if skipped > 1 else ''} of comments at the top passed over")
    said = _SEPARATOR_LINE.match(body)
    if said:  # as spreadsheets take it, and some programs write it for them
        body, skipped = body[said.end() :], skipped + 1
    read = _split(body, skipped, source, said[1] if said else None)
    read.notes[:0] = notes
    _drop_titles(read)
    if not read.records:
        raise DataError(f"{source}: expected rows, got an empty file")
    return read


# ---------------------------------------------------------------- bytes


def decode(raw: bytes, source: str, expected: str = "a text table") -> tuple[str, list[str]]:
    """The text of a file, and how it was decoded where that was a guess.

    Args:
        raw: the bytes; what gzip compressed is unpacked.
        source: the file's name in messages.
        expected: what the messages say was expected.

    Raises:
        DataError: for what is no text, saying what it is and what to do.
    """
    if raw.startswith(b"\x1f\x8b"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{source}: expected a file compressed by gzip, got a damaged one ({error}); copy it again"
            ) from None
    for signature, kind, remedy in _SIGNATURES:
        if raw.startswith(signature):
            raise DataError(f"{source}: expected {expected}, got {kind}; {remedy}")
    encoding = _unicode_of(raw)
    if encoding:
        try:
            return raw.decode(encoding), []
        except UnicodeDecodeError as error:
            raise DataError(
                f"{source}: expected {encoding.upper()} text, as its first bytes say, got a damaged file at byte "
                f"{error.start:,}; save it again as UTF-8"
            ) from None
    head = raw[:65536]
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\v\x1a\x1b" for byte in head)
    if b"\x00" in raw or controls > 0.01 * len(head):
        place = f" (a zero byte on line {raw[: raw.index(0)].count(10) + 1})" if b"\x00" in raw else ""
        raise DataError(f"{source}: expected {expected}, got binary data{place}; save it as text in UTF-8")
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return raw.decode("cp1252", errors="replace"), [
            f"not UTF-8 (line {line}): read as Windows-1252; save it as UTF-8 if names look wrong"
        ]


def _unicode_of(raw: bytes) -> str | None:
    """UTF-16 or UTF-32, by the mark at the beginning or by the zero bytes that ASCII gets in it."""
    if raw.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = raw[:400]
    if len(head) >= 8 and len(head) % 2 == 0:
        even, odd = head[::2].count(0), head[1::2].count(0)
        if odd > 0.9 * len(head) / 2 and even == 0:
            return "utf-16-le"
        if even > 0.9 * len(head) / 2 and odd == 0:
            return "utf-16-be"
    return None


# ---------------------------------------------------------------- cells


def _after_comments(text: str) -> tuple[str, int]:
    """The text without the lines at its top that begin with #, and how many they were."""
    skipped = 0
    while text.startswith("#") and "\n" in text:
        head, _, text = text.partition("\n")
        # "#,date,value" is a header whose first column is called #; a comment is a sentence.
        if re.match(r"#\s*[,;\t|]", head):
            return f"{head}\n{text}", skipped
        skipped += 1
    return text, skipped


def _split(text: str, skipped: int, source: str, said: str | None) -> Delimited:
    delimiter = said or _sniff_delimiter(text)
    spaces = None if delimiter else _sniff_spaces(text)
    if spaces is not None:
        parted = [(k, line.strip()) for k, line in enumerate(text.splitlines(), 1 + skipped) if line.strip()]
        split: Callable[[str], list[str]] = re.compile(spaces).split
        return Delimited(
            [split(line) for _, line in parted], [k for k, _ in parted], " ", ["cells are parted by spaces"]
        )
    delimiter = delimiter or ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    records: list[list[str]] = []
    lines: list[int] = []
    begun = 1
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                records.append(record)
                lines.append(begun + skipped)
            begun = reader.line_num + 1
    except csv.Error as error:
        told = (
            "an open quote or a cell without end"
            if "field limit" in str(error) or "end of data" in str(error)
            else (f"{error}")
        )
        raise DataError(
            f"{source}, line {begun + skipped}: expected cells parted by {delimiter!r}, got {told}; "
            "check the quotes there: a quote inside a quoted cell is written twice"
        ) from None
    return Delimited(records, lines, delimiter)


def _sniff_delimiter(text: str) -> str | None:
    """The delimiter that splits the first lines into the most alike and most numerous cells; None for none."""
    head = [line for line in text[:1_000_000].splitlines()[:_SNIFFED_LINES] if line.strip()]
    best, best_score = None, (0.0, 0)
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
    if best in (",", None) and ";" in first and first.count(";") >= first.count(","):
        return ";"
    return best


def _sniff_spaces(text: str) -> str | None:
    """The pattern of spaces that splits every one of the first lines into equally many cells; None for none."""
    head = [line.strip() for line in text[:1_000_000].splitlines()[:_SNIFFED_LINES] if line.strip()]
    for pattern in _SPACES:
        widths = {len(re.split(pattern, line)) for line in head}
        if len(head) > 2 and len(widths) == 1 and widths != {1}:
            # "1 234" is a number, and "2024-01-01 10:00" a time: a line of those alone is one cell.
            if all(re.fullmatch(r"[-+\d\s.,:/T]+", line) for line in head) and pattern == _SPACES[1]:
                wholes = [re.fullmatch(r"\d{1,3}(\s\d{3})+|\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", line) for line in head]
                if all(wholes):
                    return None
            return pattern
    return None


def _drop_titles(read: Delimited) -> None:
    """Take away lines of one cell above a table of several: a report's title."""
    widths = Counter(len(record) for record in read.records[:_SNIFFED_LINES])
    if not widths or widths.most_common(1)[0][0] < 2:
        return
    count = 0
    while count < len(read.records) and sum(bool(cell.strip()) for cell in read.records[count]) == 1:
        if len(read.records[count]) > 1:
            break  # cells that are empty are still cells of the table
        count += 1
    # A single short line further down is a broken row, and said to be one.
    if 0 < count <= 5:
        title = read.records[0][0].strip()
        read.notes.append(f"line {read.lines[0]} is no row of the table ({title[:40]!r}): passed over")
        del read.records[:count], read.lines[:count]
