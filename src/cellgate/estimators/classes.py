"""Classes as codes: labels of whatever kind, looked up among the classes of the training."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from cellgate.errors import InputError

_KINDS: dict[str, Any] = {"O": object, "i": np.int64, "u": np.int64, "f": np.float64, "b": np.bool_}


def class_codes(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) index of each label in `classes`; those that are none of them -1, -2 and so on, equal ones alike.

    A label is the same whether a number or its text: one word among test labels makes text of all the numbers beside
    it, and they are looked up all the same.

    Args:
        classes: (C,) ascending; numbers, truth values or object of str.
        labels: (N,) of the same kind or another.
    """
    given = labels
    if classes.dtype.kind == "O":
        labels = labels if labels.dtype.kind == "O" else _as_text(labels)
    elif labels.dtype.kind == "O":
        labels = _as_numbers(labels)
    place = np.searchsorted(classes, labels).clip(max=len(classes) - 1)
    strange = classes[place] != labels
    if strange.any():
        place[strange] = -1 - np.unique(given[strange].astype(str), return_inverse=True)[1]
    return place


def all_classes(labels: np.ndarray, name: str = "class", plural: str = "classes") -> np.ndarray:
    """(C,) the classes, ascending.

    Args:
        labels: numbers, truth values or object of str.
        name: what to call one.
        plural: what to call some.

    Raises:
        InputError: for fewer than two.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        found = f" ({classes.tolist()[0]!r})" if len(classes) else ""
        raise InputError(
            f"expected two {plural} or more, got {len(classes)} {name if len(classes) == 1 else plural}{found}; "
            "give sequences of the others"
        )
    return classes


def restored_classes(values: list[Any], kind: str) -> np.ndarray:
    """Classes as they were saved: plain values, and the kind of their dtype."""
    return np.array(values, dtype=_KINDS[kind])


def _as_text(labels: np.ndarray) -> np.ndarray:
    """Numbers as text; whole ones without ".0"."""
    whole = labels.dtype.kind == "f" and (labels == np.round(labels)).all()
    return (labels.astype(np.int64) if whole else labels).astype(str).astype(object)


def _as_numbers(labels: np.ndarray) -> np.ndarray:
    """Text as the numbers that it writes, NaN for what is none; True and False are 1 and 0."""
    numbers = np.full(len(labels), np.nan)
    for k, label in enumerate(labels.tolist()):
        with contextlib.suppress(ValueError):
            numbers[k] = {"True": 1.0, "False": 0.0}.get(label) if label in ("True", "False") else float(label)
    return numbers
