"""Who is timed: cellgate in its ways, and its peers. One file a library, all with the same face."""

from __future__ import annotations

from collections.abc import Callable

from cellgate.bench.case import Case
from cellgate.bench.grid import Cell

from . import jax_scan, layers, onnx_runtime, python_loop
from .contender import Absent, Contender

__all__ = ["OURS", "Absent", "Contender", "line_up"]

OURS = layers.OURS
"""The name of cellgate in its standard form; its other forms begin with it."""

Builder = Callable[[Case, str, int], Contender]


def line_up(case: Case, cell: Cell) -> tuple[list[Contender], dict[str, str]]:
    """Build the contenders of a cell.

    Returns:
        The contenders, cellgate first, and for each that is absent the reason.
    """
    builders: list[tuple[str, Builder]] = [(OURS, layers.cellgate_lstm), (layers.TORCH, layers.torch_lstm)]
    quiet = cell.load == "quiet"
    if quiet and case.shape.ragged:
        builders.append((layers.LENGTHS, layers.cellgate_lengths))
    if cell.mode != "training":
        builders.append((onnx_runtime.NAME, onnx_runtime.build))
    if quiet:
        builders.append((jax_scan.NAME, jax_scan.build))
    if quiet and cell.mode == "inference" and not (case.shape.ragged or case.shape.reset):
        builders.append((layers.TRACE, layers.cellgate_trace))
    if quiet and cell.mode == "training" and cell.row.keep:
        builders += [(layers.LEAN, layers.cellgate_lean), (layers.MINIMAL, layers.cellgate_minimal)]
    if quiet and cell.row.loop:
        builders.append((python_loop.NAME, python_loop.build))
    present, absent = [], {}
    for name, build in builders:
        try:
            present.append(build(case, cell.mode, cell.threads))
        except Absent as reason:
            absent[name] = str(reason)
    return present, absent
