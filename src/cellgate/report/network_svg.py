"""A network as a drawing: its layers from the input up, with sizes, directions, projections and what they learn."""

from __future__ import annotations

from markupsafe import Markup, escape

from cellgate.report.model import Network, NetworkLayer

__all__ = ["network_svg"]

_WIDTH, _BOX, _HEIGHT, _GAP = 760, 420, 66, 34
_LEFT = 40


def network_svg(network: Network) -> Markup:
    """Return the drawing, as markup to stand in a page."""
    rows: list[tuple[str, str, str, str]] = [("end", network.output, "", "")]
    rows.append(("readout", network.readout, "", _learned(network.readout_parameters)))
    for layer in reversed(network.layers):
        rows.append(("lstm", _sizes(layer), layer.cell, _learned(layer.parameters)))
    rows.append(("end", network.input, "", ""))
    parts, y = [], 8.0
    for k, (kind, name, more, learned) in enumerate(rows):
        height = 34 if kind == "end" else _HEIGHT
        if k:
            # the arrow from this row up to the one above it
            x = _LEFT + _BOX / 2
            parts.append(f'<path class="wire" d="M{x} {y + _GAP}V{y + 4}" marker-end="url(#network-tip)"/>')
            y += _GAP
        number = len(network.layers) - (k - 2)
        two = kind == "lstm" and network.layers[number - 1].directions == 2
        parts.append(_row(kind, name, more, learned, y, height, number, two))
        y += height
    said = (
        f"The network, from input to prediction: {network.input}, {len(network.layers)} LSTM layers, {network.readout}"
    )
    return Markup(
        f'<svg class="network" viewBox="0 0 {_WIDTH} {y + 8:g}" role="img" aria-label="{escape(said)}">'
        '<defs><marker id="network-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8Z" class="head"/></marker></defs>' + "".join(parts) + "</svg>"
    )


def _row(kind: str, name: str, more: str, learned: str, y: float, height: float, number: int, two: bool) -> str:
    middle = y + height / 2
    if kind == "end":
        return f'<text class="mid strong" x="{_LEFT + _BOX / 2}" y="{middle + 5:g}">{escape(name)}</text>'
    parts = []
    if two:
        half = _BOX / 2 - 6
        for k, arrow in enumerate(("reads → first to last", "reads ← last to first")):
            x = _LEFT + k * (half + 12)
            parts.append(f'<rect class="box lstm" x="{x}" y="{y}" width="{half}" height="{height}" rx="10"/>')
            parts.append(f'<text class="mid small soft" x="{x + half / 2}" y="{middle + 20:g}">{arrow}</text>')
            parts.append(f'<text class="mid" x="{x + half / 2}" y="{middle - 2:g}">{escape(name)}</text>')
    else:
        parts.append(f'<rect class="box {kind}" x="{_LEFT}" y="{y}" width="{_BOX}" height="{height}" rx="10"/>')
        at = middle - 4 if kind == "lstm" else middle + 5
        parts.append(f'<text class="mid" x="{_LEFT + _BOX / 2}" y="{at:g}">{escape(name)}</text>')
        if kind == "lstm":
            text = more or "gates i, f, g, o; state h, c carried from step to step"
            parts.append(
                f'<text class="mid small soft" x="{_LEFT + _BOX / 2}" y="{middle + 18:g}">{escape(text)}</text>'
            )
            # the state that goes round
            right = _LEFT + _BOX
            parts.append(f'<path class="wire" d="M{right} {middle - 14:g}h20v28h-16" marker-end="url(#network-tip)"/>')
    side = f"layer {number}" if kind == "lstm" else "readout"
    x = _LEFT + _BOX + 44
    parts.append(f'<text class="small strong" x="{x}" y="{middle - 3:g}">{side}</text>')
    parts.append(f'<text class="small soft" x="{x}" y="{middle + 15:g}">{learned}</text>')
    return "".join(parts)


def _sizes(layer: NetworkLayer) -> str:
    projected = f", projected to {layer.proj_size}" if layer.proj_size else ""
    return f"LSTM, {layer.hidden_size} units{projected}"


def _learned(count: int) -> str:
    return f"{count:,} numbers learned"
