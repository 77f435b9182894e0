"""Round numbers and dates for the marks of an axis."""

from __future__ import annotations

import math

import numpy as np


def number_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [float(k * step) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def show_number(value: float) -> str:
    """As short as it is exact enough on an axis: 1,200, 0.05, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.6g}{letter}"
    return f"{value:,.0f}" if value == int(value) else f"{value:.6g}"


def time_ticks(times: np.ndarray, wanted: int = 8) -> list[tuple[int, str]]:
    """Positions in `times` to mark, and what to write there.

    The coarsest of year, month, day, hour and minute that changes often enough is marked where it changes.

    Args:
        times: (T,) stamps in order, datetime64 or int64.
        wanted: the most marks.
    """
    count = len(times)
    if times.dtype.kind != "M":
        first, last = int(times[0]), int(times[-1])
        step = max(1, (last - first) // max(1, count - 1))
        return [(round((tick - first) / step), f"{tick:,.0f}") for tick in number_ticks(first, last, wanted)]
    for unit, form in (("Y", 4), ("M", 7), ("D", 10), ("h", 16), ("m", 16), ("s", 19)):
        part = times.astype(f"datetime64[{unit}]")
        # Index 0 counts where the unit begins just there, as a January does.
        changes = np.flatnonzero(part[1:] != part[:-1]) + 1
        if part[0].astype(times.dtype) == times[0]:
            changes = np.concatenate([[0], changes])
        if len(changes) >= min(4, count):
            stride = max(1, math.ceil(len(changes) / wanted))
            return [(int(k), str(part[k].astype("datetime64[s]"))[:form].replace("T", " ")) for k in changes[::stride]]
    return [(0, str(times[0])[:10])]
