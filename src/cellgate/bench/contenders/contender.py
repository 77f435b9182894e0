"""The face of a contender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cellgate.bench.case import Case

__all__ = ["STREAMED_STEPS", "Absent", "Contender", "streamed_inputs"]

STREAMED_STEPS = 8
"""Steps that a streaming contender takes to show that it computes the right thing."""


class Absent(Exception):
    """A contender cannot take part; the message says why."""


@dataclass
class Contender:
    """One way to compute a cell.

    Attributes:
        name: As it stands in tables.
        call: The work that is timed; but for training it expects gradients to be switched off, as a program that only
            computes does once, and not at every call.
        read: The results, by name, for the check: "output" (T, B, D*P), in training also "dx" and a "d..." for every
            weight; when streaming "output" holds the h of the first STREAMED_STEPS steps from a zero state.
        between: Done before each call, outside the time; None for nothing.
        note: What else is worth knowing, such as cellgate's backend.
    """

    name: str
    call: Callable[[], Any]
    read: Callable[[], dict[str, Tensor]]
    between: Callable[[], Any] | None = None
    note: str = ""


def streamed_inputs(case: Case) -> list[Tensor]:
    """Return the first steps of a stream, (B, I) each: the row's own input, then that input turned about."""
    return [case.x[0].roll(k, dims=-1) * (1.0 if k % 2 == 0 else -1.0) for k in range(STREAMED_STEPS)]
