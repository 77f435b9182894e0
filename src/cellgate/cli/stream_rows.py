"""Rows of standard input: how their cells are named, and what they mean to a forecaster."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np

from cellgate import estimators
from cellgate.data import DataError, Panel
from cellgate.data.newer import USUAL, likeliest_stamp, stamps_meant
from cellgate.data.numbers import DecimalComma, is_missing, read_numbers
from cellgate.data.words import counted, some

_DELIMITERS = ",;\t|"
Row = dict[str, Any]


@dataclass(frozen=True)
class _Layout:
    """How lines are cut into named cells."""

    names: list[str]
    delimiter: str
    is_header: bool  # whether the line that showed it is no row


def json_rows(source: TextIO) -> Iterator[tuple[int, Row | DataError]]:
    """Numbered objects, one a line, or what is wrong with them."""
    for number, line in enumerate(iter(source.readline, ""), 1):
        if line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> Row | DataError:
    told = f"expected a JSON object, got {line.strip()[:40]!r}"
    try:
        row = json.loads(line)
    except ValueError as error:
        return DataError(f"{told} ({error}); correct it")
    return row if isinstance(row, dict) else DataError(f"{told}; correct it")


def csv_rows(source: TextIO, forecaster: estimators.Forecaster) -> Iterator[tuple[int, Row | DataError]]:
    """Numbered rows by their columns' names, or what is wrong with them.

    Raises:
        DataError: if the first line neither names the columns nor is a row like those of the training: no row can be
            read then.
    """
    layout: _Layout | None = None
    # One line at a time: a reader with a buffer of its own would wait for more.
    for number, line in enumerate(iter(source.readline, ""), 1):
        if not line.strip():
            continue
        if layout is None:
            layout = _layout(line, forecaster)
            if layout.is_header:
                continue
        cells = _cells(line, layout.delimiter, len(layout.names))
        if cells == layout.names:
            continue  # the header again, of a writer that began anew
        if len(cells) != len(layout.names):
            expected = f"{counted(len(layout.names), 'cell')} ({some(layout.names)})"
            yield number, DataError(f"expected {expected}, got {len(cells)}; correct it")
        else:
            yield number, dict(zip(layout.names, cells, strict=True))


def _cells(line: str, delimiter: str, most: int | None = None) -> list[str]:
    """The cells of a line; delimiters at its end hold nothing."""
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    while most is not None and len(cells) > most and not cells[-1]:
        cells.pop()
    return cells


def _layout(line: str, forecaster: estimators.Forecaster) -> _Layout:
    """By the first line: it names the columns, or it is a row with the columns of the training's table."""
    panel = forecaster.panel_
    target = panel.roles.target or "y"
    for delimiter in _DELIMITERS:
        names = _cells(line.removeprefix("\ufeff"), delimiter)
        if _names_values(dict.fromkeys(names), panel):
            _require_id(names, panel)
            return _Layout(names, delimiter, True)
    for delimiter in _DELIMITERS:
        cells = _cells(line, delimiter, len(panel.columns))
        if panel.columns and len(cells) == len(panel.columns):
            row = dict(zip(panel.columns, cells, strict=True))
            if _names_values(row, panel) and _is_row(row, forecaster):
                return _Layout(list(panel.columns), delimiter, False)
    rows = f", or rows of {some(panel.columns)} as in training," if panel.columns else ","
    raise DataError(
        f"expected a first line that names the columns, {target!r} among them{rows} got {line.strip()[:60]!r}; "
        "put the header before the rows"
    )


def _names_values(row: Row, panel: Panel) -> bool:
    """Whether some cell is a value to predict from."""
    return panel.roles.target in row or "y" in row or bool(_side_by_side(row, panel))


def _side_by_side(row: Row, panel: Panel) -> list[str]:
    """The series that have a column of their own."""
    return [name for name in panel.ids if name in row] if panel.roles.wide else []


def _require_id(names: list[str], panel: Panel) -> None:
    id = panel.roles.id or "unique_id"
    if len(panel) > 1 and not {id, "unique_id", *_side_by_side(dict.fromkeys(names), panel)} & set(names):
        raise DataError(
            f"expected a column {id!r} that says which of the {len(panel):,} series a row is of, got {some(names)}; "
            "name it in the header"
        )


