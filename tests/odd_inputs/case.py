"""What an odd input is: its bytes, the options to read it with, and what must come of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DAYS = [f"2024-01-{d:02}" for d in range(1, 29)]
GOOD = [f"{day},{k % 7 + 1}" for k, day in enumerate(DAYS)]


@dataclass(frozen=True)
class Odd:
    """One input.

    Attributes:
        content: the file.
        refused: a part of the message, where it must be refused; "" where it must be read.
        holds: of the panel that was read, what must be true.
        options: Roles by name.
        name: of the file.
        noted: a part of a note that must be told.
    """

    content: bytes
    refused: str = ""
    holds: Callable[[Any], bool] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    name: str = "t.csv"
    noted: str = ""


def text(*lines: str, encoding: str = "utf-8", end: str = "\n") -> bytes:
    """Lines as a file."""
    return (end.join(lines) + end).encode(encoding)


def table(*more: str, head: str = "ds,y") -> bytes:
    """A good daily table with more lines below it."""
    return text(head, *GOOD, *more)


def stamps(*times: str) -> bytes:
    """A table of these times with the values 0, 1, 2, ..."""
    return text("ds,y", *(f"{time},{k}" for k, time in enumerate(times)))


def is_series(*expected: float | None) -> Callable[[Any], bool]:
    """Holds where the first series is this one, None for missing."""
    return lambda panel: [None if value != value else value for value in panel.values[0].tolist()] == list(expected)
