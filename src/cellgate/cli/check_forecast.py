"""`cellgate check` on series to forecast; a table that is none is tried as labelled sequences and as a text."""

from __future__ import annotations

from pathlib import Path

from cellgate.cli.check_options import AsJson, Task
from cellgate.cli.columns import Data, Freq, Future, Id, Past, Season, Static, Target, Time, TimeFormat, Wide, names
from cellgate.cli.console import say_json, say_pairs
from cellgate.data import DataError, Panel, Roles, read_panel
from cellgate.data.findings import findings
from cellgate.data.panel import show_time


def command(
    data: Data,
    task: Task = None,
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
    as_json: AsJson = False,
) -> None:
    """Read data as `cellgate train` would, and say what it was taken for and what looks odd in it.

    Exit code 0: it can be trained on. Exit code 2: it cannot, and the message names the line and the remedy.
    --task forecast, classify, regress, tag or generate says what it is for; without it the data decides.

    [bold]cellgate check sales.csv[/bold]
    """
    beside = names(past), names(future), names(static)
    roles = Roles(time, target, id, wide, freq, season, time_format, *beside)
    try:
        panel = read_panel(data, roles)
    except DataError:
        if task is None and roles == Roles(time, target, id, wide) and _otherwise(data, roles, as_json):
            return
        raise
    report(panel, data, as_json)


def _otherwise(data: str, roles: Roles, as_json: bool) -> bool:
    """Report on the data as labelled sequences, or as a text, if it is that."""
    from cellgate.cli import check_sequences, check_text

    try:
        sequences = check_sequences.read(data, roles.id, roles.time, roles.target, (), roles.wide, None)
    except DataError:
        sequences = None
    if sequences is not None and sequences.labels is not None:
        check_sequences.report(sequences, data, None, as_json)
        return True
    if roles == Roles() and Path(data).suffix.lower() in {".txt", ""} and Path(data).is_file():
        try:
            text = check_text.read(data)
        except DataError:
            return False
        check_text.report(text, data, "characters", as_json)
        return True
    return False


def report(panel: Panel, data: str, as_json: bool) -> None:
    """Say what the series are."""
    odd = findings(panel)
    if not as_json:
        usable = f"yes: cellgate train {data} --out model"
        say_pairs([*panel.summary(), *(("odd", line) for line in odd), ("usable", usable)])
        return
    series = [
        {
            "id": name,
            "start": show_time(panel.starts[k]),
            "end": show_time(panel.times(k)[-1]),
            "steps": len(values),
            "missing": int((values != values).sum()),
            **({"known_ahead": panel.known_ahead(k)} if panel.future else {}),
        }
        for k, (name, values) in enumerate(zip(panel.ids, panel.values, strict=True))
    ]
    roles = panel.roles
    say_json(
        {
            "source": panel.source,
            "task": "forecast",
            "columns": {
                "time": roles.time,
                "target": roles.target,
                "id": roles.id,
                "past": list(roles.past),
                "future": list(roles.future),
                "static": list(roles.static),
            },
            "frequency": str(panel.frequency),
            "season": panel.season,
            "categories": {name: list(values) for name, values in panel.categories.items()},
            "notes": list(panel.notes),
            "odd": odd,
            "series": series,
        }
    )
