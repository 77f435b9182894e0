"""`cellgate stream`: rows on standard input, forecasts on standard output as they come."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cellgate import estimators
from cellgate.cli.forecast_files import csv_text, with_times_written
from cellgate.cli.stream_rows import csv_rows, json_rows, pushes
from cellgate.data import DataError
from cellgate.data.clocks import unzoned_note, without_zone
from cellgate.data.newer import USUAL
from cellgate.data.panel import show_time
from cellgate.data.words import counted
from cellgate.errors import InputError

if TYPE_CHECKING:
    from cellgate.estimators.forecast import Forecast

_HOPELESS = 20  # so many rows refused before any is accepted are the wrong rows


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps ahead to print after each row; all of the horizon if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row in and out, instead of CSV.")] = False,
) -> int:
    """Forecast after every row that comes on standard input, without training again.

    Rows are CSV, or JSON objects with --json. A first line that names the columns is the header; without one, as
    `tail` gives them, rows have the columns of the training's table in their order. Each row is answered at once with
    what follows it; the LSTM's state is carried on. Rows of steps that the model's history has are passed over and
    counted on standard error. A row that cannot be used is named there and passed over too; the exit code is then 2 at
    the end.

    [bold]tail -f sales.csv | cellgate stream model --steps 1[/bold]
    """
    forecaster: Any = estimators.load(model)
    if not isinstance(forecaster, estimators.Forecaster):
        raise InputError(f"{model}: expected a Forecaster's folder, got a {type(forecaster).__name__}'s")
    horizon = forecaster.task_.horizon
    if steps is not None and steps > horizon:
        raise InputError(
            f"--steps {steps}: expected at most the model's horizon of {horizon}; give fewer, or leave it out"
        )
    known = _Known(forecaster)
    try:
        return _run(forecaster, known, steps, as_json)
    finally:  # Ctrl-C is the usual end of a stream
        known.say_count()


def _run(forecaster: estimators.Forecaster, known: _Known, steps: int | None, as_json: bool) -> int:
    stream, refused, accepted, header = forecaster.stream(), 0, 0, True
    last: dict[str, Any] = {}
    zoneless = _Zoneless(forecaster)
    for number, row in json_rows(sys.stdin) if as_json else csv_rows(sys.stdin, forecaster):
        try:
            if isinstance(row, DataError):
                raise row
            zoneless.look_at(row)
            for push in pushes(row, forecaster, last):
                if not known.has(number, push):
                    _print(stream.push(**push, steps=steps), as_json, header)
                    header = False
                accepted += 1
                if "time" in push:
                    last[push["id"]] = push["time"]
        except InputError as error:
            refused += 1
            print(f"row {number}: {error}", file=sys.stderr, flush=True)
            if refused == _HOPELESS and not accepted:
                raise InputError(
                    f"expected rows like those of the training, got {refused} that cannot be used and no other; "
                    "correct what writes them"
                ) from None
    return 2 if refused else 0


class _Zoneless:
    """Times without the zone that the training's times had: told of when the first comes."""

    def __init__(self, forecaster: estimators.Forecaster) -> None:
        roles = forecaster.panel_.roles
        self._form, self._names = roles.time_format or forecaster.time_format, (roles.time, USUAL["time"])
        self._told = False

    def look_at(self, row: dict[str, Any]) -> None:
        name = next((name for name in self._names if name in row), None)
        if name is not None and not self._told and without_zone(row[name], self._form):
            self._told = True
            print(f"note: {unzoned_note(name)}", file=sys.stderr, flush=True)


class _Known:
    """Rows of steps that the history of the model has: told of when the first comes, counted at the end."""

    def __init__(self, forecaster: estimators.Forecaster) -> None:
        self._panel = forecaster.panel_
        self._same = self._other = 0

    def has(self, number: int, push: dict[str, Any]) -> bool:
        """Whether the history has the step of a row; if so it is counted."""
        panel, name, time = self._panel, push.get("id", self._panel.ids[0]), push.get("time")
        if time is None or name not in panel.ids:
            return False
        k = panel.ids.index(name)
        if isinstance(time, np.datetime64) != isinstance(panel.starts[k], np.datetime64):
            return False
        offset, exact = panel.frequency.positions(np.array([time]), panel.starts[k])
        step = int(offset[0])
        if not exact[0] or not 0 <= step < len(panel.values[k]):
            return False
        if not self._same + self._other:
            last = show_time(panel.times(k)[-1])
            self._say(f"row {number}: the model's history goes up to {last}; rows up to there are passed over")
        if np.isclose(push["value"], panel.values[k][step], rtol=1e-6, equal_nan=True):
            self._same += 1
        else:
            self._other += 1
        return True

    def say_count(self) -> None:
        """How many they were."""
        count = self._same + self._other
        if count:
            other = f", {self._other:,} of them other than there" if self._other else ""
            self._say(f"passed over {counted(count, 'value')} of steps that the history has{other}")

    @staticmethod
    def _say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def _print(made: Forecast, as_json: bool, header: bool) -> None:
    columns = made.columns()
    if as_json:
        after = {"after": made.panel.times(0)[-1:]}
        written = with_times_written({**after, **columns}, made.panel)
        plain: dict[str, Any] = {"unique_id": made.panel.ids[0], "after": _plain(written["after"][0])}
        plain |= {name: [_plain(value) for value in written[name]] for name in columns if name != "unique_id"}
        print(json.dumps(plain), flush=True)
        return
    text = csv_text(columns, made.panel)
    sys.stdout.write(text if header else text.partition("\n")[2])
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
