"""The options that say what a table means; every verb that reads one takes the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Annotated

import typer

from cellgate.cli.training_options import MODEL_PANEL
from cellgate.errors import InputError
from cellgate.tasks.forecast_task import HIGHEST_LEVEL

_PANEL = "What the table means"

Data = Annotated[str, typer.Argument(help="A CSV, TSV, Parquet or Arrow file, or the name of bundled data: airline.")]
Time = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The time column; found if not given.", rich_help_panel=_PANEL),
]
Target = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column to predict; found if not given.", rich_help_panel=_PANEL),
]
Id = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="The column that tells several series apart; found if not given.", rich_help_panel=_PANEL
    ),
]
Wide = Annotated[bool, typer.Option("--wide", help="Every number column is a series.", rich_help_panel=_PANEL)]
Freq = Annotated[
    str | None,
    typer.Option(
        help="The frequency: h, 30min, D, B, Mon-Sat, W, MS, Q, ...; found if not given.", rich_help_panel=_PANEL
    ),
]
Season = Annotated[
    int | None, typer.Option(min=1, help="Steps in a cycle, 1 for none; found if not given.", rich_help_panel=_PANEL)
]
TimeFormat = Annotated[
    str | None, typer.Option(help="How times are written, as in strptime: '%d.%m.%Y'.", rich_help_panel=_PANEL)
]
Past = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMNS", help="Columns known up to the last step only; a,b or repeated.", rich_help_panel=_PANEL
    ),
]
Future = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMNS",
        help="Columns known for the steps to predict as well; a,b or repeated.",
        rich_help_panel=_PANEL,
    ),
]
Static = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMNS",
        help="Columns that are the same throughout a series; a,b or repeated.",
        rich_help_panel=_PANEL,
    ),
]
Level = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PERCENT",
        help="Intervals to give, in percent, 90 if not given; 80,95 or repeated.",
        rich_help_panel=MODEL_PANEL,
    ),
]


def levels(given: list[str] | None) -> tuple[float, ...]:
    """The intervals of a repeatable option: `--level 80,95` is (80.0, 95.0); (90.0,) where none is given.

    Raises:
        InputError: for what is no percentage from 1 to 99.99.
    """
    found = []
    for word in names(given):
        try:
            value = float(word)
        except ValueError:
            value = -1.0
        if not 1 <= value <= HIGHEST_LEVEL:
            expected = f"percentages from 1 to {HIGHEST_LEVEL}"
            raise InputError(f"--level: expected {expected}, got {word!r}; write --level 80,95")
        found.append(value)
    return tuple(dict.fromkeys(found)) or (90.0,)


def as_typed(columns: Sequence[str]) -> str:
    """Column names as one option has them: what `names` reads."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(columns)
    return text.getvalue()


def names(given: list[str] | None) -> tuple[str, ...]:
    """The column names of a repeatable option: `--past a,b --past '"c,d"'` is ("a", "b", "c,d"), as in CSV."""
    cells = (name for text in given or () for name in next(csv.reader([text], skipinitialspace=True), []))
    return tuple(name.strip() for name in cells if name.strip())
