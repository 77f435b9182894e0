"""`cellgate predict`: what a trained model says of data, or of what follows them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cellgate import estimators
from cellgate.cli.columns import names
from cellgate.cli.console import say_json
from cellgate.cli.files import require_csv
from cellgate.cli.forecast_files import csv_text, with_times_written
from cellgate.data.files import write_atomic
from cellgate.errors import InputError

if TYPE_CHECKING:
    from cellgate.estimators.forecast import Forecast


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Data with the same columns as in training. A forecaster may go without: it then continues the "
            "history of its training."
        ),
    ] = None,
    future_data: Annotated[
        str | None,
        typer.Option(help="Future-known columns of the steps to come, if --data lacks them."),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Forecasts: only of these series; a,b or repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A CSV file to write, instead of standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of CSV.")] = False,
) -> None:
    """Print a model's predictions as CSV.

    A forecaster gives what follows: unique_id, ds, cellgate, cellgate-lo-90, cellgate-hi-90. The others give a row
    a sequence (or a step): unique_id, prediction, and for classes their probabilities.

    [bold]cellgate predict model --data newer.csv --out next.csv[/bold]
    """
    if out is not None:
        require_csv(out, "--out", force)
    estimator = estimators.load(model)
    columns, key, made = _predict(estimator, data, future_data, names(series) or None)
    # What was assumed at training was said then.
    notes = [note for note in made.panel.notes if note not in estimator.panel_.notes] if made else []
    for note in [*notes, *([made.note] if made and made.note else [])]:
        print(f"note: {note}", file=sys.stderr)
    columns = with_times_written(columns, made.panel if made else None)
    text = csv_text(columns)
    if out is not None:
        write_atomic(out, text.encode())
    if as_json:
        rows = [
            {name: _plain(value) for name, value in zip(columns, row, strict=True)}
            for row in zip(*columns.values(), strict=True)
        ]
        left_out = {"left_out": list(made.left_out)} if made and made.left_out else {}
        say_json({"model": str(model), key: rows, **left_out, **({"out": str(out)} if out else {})})
    elif out is None:
        sys.stdout.write(text)


def _predict(
    estimator: Any, data: str | None, future: str | None, series: tuple[str, ...] | None
) -> tuple[dict[str, np.ndarray], str, Forecast | None]:
    """Columns, what they are called in JSON, and the forecast if it is one."""
    if isinstance(estimator, estimators.Forecaster):
        made = estimator.forecast(data, future=future, ids=series)
        return made.columns(), "forecast", made
    if not hasattr(estimator, "table"):
        raise InputError(f"expected a model that predicts, got a {type(estimator).__name__}; use cellgate generate")
    if future is not None:
        raise InputError(f"--future-data: expected a forecaster, got a {type(estimator).__name__}; leave it out")
    if series is not None:
        raise InputError(f"--series: expected a forecaster, got a {type(estimator).__name__}; leave it out")
    if data is None:
        raise InputError(f"--data: expected sequences to predict for, as the model is a {type(estimator).__name__}")
    sequences = estimator.read_again(data)
    for note in estimator.remarks(replace(sequences, labels=None)):
        print(f"note: {note}", file=sys.stderr)
    return estimator.table(sequences), "predictions", None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
