"""Templates and plain data into one HTML file that asks nothing of the network.

Styles, scripts and data stand inside the file, and its own Content-Security-Policy forbids every request. Whatever
comes from data is escaped: by Jinja in the markup, by :func:`json_block` inside the script element.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cellgate._version import __version__
from cellgate.trace.raster import COLOURS, colour_filters

__all__ = ["json_block", "page_globals", "render", "show_shape", "show_signed"]


def render(template: str, **values: Any) -> str:
    """Return a page.

    Args:
        template: A file in ``templates/``.
        values: What it is filled with; strings are escaped, :class:`markupsafe.Markup` is taken as it is.
    """
    filters = Markup(colour_filters())
    return _environment().get_template(template).render(**values, version=__version__, filters=filters)


def json_block(values: Any, name: str) -> Markup:
    """Return data as a script element that no browser runs, safe whatever strings are in it.

    Args:
        values: Plain data; numbers that JSON has no sign for must be None already.
        name: The id of the element.

    Raises:
        ValueError: NaN or infinity is among the numbers.
    """
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A string may hold "</script>" or "<!--", which would end or open an element in here.
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{name}">{text}</script>')


def show_signed(value: float | None, digits: int = 5) -> str:
    """Return a number with its sign, as wide for every value between -10 and 10: +0.37890.

    >>> show_signed(0.3789), show_signed(-1.0, 2), show_signed(None)
    ('+0.37890', '−1.00', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def show_shape(shape: Any) -> str:
    """Return a shape as Python writes it.

    >>> show_shape([3, 1, 20]), show_shape([4])
    ('(3, 1, 20)', '(4,)')
    """
    sizes = ", ".join(str(size) for size in shape)
    return f"({sizes},)" if len(shape) == 1 else f"({sizes})"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cellgate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(signed=show_signed, shape=show_shape)
    environment.globals.update(page_globals())
    return environment


def page_globals() -> dict[str, Any]:
    """What every template may use."""
    return {"colours": Markup(json.dumps(COLOURS)), "colours_of": _stops}


def _stops(kind: str, theme: int) -> Markup:
    """The colours of a scale, from its lowest value on, for light (0) or dark (1), as CSS lists them."""
    return Markup(", ".join(COLOURS[kind][theme]))
