"""A picture of gates over time: heat maps in an SVG file that needs nothing else, on light paper and on dark.

Plain data in (:class:`HeatMaps`), text out; nothing is written here. Steps run to the right, each row is a unit and
has the same place in all maps of a layer.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from html import escape
from math import ceil

import numpy as np

from .raster import colour_filters, png_uri
from .walkthrough.characters import visible

__all__ = ["HeatMaps", "draw"]

NAMES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "c": "memory cell", "h": "output"}
UNSIGNED = ("i", "f", "o")

PAGE = 28  # around everything
GAP = 44  # between blocks
LABEL = 104  # left of the maps
PROFILE = 64  # right of the maps: each unit's mean
HEAD = 54  # above the maps
BETWEEN = 9  # maps
CURVE = 46  # height of the curve of the norm of c
LANE = 52  # height of the signal
AXIS = 26  # below
LEGEND = 46
FINEST = 1200  # columns of a map; more steps are averaged
WIDEST = 44  # room for the name of a step; longer ones are shortened before any is left out

# Text is not measured here, so a letter of each kind gets the room that an average one of its size takes, in the wider
# of the usual fonts.
LETTER = {"title": 9.9, "step": 7.8, "small": 6.6}

STYLE = """
.paper{fill:#fdfdfb}.ink{fill:#1c2430}.soft{fill:#66717f}.line{stroke:#c9d0d6}.frame{stroke:#dfe3e6}
.bar{fill:#7b8794}.curve{stroke:#cf4f41}.wash{fill:#cf4f41}.signal{stroke:#1c2430}.reset{stroke:#1c2430}
.unsigned{filter:url(#cellgate-unsigned-light)}.signed{filter:url(#cellgate-signed-light)}
"""
DARK = """
.paper{fill:#0f141c}.ink{fill:#e8edf2}.soft{fill:#8c98a5}.line{stroke:#3a4450}.frame{stroke:#28313b}
.bar{fill:#76828f}.curve{stroke:#ea7f3c}.wash{fill:#ea7f3c}.signal{stroke:#e8edf2}.reset{stroke:#e8edf2}
.unsigned{filter:url(#cellgate-unsigned-dark)}.signed{filter:url(#cellgate-signed-dark)}
"""
SHAPE = """
text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI","Noto Sans","Noto Sans CJK SC",sans-serif}
.title{font-size:17px;font-weight:650}.note{font-size:12px}.gate{font-size:22px;font-style:italic;
font-family:ui-serif,Georgia,"Times New Roman","Noto Serif",serif}.small{font-size:11px}.step{font-size:13px}
image{image-rendering:pixelated}.line,.frame{fill:none;stroke-width:1}.curve,.signal{fill:none;stroke-width:1.6;
stroke-linejoin:round;stroke-linecap:round}.wash{opacity:.13}.reset{stroke-width:1;stroke-dasharray:3 3;opacity:.55}
"""


@dataclass(frozen=True)
class HeatMaps:
    """The numbers of one picture block: one sequence in one layer and direction.

    Attributes:
        title: What it shows.
        maps: By gate, arrays of (units, steps), top row unit 0.
        order: Units from top to bottom.
        labels: A name for each step, or None for its number.
        signal: A number for each step, drawn as a curve above the maps, or None.
        resets: Steps at which an episode begins.
    """

    title: str
    maps: dict[str, np.ndarray]
    order: tuple[int, ...]
    labels: tuple[str, ...] | None = None
    signal: tuple[float, ...] | None = None
    resets: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return next(iter(self.maps.values())).shape[1]

    @property
    def units(self) -> int:
        """H, the number of units."""
        return max(values.shape[0] for values in self.maps.values())


class Svg(str):
    """The text of an SVG file, which a notebook shows as the picture that it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return what it is, not all of its text."""
        return f"<Svg of {len(self):,} characters: write_text() of a pathlib.Path keeps it>"

    def _repr_svg_(self) -> str:
        return str(self)


def draw(rows: list[list[HeatMaps]], *, theme: str = "auto") -> Svg:
    """Return an SVG file with a block for each element: lists below one another, their elements side by side.

    Args:
        rows: What to draw; usually a list a layer, in it the directions.
        theme: "auto" follows the reader's light or dark setting; "light" or "dark" is fixed.

    Raises:
        ValueError: No such theme, or nothing to draw.
    """
    if theme not in ("auto", "light", "dark"):
        raise ValueError(f"theme: expected 'auto', 'light' or 'dark', got {theme!r}")
    if not any(rows):
        raise ValueError("rows: expected something to draw, got nothing")
    across = max(len(row) for row in rows)
    map_width = 640 if across == 1 else 440
    block_width = LABEL + map_width + 12 + PROFILE
    parts, y = [], float(PAGE)
    for row in rows:
        height = 0.0
        for k, data in enumerate(row):
            drawn, block_height = _block(data, map_width)
            parts.append(f'<g transform="translate({PAGE + k * (block_width + GAP)} {y:g})">{drawn}</g>')
            height = max(height, block_height)
        y += height + GAP
    signed_scale = any(g in data.maps for row in rows for data in row for g in ("g", "c", "h"))
    width = 2 * PAGE + across * block_width + (across - 1) * GAP
    legend_y = y - GAP + 12
    parts.append(f'<g transform="translate({PAGE + LABEL} {legend_y:g})">{_legend(signed_scale)}</g>')
    height = legend_y + LEGEND
    style = {"auto": f"{STYLE}@media (prefers-color-scheme:dark){{{DARK}}}", "light": STYLE, "dark": DARK}[theme]
    return Svg(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}" role="img"><title>{escape(rows[0][0].title)}: gates over time</title>'
        f"<style>{SHAPE}{style}</style><defs>{colour_filters()}</defs>"
        f'<rect class="paper" width="{width:g}" height="{height:g}" rx="12"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, kind: str, text: str, anchor: str = "start", room: float | None = None) -> str:
    """Return a line of text, shortened to its room if it has one, the whole under the pointer."""
    # What no SVG file may hold is written by its number.
    text = "".join(visible(c) if unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" else c for c in text)
    shown, whole = escape(text), ""
    if room is not None and _width(text, kind) > room:
        shown, whole = escape(_shortened(text, kind, room)), f"<title>{escape(text)}</title>"
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{shown}{whole}</text>'


def _width(text: str, kind: str) -> float:
    """Return about how wide a text is, in pixels; letters of East Asia are as wide as they are high."""
    em = sum(1.65 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)
    return em * LETTER[kind.split()[-1]]


def _shortened(text: str, kind: str, room: float) -> str:
    """Return both ends of a text, with an ellipsis between them."""
    for kept in range(len(text) - 1, 0, -1):
        shown = f"{text[: (kept + 1) // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}"
        if _width(shown, kind) <= room:
            return shown
    return "…"


def _block(data: HeatMaps, width: int) -> tuple[str, float]:
    """Return the drawing of one block from (0, 0), and its height."""
    steps, units = data.steps, data.units
    fold = max(1, ceil(steps / FINEST))
    facts = [f"{units} units" if units != 1 else "1 unit", f"{steps} steps" if steps != 1 else "1 step"]
    if "f" in data.maps and steps:
        memory = _median_memory(data.maps["f"])
        facts += [] if np.isnan(memory) else [f"median memory {_number(memory)} steps"]
    strange = sum(int((~np.isfinite(values)).sum()) for values in data.maps.values())
    if strange:
        facts.append(f"{strange} values are not finite and drawn as zero")
    if fold > 1:
        facts.append(f"{fold} steps averaged in a column")
    room = width + 12 + PROFILE
    parts = [_text(LABEL, 16, "ink title", data.title, room=room), _text(LABEL, 36, "soft note", "  ·  ".join(facts))]
    y = float(HEAD)
    if data.signal is not None:
        parts.append(_curve(np.asarray(data.signal, dtype=float), y, width, LANE, "signal", "input", wash=False))
        y += LANE + BETWEEN
    top = y
    parts.append(_text(LABEL + width + 8, y - 6, "soft small", "mean of a unit" if data.signal is None else "mean"))
    maps = {name: np.where(np.isfinite(values), values, 0) for name, values in data.maps.items()}
    for name, values in maps.items():
        rows = values.shape[0]
        height = float(np.clip(rows * 3, 54, 118))
        order = data.order if rows == units else tuple(range(rows))
        parts.append(_map(name, values[list(order)], y, width, height, fold))
        y += height + BETWEEN
    if "c" in maps:
        norms = np.linalg.norm(maps["c"], axis=0)
        parts.append(_curve(norms, y, width, CURVE, "curve", "norm of c", wash=True))
        y += CURVE + BETWEEN
    for reset in data.resets:
        x = LABEL + width * reset / max(steps, 1)
        parts.append(f'<path class="reset" d="M{x:g} {top:g}V{y - BETWEEN:g}"/>')
    parts.append(_axis(data, y, width))
    return "".join(parts), y + AXIS


def _map(name: str, values: np.ndarray, y: float, width: int, height: float, fold: int) -> str:
    """Return one heat map with its name at the left and each unit's mean at the right."""
    unsigned = name in UNSIGNED
    reach = 1.0 if name in ("g", "h") else float(np.abs(values).max(initial=0)) or 1.0
    low, high = (0.0, 1.0) if unsigned else (-reach, reach)
    shown = _folded(values, fold)
    kind = "unsigned" if unsigned else "signed"
    parts = [
        _text(LABEL - 14, y + height / 2 + 1, "ink gate", name, "end"),
        _text(LABEL - 14, y + height / 2 + 17, "soft small", NAMES[name], "end"),
    ]
    if name == "c":
        parts.append(_text(LABEL - 14, y + height / 2 + 31, "soft small", f"±{_number(reach)}", "end"))
    if shown.size:
        parts.append(
            f'<image class="{kind}" x="{LABEL}" y="{y:g}" width="{width}" height="{height:g}" '
            f'preserveAspectRatio="none" href="{png_uri(shown, low, high)}"/>'
        )
        parts.append(_profile(values, y, width, height, 1.0 if unsigned else reach))
    parts.append(f'<rect class="frame" x="{LABEL}" y="{y:g}" width="{width}" height="{height:g}"/>')
    return "".join(parts)


def _profile(values: np.ndarray, y: float, width: int, height: float, reach: float) -> str:
    """Return the mean size of each row as one filled outline, from the edge of the map to the right."""
    means = np.clip(np.abs(values).mean(1) / reach, 0, 1)
    x0, step = LABEL + width + 8, height / len(means)
    outline = "".join(f"V{y + k * step:.4g}H{x0 + PROFILE * m:.5g}" for k, m in enumerate(means))
    return f'<path class="bar" d="M{x0} {y:g}{outline}V{y + height:g}H{x0}Z"/>'


def _curve(values: np.ndarray, y: float, width: int, height: float, kind: str, name: str, *, wash: bool) -> str:
    """Return a curve with its name at the left and its largest value at the right; from zero if it has a wash."""
    finite = np.isfinite(values)
    if not finite.any():
        return ""
    low = min(0.0, float(values[finite].min())) if wash else float(values[finite].min())
    high = float(values[finite].max())
    span = (high - low) or 1.0
    xs = LABEL + width * (np.arange(len(values)) + 0.5) / len(values)
    ys = y + height - 3 - (height - 8) * (np.where(finite, values, low) - low) / span
    # A curve has a gap where there is no number; a stretch of one step is a dot.
    stretches = np.split(np.arange(len(values)), np.flatnonzero(np.diff(finite)) + 1)
    lines = [
        " ".join(f"{xs[t]:.1f},{ys[t]:.1f}" for t in (s if len(s) > 1 else np.repeat(s, 2)))
        for s in stretches
        if finite[s[0]]
    ]
    foot = y + height
    parts = [_text(LABEL - 14, y + height / 2 + 4, "soft small", name, "end")]
    if wash:
        (points,) = lines  # the norm of c, in which zero stands for what is not finite
        parts.append(f'<polygon class="wash" points="{xs[0]:.1f},{foot:g} {points} {xs[-1]:.1f},{foot:g}"/>')
        parts.append(f'<path class="line" d="M{LABEL} {foot:g}h{width}"/>')
    parts += [f'<polyline class="{kind}" points="{points}"/>' for points in lines]
    parts.append(_text(LABEL + width + 8, y + 12, "soft small", f"max {_number(high)}"))
    return "".join(parts)


def _axis(data: HeatMaps, y: float, width: int) -> str:
    """Return the names of the steps under the maps, as many as there is room for: their labels, or else numbers."""
    steps = data.steps
    if not steps:
        return ""
    cell = width / steps
    labels = None if data.labels is None else ["".join(map(visible, n)) if n.isspace() else n for n in data.labels]
    for kind in ("step", "small"):
        if labels is not None and max(_width(label, kind) for label in labels) <= cell:
            return "".join(
                _text(LABEL + cell * (t + 0.5), y + 14, f"ink {kind}", label, "middle")
                for t, label in enumerate(labels)
            )
    if labels is None:
        every = _round_step(steps, max(2, width // 80))
    else:
        widest = min(WIDEST, max(_width(label, "small") for label in labels))
        every = _round_step(steps, max(1, int(width / (widest + 8))))
    room = every * cell - 8
    text = "".join(
        _text(LABEL + cell * (t + 0.5), y + 12, "soft small", str(t) if labels is None else labels[t], "middle", room)
        for t in range(0, steps, every)
    )
    return text if labels is not None else text + _text(LABEL - 14, y + 12, "soft small", "step", "end")


def _legend(signed: bool) -> str:
    """Return the colour scales."""
    ramp = np.linspace(0, 1, 64)[None]
    scales = [("unsigned", "0", "1", "i, f, o")]
    if signed:
        scales.append(("signed", "−1", "1", "g, h; c on its own scale"))
    parts, x = [], 0.0
    for kind, low, high, what in scales:
        bar = f'x="{x + 22:g}" y="7" width="110" height="11"'
        parts += [
            _text(x + 16, 16, "soft small", low, "end"),
            f'<image class="{kind}" {bar} preserveAspectRatio="none" href="{png_uri(ramp, 0, 1)}"/>',
            f'<rect class="frame" {bar}/>',
            _text(x + 138, 16, "soft small", high),
            _text(x + 156, 16, "soft small", what),
        ]
        x += 240
    return "".join(parts)


def _folded(values: np.ndarray, fold: int) -> np.ndarray:
    """Return the array with every ``fold`` columns averaged, the last one over what is left."""
    if fold == 1 or not values.size:
        return values
    starts = np.arange(0, values.shape[1], fold)
    counts = np.diff(np.append(starts, values.shape[1]))
    return np.add.reduceat(values, starts, axis=1) / counts


def _median_memory(forget: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.median(1 / np.abs(np.log(forget.mean(1)))))


def _round_step(steps: int, marks: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, ... that needs no more than ``marks`` marks."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if steps / (size * factor) <= marks:
                return size * factor
        size *= 10


def _number(value: float) -> str:
    return (
        "∞"
        if np.isinf(value)
        else f"{value:.1f}"
        if 1 <= abs(value) < 100
        else f"{value:.0f}"
        if abs(value) >= 100
        else f"{value:.2f}"
    )
