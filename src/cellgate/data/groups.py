"""Groups of sequences that are alike in more than their labels: of one person, one machine, one customer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.sequences import SequenceSet, label_array
from cellgate.data.words import counted


def with_groups(sequences: SequenceSet, groups: Any) -> SequenceSet:
    """The same sequences, with the group of each.

    Args:
        sequences: of which the ids say which is which.
        groups: n names or numbers, one a sequence.

    Raises:
        DataError: for other shapes, and for a sequence without a group.
    """
    if isinstance(groups, str):
        raise DataError(
            f"groups: expected {len(sequences)} groups, one a sequence, got {groups!r}; the column of a table that "
            "holds them is named by group (--group)"
        )
    array = label_array(groups, "groups")
    if array.shape != (len(sequences),):
        raise DataError(
            f"groups: expected {len(sequences)}, one a sequence, got shape {array.shape}; give one for each"
        )
    names = np.array([_name(value) for value in array.tolist()], dtype=object)
    empty = names == ""
    if empty.any():
        name = sequences.ids[int(np.argmax(empty))]
        raise DataError(f"groups: expected one for each sequence, got none for sequence {name}; fill it in")
    return replace(sequences, groups=names)


def require_groups(sequences: SequenceSet, least: int, what_for: str, remedy: str) -> None:
    """Refuse sequences of fewer groups than can be parted.

    Args:
        sequences: with groups, or without, which are fine.
        least: how many there have to be.
        what_for: each of them, for the message.
        remedy: beside more groups.

    Raises:
        DataError: for fewer.
    """
    if sequences.groups is None:
        return
    names = np.unique(sequences.groups.astype(str)).tolist()
    if len(names) < least:
        column = f" in {sequences.roles.group!r}" if sequences.roles.group else ""
        raise DataError(
            f"{sequences.source}: expected {least} groups{column} or more, {what_for}, got {len(names)} "
            f"({', '.join(names)}); give more, or {remedy}"
        )


def group_line(sequences: SequenceSet) -> str:
    """How many groups there are, and how large, for the echo block."""
    _, sizes = np.unique(np.asarray(sequences.groups).astype(str), return_counts=True)
    least, most = int(sizes.min()), int(sizes.max())
    each = counted(most, "sequence") if least == most else f"{least:,} to {counted(most, 'sequence')}"
    column = f" in {sequences.roles.group}" if sequences.roles.group else ""
    return f"{len(sizes):,}{column}, of {each} each: none is on both sides of a split"


def _name(value: Any) -> str:
    """A group's name; NaN, None and what pandas has for them are none."""
    if value is None or value != value or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    return str(value)
