"""`cellgate check` on sequences with a label each, or with a tag for every step."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

from cellgate.cli import sequence_options as sequences
from cellgate.cli.check_options import AsJson, Task, train_command, usable_by
from cellgate.cli.console import say_json, say_pairs
from cellgate.data.errors import DataError
from cellgate.data.findings import sequence_findings
from cellgate.data.sequences import SequenceRoles, SequenceSet, read_sequences
from cellgate.estimators import SequenceClassifier, SequenceRegressor, SequenceTagger

_SHOWN = 6


def command(
    data: sequences.Data,
    task: Task = None,
    id: sequences.Id = None,
    time: sequences.Time = None,
    target: sequences.Target = None,
    group: sequences.Group = None,
    features: sequences.Features = None,
    gaps: sequences.Gaps = False,
    wide: sequences.Wide = False,
    steps: sequences.Steps = None,
    token: Annotated[
        str | None,
        typer.Option(help="The column of words; of a CoNLL file its number.", rich_help_panel="What the table means"),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Read sequences as `cellgate train --task classify`, `regress` or `tag` would, and say what looks odd in them.

    Exit code 0: they can be trained on. Exit code 2: they cannot, and the message names the place and the remedy.

    [bold]cellgate check gestures.csv --task classify[/bold]
    """
    made = read(data, id, time, target, sequences.split_names(features), wide, steps, token, group, gaps)
    if made.labels is None:
        raise DataError(f"{made.source}: expected a column of labels, found none; name it with --target")
    if made.per_step and task in ("classify", "regress"):
        raise DataError(
            f"{made.source}: expected one label a sequence, got labels that change within sequence "
            f"{_first_of_many(made)!r}; correct them, or learn a label a step with --task tag"
        )
    typed = {
        "id": id,
        "time": time,
        "target": target,
        "group": group,
        "features": features,
        "gaps": gaps,
        "wide": wide,
        "steps": steps,
        "token": token,
    }
    return report(made, data, task, typed, as_json)


def _first_of_many(made: SequenceSet) -> str:
    """The name of the first sequence with more than one label."""
    labels = np.asarray(made.labels)
    for name, begin, length in zip(made.ids, made.offsets.tolist(), made.lengths.tolist(), strict=True):
        if len(set(labels[begin : begin + length].tolist())) > 1:
            return name
    return made.ids[0]


def read(
    data: str,
    id: str | None,
    time: str | None,
    target: str | None,
    features: tuple[str, ...],
    wide: bool,
    steps: int | None,
    token: str | None = None,
    group: str | None = None,
    gaps: bool = False,
) -> SequenceSet:
    """Read sequences as the estimators do."""
    roles = SequenceRoles(id, time, target, features, wide, steps, token, group=group, gaps=gaps)
    return read_sequences(data, roles=roles)


def learnable(made: SequenceSet) -> bool:
    """Whether the labels are such as can be learnt."""
    return usable_by(lambda: _train(made, "", _task_of(made), {})).command is not None


def _task_of(made: SequenceSet) -> str:
    """The task that labels look like."""
    numeric = np.asarray(made.labels).dtype.kind == "f"
    return "tag" if made.per_step else "regress" if numeric else "classify"


def _train(made: SequenceSet, data: str, task: str, typed: dict[str, Any]) -> str:
    """The command that trains on the sequences; raises what the training would, for what it would refuse of them."""
    estimator = {"classify": SequenceClassifier, "regress": SequenceRegressor, "tag": SequenceTagger}[task]()
    estimator._targets(np.asarray(made.labels), True)
    estimator._prepare(made, np.arange(len(made)))
    return train_command(data, task, **typed)


def report(made: SequenceSet, data: str, task: str | None, typed: dict[str, Any], as_json: bool) -> int:
    """Say what the sequences are, and how they can be trained on with the options that were typed.

    Returns:
        The exit code.
    """
    labels = np.asarray(made.labels)
    numeric = labels.dtype.kind == "f"
    task = task or _task_of(made)
    usable = usable_by(lambda: _train(made, data, task, typed))
    odd = sequence_findings(made)
    found, counts = np.unique(labels.astype(str) if not numeric else labels, return_counts=True)
    if not as_json:
        if numeric:
            told = f"numbers from {np.nanmin(labels):g} to {np.nanmax(labels):g}"
        else:
            order = np.argsort(-counts, kind="stable")[:_SHOWN]
            shown = ", ".join(f"{found[k]} ({counts[k]:,})" for k in order)
            told = f"{len(found)} different: {shown}{', ...' if len(found) > _SHOWN else ''}"
        pairs = [("labels", ("one a step, " if made.per_step else "") + told), *(("odd", line) for line in odd)]
        say_pairs([*made.summary(), *pairs, usable.pair])
        return usable.exit_code
    say_json(
        {
            "source": made.source,
            "task": task,
            "columns": {
                **{name: getattr(made.roles, name) for name in ("id", "time", "target")},
                **({} if made.groups is None else {"group": made.roles.group}),
            },
            "features": [*made.number_names, *made.texts],
            "sequences": len(made),
            "steps": {
                "all": int(made.lengths.sum()),
                "least": int(made.lengths.min()),
                "most": int(made.lengths.max()),
            },
            "missing": made.missing,
            "labels": {"least": float(np.nanmin(labels)), "most": float(np.nanmax(labels))}
            if numeric
            else {str(name): int(count) for name, count in zip(found, counts, strict=True)},
            "notes": list(made.notes),
            "odd": odd,
            **usable.facts,
        }
    )
    return usable.exit_code