def _is_row(row: Row, forecaster: estimators.Forecaster) -> bool:
    """Whether the cells are what their columns should hold: numbers to predict from, a time."""
    panel = forecaster.panel_
    roles = panel.roles
    try:
        for name in _side_by_side(row, panel) or [roles.target or "y"]:
            _number(row[name], name, panel)
        if roles.time is not None:
            _stamps(row[roles.time], roles.time, forecaster)
    except DataError:
        return False
    return True


# ---------------------------------------------------------------- what a row means


def pushes(row: Row, forecaster: estimators.Forecaster, last: dict[str, Any]) -> list[dict[str, Any]]:
    """A row as arguments of ForecastStream.push; several where a row has a column for each of several series.

    Args:
        row: the cells by the names of their columns.
        forecaster: whose names, series and times they are.
        last: the stamp of the row before, by series; where the text leaves a time open, it is one near that.

    Raises:
        DataError: for a cell that cannot be read, or a row without a value's column.
    """
    panel, roles = forecaster.panel_, forecaster.panel_.roles
    # The names of the training, or those of every long table.
    target, time, id = (
        name if name in row else usual
        for name, usual in ((getattr(roles, role), USUAL[role]) for role in ("target", "time", "id"))
    )
    beside = _beside(row, panel)
    if target in row:
        found = [{"value": _number(row[target], target, panel), **beside}]
        if id in row and (len(panel) > 1 or roles.id is not None):
            found[0]["id"] = str(row[id])
        elif len(panel) > 1:
            raise DataError(f"expected a column {id!r} that says which series the row is of, got {some(row)}; add it")
    else:
        sides = _side_by_side(row, panel)
        found = [{"value": _number(row[name], name, panel), "id": name, **beside} for name in sides]
    if not found:
        raise DataError(f"expected a column {roles.target!r}, got {some(row) or 'none'}; add it")
    if time in row:
        stamps = _stamps(row[time], time, forecaster)
        for push in found:
            name = push.setdefault("id", panel.ids[0])
            push["time"] = _likeliest(stamps, panel, name, last) if name in panel.ids else stamps[0]
    return found


def _beside(row: Row, panel: Panel) -> dict[str, Row]:
    found = {}
    for kind, names in (("past", panel.past_names), ("future", panel.future_names)):
        given = {name: row[name] for name in names if row.get(name) not in (None, "")}
        if given:
            found[kind] = {
                name: value if name in panel.categories else _numbers(value, name, panel)
                for name, value in given.items()
            }
    return found


def _numbers(value: Any, name: str, panel: Panel) -> Any:
    def one(cell: Any) -> Any:  # push has words about a list in a list, and takes true and false for 1 and 0
        return cell if isinstance(cell, list) or str(cell).lower() in ("true", "false") else _number(cell, name, panel)

    return [one(cell) for cell in value] if isinstance(value, list) else one(value)


def _number(cell: Any, name: str, panel: Panel) -> float:
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        text, written = repr(cell), DecimalComma.UNLIKELY  # JSON's own numbers are written in one way
    else:
        text = "" if cell is None else str(cell).strip()
        written = DecimalComma.KNOWN if panel.decimal_comma else DecimalComma.UNLIKELY
    values, _, bad = read_numbers(np.array([text], dtype=object), written)
    if bad is not None or np.isinf(values[0]):
        raise DataError(f"expected a number in {name!r}, got {text!r}; correct it")
    return float(values[0])


def _stamps(cell: Any, name: str, forecaster: estimators.Forecaster) -> list[Any]:
    """What a time may mean."""
    text, panel = str(cell).strip(), forecaster.panel_
    if is_missing(text):
        raise DataError(f"expected a time stamp in {name!r}, got {text!r}; fill it in")
    return stamps_meant(text, name, panel, panel.roles.time_format or forecaster.time_format)


def _likeliest(stamps: list[Any], panel: Panel, name: str, last: dict[str, Any]) -> Any:
    """The reading that is on the grid of the series, and nearest to the row before."""
    k = panel.ids.index(name)
    return likeliest_stamp(stamps, panel, k, last.get(name, panel.times(k)[-1]))
