"""A picture of forecasts: the past, the held-out part beside what was predicted for it, and the future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from cellgate.report.axes import number_ticks, show_number, time_ticks

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 920, 300, 72, 24, 46, 34
_HEAD, _FOOT, _SECOND = 44, 16, 22
_TITLE_LETTER, _NAME_LETTER = 9.3, 7.4  # the average widths of letters of their sizes
_INK, _PALE, _RULE = "#1f2933", "#6b7785", "#e4e8ec"
_MODEL, _BASE = "#0b6e99", "#c0792a"
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:" + _INK + "}"
    ".title{font-size:17px;font-weight:600}.name{font-size:13px;font-weight:600}"
    ".small{font-size:11.5px;fill:" + _PALE + "}.right{text-anchor:end}.middle{text-anchor:middle}"
    "path{fill:none;stroke-linejoin:round;stroke-linecap:round}"
)


@dataclass(frozen=True)
class Segment:
    """A stretch of forecast.

    Attributes:
        first: the position of its first step in the series' times.
        median: (n,).
        low: (n,) of the interval.
        high: (n,).
        baseline: (n,) the baseline's values, or None.
    """

    first: int
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    baseline: np.ndarray | None = None


@dataclass(frozen=True)
class Drawing:
    """One series.

    Attributes:
        name: written over it.
        note: written beside the name, such as the score.
        times: (T,) stamps of the past and the future.
        past: the first values of the T, NaN where missing.
        segments: forecasts.
        holdout: how many last steps of the past were held out.
    """

    name: str
    note: str
    times: np.ndarray
    past: np.ndarray
    segments: Sequence[Segment]
    holdout: int = 0


def forecast_svg(title: str, drawings: Sequence[Drawing], interval: str) -> str:
    """One SVG with a plot for each series, one below the other.

    Args:
        title: the heading.
        drawings: the series.
        interval: what the band is, for the legend: "90 % interval".
    """
    legend, begins = _legend(interval, any(s.baseline is not None for d in drawings for s in d.segments))
    title = _shortened(title, _WIDTH - _LEFT - _RIGHT, _TITLE_LETTER)
    # A title that would run into the legend has a line of its own above it.
    lower = _SECOND if _LEFT + _TITLE_LETTER * len(title) > begins - 12 else 0
    height = _HEAD + lower + len(drawings) * _HEIGHT + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title, quote=True)}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text class="title" x="{_LEFT}" y="30">{escape(title)}</text>',
        f'<g transform="translate(0 {lower})">{legend}</g>' if lower else legend,
    ]
    for k, drawing in enumerate(drawings):
        parts.append(f'<g transform="translate(0 {_HEAD + lower + k * _HEIGHT})">{_plot(drawing)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _shortened(text: str, room: float, letter: float) -> str:
    """A text that ends in an ellipsis where letters of that average width would not fit; text is not measured here."""
    most = int(room / letter)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _legend(interval: str, baseline: bool) -> tuple[str, float]:
    """The legend, to the right of the picture, and where it begins."""
    entries = [("observed", _INK, ""), ("forecast", _MODEL, ""), (interval, _MODEL, "band")]
    if baseline:
        entries.append(("seasonal naive", _BASE, "dashed"))
    # Text is not measured here, so each entry gets the room that an average letter of this size takes.
    widths = [round(6.1 * len(label)) for label, _, _ in entries]
    begins = x = _WIDTH - _RIGHT - sum(widths) - 44 * len(entries) + 18
    parts = []
    for (label, colour, kind), width in zip(entries, widths, strict=True):
        if kind == "band":
            parts.append(f'<rect x="{x}" y="20" width="20" height="10" fill="{colour}" fill-opacity="0.16"/>')
        else:
            dash = ' stroke-dasharray="4 3"' if kind else ""
            parts.append(f'<path d="M{x} 25h20" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text class="small" x="{x + 26}" y="29">{escape(label)}</text>')
        x += width + 44
    return "".join(parts), begins


def _plot(drawing: Drawing) -> str:
    count = len(drawing.times)
    shown = [drawing.past, *(array for s in drawing.segments for array in (s.low, s.high, s.median))]
    values = np.concatenate(shown)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    pad = 0.06 * (high - low) or max(abs(high) * 0.1, 1.0)
    # A series that never goes below zero is not drawn below it.
    low, high = (max(low - pad, 0.0) if low >= 0 else low - pad), high + pad
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def at_x(step: float) -> float:
        return _LEFT + (right - _LEFT) * step / max(count - 1, 1)

    def at_y(value: float) -> float:
        return bottom - (bottom - _TOP) * (value - low) / (high - low)

    def line(first: int, array: np.ndarray) -> str:
        path, pen = [], "M"
        for step, value in enumerate(array):
            if np.isfinite(value):
                path.append(f"{pen}{at_x(first + step):.1f} {at_y(value):.1f}")
            pen = "L" if np.isfinite(value) else "M"
        return "".join(path)

    parts = []
    for tick in number_ticks(low, high):
        y = at_y(tick)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="{_RULE}"/>')
        parts.append(f'<text class="small right" x="{_LEFT - 8}" y="{y + 4:.1f}">{show_number(tick)}</text>')
    for step, label in time_ticks(drawing.times):
        x = at_x(step)
        parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="{_PALE}"/>')
        parts.append(f'<text class="small middle" x="{x:.1f}" y="{bottom + 18}">{escape(label)}</text>')
    parts.append(f'<path d="M{_LEFT} {bottom}H{right}" stroke="{_PALE}"/>')
    marks = [(len(drawing.past) - 1, "now")]
    if drawing.holdout:
        marks.append((len(drawing.past) - drawing.holdout - 1, "held out from here"))
    for step, label in marks:
        x = at_x(step)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="{_PALE}" stroke-dasharray="2 3"/>')
        parts.append(f'<text class="small right" x="{x - 4:.1f}" y="{_TOP + 10}">{label}</text>')
    for segment in drawing.segments:
        steps = range(len(segment.median))
        upper = [f"{at_x(segment.first + k):.1f} {at_y(float(segment.high[k])):.1f}" for k in steps]
        lower = [f"{at_x(segment.first + k):.1f} {at_y(float(segment.low[k])):.1f}" for k in reversed(steps)]
        parts.append(f'<path d="M{"L".join(upper + lower)}Z" style="fill:{_MODEL};fill-opacity:0.16"/>')
    parts.append(f'<path d="{line(0, drawing.past)}" stroke="{_INK}" stroke-width="1.5"/>')
    for segment in drawing.segments:
        if segment.baseline is not None:
            parts.append(
                f'<path d="{line(segment.first, segment.baseline)}" stroke="{_BASE}" stroke-width="1.3" '
                'stroke-dasharray="4 3"/>'
            )
        parts.append(f'<path d="{line(segment.first, segment.median)}" stroke="{_MODEL}" stroke-width="2"/>')
    room = right - _LEFT - (6.1 * len(drawing.note) + 12 if drawing.note else 0)
    name = _shortened(drawing.name, room, _NAME_LETTER)
    parts.append(f'<text class="name" x="{_LEFT}" y="26">{escape(name)}</text>')
    if drawing.note:
        parts.append(f'<text class="small right" x="{right}" y="26">{escape(drawing.note)}</text>')
    return "".join(parts)
