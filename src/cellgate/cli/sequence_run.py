"""The course of a training over sequences with labels, whatever the label: echo, hold out, fit, measure, write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cellgate.cli.app import INTERRUPTED
from cellgate.cli.config import seconds_so_far
from cellgate.cli.console import say, say_json, say_pairs, say_table
from cellgate.cli.training_run import (
    alone_in,
    fit_and_save,
    next_command,
    report_line,
    require_fresh,
    took,
    training_facts,
    training_line,
)
from cellgate.data.groups import require_groups
from cellgate.data.sequences import SequenceSet, read_sequences
from cellgate.data.words import counted, some
from cellgate.errors import InputError

_PROBABILITIES = "log loss"  # the score of a classifier's probabilities


@dataclass(frozen=True)
class Score:
    """The score that decides between the model and its baseline."""

    name: str
    higher_is_better: bool


def run(
    estimator: Any,
    data: str,
    out: Path,
    score: Score,
    *,
    test: str | None,
    holdout: float,
    resume: bool,
    checkpoint_every: float,
    tensorboard: bool,
    report: bool,
    force: bool,
    as_json: bool,
) -> int | None:
    """Train, measure and save; prints a block before and one after.

    Returns:
        The exit code: None, or that of an interruption after which the best so far was saved.
    """
    require_fresh(out, force, resume)
    sequences = estimator.read(data)
    if sequences.labels is None:
        raise InputError(f"{sequences.source}: expected a column of labels, found none; name it with --target")
    learnt, measured, told = _split(estimator, sequences, test, holdout)
    if not as_json:
        say_pairs([*sequences.summary(), *label_lines(sequences), ("held out", told)])
    held = None if measured is None else replace(measured, source=f"{measured.source}, held out")
    opened = (held or learnt) if report else None
    found = {name: getattr(sequences.roles, name) or None for name in ("id", "time", "target", "token")}
    with alone_in(out, force, resume):
        metrics = fit_and_save(
            out, estimator, learnt, measured, opened, as_json, tensorboard, checkpoint_every, lambda: found
        )
    record = estimator.record_
    if as_json:
        facts = {"out": str(out), "data": dict(sequences.summary()[:1])["data"], "metrics": metrics}
        if sequences.groups is not None:
            of_both = {"learnt": learnt, "measured": measured}
            facts["groups"] = {name: _groups(part) for name, part in of_both.items()}
        say_json({**facts, "training": training_facts(record), "seconds": seconds_so_far()})
    else:
        say_pairs([("trained", training_line(units(estimator.model_), record))])
        if metrics:
            say()
            say_scores(metrics, score)
        say()
        say(f"wrote {out}: the model{took()}")
        if report:
            say(report_line(out))
        say(f"next  {next_command(out, type(estimator).__name__)}")
    return INTERRUPTED if record.stopped_by == "Ctrl-C" else None


def _groups(part: SequenceSet | None) -> list[str]:
    return [] if part is None or part.groups is None else sorted(set(part.groups))


def _split(
    estimator: Any, sequences: SequenceSet, test: str | None, holdout: float
) -> tuple[SequenceSet, SequenceSet | None, str]:
    if test is not None:
        measured = _test(estimator, test, sequences)
        return sequences, measured, f"nothing: measured on {test}{_seen(sequences, measured)}"
    from cellgate.tasks.held_back import hold_back

    if holdout:
        also = bool(estimator.validation)
        told = f"one to measure on{', one to stop in time' if also else ''} and one to learn from"
        require_groups(sequences, 2 + also, told, f"--holdout 0{' or --validation 0' if also else ''}")
    strata = estimator.strata(sequences)
    rows, held = hold_back(strata, holdout, estimator.seed, sequences.groups)
    if not len(held):
        return sequences, None, "nothing: the model is not measured"
    drawn = "as many of each class" if len(np.unique(strata)) > 1 else "at random"
    whole = ""
    if sequences.groups is not None:
        drawn = drawn.replace("as many", "about as many")
        whole = f" in {len(set(sequences.groups[held])):,} of {counted(len(set(sequences.groups)), 'group')}"
    told = f"{len(held):,} of {len(sequences):,} sequences{whole}, drawn {drawn} (seed {estimator.seed})"
    return sequences.pick(rows), sequences.pick(held), told


def _test(estimator: Any, test: str, sequences: SequenceSet) -> SequenceSet:
    """The sequences to measure on, read as the training's were; what they lack is said before the training."""
    measured = read_sequences(test, None, sequences.roles, again=True)
    if measured.labels is None:
        raise InputError(f"--test {test}: expected labels to measure by, found none; add their column")
    estimator.require_labels(measured, sequences.roles.target)
    names, found = ([*part.number_names, *part.texts] for part in (sequences, measured))
    if names != found:
        raise InputError(f"--test {test}: expected the features {some(names)} as in training, got {some(found)}")
    return measured


