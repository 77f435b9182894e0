"""In words: what later data of sequences lack, or have and the training did not."""

from __future__ import annotations

from typing import Any

import numpy as np

from cellgate.data.features import FeatureEncoding
from cellgate.data.sequences import SequenceSet
from cellgate.data.words import counted, some
from cellgate.errors import InputError
from cellgate.estimators.classes import class_codes

_NAMED = 3


def unknown_words(seen: dict[str, tuple[str, ...]], sequences: SequenceSet) -> list[str]:
    """A line for each feature of words that has some it did not have in training.

    Args:
        seen: the words of each feature in training.
        sequences: of which those without these features are refused elsewhere.
    """
    lines = []
    for name, levels in seen.items():
        strange = np.setdiff1d(sequences.texts.get(name, np.array([])).astype(str), levels)
        if len(strange):
            told = some(map(repr, strange.tolist()), _NAMED)
            have = counted(len(strange), "word")
            lines.append(f"{name} has {have} that the training did not have, read as none of those it had: {told}")
    return lines


def new_gaps(encoding: FeatureEncoding, sequences: SequenceSet) -> list[str]:
    """A line for each feature of numbers that has missing values and had none in training."""
    if encoding.numbers != sequences.number_names:
        return []  # refused elsewhere
    gaps = np.isnan(sequences.numbers).sum(0).tolist()
    return [
        f"{name} has {counted(gaps[k], 'missing value')} and had none in the training, read as its mean there"
        for k, name in enumerate(encoding.numbers)
        if gaps[k] and k not in encoding.marked
    ]


def unknown_labels(classes: np.ndarray, labels: np.ndarray) -> list[str]:
    """A line that says how many labels are none of `classes`, and which; no line where all are."""
    strange = labels[class_codes(classes, labels) < 0]
    if not len(strange):
        return []
    known, told = (some(map(repr, values.tolist()), _NAMED) for values in (classes, np.unique(strange)))
    share = f"{len(strange):,} of {counted(len(labels), 'label')}"
    return [f"{share} not among those of the training ({known}), counted as wrong: {told}"]


def labels_missing(sequences: SequenceSet, what: str, column: str | None) -> InputError:
    """The error for sequences that were to have labels to compare with.

    Args:
        sequences: without labels, or with several each where there shall be one.
        what: what was expected.
        column: the column of labels in training, if they came from one.
    """
    expected = f"{sequences.source}: expected {what}{f' in {column!r}, as in training' if column else ''}"
    if sequences.labels is not None:
        return InputError(f"{expected}, got several within a sequence; correct them")
    return InputError(f"{expected}, found none; add {'the column' if column else 'them'}, or give y")


def remarks(estimator: Any, sequences: SequenceSet) -> list[str]:
    """What of sequences is passed over by a prediction, or counted as wrong by a score, one line each."""
    classes, labels = getattr(estimator, "classes_", None), sequences.labels
    encoding = estimator.encoding_
    lines = [*unknown_words(encoding.words, sequences), *new_gaps(encoding, sequences)]
    return lines + (unknown_labels(classes, np.asarray(labels)) if classes is not None and labels is not None else [])
