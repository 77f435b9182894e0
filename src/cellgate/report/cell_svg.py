"""The LSTM cell as a drawing, with places for the values of one unit at one step."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape

from cellgate.report.page import show_signed

__all__ = ["cell_svg"]

_C, _GATES, _BUS = 78, 262, 352  # heights: the line of c, the gates, the line that feeds them
_PLACES = {"f": 205, "i": 358, "g": 512, "o": 665}
_SQUASH = {"i": "σ", "f": "σ", "g": "tanh", "o": "σ"}
_WIDTH, _HEIGHT = 122, 70  # of a gate
_ADD, _SHOW = 435, 800  # where the candidate joins c, and where c is shown


def cell_svg(values: Mapping[str, float | None], reads: str = "x(t)", title: str = "An LSTM cell") -> Markup:
    """Return the cell's drawing, as markup to stand in a page.

    Elements that hold a value carry ``data-v`` with its name, a gate's filling ``data-fill``: a script can set them.

    Args:
        values: i, f, g, o, c, h, c_prev, h_prev, kept (f * c_prev), added (i * g), tanh_c, of one unit at one step.
        reads: What stands at the input.
        title: What a screen reader says.
    """
    parts = [
        _wire(f"M70 {_C}H{_PLACES['f'] - 15}"),
        _wire(f"M{_PLACES['f'] + 15} {_C}H{_ADD - 15}"),
        _wire(f"M{_ADD + 15} {_C}H930", arrow=True),
        # what feeds the gates
        _wire(f"M70 {_BUS}H{_PLACES['o']}"),
        _wire(f"M130 420V{_BUS}"),
        f'<circle cx="130" cy="{_BUS}" r="4.5" class="dot"/>',
        *(_wire(f"M{x} {_BUS}V{_GATES + _HEIGHT / 2}", arrow=True) for x in _PLACES.values()),
        # f to c; i and g to their product and on to c
        _wire(f"M{_PLACES['f']} {_GATES - _HEIGHT / 2}V{_C + 15}", arrow=True),
        _wire(f"M{_PLACES['i']} {_GATES - _HEIGHT / 2}V165H{_ADD - 15}", arrow=True),
        _wire(f"M{_PLACES['g']} {_GATES - _HEIGHT / 2}V165H{_ADD + 15}", arrow=True),
        _wire(f"M{_ADD} 150V{_C + 15}", arrow=True),
        # c through tanh, times o, out as h
        _wire(f"M{_SHOW} {_C}V133", arrow=True),
        _wire(f"M{_SHOW} 171V{_GATES - 15}", arrow=True),
        _wire(f"M{_PLACES['o'] + _WIDTH / 2} {_GATES}H{_SHOW - 15}", arrow=True),
        _wire(f"M{_SHOW + 15} {_GATES}H930", arrow=True),
        _node(_PLACES["f"], _C, "×"),
        _node(_ADD, _C, "+"),
        _node(_ADD, 165, "×"),
        _node(_SHOW, _GATES, "×"),
        f'<rect x="{_SHOW - 44}" y="135" width="88" height="36" rx="18" class="op"/>',
        _text(_SHOW, 159, "tanh", "small mid"),
        *(_gate(name, x, values[name]) for name, x in _PLACES.items()),
        # names and values
        _text(66, _C - 24, "c(t−1)", "gate-name side"),
        _value(66, _C - 2, "c_prev", values, "end big"),
        _text(66, _BUS - 24, "h(t−1)", "gate-name side"),
        _value(66, _BUS - 2, "h_prev", values, "end big"),
        _text(130, 444, reads, "gate-name mid", name="reads"),
        _text(940, _C - 24, "c(t)", "gate-name", colour="c"),
        _value(940, _C - 2, "c", values, "big", colour="c"),
        _text(940, _GATES - 24, "h(t)", "gate-name"),
        _value(940, _GATES - 2, "h", values, "big"),
        _text((_PLACES["f"] + _ADD) / 2, _C - 34, "f · c(t−1)", "small mid soft"),
        _value((_PLACES["f"] + _ADD) / 2, _C - 13, "kept", values, "mid"),
        _text(_ADD + 14, 112, "i · g", "small soft"),
        _value(_ADD + 14, 132, "added", values),
        _text(_SHOW + 12, 196, "tanh c(t)", "small soft"),
        _value(_SHOW + 12, 216, "tanh_c", values),
    ]
    head = f'<svg class="cell" viewBox="-50 14 1108 442" role="img" aria-label="{escape(title)}">'
    return Markup(head + "".join(parts) + "</svg>")


def _wire(path: str, arrow: bool = False) -> str:
    end = ' marker-end="url(#tip-of-wire)"' if arrow else ""
    return f'<path class="wire" d="{path}"{end}/>'


def _node(x: float, y: float, sign: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="15" class="op"/>' + _text(x, y + 6, sign, "sign mid")


def _gate(name: str, x: float, value: float | None) -> str:
    left, top = x - _WIDTH / 2, _GATES - _HEIGHT / 2
    box = f'x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" rx="9"'
    filled = 0.0 if value is None else abs(value)
    return (
        f'<rect {box} class="back"/><rect {box} class="fill" data-fill="{name}" '
        f'style="fill:var(--{name});opacity:{0.55 * filled:.3f}"/>'
        f'<rect {box} class="edge" style="stroke:var(--{name})"/>'
        + _text(left + 12, top + 27, name, "gate-name letter")
        + _text(left + _WIDTH - 12, top + 25, _SQUASH[name], "small end soft")
        + _text(x, top + 54, show_signed(value), "value mid big", name=name)
    )


def _value(
    x: float, y: float, name: str, values: Mapping[str, float | None], kind: str = "", colour: str | None = None
) -> str:
    return _text(x, y, show_signed(values[name]), f"value {kind}", name=name, colour=colour)


def _text(x: float, y: float, text: str, kind: str, *, name: str | None = None, colour: str | None = None) -> str:
    marked = f' data-v="{name}"' if name else ""
    style = f' style="fill:var(--{colour})"' if colour else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}"{marked}{style}>{escape(text)}</text>'
