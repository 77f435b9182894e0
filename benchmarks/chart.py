"""The chart of the README: four panels of bars as one SVG, readable on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from cellgate.bench import losses
from cellgate.bench.table import duration

__all__ = ["PANELS", "chart"]

OURS = "cellgate"


@dataclass(frozen=True)
class Panel:
    """What one panel shows: a row of the grid in one mode."""

    title: str
    row: str
    mode: str


PANELS = (
    Panel("Training step, features to 128 units", "T100 B32 I64 H128", "training"),
    Panel("Training step, ragged, two directions", "T100 B32 I16 H64 D2 ragged", "training"),
    Panel("Inference, language model of two layers", "T35 B20 I650 H650 L2", "inference"),
    Panel("One streamed step, 512 units", "T1 B1 I512 H512", "stream"),
)
"""Chosen before any result: one of each kind of work."""

_ORDER = (OURS, "nn.LSTM", "onnxruntime", "JAX scan")
_WIDTH, _PANEL_WIDTH, _BAR, _LABEL = 860, 410, 18, 86

_STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #57606a; }
  .title { font-weight: 600; font-size: 13px; fill: #24292f; }
  .value { fill: #24292f; }
  .peer { fill: #afb8c1; }
  .ours { fill: #2da44e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #8d96a0; }
    .title, .value { fill: #e6edf3; }
    .peer { fill: #484f58; }
    .ours { fill: #3fb950; }
  }
"""


def chart(document: dict[str, Any]) -> str:
    """Return the SVG. A panel whose cell was not measured says so."""
    threads = max((entry["threads"] for entry in document["limits"]), default=1)
    drawn, height = [], 0.0
    for place, panel in enumerate(PANELS):
        column, line = place % 2, place // 2
        part, tall = _panel(document, panel, threads)
        drawn.append((column * (_WIDTH - _PANEL_WIDTH), line, tall, part))
    heights = [max(tall for _, line, tall, _ in drawn if line == k) for k in range((len(PANELS) + 1) // 2)]
    body = []
    for x, line, _, part in drawn:
        body.append(f'<g transform="translate({x} {sum(heights[:line]):g})">{part}</g>')
    height = sum(heights) + 22
    compared = sum(len(record.get("ratios", {}).get(OURS, {})) for record in document["cells"])
    footer = (
        f"{document['machine']['cpu']}, {threads} threads, torch {document['versions']['torch']}, "
        f"{document['date'][:10]}. Shorter is faster. Slower than a peer in {len(losses(document))} of {compared} "
        "comparisons: see BENCHMARKS.md."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" '
        f'height="{height:g}" role="img" aria-label="Times of cellgate and its peers">\n'
        f"<style>{_STYLE}</style>\n"
        + "\n".join(body)
        + f'\n<text x="0" y="{height - 6:g}">{escape(footer)}</text>\n</svg>\n'
    )


def _panel(document: dict[str, Any], panel: Panel, threads: int) -> tuple[str, float]:
    """One panel's drawing, at the origin, and its height."""
    lines = [f'<text class="title" x="0" y="14">{escape(panel.title)}</text>']
    record = next(
        (
            r
            for r in document["cells"]
            if (r["row"], r["mode"], r["threads"], r["load"]) == (panel.row, panel.mode, threads, "quiet")
        ),
        None,
    )
    times = (record or {}).get("times", {})
    names = [name for name in _ORDER if name in times]
    lines.append(f'<text x="0" y="30">{escape(panel.row)}</text>')
    if not names:
        lines.append('<text x="0" y="52">not measured</text>')
        return "\n".join(lines), 70
    longest = max(times[name]["median"] for name in names)
    room = _PANEL_WIDTH - _LABEL - 118
    y = 40.0
    for name in names:
        seconds = times[name]["median"]
        length = max(1.5, room * seconds / longest)
        ratio = f" ({seconds / times[OURS]['median']:.1f}×)" if name != OURS and OURS in times else ""
        lines.append(f'<text x="{_LABEL - 8}" y="{y + 13:g}" text-anchor="end">{escape(name)}</text>')
        lines.append(
            f'<rect class="{"ours" if name == OURS else "peer"}" x="{_LABEL}" y="{y:g}" width="{length:.1f}" '
            f'height="{_BAR - 2}" rx="2"/>'
        )
        lines.append(
            f'<text class="value" x="{_LABEL + length + 6:.1f}" y="{y + 13:g}">{duration(seconds)}{ratio}</text>'
        )
        y += _BAR + 2
    return "\n".join(lines), y + 16
