"""Words of a column as the numbers that a training gave them; True and False are also 1 and 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_TRUTH = {"false": 0.0, "true": 1.0}


def recoding(here: Sequence[str] | None, values: np.ndarray, there: Sequence[str] | None) -> np.ndarray | None:
    """What the numbers of a column become as those of a training.

    Args:
        here: the words that the numbers stand for, None for numbers that are no codes.
        values: the numbers, NaN for none.
        there: the words of the training, None where it had numbers.

    Returns:
        (codes + 1,) the number for each of 0, 1, 2, ..., and, last, NaN. Words that the training did not have become
        the number after its own. None where one of the two has words and the other numbers, and they are not the same.
    """
    if here is None:
        known = values[np.isfinite(values)]
        if there is None or (len(known) and not (_of_truth(there) and np.isin(known, (0, 1)).all())):
            return None
        here = ("false", "true")
        there = [word.lower() for word in there]
    if there is None:
        return np.array([_TRUTH[word.lower()] for word in here] + [np.nan]) if _of_truth(here) else None
    if _of_truth(here) and _of_truth(there):
        here, there = ([word.lower() for word in words] for words in (here, there))
    position = {word: float(k) for k, word in enumerate(there)}
    other = float(len(there))
    return np.array([position.get(word, other) for word in here] + [other, np.nan])


def code_of(value: Any, labels: Sequence[str] | None) -> float | None:
    """The number of one value: that of a word, or the number itself where the training had numbers.

    Args:
        value: a word or a number.
        labels: the words of the training, None where it had numbers.

    Returns:
        The number; for a word that the training did not have the one after all. None for what is neither.
    """
    word = str(value).strip()
    if labels is None:
        try:
            number = _TRUTH[word.lower()] if word.lower() in _TRUTH else float(value)
        except (TypeError, ValueError):
            return None
        return number if np.isfinite(number) else None
    if word in labels:
        return float(labels.index(word))
    if _of_truth(labels):
        lower = [label.lower() for label in labels]
        truth = {"0": "false", "1": "true", "0.0": "false", "1.0": "true"}.get(word, word.lower())
        return float(lower.index(truth) if truth in lower else len(labels))
    return float(len(labels)) if isinstance(value, str) else None


def _of_truth(words: Sequence[str]) -> bool:
    return bool(words) and all(word.lower() in _TRUTH for word in words)
