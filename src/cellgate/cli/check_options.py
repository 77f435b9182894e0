"""The options that every `cellgate check` has, whatever the data is for."""

from __future__ import annotations

from typing import Annotated

import typer

Task = Annotated[
    str | None,
    typer.Option(help="What the data is for: forecast, classify, regress, tag or generate; by the data if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]
