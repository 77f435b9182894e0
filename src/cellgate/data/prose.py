"""Texts in the cells of a table, or in an array, which are no steps of a sequence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_WORDS = 3  # so many in a cell are more than a name, an address or a category mostly is
_LOOKED_AT = 1000

TAKE_APART = (
    "a text is a sequence of characters or words: give each of those a row of its own, with the name of its text "
    "beside it (docs/sequences.md, Short texts)"
)


def is_prose(cells: Iterable[Any]) -> bool:
    """Whether cells are texts: words of which most hold several, and of which most differ."""
    filled = [cell for cell in list(cells)[:_LOOKED_AT] if isinstance(cell, str) and cell.strip()]
    long = sum(len(cell.split()) >= _WORDS for cell in filled)
    return 2 * long > len(filled) and 2 * len(set(filled)) > len(filled)
