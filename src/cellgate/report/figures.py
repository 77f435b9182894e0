"""Pictures of a report as files of their own: SVG, and PNG where a renderer is installed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from cellgate.data.files import text_bytes, write_atomic
from cellgate.report.page import page_globals
from cellgate.trace.raster import colour_filters

__all__ = ["can_render", "save_figures", "standalone"]

_PNG_WIDTH = 1800


def can_render() -> bool:
    """Whether PNG files can be made: the extra "figures" is installed."""
    return importlib.util.find_spec("resvg_py") is not None


def save_figures(figures: Mapping[str, Markup], folder: Path) -> list[str]:
    """Write every picture as NAME.svg, and as NAME.png where possible; return the names written.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, figure in figures.items():
        text = standalone(figure)
        write_atomic(folder / f"{name}.svg", text_bytes(text))
        written.append(f"{name}.svg")
        if can_render():
            import resvg_py

            write_atomic(folder / f"{name}.png", bytes(resvg_py.svg_to_bytes(svg_string=text, width=_PNG_WIDTH)))
            written.append(f"{name}.png")
    return written


def standalone(figure: Markup) -> str:
    """A picture of the page as an SVG file: with its styles, its colours written out, on paper of its own."""
    head, rest = str(figure).split(">", 1)
    found = re.search(r'viewBox="([-\d.]+) ([-\d.]+) ([\d.]+) ([\d.]+)"', head)
    assert found is not None
    x, y, width, height = map(float, found.groups())
    pad = 16
    box = f"{x - pad:g} {y - pad:g} {width + 2 * pad:g} {height + 2 * pad:g}"
    head = head.replace(found.group(0), f'viewBox="{box}" width="{width + 2 * pad:g}" height="{height + 2 * pad:g}"')
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    paper = f'<rect x="{x - pad:g}" y="{y - pad:g}" width="100%" height="100%" fill="{_colours()["paper"]}"/>'
    text = f"{head}><style>{_styles()}</style><defs>{colour_filters()}</defs>{paper}{rest}"
    return re.sub(r"var\(--([a-z]+)\)", lambda m: _colours()[m.group(1)], text) + "\n"


@cache
def _colours() -> dict[str, str]:
    """The colours of the light theme by name."""
    style = _template("style.css")
    root = style[style.index(":root {") : style.index("}")]
    return dict(re.findall(r"--([a-z]+): ([^;]+);", root))


@cache
def _styles() -> str:
    """The rules of the page that a picture needs."""
    rules = re.findall(
        r"^((?:svg|\.network|\.cell|\.unsigned|\.signed)[^{\n]*\{[^}]*\}(?: (?:svg|\.cell) [^{\n]*\{[^}]*\})*)",
        _template("style.css") + _template("report.css"),
        flags=re.M,
    )
    # The font of the page; "inherit" finds none in a file of its own.
    font = (
        'text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans","Noto Sans","Noto Sans CJK SC",sans-serif}'
    )
    text = "\n".join(rules).replace("font-family: inherit;", "")
    # Selectors of the page begin with the svg element, which here is the file itself.
    return font + re.sub(r"(^|[,}] ?)svg(?:\.aligned|\.chart)? (?=[.a-z])", r"\1", text, flags=re.M)


@cache
def _template(name: str) -> str:
    environment = Environment(loader=PackageLoader("cellgate.report"), autoescape=True)
    environment.globals.update(page_globals())
    return environment.get_template(name).render()
