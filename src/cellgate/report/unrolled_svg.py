"""A layer unrolled over time: a box for each step of each pass, and which numbers go from where to where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = ["reading_order", "unrolled_svg"]

_STEP, _ROW, _BOX_WIDTH, _BOX_HEIGHT, _LEFT, _TOP = 230, 150, 150, 62, 130, 50


def reading_order(passes: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return (pass, time) in the order in which an LSTM computes them.

    A layer that reads another follows it step by step; the two directions are independent and come one after the
    other.

    >>> reading_order([{"reads": "x", "order": [0, 1]}, {"reads": "h of layer 1", "order": [0, 1]}])
    [(0, 0), (1, 0), (0, 1), (1, 1)]
    """
    stacked = any(one["reads"] != "x" for one in passes)
    if stacked:
        return [(k, t) for t in passes[0]["order"] for k in range(len(passes))]
    return [(k, t) for k, one in enumerate(passes) for t in one["order"]]


def unrolled_svg(passes: Sequence[dict[str, Any]], characters: Sequence[str], title: str) -> Markup:
    """Return the drawing, as markup to stand in a page; each box carries ``data-pass`` and ``data-step``.

    Args:
        passes: Their name, order and reads, from the bottom up.
        characters: A name for each step.
        title: What a screen reader says.
    """
    steps, rows = len(characters), len(passes)
    width, height = _LEFT + steps * _STEP + 40, _TOP + (rows - 1) * _ROW + _BOX_HEIGHT + 58
    stacked = any(one["reads"] != "x" for one in passes)
    parts = []
    for k, one in enumerate(passes):
        y = _TOP + (rows - 1 - k) * _ROW
        middle = y + _BOX_HEIGHT / 2
        backward = list(one["order"]) != sorted(one["order"])
        parts.append(f'<text x="{_LEFT - 22}" y="{middle + 6}" class="side soft">{escape(one["name"])}</text>')
        for t in range(steps):
            x = _LEFT + t * _STEP + (_STEP - _BOX_WIDTH) / 2
            centre = x + _BOX_WIDTH / 2
            # the state goes on to the step that is read next
            if t + 1 < steps:
                here, there = x + _BOX_WIDTH, x + _STEP
                ends = (there, here + 3) if backward else (here, there - 3)
                parts.append(_wire(f"M{ends[0]} {middle}H{ends[1]}"))
                parts.append(
                    f'<text x="{(here + there) / 2}" y="{middle - 9}" class="small mid soft gate-name">h, c</text>'
                )
            parts.append(
                _wire(
                    f"M{centre} {y}V{y - 24}"
                    if k == rows - 1 or not stacked
                    else f"M{centre} {y}V{y - (_ROW - _BOX_HEIGHT - 3)}"
                )
            )
            if k == rows - 1 or not stacked:
                parts.append(f'<text x="{centre}" y="{y - 31}" class="small mid gate-name">h(t{t + 1})</text>')
            if one["reads"] == "x":
                parts.append(_wire(f"M{centre} {y + _BOX_HEIGHT + 26}V{y + _BOX_HEIGHT + 3}"))
            label = f"{one['name']}, step {t + 1}: {characters[t]}"
            reads_x = one["reads"] == "x"
            inside = characters[t] if reads_x else f"reads {one['reads']}"
            parts.append(
                f'<g class="box" data-pass="{k}" data-step="{t}" role="button" aria-label="{escape(label)}">'
                f'<rect x="{x}" y="{y}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="10"/>'
                f'<text x="{centre}" y="{middle + (9 if reads_x else 5)}" class="mid '
                f'{"character" if reads_x else "small"}">{escape(inside)}</text></g>'
            )
            if reads_x:
                below = y + _BOX_HEIGHT
                at = (
                    f'x="{centre}" y="{below + 46}" class="mid'
                    if k == 0
                    else f'x="{centre + 12}" y="{below + 22}" class="small'
                )
                parts.append(f'<text {at} gate-name">x(t{t + 1})</text>')
    return Markup(
        f'<svg class="unrolled" viewBox="0 0 {width} {height}" style="min-width:{min(width, 300 + 110 * steps)}px" '
        f'role="group" aria-label="{escape(title)}">' + "".join(parts) + "</svg>"
    )


def _wire(path: str) -> str:
    return f'<path class="wire" d="{path}" marker-end="url(#tip-of-wire)"/>'
