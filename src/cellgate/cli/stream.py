"""`cellgate stream`: rows on standard input, forecasts on standard output as they come."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import numpy as np
import typer

from cellgate import estimators
from cellgate.cli.forecast_files import csv_text
from cellgate.data import DataError
from cellgate.data.panel import show_time
from cellgate.data.times import read_times
from cellgate.errors import InputError

if TYPE_CHECKING:
    from cellgate.estimators.forecast import Forecast

_MISSING = {"", "na", "nan", "null", "none"}


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps ahead to print after each row; all of the horizon if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row in and out, instead of CSV.")] = False,
) -> int:
    """Forecast after every row that comes on standard input, without training again.

    Rows are CSV with a header that names the columns of the training, or JSON objects with --json. Each is answered at
    once with what follows it; the LSTM's state is carried on. A row that cannot be used is named on standard error and
    passed over; the exit code is then 2 at the end.

    [bold]tail -f sales.csv | cellgate stream model --steps 1[/bold]
    """
    forecaster: Any = estimators.load(model)
    if not isinstance(forecaster, estimators.Forecaster):
        raise InputError(f"{model}: expected a Forecaster's folder, got a {type(forecaster).__name__}'s")
    stream, refused, header = forecaster.stream(), 0, True
    for number, row in _rows(sys.stdin, as_json):
        try:
            if isinstance(row, DataError):
                raise row
            made = stream.push(**_arguments(row, forecaster, number))
        except InputError as error:
            refused += 1
            print(f"row {number}: {error}", file=sys.stderr, flush=True)
            continue
        _print(made, steps or forecaster.horizon, as_json, header)
        header = False
    return 2 if refused else 0


def _rows(source: TextIO, as_json: bool) -> Iterator[tuple[int, dict[str, Any] | DataError]]:
    """Numbered rows, or what is wrong with them."""
    if as_json:
        for number, line in enumerate(source, 1):
            if line.strip():
                yield number, _parsed(line)
        return
    # One line at a time: a reader with a buffer of its own would wait for more.
    header: list[str] | None = None
    for number, line in enumerate(iter(source.readline, ""), 1):
        cells = next(csv.reader([line]), [])
        if not cells:
            continue
        if header is None:
            header = [cell.strip().removeprefix("\ufeff") for cell in cells]
        elif len(cells) != len(header):
            yield number, DataError(f"expected {len(header)} cells ({', '.join(header)}), got {len(cells)}; correct it")
        else:
            yield number, dict(zip(header, cells, strict=True))


def _parsed(line: str) -> dict[str, Any] | DataError:
    try:
        row = json.loads(line)
    except ValueError as error:
        return DataError(f"expected a JSON object, got {line.strip()[:40]!r} ({error}); correct it")
    return row if isinstance(row, dict) else DataError(f"expected a JSON object, got {line.strip()[:40]!r}; correct it")


def _arguments(row: dict[str, Any], forecaster: estimators.Forecaster, number: int) -> dict[str, Any]:
    """A row as the arguments of ForecastStream.push."""
    panel, roles = forecaster.panel_, forecaster.panel_.roles
    # The names of the training, or those of every long table.
    target, time, id = (
        name if name in row else usual
        for name, usual in ((roles.target, "y"), (roles.time, "ds"), (roles.id, "unique_id"))
    )
    if target not in row:
        raise DataError(f"expected a column {roles.target!r}, got {', '.join(row) or 'none'}; name it in the header")
    found: dict[str, Any] = {"value": _number(row[target], target)}
    if time in row:
        readings, _ = read_times(
            np.array([row[time]], dtype=object),
            time,
            lambda _: "",
            roles.time_format or forecaster.time_format,
        )
        found["time"] = readings[0][0]
    if len(panel) > 1:
        found["id"] = str(row.get(id))
    for kind, names in (("past", panel.past_names), ("future", panel.future_names)):
        given = {name: row[name] for name in names if row.get(name) not in (None, "")}
        if given:
            found[kind] = {
                name: value if name in panel.categories else _numbers(value, name) for name, value in given.items()
            }
    return found


def _numbers(value: Any, name: str) -> Any:
    return [_number(each, name) for each in value] if isinstance(value, list) else _number(value, name)


def _number(cell: Any, name: str) -> float:
    text = "" if cell is None else str(cell).strip()
    if text.lower() in _MISSING:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        raise DataError(f"expected a number in {name!r}, got {text!r}; correct it") from None


def _print(made: Forecast, steps: int, as_json: bool, header: bool) -> None:
    columns = {name: values[:steps] for name, values in made.columns().items()}
    if as_json:
        last = made.panel.times(0)[-1]
        plain = {
            name: [_plain(stamp) for stamp in values] if name == "ds" else values.tolist()
            for name, values in columns.items()
            if name != "unique_id"
        }
        print(json.dumps({"unique_id": made.panel.ids[0], "after": _plain(last), **plain}), flush=True)
        return
    text = csv_text(columns)
    sys.stdout.write(text if header else text.partition("\n")[2])
    sys.stdout.flush()


def _plain(stamp: Any) -> str | int:
    return show_time(stamp) if isinstance(stamp, np.datetime64) else int(stamp)
