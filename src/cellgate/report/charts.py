"""Small charts for the panels of a report: bars and curves over names, a matrix of counts, memory times of units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup, escape

from cellgate.report.axes import number_ticks, show_number
from cellgate.report.frame import text
from cellgate.report.model import Bars, LayerMaps, Matrix

__all__ = ["bars_svg", "matrix_svg", "training_svg", "units_svg"]

_WIDTH, _LEFT, _RIGHT = 760, 64, 740
_TOP, _BOTTOM = 16, 216
_MOST_WORDED = 128


def bars_svg(bars: Bars) -> Markup:
    """Bars beside one another, or curves where the names have an order."""
    count = len(bars.names)
    values = np.concatenate([np.asarray(v, dtype=float) for _, _, v in bars.kinds])
    known = values[np.isfinite(values)]
    low, high = min(0.0, float(known.min(initial=0))), max(0.0, float(known.max(initial=0))) or 1.0
    parts, at = _axes(low, high)
    step = (_RIGHT - _LEFT) / max(count, 1)
    for k, (name, role, numbers) in enumerate(bars.kinds):
        kind = role.replace(" ", "-")
        if bars.curve:
            points = [f"{_LEFT + step * (j + 0.5):.1f} {at(v):.1f}" for j, v in enumerate(numbers) if np.isfinite(v)]
            parts.append(f'<path class="curve {kind}" d="M{"L".join(points)}"/>' if points else "")
        for j, value in enumerate(numbers):
            if not np.isfinite(value):
                continue
            said = f"<title>{escape(bars.names[j])}, {escape(name)}: {value:.4g} {escape(bars.unit)}</title>"
            if bars.curve:
                x, y = _LEFT + step * (j + 0.5), at(value)
                parts.append(f'<circle class="point {kind}" cx="{x:.1f}" cy="{y:.1f}" r="3">{said}</circle>')
            else:
                width = 0.8 * step / len(bars.kinds)
                x, y = _LEFT + step * j + 0.1 * step + width * k, at(value)
                box = f'x="{x:.1f}" y="{min(y, at(0)):.1f}" width="{width:.1f}" height="{abs(at(0) - y):.1f}"'
                parts.append(f'<rect class="bar {kind}" {box}>{said}</rect>')
    every = max(1, math.ceil(count / max(2, int(680 / (8 * max((len(n) for n in bars.names), default=1) + 16)))))
    for j in range(0, count, every):
        parts.append(text(_LEFT + step * (j + 0.5), _BOTTOM + 19, "mid small soft", bars.names[j]))
    parts.append(text(_RIGHT, _BOTTOM + 40, "small soft end", bars.axis))
    parts.append(text(_LEFT - 8, _TOP - 4, "small soft", bars.unit))
    names = ", ".join(name for name, _, _ in bars.kinds)
    return _svg("bars", _BOTTOM + 48, f"{names} by {bars.axis}", parts)


def training_svg(losses: np.ndarray, scores: np.ndarray, best: int) -> Markup:
    """Loss and validation score of every epoch, and the epoch whose weights were kept."""
    both = np.concatenate([losses, scores])
    known = both[np.isfinite(both)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    pad = 0.05 * (high - low) or 0.5
    parts, at = _axes(low - pad, high + pad)
    count = len(losses)

    def x(epoch: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (epoch - 0.5) / max(count, 1)

    if 1 <= best <= count:
        parts.append(f'<path class="now" d="M{x(best):.1f} {_TOP}V{_BOTTOM}"/>')
        end = "end" if best > count / 2 else ""
        parts.append(text(x(best) + (-6 if end else 6), _TOP + 10, f"small soft {end}", f"kept: epoch {best}"))
    for numbers, kind in ((losses, "baseline"), (scores, "model")):
        points = [f"{x(k + 1):.1f} {at(v):.1f}" for k, v in enumerate(numbers) if np.isfinite(v)]
        if points:
            parts.append(f'<path class="curve {kind}" d="M{"L".join(points)}"/>')
    for tick in number_ticks(1, max(count, 2), 8):
        if tick == int(tick) and tick <= count:
            parts.append(text(x(tick), _BOTTOM + 19, "mid small soft", show_number(tick)))
    parts.append(text(_RIGHT, _BOTTOM + 40, "small soft end", "epoch"))
    return _svg("bars", _BOTTOM + 48, "Training loss and validation score of every epoch", parts)


def units_svg(layer: LayerMaps, steps: int) -> Markup:
    """Every unit of a layer: how long it remembers, and how often its gates are nearly closed or nearly open."""
    order = np.argsort(-np.nan_to_num(layer.memory, posinf=1e9), kind="stable")
    reach = max(1.5, min(float(np.nan_to_num(layer.memory, posinf=1e4).max(initial=1.5)), 1e4))
    count, top, bottom = len(order), 16, 150
    width = (_RIGHT - _LEFT) / max(count, 1)
    low = min(0.3, max(0.05, float(layer.memory.min(initial=0.3))))

    def at(memory: float) -> float:
        share = math.log(max(min(memory, reach), low) / low) / math.log(reach / low)
        return bottom - (bottom - top) * share

    parts = []
    for tick in (0.1, 1, 10, 100, 1000, 10000):
        if low <= tick <= reach:
            parts.append(f'<path class="line" d="M{_LEFT} {at(tick):.1f}H{_RIGHT}"/>')
            parts.append(text(_LEFT - 8, at(tick) + 4, "small soft end", show_number(tick)))
    if low <= steps <= reach:
        parts.append(f'<path class="now" d="M{_LEFT} {at(steps):.1f}H{_RIGHT}"/>')
        parts.append(text(_RIGHT, at(steps) - 5, "small soft end", f"the {steps} steps read"))
    radius = min(4.0, max(1.4, width * 0.4))
    # Hundreds of units are drawn without words of their own: the page would be larger by a megabyte.
    dense = count > _MOST_WORDED
    for place, unit in enumerate(order):
        memory = float(layer.memory[unit])
        said = f"unit {unit}: remembers {'for ever' if math.isinf(memory) else f'{memory:.3g} steps'}"
        x = _LEFT + width * (place + 0.5)
        title = "" if dense else f"<title>{said}</title>"
        at_unit = f'cx="{x:.1f}" cy="{at(memory):.1f}" r="{radius:.1f}" data-unit="{unit}"'
        parts.append(f'<circle class="point model" {at_unit}>{title}</circle>')
    y = bottom + 30
    for gate in layer.opened:
        parts.append(text(_LEFT - 8, y + 15, "end gate-name", gate))
        parts.append(f'<rect class="back" x="{_LEFT}" y="{y}" width="{_RIGHT - _LEFT}" height="22"/>')
        opened, closed = layer.opened[gate][order], layer.closed[gate][order]
        parts.append(f'<path class="open" d="{_skyline(22 * opened, y, width, 1)}"/>')
        parts.append(f'<path class="closed" d="{_skyline(22 * closed, y + 22, width, -1)}"/>')
        for place, unit in enumerate(() if dense else order):
            said = f"unit {unit}, {gate}: open {opened[place]:.0%}, closed {closed[place]:.0%} of the steps"
            box = f'x="{_LEFT + width * place:.2f}" y="{y}" width="{width:.2f}" height="22"'
            parts.append(f'<rect class="hit" {box}><title>{said}</title></rect>')
        y += 28
    parts.append(text(_RIGHT, y + 14, "small soft end", "units, longest memory first"))
    parts.append(text(_LEFT - 8, 10, "small soft", "steps"))
    return _svg("units", y + 24, f"{layer.title}: memory time and saturation of {count} units", parts)


def _skyline(heights: np.ndarray, y: float, width: float, way: int) -> str:
    """One outline around bars that hang from y (way 1) or stand on it (way -1)."""
    tops = "".join(f"V{y + way * h:.1f}H{_LEFT + width * (k + 1):.1f}" for k, h in enumerate(heights))
    return f"M{_LEFT} {y:g}{tops}V{y:g}Z"


def matrix_svg(matrix: Matrix) -> Markup:
    """Counts as shades: rows what it was, columns what it was taken for."""
    count = len(matrix.names)
    longest = max((len(name) for name in matrix.names), default=1)
    left = min(200, 30 + 7.5 * longest)
    cell = max(16.0, min(46.0, (_RIGHT - left) / max(count, 1)))
    rows = matrix.counts.sum(1, keepdims=True)
    shares = matrix.counts / np.maximum(rows, 1)
    top = 40.0
    parts = [text(left, 14, "small soft", "taken for")]
    for k, name in enumerate(matrix.names):
        short = name if len(name) * 7 <= left - 16 else name[: int((left - 16) / 7)] + "…"
        parts.append(text(left - 10, top + cell * (k + 0.5) + 4, "small end", short))
        if cell >= 22:
            parts.append(text(left + cell * (k + 0.5), top - 8, "small mid", name[: max(1, int(cell / 7))]))
        for j in range(count):
            share, number = float(shares[k, j]), int(matrix.counts[k, j])
            kind = "right" if j == k else "wrong"
            box = f'x="{left + cell * j:.1f}" y="{top + cell * k:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
            said = f"{escape(matrix.names[k])} taken for {escape(matrix.names[j])}: {number} ({share:.0%})"
            parts.append(f'<rect class="back" {box}/>')
            parts.append(f'<rect class="{kind}" {box} opacity="{share:.3f}"><title>{said}</title></rect>')
            if cell >= 26 and number:
                ground = " on-dark" if share > 0.55 else ""
                at = left + cell * (j + 0.5), top + cell * (k + 0.5) + 4
                parts.append(text(*at, f"small mid{ground}", str(number)))
    return _svg("matrix", top + cell * count + 10, f"What was taken for what, {count} classes", parts)


def _axes(low: float, high: float) -> tuple[list[str], Callable[[float], float]]:
    def at(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - low) / ((high - low) or 1.0)

    parts = []
    for tick in number_ticks(low, high):
        parts.append(f'<path class="line" d="M{_LEFT} {at(tick):.1f}H{_RIGHT}"/>')
        parts.append(text(_LEFT - 8, at(tick) + 4, "small soft end", show_number(tick)))
    return parts, at


def _svg(kind: str, height: float, label: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg class="chart {kind}" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
