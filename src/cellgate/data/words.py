"""Counts in words of messages."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """A count and what is counted: "1 step", "1,440 steps"; for nouns that take an s."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
