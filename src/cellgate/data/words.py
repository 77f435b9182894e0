"""Counts and lists in words of messages, and the order of names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_DIGITS = re.compile("([0-9]+)")

_SIGNS = {code: ascii(chr(code))[1:-1] for code in (*range(9), *range(10, 32), *range(127, 160), 0x2028, 0x2029)}


def one_line(text: str) -> str:
    """A text in one line: line ends, and whatever else a terminal would obey, as Python writes them."""
    return text.translate(_SIGNS)


def counted(count: int, noun: str) -> str:
    """A count and what is counted: "1 step", "1,440 steps"; for nouns that take an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def some(names: Iterable[str], most: int = 6) -> str:
    """The first few names: "a, b, c, ... (30 in all)"."""
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")


def by_name(names: Sequence[str]) -> list[int]:
    """The places of names in the order of people, shop 2 before shop 10, whatever order they come in."""

    def key(k: int) -> tuple[list[str | tuple[int, str]], str]:
        parts = _DIGITS.split(names[k])  # words and digits by turns, so that like is compared with like
        return [_size(part) if place % 2 else part for place, part in enumerate(parts)], names[k]

    return sorted(range(len(names)), key=key)


def _size(digits: str) -> tuple[int, str]:
    """What compares as the number that these digits are, of which there may be more than Python turns into one."""
    digits = digits.lstrip("0")
    return len(digits), digits
