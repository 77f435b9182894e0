"""`cellgate check`: what a table would be taken for, and what looks odd, without training."""

from __future__ import annotations

from typing import Annotated

import typer

from cellgate.cli.columns import Data, Freq, Future, Id, Past, Season, Static, Target, Time, TimeFormat, Wide, names
from cellgate.cli.console import say_json, say_pairs
from cellgate.data import Roles, read_panel
from cellgate.data.findings import findings
from cellgate.data.panel import show_time


def command(
    data: Data,
    time: Time = None,
    target: Target = None,
    id: Id = None,
    wide: Wide = False,
    freq: Freq = None,
    season: Season = None,
    time_format: TimeFormat = None,
    past: Past = None,
    future: Future = None,
    static: Static = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Read a table as `cellgate train` would, and say what it was taken for and what looks odd in it.

    Exit code 0: it can be trained on. Exit code 2: it cannot, and the message names the line and the remedy.

    [bold]cellgate check sales.csv[/bold]
    """
    beside = names(past), names(future), names(static)
    panel = read_panel(data, Roles(time, target, id, wide, freq, season, time_format, *beside))
    odd = findings(panel)
    if as_json:
        series = [
            {
                "id": name,
                "start": show_time(panel.starts[k]),
                "end": show_time(panel.times(k)[-1]),
                "steps": len(values),
                "missing": int((values != values).sum()),
            }
            for k, (name, values) in enumerate(zip(panel.ids, panel.values, strict=True))
        ]
        say_json(
            {
                "source": panel.source,
                "columns": {"time": panel.roles.time, "target": panel.roles.target, "id": panel.roles.id},
                "frequency": str(panel.frequency),
                "season": panel.season,
                "notes": list(panel.notes),
                "odd": odd,
                "series": series,
            }
        )
    else:
        say_pairs([*panel.summary(), *(("odd", line) for line in odd), ("usable", "yes")])
