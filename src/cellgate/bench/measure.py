"""One cell, from nothing to its record: build, check, time, compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .case import Case
from .check import Red, check
from .contenders import OURS, line_up
from .grid import Cell
from .limits import least_seconds
from .phases import measure_phases
from .shape import Shape
from .timing import Plan, interleave, ratio

__all__ = ["compare_with_limits", "measure"]


def measure(cell: Cell, case: Case, plan: Plan, turn: Callable[[int], Any] | None = None) -> dict[str, Any]:
    """Measure a cell in this process.

    Args:
        cell: What to measure.
        case: Its tensors, ``make_case(cell.row)``; may serve several cells of a row.
        plan: How long.
        turn: Loads the machine for a busy cell, see ``timing.interleave``.

    Returns:
        The record, plain data: "id", "row", "title", "mode", "threads", "load", "shape", "absent", and either "red"
        (why nothing was timed) or "check", "times", "ratios" (peer over ours, for each of ours), "backend" and "flops";
        of a quiet cell "phases" too, where cellgate's engine tells them.
    """
    record: dict[str, Any] = {
        "id": cell.id,
        "row": str(cell.row.shape),
        "title": cell.row.title,
        "mode": cell.mode,
        "threads": cell.threads,
        "load": cell.load,
        "shape": cell.row.shape.as_dict(),
    }
    before = torch.get_num_threads()
    torch.set_num_threads(cell.threads)
    try:
        contenders, record["absent"] = line_up(case, cell)
        record["backend"] = next((c.note for c in contenders if c.name == OURS), "")
        try:
            record["check"] = check(case, cell.mode, contenders)
        except Red as finding:
            record["red"] = str(finding)
            return record
        with torch.set_grad_enabled(cell.mode == "training"):
            samples = interleave(contenders, plan, turn)
            if turn is None:
                told = next((measure_phases(c, cell.threads) for c in contenders if c.name == OURS), None)
                if told is not None:
                    record["phases"] = told
    finally:
        torch.set_num_threads(before)
    record["times"] = {name: found.as_dict() for name, found in samples.items()}
    record["ratios"] = {
        ours: {
            peer: ratio(theirs.seconds, samples[ours].seconds)
            for peer, theirs in samples.items()
            if not peer.startswith(OURS)
        }
        for ours in samples
        if ours.startswith(OURS)
    }
    record["flops"] = cell.row.shape.flops(cell.mode == "training")
    return record


def compare_with_limits(record: dict[str, Any], limits: dict[str, Any]) -> None:
    """Set what a record says of the machine's limits: each contender's share of the FMA peak, and the least time.

    Done anew whenever a better measurement of the limits comes in, so that all cells of a run stand beside the same.

    Args:
        record: A cell's record with times; a red one is left alone.
        limits: Of the machine, with the cell's thread count.
    """
    if "times" not in record:
        return
    shape = Shape(**record["shape"])
    if shape.dtype != "bfloat16":
        peak = limits["fma_f32" if shape.dtype == "float32" else "fma_f64"]
        record["share"] = {name: record["flops"] / found["median"] / peak for name, found in record["times"].items()}
    record["limit"] = least_seconds(shape, record["mode"], limits)
