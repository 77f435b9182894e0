"""`cellgate check` on series to forecast; a table that is none is tried as labelled sequences and as a text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cellgate.cli.check_options import AsJson, Task, train_command, usable_by
from cellgate.cli.columns import Data, Freq, Future, Id, Past, Season, Static, Target, Time, TimeFormat, Wide, names
from cellgate.cli.console import say_json, say_pairs
from cellgate.data import DataError, Panel, Roles, read_panel
from cellgate.data.findings import findings
from cellgate.data.panel import show_time
from cellgate.data.words import counted
from cellgate.estimators.trainable import learnt_from, left_out_note, measurable, require_trainable

_HORIZON = 12  # of `cellgate train`, where it is not typed
_LABELS = {"label", "labels", "class", "tag"}


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
) -> int:
    """Read data as `cellgate train` would, and say what it was taken for and what looks odd in it.

    Exit code 0: it can be trained on. Exit code 2: it cannot, and the message names the line and the remedy.
    --task forecast, classify, regress, tag or generate says what it is for; without it the data decides.

    [bold]cellgate check sales.csv[/bold]
    """
    beside = names(past), names(future), names(static)
    roles = Roles(time, target, id, wide, freq, season, time_format, *beside)
    open_to_all = task is None and roles == Roles(time, target, id, wide)
    try:
        panel = read_panel(data, roles)
    except DataError:
        code = _otherwise(data, roles, as_json) if open_to_all else None
        if code is None:
            raise
        return code
    if open_to_all and target is None and _labelled(panel):
        code = _as_sequences(data, roles, as_json, or_not=True)
        if code is not None:
            return code
    return report(panel, data, roles, as_json)


def _labelled(panel: Panel) -> bool:
    """Whether a column that is not used has the name of labels: the table is one of sequences, more likely than not."""
    return any(name.lower() in _LABELS and name not in (panel.roles.target, panel.roles.id) for name in panel.columns)


def _otherwise(data: str, roles: Roles, as_json: bool) -> int | None:
    """Report on the data as labelled sequences, or as a text, if it is that; the exit code, None if it is neither."""
    from cellgate.cli import check_text

    code = _as_sequences(data, roles, as_json)
    if code is not None:
        return code
    if roles == Roles() and Path(data).suffix.lower() in {".txt", ""} and Path(data).is_file():
        try:
            text = check_text.read(data)
        except DataError:
            return None
        return check_text.report(text, data, "characters", as_json)
    return None


def _as_sequences(data: str, roles: Roles, as_json: bool, or_not: bool = False) -> int | None:
    """Report on the data as labelled sequences; the exit code, None if they are no such, or not usable and `or_not`."""
    from cellgate.cli import check_sequences

    try:
        sequences = check_sequences.read(data, roles.id, roles.time, roles.target, (), roles.wide, None)
    except DataError:
        return None
    if sequences.labels is None or (or_not and not check_sequences.learnable(sequences)):
        return None
    typed = {"id": roles.id, "time": roles.time, "target": roles.target, "wide": roles.wide}
    return check_sequences.report(sequences, data, None, typed, as_json)


def report(panel: Panel, data: str, roles: Roles, as_json: bool) -> int:
    """Say what the series are, and how they can be trained on; `roles` are those typed. Gives the exit code."""
    odd = findings(panel)
    sizes: dict[str, str] = {}
    usable = usable_by(lambda: train_command(data, **asdict(roles), **_sizes(panel, roles, sizes)))
    held = int(sizes.get("holdout") or sizes.get("horizon") or _HORIZON)
    if sizes:
        usual = _usual(panel)
        name = f"series {panel.ids[usual]!r}" if len(panel) > 1 else "the series"
        out = f"the last {held}" if held else "none"
        odd.append(
            f"{name} has {counted(len(panel.values[usual]), 'step')}: too few for the usual horizon of {_HORIZON} "
            f"and as many held out; with {out} held out, {sizes['horizon']} can be predicted"
        )
    if usable.command is not None:
        head, _ = _parted(panel, held)
        learnt = {head.ids[k] for k in learnt_from(head, _params(_HORIZON, roles))}
        untrained = [name for name in panel.ids if name not in learnt]
        if untrained:
            odd.append(f"left out of the training {left_out_note(untrained, len(panel), held)}")
    if not as_json:
        say_pairs([*panel.summary(), *(("odd", line) for line in odd), usable.pair])
        return usable.exit_code
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
            **usable.facts,
            "series": series,
        }
    )
    return usable.exit_code


def _sizes(panel: Panel, roles: Roles, sizes: dict[str, str]) -> dict[str, str]:
    """Put --horizon and --holdout into `sizes`, where the series are too short for the usual ones.

    Raises:
        DataError: where nothing fits.
    """
    usual = len(panel.values[_usual(panel)])
    measured = [(horizon, horizon) for horizon in range(min(_HORIZON, usual - 2), 0, -1)]
    failure: DataError | None = None
    for horizon, holdout in [*measured, *((horizon, 0) for horizon in range(_HORIZON, 0, -1))]:
        try:
            head, _ = _parted(panel, holdout)
            require_trainable(head, _params(horizon, roles))
        except DataError as error:
            failure = error
            continue
        if (horizon, holdout) == (_HORIZON, _HORIZON):
            return sizes
        sizes.update({"horizon": str(horizon)} if holdout else {"horizon": str(horizon), "holdout": "0"})
        return sizes
    assert failure is not None
    raise failure


def _usual(panel: Panel) -> int:
    """The series of the middle length, by which sizes go: a few that are shorter are left out of the training."""
    order = sorted(range(len(panel)), key=lambda k: len(panel.values[k]))
    return order[(len(order) - 1) // 2]


def _parted(panel: Panel, holdout: int) -> tuple[Panel, Panel]:
    """What the training would learn from, and what it would hold out."""
    return panel.select(measurable(panel, holdout)).split(holdout) if holdout else (panel, panel)


def _params(horizon: int, roles: Roles) -> dict[str, Any]:
    return {"horizon": horizon, "season": roles.season, "validation": None}
