"""Where cellgate's time goes: what the engine's threads are at during a call, told by the native core itself.

Shares are of the time of all threads together: of two threads that take 3 ms for a call, of 6 ms.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .contenders import Contender
from .machine import native_core

__all__ = ["PHASES", "measure_phases", "phase_table"]

PHASES = {
    "products": "products of the steps",
    "input": "input products",
    "cells": "cells",
    "again": "gates again",
    "dx": "dx",
    "dweights": "dW",
    "weights": "packing",
    "waiting": "waiting",
    "rest": "rest",
    "outside": "outside",
}
"""What there is to be at, in a few words each. Packing includes the digests by which packed weights are found; waiting
is for other threads of the team; outside is what is not the kernels': Python, autograd, results' memory, waking."""


def measure_phases(contender: Contender, threads: int, seconds: float = 0.05) -> dict[str, float] | None:
    """Return the share of the time of each phase that took any, which sum to one.

    Telling costs some ten nanoseconds a change, a few percent of the smallest problems, so nothing is timed meanwhile.
    The slower half of the calls, in which the machine may have been at something else, does not count.

    Args:
        contender: A form of cellgate.
        threads: How many it may use.
        seconds: How long to look; one call at least.

    Returns:
        Shares by phase, or None where the call does not tell (no native core, another engine, bfloat16, variants).
    """
    native = native_core()
    if native is None:
        return None
    calls: list[tuple[int, dict[str, int]]] = []
    begin = time.perf_counter()
    while not calls or time.perf_counter() - begin < seconds:
        if contender.between:
            contender.between()
        native.begin_phases()
        try:
            contender.call()
        finally:
            calls.append(native.end_phases())
    calls.sort(key=lambda call: call[0])
    usual = calls[: (len(calls) + 1) // 2]
    elapsed = threads * sum(took for took, _ in usual)
    at = {name: sum(told.get(name, 0) for _, told in usual) for name in PHASES}
    if not at["products"]:
        return None
    at["outside"] = max(0, elapsed - sum(at.values()))
    whole = sum(at.values())
    return {name: ticks / whole for name, ticks in at.items() if ticks}


def phase_table(records: Sequence[dict[str, Any]]) -> tuple[list[str], list[tuple[dict[str, Any], list[str]]]]:
    """Return the phases that some cells tell of, in words, and each of those cells with its shares, in percent."""
    told = [record for record in records if "phases" in record]
    names = [name for name in PHASES if any(name in record["phases"] for record in told)]
    rows = [(r, [f"{r['phases'][name]:.0%}" if name in r["phases"] else "" for name in names]) for r in told]
    return [PHASES[name] for name in names], rows
