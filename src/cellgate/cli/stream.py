"""`cellgate stream`: rows on standard input, forecasts on standard output as they come."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import numpy as np
import typer

from cellgate import estimators
from cellgate.cli.forecast_files import csv_text, with_times_written
from cellgate.cli.stream_notes import Gaps, Known, Zoneless, note
from cellgate.cli.stream_rows import csv_rows, json_rows, pushes
from cellgate.data import DataError
from cellgate.errors import InputError

if TYPE_CHECKING:
    from cellgate.estimators.forecast import Forecast

_HOPELESS = 20  # so many rows refused before any is accepted are the wrong rows


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps ahead to print after each row; all of the horizon if not given.")
    ] = None,
    after: Annotated[
        Path | None,
        typer.Option(
            help="A file of rows that came since the training, such as the log of a stream that was killed: read "
            "first, as rows of standard input are, and not answered."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a row in and out, instead of CSV.")] = False,
) -> int:
    """Forecast after every row that comes on standard input, without training again.

    Rows are CSV, or JSON objects with --json. A first line that names the columns is the header; without one, as
    `tail` gives them, rows have the columns of the training's table in their order. Each row is answered at once with
    what follows it; the LSTM's state is carried on. Rows of steps that the model's history has, and rows that come
    twice, are passed over and counted on standard error; steps without a row are told there, and taken as missing. A
    row that cannot be used is named there and passed over too; the exit code is then 2 at the end. To go on after a
    stop, give --after the rows that came meanwhile.

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
    run = _Run(forecaster, steps, as_json)
    try:
        if after is not None:
            # As standard input is read: what is no UTF-8 is a row that cannot be used, not the end of the stream.
            with after.open(encoding="utf-8", errors="replace", newline="") as rows:
                run.take(rows, f"{after}, row", answered=False)
        run.take(sys.stdin, "row")
    finally:  # Ctrl-C is the usual end of a stream
        run.say_counts()
    return 2 if run.refused else 0


class _Run:
    """A stream and what has come of its rows so far."""

    def __init__(self, forecaster: estimators.Forecaster, steps: int | None, as_json: bool) -> None:
        self.refused = 0
        self._forecaster, self._steps, self._as_json = forecaster, steps, as_json
        self._stream = forecaster.stream()
        self._known, self._gaps, self._zoneless = Known(forecaster, self._stream), Gaps(), Zoneless(forecaster)
        self._last: dict[str, Any] = {}
        self._accepted, self._header = 0, True

    def take(self, source: TextIO, called: str, answered: bool = True) -> None:
        """Take the rows of a source, and print the answer to each as it comes.

        Args:
            source: lines.
            called: what a row is called in messages, before its number.
            answered: whether forecasts are printed.

        Raises:
            InputError: where nothing of it can be used.
        """
        rows = json_rows(source) if self._as_json else csv_rows(source, self._forecaster)
        for number, row in rows:
            try:
                if isinstance(row, DataError):
                    raise row
                self._take_row(f"{called} {number}", row, answered)
            except InputError as error:
                self.refused += 1
                note(f"{called} {number}: {error}")
                if self.refused == _HOPELESS and not self._accepted:
                    raise InputError(
                        f"expected rows like those of the training, got {self.refused} that cannot be used and no "
                        "other; correct what writes them"
                    ) from None

    def _take_row(self, called: str, row: dict[str, Any], answered: bool) -> None:
        self._zoneless.look_at(row)
        for push in pushes(row, self._forecaster, self._last):
            if not self._known.has(called, push):
                made = self._stream.push(**push, steps=self._steps)
                self._gaps.look_at(called, push, self._stream)
                if answered:
                    _print(made, self._as_json, self._header)
                    self._header = False
            self._accepted += 1
            if "time" in push:
                self._last[push["id"]] = push["time"]

    def say_counts(self) -> None:
        """What was not told row by row."""
        self._known.say_count()
        self._gaps.say_count()


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
