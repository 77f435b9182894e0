"""`cellgate info`: what this installation is, what it can do, and what is missing with its cost."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cellgate.cli.console import paper


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for a program.")] = False,
) -> None:
    """Show versions, the native core and its instruction set, the backends with reasons, and the threads.

    Put the output into a bug report. The same in Python: print(cellgate.info()).
    """
    import cellgate

    about = cellgate.info().as_dict()
    if as_json:
        print(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        show(about, paper(highlight=False))


def show(about: dict[str, Any], console: Console) -> None:
    """Print ``cellgate.info().as_dict()`` for a person.

    Args:
        about: What is installed: versions, machine, threads, then "backends" (name to state) and "details" (name
            to facts).
        console: Where to print.
    """
    versions = Table.grid(padding=(0, 2))
    versions.add_column(style="bold")
    versions.add_column()
    for name in ("cellgate", "torch", "python", "machine", "threads"):
        versions.add_row(name, escape(str(about[name])))
    versions.add_row("CUDA", escape(about["cuda"] or "none"))
    console.print(versions)
    console.print()

    backends = Table.grid(padding=(0, 2))
    backends.add_column(style="bold")
    backends.add_column(overflow="fold")
    for name, state in about["backends"].items():
        colour = "green" if state == "ready" else "yellow"
        backends.add_row(name, f"[{colour}]{escape(state)}[/{colour}]")
        for key, value in about["details"].get(name, {}).items():
            said = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            backends.add_row("", f"[dim]{escape(key.replace('_', ' '))}:[/dim] {escape(said)}")
    console.print(backends)