def _seen(sequences: SequenceSet, measured: SequenceSet) -> str:
    """What of the groups to measure on is also learnt from."""
    if sequences.groups is None or measured.groups is None:
        return ""
    groups = set(measured.groups)
    both = len(groups & set(sequences.groups))
    return f"; {both:,} of its {counted(len(groups), 'group')} are also among those learnt from" if both else ""


def label_lines(sequences: SequenceSet) -> list[tuple[str, str]]:
    """What the labels are, for the echo block."""
    labels = np.asarray(sequences.labels)
    if labels.dtype.kind == "f":
        return [("labels", f"numbers from {np.nanmin(labels):g} to {np.nanmax(labels):g}")]
    names, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = ", ".join(f"{names[k]} ({counts[k]:,})" for k in order[:6])
    return [("labels", f"{len(names)} different: {shown}{', ...' if len(names) > 6 else ''}")]


def units(model: Any) -> str:
    """The network in words."""
    lstm = model.lstm
    return f"{lstm.num_layers} x {lstm.hidden_size} units{' in each direction' if lstm.bidirectional else ''}"


def say_scores(metrics: dict[str, Any], score: Score) -> None:
    """The table of scores, and which of the two is better, without varnish."""
    names = list(metrics["cellgate"])
    counts = (counted(count, what.removesuffix("s")) for what, count in metrics.items() if isinstance(count, int))
    measured = f"on {next(counts, 'held-out')}"
    rivals = _rivals(metrics)
    say_table([measured, *names], [[name, *(show(metrics[name][s]) for s in names)] for name in rivals])
    say_better(metrics, score)


def _rivals(metrics: dict[str, Any]) -> list[str]:
    return [name for name, values in metrics.items() if isinstance(values, dict)]


def say_better(metrics: dict[str, Any], score: Score) -> None:
    """Which of the two is better, and what the scores leave out."""
    best = max if score.higher_is_better else min
    others = [name for name in _rivals(metrics) if name != "cellgate"]
    rival = best(others, key=lambda name: metrics[name][score.name])
    say(verdict(metrics["cellgate"][score.name], metrics[rival][score.name], rival, score))
    second = second_verdict(metrics["cellgate"], metrics[rival], score)
    if second:
        say(second)
    if unknown := metrics.get("unknown"):
        say(
            f"note: {unknown:,} of these were not in the training and are all read as one, which is easier to foresee "
            "than what they are"
        )


def verdict(ours: float, theirs: float, rival: str, score: Score) -> str:
    """Which is better, in a sentence; scores that look the same are."""
    if show(ours) == show(theirs):
        return f"cellgate is no better and no worse than the {rival} baseline here ({score.name} {show(ours)} of both)"
    if ours > theirs if score.higher_is_better else ours < theirs:
        return f"cellgate's {score.name} is {show(ours)}, that of the {rival} baseline {show(theirs)}"
    return (
        f"cellgate does NOT beat the {rival} baseline here ({score.name} {show(ours)} against {show(theirs)}): "
        "use that one, or give more data"
    )


def second_verdict(ours: dict[str, float], theirs: dict[str, float], score: Score) -> str | None:
    """Whether the probabilities say otherwise than the classes, where they do."""
    if _PROBABILITIES not in ours or score.name == _PROBABILITIES:
        return None
    loss, other = show(ours[_PROBABILITIES]), show(theirs[_PROBABILITIES])
    won = float(show(ours[score.name])) - float(show(theirs[score.name]))
    closer = float(other) - float(loss)
    if closer < 0 <= won:
        return (
            f"but its probabilities are worse than the baseline's ({_PROBABILITIES} {loss} against {other}): "
            "take its classes, not how sure it is of them"
        )
    if closer > 0 >= won:
        return f"but its probabilities are better than the baseline's ({_PROBABILITIES} {loss} against {other})"
    return None


def show(value: float) -> str:
    """A score with as many digits as are of use."""
    return "-" if value != value else f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
