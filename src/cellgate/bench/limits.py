"""The least time that a problem can take on a machine: arithmetic or reading the weights, whichever is longer.

    step time >= max(8 H (I+H) B / FLOP rate, weight bytes / read rate of the cache they fit) + activations

The input half is one product over all steps, so its weights are read once; the recurrent weights are read at every
step. Synchronisation, packing and Python are not in it, so nobody reaches 100 %.
"""

from __future__ import annotations

from typing import Any

from .shape import DTYPES, Shape

__all__ = ["least_seconds"]


def least_seconds(shape: Shape, mode: str, limits: dict[str, Any]) -> dict[str, Any] | None:
    """Return the bound of one call (of one step when streaming).

    Args:
        shape: The problem.
        mode: "inference", "training" (three times the arithmetic, weights read forward and back) or "stream".
        limits: What ``measure_limits`` returned.

    Returns:
        {"seconds": least time, "bound": "arithmetic" or the level the weights are read from}, or None for bfloat16,
        whose arithmetic has another peak.
    """
    if shape.dtype == "bfloat16":
        return None
    width, threads = DTYPES[shape.dtype], limits["threads"]
    training = mode == "training"
    rate = limits["fma_f32" if shape.dtype == "float32" else "fma_f64"]
    steps = 1 if mode == "stream" else max(shape.lengths)
    terms = shape.B if mode == "stream" else sum(shape.lengths)
    seconds, reading, bound = 0.0, 0.0, "arithmetic"
    for inputs, h, p in shape.layers():
        recurrent = (4 * h * p + shape.P * h) * width
        once = 4 * h * inputs * width
        share = recurrent / threads if steps > 1 else (recurrent + once) / threads
        level, read_rate = _level(share, limits["read"])
        arithmetic = (8 * h * (inputs + p) + 2 * shape.P * h) * terms * (3 if training else 1) / rate
        reads = (recurrent * steps + once) * (2 if training else 1) / read_rate
        seconds += max(arithmetic, reads) * shape.D
        if reads > arithmetic and reads > reading:
            reading, bound = reads, level
    activations = 5.0 * terms * shape.H * shape.L * shape.D / limits["activations"]
    return {"seconds": seconds + activations * (width / 4), "bound": bound}


def _level(share: float, reads: dict[str, Any]) -> tuple[str, float]:
    for level, found in reads.items():
        if share <= found["bytes"]:
            return level, found["rate"]
    level = list(reads)[-1]
    return level, reads[level]["rate"]
