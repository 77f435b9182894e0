"""`cellgate check` on a text to learn to write."""

from __future__ import annotations

from typing import Annotated

import typer

from cellgate.cli.check_options import AsJson, Task
from cellgate.cli.console import say_json, say_pairs
from cellgate.data.findings import text_findings
from cellgate.data.text import Text, read_text, split
from cellgate.errors import InputError


def command(
    data: Annotated[str, typer.Argument(help="A text file.")],
    task: Task = None,
    units: Annotated[str, typer.Option(help="What is learnt one by one: characters or words.")] = "characters",
    as_json: AsJson = False,
) -> None:
    """Read a text as `cellgate train --task generate` would, and say how much it is and what looks odd in it.

    [bold]cellgate check shakespeare.txt --task generate[/bold]
    """
    if units not in ("characters", "words"):
        raise InputError(f"--units: expected characters or words, got {units!r}")
    report(read(data), data, units, as_json)


def read(data: str) -> Text:
    """Read a file; unlike read_text, never takes the name of a missing one for a text."""
    from pathlib import Path

    return read_text(Path(data))


def report(text: Text, data: str, units: str, as_json: bool) -> None:
    """Say what the text is."""
    tokens = list(split(text.text, units))  # pyright: ignore[reportArgumentType]
    different = len(set(tokens))
    odd = text_findings(text, tokens, units)
    lines = text.text.count("\n") + 1
    if as_json:
        say_json(
            {
                "source": text.source,
                "task": "generate",
                "characters": len(text.text),
                "lines": lines,
                "units": units,
                "tokens": len(tokens),
                "different": different,
                "notes": list(text.notes),
                "odd": odd,
            }
        )
        return
    say_pairs(
        [
            ("data", f"{text.source}: {len(text.text):,} characters, {lines:,} lines"),
            ("reads", f"{len(tokens):,} {units}, {different:,} different"),
            *(("note", note) for note in text.notes),
            *(("odd", line) for line in odd),
            ("usable", f"yes: cellgate train {data} --task generate --out model"),
        ]
    )
