"""Counts and lists in words of messages."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, noun: str) -> str:
    """A count and what is counted: "1 step", "1,440 steps"; for nouns that take an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def some(names: Iterable[str], most: int = 6) -> str:
    """The first few names: "a, b, c, ... (30 in all)"."""
    names = list(names)
    return ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
