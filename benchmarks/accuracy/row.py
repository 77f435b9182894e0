"""What a row is: data, a run with default settings, a baseline, a target and a time allowed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a run gives.

    Attributes:
        result: score -> value, ours.
        baseline: score -> value, of what has to be beaten.
        met: whether the scores reach the row's target; the time is judged by the frame.
        details: anything else worth keeping, as plain values (epochs, settings, scores of parts).
    """

    result: dict[str, float]
    baseline: dict[str, float]
    met: bool
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: on the command line.
        data: what is predicted, in words.
        target: the scores to reach, in words.
        seconds: the time allowed, from the file on disk to the scores.
        run: does it. It prints nothing and writes nothing.
        needs: names of files in CELLGATE_DATA, without which the row is left out.
    """

    name: str
    data: str
    target: str
    seconds: float
    run: Callable[[], Outcome]
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The files it needs that are not there."""
        return [name for name in self.needs if data_file(name) is None]


def data_file(name: str) -> Path | None:
    """A file of the folder that CELLGATE_DATA names, or None where there is no such file or folder."""
    folder = os.environ.get("CELLGATE_DATA")
    path = Path(folder) / name if folder else None
    return path if path is not None and path.is_file() else None
