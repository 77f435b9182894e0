"""Columns of text read as numbers: thousands separators, decimal commas, units, signs of missing values."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np

from cellgate.data.errors import DataError

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "-", "--", "?", ".", "missing", "nat"})
LARGEST = 1e100  # squares of larger ones, and their sums, are no doubles
_UNITS = "$€£¥% "
_SPACES = re.compile(r"(?<=\d)[\s\u00a0\u202f'\u2019](?=\d{3})")
_NEGATIVE = re.compile(r"\(([^()]+)\)")  # a bookkeeper's (12) is -12
# 1,234,567 and, as in India, 12,34,567.
_COMMA_THOUSANDS = re.compile(r"[+-]?\d{1,3}((,\d{3})+|(,\d{2})+,\d{3})(\.\d*)?")
_DOT_THOUSANDS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?")


class DecimalComma(Enum):
    """What is known of the decimal sign of a table before its cells are read."""

    UNLIKELY = "unlikely"  # 1,234 alone is a thousand
    LIKELY = "likely"  # 1,234 alone is one and a bit, as in files parted by semicolons
    KNOWN = "known"  # as LIKELY, and 1.234 alone is a thousand: the training's table was written so


def unmasked(data: Any) -> np.ndarray:
    """Any array-like as a plain array, in which what a numpy mask hides is missing: NaN, NaT or None."""
    plain = np.asarray(data)
    if not isinstance(data, np.ma.MaskedArray) or not np.ma.is_masked(data):
        return plain
    if plain.dtype.kind in "mM":
        return np.where(np.ma.getmaskarray(data), plain.dtype.type("NaT"), plain)
    numbers = plain.dtype.kind in "iufb"
    missing: Any = np.nan if numbers else None
    return np.where(np.ma.getmaskarray(data), missing, plain.astype(np.float64 if numbers else object))


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.lower() in MISSING


def _plain(cell: str) -> str:
    return cell


def _comma_thousands(cell: str) -> str:
    return cell.replace(",", "") if _COMMA_THOUSANDS.fullmatch(cell) else cell


def _decimal_comma(cell: str) -> str:
    if _DOT_THOUSANDS.fullmatch(cell):
        return cell.replace(".", "").replace(",", ".")
    return cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell


def _only_decimal_comma(cell: str) -> str:
    """Refuses a dot that parts no thousands, so that a table which has one is read plainly."""
    return "" if "." in cell and not _DOT_THOUSANDS.fullmatch(cell) else _decimal_comma(cell)


_DECIMAL_NOTE = "',' read as decimal comma"
_PLAIN = ("", _plain)
_THOUSANDS = ("',' read as thousands separator", _comma_thousands)
_DECIMAL = (_DECIMAL_NOTE, _decimal_comma)
# In the order of trust; the first that reads every cell is taken.
_READINGS: dict[DecimalComma, tuple[tuple[str, Callable[[str], str]], ...]] = {
    DecimalComma.UNLIKELY: (_PLAIN, _THOUSANDS, _DECIMAL),
    DecimalComma.LIKELY: (_PLAIN, _DECIMAL, _THOUSANDS),
    DecimalComma.KNOWN: ((_DECIMAL_NOTE, _only_decimal_comma), _PLAIN, _DECIMAL, _THOUSANDS),
}


def has_decimal_comma(notes: Sequence[str]) -> bool:
    """Whether some column was read with the comma as the decimal sign, by the notes on how columns were read."""
    return any(note.endswith(_DECIMAL_NOTE) for note in notes)


def _read_cell(cell: str, reading: Callable[[str], str]) -> float | None:
    """The number in a cell, NaN where it says missing, None where it is not a number."""
    if is_missing(cell):
        return float("nan")
    cell = cell.replace("\u2212", "-")  # the minus sign that typesetters use
    if _NEGATIVE.fullmatch(cell):
        cell = "-" + cell[1:-1].strip(_UNITS)
    try:
        number = float(reading(_SPACES.sub("", cell.strip(_UNITS))))
    except ValueError:
        return None
    return None if "_" in cell else number


def read_numbers(
    column: np.ndarray, decimal_comma: DecimalComma = DecimalComma.UNLIKELY
) -> tuple[np.ndarray, str, int | None]:
    """Read a column as numbers.

    Args:
        column: (rows,) text, or numbers already.
        decimal_comma: which reading of "1,234" and "1.234" goes first, where every cell is of that form.

    Returns:
        (rows,) float64 with NaN where missing; a note on how it was read ("" if plainly); the first
        row that is not a number, or None.
    """
    if column.dtype.kind in "iufb":
        return column.astype(np.float64), "", None
    if column.dtype.kind == "M":
        return np.full(len(column), np.nan), "", 0
    cells = column.tolist()
    unclear = "_." if decimal_comma is DecimalComma.KNOWN else "_"
    try:  # the common case, at C speed; numpy, like Python, reads 1_000, which a table does not mean
        values = np.array(cells, dtype=np.float64)
        if not any(sign in cell for cell in cells for sign in unclear):
            return values, "", None
    except ValueError:
        pass
    best: tuple[int, list[float | None], str] | None = None
    for note, reading in _READINGS[decimal_comma]:
        numbers = [_read_cell(cell, reading) for cell in cells]
        failures = sum(number is None for number in numbers)
        if best is None or failures < best[0]:
            best = (failures, numbers, note)
        if failures == 0:
            break
    assert best is not None
    failures, numbers, note = best
    values = np.array([np.nan if number is None else number for number in numbers])
    return values, note, next((k for k, number in enumerate(numbers) if number is None), None)


def looks_numeric(column: np.ndarray) -> bool:
    """Whether at least nine cells of ten (of the first 300) are numbers or missing, and one is a number."""
    if column.dtype.kind in "iufb":
        return True
    values, _, first_bad = read_numbers(column[:300])
    if first_bad is None:
        # One that is too large for a double, 1e400, is a number for all that, and no word, as "inf" might be.
        large = [cell for cell in column[:300][np.isinf(values)].tolist() if any(sign.isdigit() for sign in cell)]
        return bool(np.isfinite(values).any() or large) or all(is_missing(str(cell)) for cell in column[:300])
    bad = (
        sum(
            _read_cell(cell, _decimal_comma) is None and _read_cell(cell, _comma_thousands) is None
            for cell in column[:300].tolist()
        )
        if column.dtype.kind == "O"
        else len(values)
    )
    return bad <= 0.1 * len(values) and bool(np.isfinite(values).any())


def first_word(column: np.ndarray) -> tuple[int, float]:
    """The first row whose cell is neither a number nor missing, and the share of such cells in the column."""
    cells = [str(cell) for cell in column.tolist()]
    readings = _READINGS[DecimalComma.UNLIKELY]
    bad = [all(_read_cell(cell, reading) is None for _, reading in readings) for cell in cells]
    return (bad.index(True) if any(bad) else 0), float(np.mean(bad))


def require_numbers(
    column: np.ndarray, name: str, place: Callable[[int], str], decimal_comma: DecimalComma = DecimalComma.UNLIKELY
) -> tuple[np.ndarray, list[str]]:
    """Read a column that must hold numbers.

    Returns:
        (rows,) float64 with NaN where missing, and notes on how it was read.

    Raises:
        DataError: naming the first cell that is not a finite number.
    """
    values, note, bad = read_numbers(column, decimal_comma)
    if bad is not None:
        raise DataError(f"{place(bad)}: expected a number in {name!r}, got {str(column[bad])!r}; correct or empty it")
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise DataError(f"{place(row)}: expected a finite number in {name!r}, got {column[row]!s}; correct or empty it")
    large = np.abs(values) > LARGEST
    if large.any():
        row = int(np.argmax(large))
        raise DataError(
            f"{place(row)}: expected numbers up to {LARGEST:.0e} in {name!r}, got {column[row]!s}; "
            "empty it if it stands for a missing value, or change the unit"
        )
    return values, [f"{name}: {note}"] if note else []
