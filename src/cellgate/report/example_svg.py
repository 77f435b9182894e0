"""An example drawn on one axis: curves, rows of colours, the gates of each layer, what the output owes to each step."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

from cellgate.report.axes import number_ticks, show_number
from cellgate.report.frame import LEFT, RIGHT, Frame, text
from cellgate.report.model import Example, Influence, LayerMaps, Line, Strip
from cellgate.trace.raster import png_uri

__all__ = ["GATES", "MapRow", "curves_svg", "influence_svg", "layer_svg", "map_rows"]

GATES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "c": "memory cell", "h": "output"}
UNSIGNED = ("i", "f", "o")
_CURVES, _STRIP, _GAP = 230, 20, 7
_NAME = 16  # letters that have room left of the rows


def curves_svg(example: Example, frame: Frame) -> Markup:
    """Curves and rows of colours of an example."""
    parts, y = [], 12.0
    if example.lines:
        parts.append(_curves(example, frame, y, y + _CURVES))
        y += _CURVES + _GAP
    for strip in example.strips:
        parts.append(_strip(strip, frame, y))
        y += _STRIP + _GAP
    parts.append(frame.axis(y))
    names = ", ".join([line.name for line in example.lines] + [strip.name for strip in example.strips])
    return frame.svg(y + frame.foot, "curves", f"{example.name}: {names} over {frame.count} steps", "".join(parts))


def _curves(example: Example, frame: Frame, top: float, bottom: float) -> str:
    values = np.concatenate(
        [array for line in example.lines for array in (line.values, line.low, line.high) if array is not None]
    )
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    pad = 0.06 * (high - low) or max(abs(high) * 0.1, 0.5)
    low, high = (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad

    def at(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    parts = []
    for tick in number_ticks(low, high):
        parts.append(f'<path class="line" d="M{LEFT} {at(tick):.1f}H{RIGHT}"/>')
        parts.append(text(LEFT - 10, at(tick) + 4, "small soft end", show_number(tick)))
    if example.now is not None:
        x = frame.edge(example.now + 1)
        parts.append(f'<path class="now" d="M{x:.1f} {top:g}V{bottom:g}"/>')
        parts.append(text(x - 6, top + 10, "small soft end", "read"))
        parts.append(text(x + 6, top + 10, "small soft", "predicted"))
    for line in example.lines:
        if line.low is not None and line.high is not None:
            upper = [f"{frame.centre(line.start + k):.1f} {at(v):.1f}" for k, v in enumerate(line.high)]
            lower = [f"{frame.centre(line.start + k):.1f} {at(v):.1f}" for k, v in enumerate(line.low)][::-1]
            parts.append(f'<path class="band {_class(line)}" d="M{"L".join(upper + lower)}Z"/>')
    for line in example.lines:
        parts.append(f'<path class="curve {_class(line)}" d="{_path(line, frame, at)}"/>')
    return "".join(parts)


def _class(line: Line) -> str:
    return line.role.replace(" ", "-")


def _path(line: Line, frame: Frame, at) -> str:
    path, pen = [], "M"
    for k, value in enumerate(line.values):
        if np.isfinite(value):
            path.append(f"{pen}{frame.centre(line.start + k):.1f} {at(float(value)):.1f}")
        pen = "L" if np.isfinite(value) else "M"
    return "".join(path)


def _strip(strip: Strip, frame: Frame, y: float) -> str:
    shown = np.nan_to_num(strip.values)[None]
    return _row_name(y + _STRIP - 5, strip.name) + _image(
        shown, strip.low, strip.high, strip.signed, frame.edge(strip.start), y, frame.step * shown.shape[1], _STRIP
    )


def _image(
    values: np.ndarray, low: float, high: float, signed: bool, x: float, y: float, width: float, height: float
) -> str:
    box = f'x="{x:.2f}" y="{y:g}" width="{width:.2f}" height="{height:g}"'
    return (
        f'<image class="{"signed" if signed else "unsigned"}" {box} preserveAspectRatio="none" '
        f'href="{png_uri(values, low, high)}"/><rect class="frame" {box}/>'
    )


class MapRow:
    """One gate's map as it is drawn: how high, on which scale, from which numbers."""

    def __init__(self, gate: str, values: np.ndarray, y: float) -> None:
        self.gate, self.values, self.y = gate, values, y
        self.signed = gate not in UNSIGNED
        reach = 1.0 if gate in ("g", "h") else float(np.abs(values).max(initial=0)) or 1.0
        self.low, self.high = (-reach, reach) if self.signed else (0.0, 1.0)
        self.height = float(np.clip(values.shape[0] * 4, 48, 104))


