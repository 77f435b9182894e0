"""A tape as a table for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .layer import Direction
    from .tape import Call, Tape

__all__ = ["summary"]

HEADER = ("layer", "T", "B", "H", "i <.1", "i >.9", "f <.1", "f >.9", "o <.1", "o >.9", "memory", "|c| first", "last")
MOST = 40
"""Rows shown; a model that calls its LSTM step by step has thousands."""


def summary(tape: Tape) -> str:
    """Return a table with a row for each layer and direction of each call.

    Shares say how many of a gate's values lie below .1 and above .9. Memory is the median over the units of
    -1 / ln(mean forget gate), in steps. |c| is the mean norm of the memory cells at the first step and at the last.
    """
    rows = []
    calls = 0
    for track in tape.values():
        for call in track:
            calls += 1
            for layer in call.layers:
                rows += [_row(call, direction, len(track)) for direction in layer.directions]
    if not rows:
        names = ", ".join(tape) or "none"
        return f"a tape without calls (listens to: {names})"
    hidden = len(rows) - MOST
    shown = rows[:MOST]
    widths = [max(len(row[k]) for row in (HEADER, *shown)) for k in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (HEADER, *shown)
    ]
    lines.insert(1, "-" * len(lines[0]))
    if hidden > 0:
        lines.append(f"... and {hidden} more rows, of {calls} calls in all")
    return "\n".join(line.rstrip() for line in lines)


def _row(call: Call, direction: Direction, calls: int) -> tuple[str, ...]:
    title = direction.title if calls == 1 else f"{direction.title} [call {call.number}]"
    cells = [title, str(direction.steps), str(direction.sequences), str(direction.units)]
    for gate in ("i", "f", "o"):
        if gate in direction.kept:
            shares = direction.saturation(gate)
            cells += [f"{100 * shares.below:.0f}%", f"{100 * shares.above:.0f}%"]
        else:
            cells += ["", ""]
    cells.append(f"{float(direction.memory_time().median()):.1f}" if "f" in direction.kept else "")
    norms = direction.cell_norm() if "c" in direction.kept else torch.empty(0)
    cells += [f"{float(norms[0]):.2f}", f"{float(norms[-1]):.2f}"] if len(norms) else ["", ""]
    return tuple(cells)
