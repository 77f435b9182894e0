"""What many cells say together: ratios by kind of work and peer, slowdowns on a busy machine, shares of the peak."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from .contenders import OURS

__all__ = ["KINDS", "geometric_mean", "kind_of", "ratios", "records_of", "shares", "slowdowns"]

KINDS = ("plain", "ragged", "projected", "float64", "bfloat16", "episodes")
"""Kinds of work; a row is of one kind."""


def kind_of(record: dict[str, Any]) -> str:
    """Return the kind of a cell's row."""
    shape = record["shape"]
    if shape["ragged"]:
        return "ragged"
    if shape["reset"]:
        return "episodes"
    if shape["P"]:
        return "projected"
    return "plain" if shape["dtype"] == "float32" else shape["dtype"]


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean of positive numbers.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    values = list(values)
    if not values:
        raise ValueError("values: expected at least one, got none")
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def records_of(document: dict[str, Any], mode: str, threads: int, load: str = "quiet") -> list[dict[str, Any]]:
    """Return the cells of one mode, with so many threads, on a quiet or a busy machine."""
    wanted = (mode, threads, load)
    return [record for record in document["cells"] if (record["mode"], record["threads"], record["load"]) == wanted]


def ratios(
    document: dict[str, Any],
    peer: str,
    mode: str,
    kinds: Iterable[str] = ("plain",),
    *,
    ours: str = OURS,
    load: str = "quiet",
    threads: int | None = None,
    where: Callable[[dict[str, Any]], bool] = lambda record: True,
) -> dict[str, float]:
    """Return peer time over ours, by cell id, of the cells of some kinds in one mode."""
    kinds = tuple(kinds)
    return {
        record["id"]: record["ratios"][ours][peer]["ratio"]
        for record in document["cells"]
        if record["mode"] == mode
        and record["load"] == load
        and threads in (None, record["threads"])
        and kind_of(record) in kinds
        and peer in record.get("ratios", {}).get(ours, {})
        and where(record)
    }


def slowdowns(document: dict[str, Any], contender: str, mode: str, threads: int) -> dict[str, float]:
    """Return by how much each row slows beside two copies of itself: busy time over quiet time, by row."""
    times: dict[tuple[str, str], float] = {}
    for record in document["cells"]:
        if record["mode"] == mode and record["threads"] == threads and contender in record.get("times", {}):
            times[record["row"], record["load"]] = record["times"][contender]["median"]
    return {
        row: busy / times[row, "quiet"]
        for (row, load), busy in times.items()
        if load == "busy" and (row, "quiet") in times
    }


def shares(
    document: dict[str, Any], mode: str, contender: str = OURS, least_b: int = 16, least_h: int = 128
) -> dict[str, float]:
    """Return the share of the FMA peak, by cell id, of quiet plain cells that are large enough to be bound by it."""
    return {
        record["id"]: record["share"][contender]
        for record in document["cells"]
        if record["mode"] == mode
        and record["load"] == "quiet"
        and kind_of(record) == "plain"
        and record["shape"]["B"] >= least_b
        and record["shape"]["H"] >= least_h
        and contender in record.get("share", {})
    }