def map_rows(layer: LayerMaps) -> list[MapRow]:
    """The maps of a layer from top to bottom, values that are no numbers drawn as zero."""
    rows, y = [], 10.0
    for gate, values in layer.maps.items():
        rows.append(MapRow(gate, np.nan_to_num(values, posinf=0, neginf=0), y))
        y += rows[-1].height + _GAP
    return rows


def layer_svg(layer: LayerMaps, frame: Frame, steps: int) -> Markup:
    """The gates of one layer; `steps` of them were read, of which the maps may hold means of a few."""
    parts, rows = [], map_rows(layer)
    for row in rows:
        middle = row.y + row.height / 2
        parts.append(text(LEFT - 12, middle + 1, "end gate-name letter", row.gate))
        parts.append(text(LEFT - 12, middle + 18, "end small soft", GATES[row.gate]))
        scale = (f"{row.low:+.2g}".replace("-", "−"), f"{row.high:+.2g}") if row.signed else ("0", "1")
        parts.append(text(RIGHT + 10, row.y + 12, "small soft", scale[1]))
        parts.append(text(RIGHT + 10, row.y + row.height - 2, "small soft", scale[0]))
        x = frame.edge(layer.start)
        parts.append(_image(row.values, row.low, row.high, row.signed, x, row.y, frame.step * steps, row.height))
    y = rows[-1].y + rows[-1].height + _GAP
    parts.append(frame.axis(y))
    return frame.svg(
        y + frame.foot, "maps", f"{layer.title}: gates i, f, g, o, the cell c and the output h", "".join(parts)
    )


def influence_svg(influence: Influence, frame: Frame) -> Markup:
    """Both influences of every column, one below the other; a dot where they disagree."""
    reach = max(float(np.abs(influence.gradient).max(initial=0)), float(np.abs(influence.occlusion).max(initial=0)))
    reach = reach or 1.0
    height = float(np.clip(150 / max(len(influence.columns), 1), 12, 24))
    edges = influence.edges
    widths = np.diff(edges)
    parts, y = [], 22.0
    for title, values in (("gradient × input", influence.gradient), ("occlusion", influence.occlusion)):
        parts.append(text(LEFT, y - 7, "small strong", title))
        for column, name in enumerate(influence.columns):
            parts.append(_row_name(y + height - 3, name))
            row = np.repeat(values[:, column], widths)[None]
            x = frame.edge(int(edges[0]))
            parts.append(_image(row, -reach, reach, True, x, y, frame.step * row.shape[1], height))
            for block in np.flatnonzero(influence.disagrees[:, column]):
                x = frame.edge((edges[block] + edges[block + 1]) / 2)
                parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y + height / 2:g}" r="2.4"/>')
            y += height + 2
        y += 26
    y -= 20
    parts.append(frame.axis(y))
    return frame.svg(
        y + frame.foot, "influence", f"What {influence.output} owes to each step and column", "".join(parts)
    )


def _row_name(y: float, name: str) -> str:
    """A row's name beside it; of a long one its ends, as words of one column begin alike, and all where one points."""
    if len(name) <= _NAME:
        return text(LEFT - 10, y, "small end", name)
    head = _NAME // 3
    short = f"{name[:head]}…{name[head + 1 - _NAME :]}"
    return f"<g><title>{escape(name)}</title>{text(LEFT - 10, y, 'small end', short)}</g>"


def legend(example: Example) -> Markup:
    """What the curves are."""
    parts = []
    for line in example.lines:
        parts.append(f'<span class="key {_class(line)}">{escape(line.name)}</span>')
        if line.band:
            parts.append(f'<span class="key band {_class(line)}">{escape(line.band)}</span>')
    return Markup("".join(parts))
