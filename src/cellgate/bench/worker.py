"""The process that measures: one for each thread count, fed one JSON request a line, answering one a line.

    {"limits": threads}                     -> the machine's limits
    {"cell": {...}, "plan": {...}}          -> the cell's record

A library that is told its number of threads only at its start (JAX) gets it by the environment, see ``session``; and a
crash costs one cell, not the run.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from typing import Any

from .beside import Copies
from .case import Case, make_case
from .grid import Cell, Row
from .machine import measure_limits
from .measure import measure
from .nearness import Nearness
from .timing import Plan

__all__ = ["serve"]

# Seconds from a busy cell to a quiet one: the engine takes that long to be sure that the others have gone, and to give
# back the calm that it keeps among PyTorch's threads meanwhile.
_AFTER_A_CROWD = 1.5


class _Desk:
    """What is kept from one request to the next: the last row's tensors, the busy copies."""

    def __init__(self) -> None:
        self.row: Row | None = None
        self.case: Case | None = None
        self.copies: Copies | None = None
        self.crowded = -math.inf  # when the last busy cell ended
        self.nearness: Nearness | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "limits" in request:
            return measure_limits(request["limits"])
        cell, plan = Cell.from_dict(request["cell"]), Plan(**request["plan"])
        if self.case is None or cell.row != self.row:
            self.row, self.case = cell.row, make_case(cell.row)
        case = self.case
        if cell.load == "busy":
            if self.copies is None:
                self.copies = Copies(cell)
            else:
                self.copies.prepare(cell)
            record = measure(cell, case, plan, self.copies.turn)
            self.crowded = time.monotonic()
            return record
        time.sleep(max(0.0, self.crowded + _AFTER_A_CROWD - time.monotonic()))
        self.nearness = self.nearness or Nearness(cell.threads)
        record, record["handover"] = self.nearness.measure(lambda: measure(cell, case, plan))
        return record


def serve() -> None:
    """Answer requests until standard input ends."""
    # Answers go to the pipe alone; what a library prints on standard output becomes noise on standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    desk = _Desk()
    try:
        for line in sys.stdin:
            try:
                answer = desk.answer(json.loads(line))
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        if desk.copies is not None:
            with contextlib.suppress(Exception):
                desk.copies.close()


if __name__ == "__main__":
    serve()
