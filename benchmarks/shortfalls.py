"""Goals that are not reached: where the time goes there, what the machine allows, and what it would take.

Every figure comes from the run's JSON; the words beside them are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.goals import LEAST_FMA, LEAST_TRAINING, MOST_SLOWED, STREAM_MEAN, verdicts
from benchmarks.markdown import table
from benchmarks.variants import speed_table
from cellgate.bench.summary import geometric_mean, kind_of, ratios, records_of, shares, slowdowns
from cellgate.bench.table import three_digits

__all__ = ["section"]

OURS, TORCH = "cellgate", "nn.LSTM"
PRODUCTS = ("products", "input", "again", "dx", "dweights")
MATRICES_MORE = 9  # of full gate recurrence: from three gates to three gates
Record = dict[str, Any]


def section(document: dict[str, Any], variants: dict[str, Any] | None) -> str:
    """Return the section's body as Markdown; "" where every goal is reached.

    Args:
        document: The grid's run.
        variants: The run of the variants' speed.
    """
    threads = max((entry["threads"] for entry in document["limits"]), default=1)
    missed = {v.goal for v in verdicts(document) if v.met is False}
    if variants:
        missed |= {v.goal for v in speed_table.verdicts(variants) if v.met is False}
    parts: list[str] = []
    if any(goal.startswith(f"a streamed step, times {TORCH}") for goal in missed):
        parts += _streams(document, threads)
    for mode in LEAST_FMA:
        if any(goal.startswith(f"{mode}, share of the FMA peak") for goal in missed):
            parts += _peak(document, mode, threads)
    if f"training, times {TORCH}, every shape" in missed:
        parts += _training(document, threads)
    if any(goal.startswith("three trainings side by side") for goal in missed):
        parts += _side_by_side(document, threads)
    if variants and any("full gate recurrence" in goal for goal in missed):
        parts += _full_gates(variants)
    return "\n\n".join(parts)


def _streams(document: dict[str, Any], threads: int) -> list[str]:
    rows, bounds = [], []
    for record in _quiet(document, "stream", threads):
        if kind_of(record) != "plain" or TORCH not in record["times"]:
            continue
        theirs = record["times"][TORCH]["median"]
        bounds.append(theirs / record["limit"]["seconds"])
        reached = record["ratios"][OURS][TORCH]["ratio"]
        bound = record["limit"]["bound"]
        rows.append([record["row"], f"{reached:.1f}", f"{bounds[-1]:.1f}", _reading(bound)])
    if not rows:
        return []
    return [
        f"**A streamed step beside {TORCH}.** {TORCH}'s time over the least time that this machine needs for the step "
        "is the most that any implementation in float32 can reach. Where it is below the goal the goal lies beyond the "
        "machine. A smaller number format for weights would move it, at the price of other numbers.",
        table(["shape", "reached", "most", "what bounds it"], rows),
        f"Geometric mean of the most: {geometric_mean(bounds):.1f}, of a call that costs nothing but its step; the "
        f"goal is {STREAM_MEAN:g}. At H 128 the step itself is a fraction of the call: what is left is Python's.",
    ]


def _reading(bound: str) -> str:
    return "multiply-adds" if bound == "arithmetic" else f"reading the weights from {bound}"


def _peak(document: dict[str, Any], mode: str, threads: int) -> list[str]:
    least, rows = LEAST_FMA[mode], []
    below = {cell for cell, share in shares(document, mode).items() if share < least and not cell.startswith("T1 ")}
    for record in _quiet(document, mode, threads):
        at = record.get("phases")
        if record["id"] not in below or not at:
            continue
        share = record["share"][OURS]
        products, cells = sum(at.get(name, 0.0) for name in PRODUCTS), at.get("cells", 0.0)
        rows.append(
            [record["row"], f"{share:.0%}", f"{products:.0%}", f"{cells:.0%}", f"{at.get('waiting', 0.0):.0%}",
             f"{at.get('weights', 0.0):.0%}", f"{at.get('rest', 0.0) + at.get('outside', 0.0):.0%}",
             f"{share / products:.0%}", f"{share / (products + cells):.0%}", f"{share / (1 - products + share):.0%}"]
        )  # fmt: skip
    if not rows:
        return []
    head = ["shape", "FMA", "products", "cells", "waiting", "packing", "rest", "peak in products",
            "products and cells alone", "products at the peak"]  # fmt: skip
    return [
        f"**{mode.capitalize()} below {least:.0%} of the FMA peak.** Where the time goes, how near to the peak the "
        "products run while they run, and the share that would be reached if all but products and cells took no time, "
        "or if the products ran at the peak and all else as it does. " + _PEAK_WORDS[mode],
        table(head, rows),
    ]


_PEAK_WORDS = {
    "inference": "Activations are multiply-adds too, which the count leaves out. To go further, cells would have to be "
    "worked out between the products of the next tile, so that the latency of each fills the gaps of the other.",
    "training": "Backward's cells wait for what forward kept, which comes from the far caches; the products of a step "
    "have as many rows as the batch and the threads leave them. To go further, what is kept would have to be smaller, "
    "or the products of a step begun while cells of the step before still run on other rows.",
}


def _training(document: dict[str, Any], threads: int) -> list[str]:
    rows = []
    found = ratios(document, TORCH, "training", ("plain",), threads=threads)
    for record in _quiet(document, "training", threads):
        ratio = found.get(record["id"])
        if ratio is None or ratio >= LEAST_TRAINING:
            continue
        ours, theirs = record["share"][OURS], record["share"][TORCH]
        rows.append([record["row"], f"{ratio:.2f}", f"{ours:.0%}", f"{theirs:.0%}", f"{theirs * LEAST_TRAINING:.0%}"])
    if not rows:
        return []
    return [
        f"**Training beside {TORCH}, every shape {LEAST_TRAINING:g}.** In the largest shapes {TORCH}'s library stands "
        "near the peak itself; the last column is the share of the peak that the goal asks for.",
        table(["shape", "reached", "cellgate's share of the peak", f"{TORCH}'s", "asked for"], rows),
    ]


def _side_by_side(document: dict[str, Any], threads: int) -> list[str]:
    slowed = slowdowns(document, OURS, "training", threads)
    alone = {
        record["row"]: record["times"][OURS]["median"]
        for record in records_of(document, "training", 1, "busy")
        if OURS in record.get("times", {})
    }
    quiet = {record["row"]: record["times"][OURS]["median"] for record in _quiet(document, "training", threads)}
    rows = [
        [row, f"{value:.1f}", f"{alone[row] / quiet[row]:.1f}" if row in alone else ""]
        for row, value in slowed.items()
        if value > MOST_SLOWED
    ]
    if not rows:
        return []
    return [
        f"**Three trainings side by side.** {len(slowed) - len(rows)} of {len(slowed)} shapes are within "
        f"{MOST_SLOWED:g}; which are not changes from run to run. Beside them what three trainings of one thread each "
        f"come to, over the same quiet time with {threads} threads. In a crowd a call of less than some tens of "
        "milliseconds is done by one thread, which changes CPUs to have its share, and so stands about there. For "
        "less, each thread of a call would have to make headway while the other has no CPU: by doing again what that "
        "one left unfinished.",
        table(["shape", "slowed by", "one thread each"], rows),
    ]


def _full_gates(variants: dict[str, Any]) -> list[str]:
    rows = []
    for row in variants["rows"]:
        if row["name"] != speed_table.MORE_WORK:
            continue
        T, B, inputs, hidden = row["T, B, I, H"]
        plain = 4 * hidden * (inputs + hidden)
        more = (plain + MATRICES_MORE * hidden * hidden) / plain
        rows.append([f"T{T} B{B} I{inputs} H{hidden}", f"{row['of plain']:.2f}", three_digits(more)])
    return [
        "**Full gate recurrence.** Its three gates read the three gates of the step before (Greff et al. 2017, section "
        f"III): {MATRICES_MORE} matrices of H by H more, whose products the last column counts.",
        table(["shape", "time over plain", "multiply-adds over plain"], rows),
    ]


def _quiet(document: dict[str, Any], mode: str, threads: int) -> Sequence[Record]:
    return [record for record in records_of(document, mode, threads) if "times" in record]
