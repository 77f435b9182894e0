"""Sentences with a tag on every word: CoNLL files, and lists of lists of words.

A CoNLL file has a word a line, its columns parted by tabs or spaces, and an empty line after every sentence. Lines of a
comment (``# ...``) and ``-DOCSTART-`` are passed over; ``#`` with a tag that other words have is a word. CoNLL-U (ten
columns, the first a number) is known by its look: its word is the second column, its tag the fourth; ranges such as
``1-2`` and empty nodes such as ``3.1`` are no words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cellgate.data.errors import DataError
from cellgate.data.sequences import SequenceRoles, SequenceSet
from cellgate.data.text import read_text

_NUMBER = re.compile(r"\d+([-.]\d+)?")


def read_conll(path: Path, roles: SequenceRoles, again: bool = False) -> SequenceSet:
    """Read a CoNLL file.

    Args:
        path: the file.
        roles: token, target, group and features, each the number of a column, from "1" on; by default the word is the
            first column, the tag the last, and no other column is read.
        again: whether the roles are those of a training.

    Raises:
        DataError: for lines that do not fit together, naming the line; for what was trained on other data.
    """
    if again and (roles.id or roles.wide or roles.token is None):
        raise DataError(f"{path.name}: expected data as in training, a table or arrays, got a CoNLL file; give such")
    text = read_text(path)
    sentences: list[list[list[str]]] = [[]]
    lines = text.text.split("\n")
    width, tags = _look(lines)
    for number, line in enumerate(lines, start=1):
        if not line.strip(" \t"):
            if sentences[-1]:
                sentences.append([])
            continue
        cells = _cells(line)
        if _may_be_comment(line) and not _is_word(cells, width, tags, bool(sentences[-1])):
            continue
        if len(cells) != width:
            raise DataError(
                f"{path.name}, line {number}: expected {width} columns as in the first line, got {len(cells)}; "
                "part columns by tabs, and sentences by an empty line"
            )
        sentences[-1].append(cells)
    if not sentences[-1]:
        sentences.pop()
    if not sentences:
        raise DataError(f"{path.name}: expected a word a line, got comments only")
    universal = width == 10 and all(_NUMBER.fullmatch(row[0]) for row in sentences[0])
    if universal:
        sentences = [[row for row in sentence if row[0].isdigit()] for sentence in sentences]
    token = _column(path, roles.token or ("2" if universal else "1"), width)
    target = None
    if roles.target != "" and (roles.target is not None or universal or width > 1):
        wanted = roles.target or ("4" if universal else str(width))
        # Data to predict for may lack the column of tags.
        target = _column(path, wanted, width) if roles.target is None or int_or_none(wanted, width) else None
    lengths = np.array([len(sentence) for sentence in sentences], dtype=np.int64)
    rows = [row for sentence in sentences for row in sentence]

    def column(k: int) -> np.ndarray:
        return np.array([row[k] for row in rows], dtype=object)

    if again and target is not None and not any(row[target] for row in rows):
        target = None  # a column without a tag, in data to predict for
    for what, k in (("a word", token), ("a tag", target)):
        empty = next((row for row in rows if k is not None and not row[k]), None)
        if empty is not None and k is not None:
            line = next(n for n, text in enumerate(lines, start=1) if text.strip(" \t") and _cells(text) == empty)
            raise DataError(
                f"{path.name}, line {line}: expected {what} in column {k + 1}, got an empty cell; fill it, or remove "
                "the tab at the end of the lines"
            )
    groups = None
    if roles.group is not None and (not again or int_or_none(roles.group, width)):
        cells = column(_column(path, roles.group, width))
        starts = np.cumsum(lengths) - lengths
        groups = cells[starts]
        strange = cells != np.repeat(groups, lengths)
        if strange.any() and not again:
            k = int(np.searchsorted(np.cumsum(lengths), int(np.argmax(strange)), side="right"))
            raise DataError(
                f"{path.name}, sentence {k}: expected one group in column {roles.group} for all of its words, got "
                f"{groups[k]!r} and {cells[int(np.argmax(strange))]!r}; correct it"
            )
    texts = {"token": column(token)} | {name: column(_column(path, name, width)) for name in roles.features}
    return SequenceSet(
        path.name,
        tuple(map(str, range(len(sentences)))),
        lengths,
        np.zeros((len(rows), 0)),
        (),
        texts,
        None if target is None else column(target),
        target is not None,
        replace(roles, token=str(token + 1), target=None if target is None else str(target + 1)),
        text.notes,
        token="token",
        groups=groups,
    )


def _cells(line: str) -> list[str]:
    """The columns of a line, without the blanks around them; spaces that do not break are part of a word."""
    if "\t" in line:
        return [cell.strip(" ") for cell in line.split("\t")]
    return [cell for cell in line.split(" ") if cell]


def _may_be_comment(line: str) -> bool:
    return line.startswith(("# ", "-DOCSTART-")) or line.rstrip() == "#"


def _look(lines: Sequence[str]) -> tuple[int, set[str]]:
    """How many columns the first word has, and what stands in the last column of words."""
    rows = [_cells(line) for line in lines if line.strip(" \t") and not _may_be_comment(line)]
    return (len(rows[0]) if rows else 0), {cells[-1] for cells in rows}


def _is_word(cells: list[str], width: int, tags: set[str], within: bool) -> bool:
    """Whether a line that begins with "#" is that word: comments stand before a sentence, and have no tag."""
    return cells[0] == "#" and len(cells) == width and (within or cells[-1] in tags or width == 1)


def int_or_none(name: str, width: int) -> int | None:
    """The number of a column, if it is one of `width`."""
    return int(name) if name.isdigit() and 1 <= int(name) <= width else None


def _column(path: Path, name: str, width: int) -> int:
    number = int_or_none(name, width)
    if number is None:
        raise DataError(f"{path.name}: expected the number of a column, from 1 to {width}, got {name!r}")
    return number - 1


def is_words(data: Any) -> bool:
    """Whether data are lists of lists of words."""
    if not isinstance(data, list | tuple | np.ndarray) or not len(data):
        return False
    lists = (one for one in data if not isinstance(one, str) and isinstance(one, Sequence | np.ndarray))
    first = next((one for one in lists if len(one)), None)
    return first is not None and isinstance(first[0], str)


def from_words(data: Any, roles: SequenceRoles) -> SequenceSet:
    """Sentences from lists, or arrays, of lists of words."""
    for k, one in enumerate(data):
        if isinstance(one, str) or not all(isinstance(word, str) for word in one):
            raise DataError(f"sequence {k}: expected a list of words, got {type(one).__name__} {str(one)[:30]!r}")
    lengths = np.array([len(one) for one in data], dtype=np.int64)
    words = np.array([word for one in data for word in one], dtype=object)
    ids = tuple(map(str, range(len(lengths))))
    return SequenceSet(
        "the list", ids, lengths, np.zeros((len(words), 0)), (), {"token": words}, roles=roles, token="token"
    )
