"""`cellgate predict`: what follows, by a trained model's folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cellgate.cli.console import say_json
from cellgate.cli.forecast_files import csv_text
from cellgate.data.files import write_atomic
from cellgate.data.panel import show_time
from cellgate.errors import InputError
from cellgate.estimators import load


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    data: Annotated[
        str | None,
        typer.Option(help="Newer history with the same columns; without it, that of the training is continued."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A CSV file to write, instead of standard output.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of CSV.")] = False,
) -> None:
    """Print what follows the history, as CSV: unique_id, ds, cellgate, cellgate-lo-90, cellgate-hi-90.

    [bold]cellgate predict model --data newer.csv --out next.csv[/bold]
    """
    if out is not None and out.exists() and not force:
        raise InputError(f"--out {out}: expected a new file, got one that is there; give another name, or --force")
    columns = load(model).forecast(data).columns()
    if as_json:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        for row in rows:
            row["ds"] = show_time(row["ds"]) if columns["ds"].dtype.kind == "M" else int(row["ds"])
        say_json({"model": str(model), "forecast": rows, **({"out": str(out)} if out else {})})
    text = csv_text(columns)
    if out is not None:
        write_atomic(out, text.encode())
    elif not as_json:
        sys.stdout.write(text)
