"""What a person should know about data before training on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cellgate.data.features import far_off
from cellgate.data.panel import Panel
from cellgate.data.sequences import SequenceSet
from cellgate.data.text import Text
from cellgate.data.words import counted

_NAMED = 3


def findings(panel: Panel) -> list[str]:
    """Peculiarities that training copes with but that may be mistakes in the data, one line each.

    Lengths that differ much, long runs without a value, constant series, values far outside the usual, steps that
    repeat the one before for long: each with how many series show it, and the first of them by name.
    """
    lengths = np.array([len(values) for values in panel.values])
    lines = []
    if lengths.min() < lengths.max():
        lines.append(
            f"lengths from {lengths.min():,} to {lengths.max():,} steps, {int(np.median(lengths)):,} in the middle"
        )
    short = _short(panel)
    learnt = "none is learnt" if all(short) else "their season is learnt from the others only"
    checks = (
        (f"shorter than two seasons: {learnt}", short),
        ("with a tenth or more of the values missing", [np.isnan(v).mean() >= 0.1 for v in panel.values]),
        ("ending without a value: the forecast starts from a filled-in one", [np.isnan(v[-1]) for v in panel.values]),
        ("that never change: predicted as they are", [_spread(v) == 0 for v in panel.values]),
        ("with values more than ten usual spreads away: check for wrong units", [_far(v) for v in panel.values]),
        ("with zero or negative values: logarithms are not used", [np.nanmin(v) <= 0 for v in panel.values]),
    )
    for text, holds in checks:
        named = [panel.ids[k] for k, yes in enumerate(holds) if yes]
        if named:
            some = ", ".join(named[:_NAMED]) + (", ..." if len(named) > _NAMED else "")
            lines.append(f"{len(named)} of {len(panel)} series {text} ({some})")
    return lines + _beside(panel)


def _beside(panel: Panel) -> list[str]:
    """What is odd about the columns beside the target."""
    lines = []
    for names, arrays in ((panel.past_names, panel.past), (panel.future_names, panel.future)):
        for j, name in enumerate(names):
            column = np.concatenate([array[:, j] for array in arrays])
            known = column[np.isfinite(column)]
            if not len(known):
                lines.append(f"{name} has no value at all")
            elif known.min() == known.max():
                lines.append(f"{name} never changes: nothing can be learnt from it")
            elif len(known) < 0.9 * len(column):
                lines.append(f"{name} is missing in {1 - len(known) / len(column):.0%} of the steps")
    for j, name in enumerate(panel.static_names):
        column = (panel.static if panel.static is not None else np.empty((0, 0)))[:, j]
        known = column[np.isfinite(column)]
        if len(panel) > 1 and len(np.unique(known)) < 2:
            lines.append(f"{name} is the same in every series: nothing can be learnt from it")
        elif len(known) < len(column):
            lines.append(f"{name} is missing in {len(column) - len(known)} of {len(column)} series")
    if panel.future and not panel.foretold():
        names = ", ".join(panel.future_names)
        lines.append(f"no row after the last value says {names}: to predict, give them with --future-data")
    return lines


def _short(panel: Panel) -> list[bool]:
    return [panel.season > 1 and len(values) < 2 * panel.season for values in panel.values]


def _spread(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.max() - known.min())


def _far(values: np.ndarray) -> bool:
    """Whether a value lies more than ten interquartile ranges from the middle."""
    known = values[np.isfinite(values)]
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return bool(high > low and np.abs(known - middle).max() > 10 * (high - low))


# ---------------------------------------------------------------- sequences with labels


def sequence_findings(made: SequenceSet) -> list[str]:
    """Peculiarities of labelled sequences that may be mistakes, one line each.

    Empty and very uneven sequences, features that never change or are mostly missing, classes of few, a class of nearly
    all, sequences that are there twice.
    """
    lines = []
    empty = int((made.lengths == 0).sum())
    if empty:
        lines.append(f"{empty:,} of {counted(len(made), 'sequence')} {'has' if empty == 1 else 'have'} no step")
    longest, middle = int(made.lengths.max()), int(np.median(made.lengths))
    if longest > 20 * max(middle, 1):
        lines.append(f"the longest sequence has {longest:,} steps, the middle one {middle:,}")
    known = np.isfinite(made.numbers)
    for j, name in enumerate(made.number_names[: -1 if made.roles.gaps else None]):  # of gaps the notes tell
        values = made.numbers[known[:, j], j]
        if not len(values):
            lines.append(f"{name} has no value at all")
        elif values.min() == values.max():
            lines.append(f"{name} is {values[0]:g} throughout: nothing can be learnt from it")
        elif (far := values[far_off(values)]).size:
            lines.append(f"{name} has {counted(far.size, 'value')} far off all others, such as {far[0]:g}: no measure?")
        elif known[:, j].mean() < 0.9:
            lines.append(f"{name} is missing in {1 - known[:, j].mean():.0%} of the steps")
    labels = np.asarray(made.labels if made.labels is not None else [])
    if len(labels) and labels.dtype.kind != "f":
        lines += _label_findings(labels.astype(str))
    for column in labels.reshape(len(labels), -1).T if labels.dtype.kind == "f" else ():
        usual = column[np.isfinite(column)]
        if (far := usual[far_off(usual)]).size:
            lines.append(f"{counted(far.size, 'label')} far off all others, such as {far[0]:g}: answers will be, too")
    twice = _repeated(made)
    if twice:
        there = f"{counted(twice, 'sequence')} {'is' if twice == 1 else 'are'} there"
        lines.append(f"{there} more than once: they may stand on both sides of a held-out split")
    return lines


def _label_findings(labels: np.ndarray) -> list[str]:
    names, counts = np.unique(labels, return_counts=True)
    lines = []
    if len(names) == 1:
        lines.append(f"all labels are {str(names[0])!r}: there is nothing to tell apart")
    elif counts.max() > 0.9 * counts.sum():
        share, most = counts.max() / counts.sum(), str(names[np.argmax(counts)])
        lines.append(f"{share:.0%} of the labels are {most!r}: accuracy says little")
    few = names[counts < 5].tolist()
    if few and len(names) > 1:
        some = ", ".join(few[:_NAMED]) + (", ..." if len(few) > _NAMED else "")
        lines.append(f"{len(few)} of {len(names)} classes have fewer than 5 examples ({some})")
    lowered = {}
    for name in names.tolist():
        lowered.setdefault(name.strip().lower(), []).append(name)
    alike = [group for group in lowered.values() if len(group) > 1]
    if alike:
        lines.append(f"{' and '.join(map(repr, alike[0]))} differ in case or spaces only: one class, or two?")
    return lines


def _repeated(made: SequenceSet) -> int:
    """How many sequences are equal to an earlier one in every number and word."""
    seen: set[bytes] = set()
    count = 0
    for begin, length in zip(made.offsets.tolist(), made.lengths.tolist(), strict=True):
        part = slice(begin, begin + length)
        key = made.numbers[part].tobytes() + repr([values[part].tolist() for values in made.texts.values()]).encode()
        count += key in seen and length > 1
        seen.add(key)
    return count


# ---------------------------------------------------------------- texts


def text_findings(text: Text, tokens: Sequence[str], units: str) -> list[str]:
    """Peculiarities of a text that may be mistakes, one line each."""
    lines = []
    if len(tokens) < 10_000:
        few = f"{counted(len(tokens), units.removesuffix('s'))} {'is' if len(tokens) == 1 else 'are'} few"
        lines.append(f"{few}: a language model of so little learns little but to repeat")
    lost = text.text.count("\ufffd")
    if lost:
        lines.append(f"{counted(lost, 'character')} could not be read, shown as \ufffd: was the text saved as UTF-8?")
    counts = Counter(tokens)
    once = sum(count == 1 for count in counts.values())
    if units == "characters" and once > 0.3 * len(counts):
        lines.append(f"{once:,} of {len(counts):,} different characters occur once: is it all one language?")
    longest = max((len(line) for line in text.text.split("\n")), default=0)
    if longest > 10_000:
        lines.append(f"the longest line has {longest:,} characters: is it plain text?")
    return lines
