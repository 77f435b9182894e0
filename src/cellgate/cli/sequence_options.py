"""The options of the tasks over sequences with labels: what the table means, what is held out."""

from __future__ import annotations

from typing import Annotated

import typer

from cellgate.cli.training_options import MODEL_PANEL

_TABLE = "What the table means"

Data = Annotated[
    str, typer.Argument(help="A table (CSV, TSV, Parquet, Arrow), arrays X and y in a .npz file, or a CoNLL file.")
]  # fmt: skip
Id = Annotated[str | None, typer.Option(help="The column that tells sequences apart.", rich_help_panel=_TABLE)]
Time = Annotated[
    str | None, typer.Option(help="The column to sort the steps of a sequence by.", rich_help_panel=_TABLE)
]
Target = Annotated[str | None, typer.Option(help="The column of labels.", rich_help_panel=_TABLE)]
Group = Annotated[
    str | None,
    typer.Option(help="The column of what sequences belong to (a person, a machine): those of one are all learnt from, "
                 "or all held out.", rich_help_panel=_TABLE),
]  # fmt: skip
Features = Annotated[
    str | None, typer.Option(help="The columns to read: a,b,c; all others if not given.", rich_help_panel=_TABLE)
]
Gaps = Annotated[
    bool,
    typer.Option("--gaps", help="Read the (log) time since the step before, too: for events that come at any time.",
                 rich_help_panel=_TABLE),
]  # fmt: skip
Wide = Annotated[
    bool, typer.Option("--wide", help="Every row is a whole sequence, its columns the steps.", rich_help_panel=_TABLE)
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="With --wide: how many steps a row is cut into, if not one a column.",
                 rich_help_panel=_TABLE),
]  # fmt: skip
Holdout = Annotated[
    float,
    typer.Option(min=0, max=0.9, help="The share kept out to measure on, drawn by --seed; 0 for none."),
]  # fmt: skip
Test = Annotated[str | None, typer.Option(help="Data to measure on, in a file of its own; nothing is then held out.")]
OneWay = Annotated[
    bool, typer.Option("--one-way", help="Read forwards only, not from both ends.", rich_help_panel=MODEL_PANEL)
]  # fmt: skip
Validation = Annotated[
    float, typer.Option(min=0, max=0.9, help="The share of the training kept to stop in time.",
                        rich_help_panel=MODEL_PANEL)
]  # fmt: skip


def split_names(text: str | None) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
