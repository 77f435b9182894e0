"""The worked example as an interactive page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cellgate.report.cell_svg import cell_svg
from cellgate.report.page import json_block, render
from cellgate.report.unrolled_svg import reading_order, unrolled_svg

__all__ = ["walkthrough_page"]

_STEP_PARTS = ("i", "f", "g", "o", "c", "h", "c_prev", "h_prev", "kept", "added", "tanh_c")
_TERMS = ("from_input", "from_state", "total")
_BIASES = ("bias_ih", "bias_hh")
_MOST_NUMBERS = 150_000
"""About 1.5 MB of digits; beyond, the page holds fewer units and says so."""

EQUATIONS = (
    ("i", "σ", "how much of the candidate enters"),
    ("f", "σ", "how much of the old cell stays"),
    ("g", "tanh", "what could enter"),
    ("o", "σ", "how much of the cell shows"),
)


def walkthrough_page(example: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the page, one HTML file that needs nothing else.

    Args:
        example: What :meth:`cellgate.trace.walkthrough.Walkthrough.as_dict` returns: every number of it is computed
            already, and the page only shows them.
        names: What stands for each character, safe to print.
    """
    steps, hidden = len(names), int(example["hidden_size"])
    passes = sum(len(section["passes"]) for section in example["sections"])
    a_unit = passes * steps * (len(_STEP_PARTS) + 4 * len(_TERMS))
    units = max(1, min(hidden, _MOST_NUMBERS // max(a_unit, 1)))
    sections = [_section(section, names, units) for section in example["sections"]]
    kept = {section["key"]: section["passes"] for section in sections}
    return render(
        "walkthrough.html",
        example=example,
        names=names,
        units=units,
        sections=sections,
        equations=EQUATIONS,
        data=json_block({"names": list(names), "units": units, "passes": kept}, "data"),
    )


def _section(section: Mapping[str, Any], names: Sequence[str], units: int) -> dict[str, Any]:
    passes = [_pass(one, units) for one in section["passes"]]
    drawn: dict[str, Markup | None] = {"unrolled": None, "cell": None}
    first: dict[str, float] = {}
    if passes:
        start = passes[0]["order"][0]
        first = _unit_values(passes[0], start, 0)
        drawn["unrolled"] = unrolled_svg(passes, names, f"{section['title']}, unrolled over {len(names)} steps")
        drawn["cell"] = cell_svg(first, title="The cell, with the values of one unit at one step")
    return {
        **{key: section[key] for key in ("key", "title", "code", "story", "shapes", "parameters", "checks")},
        "prediction": section["prediction"],
        "passes": passes,
        "frames": reading_order(passes) if passes else [],
        "first": first,
        **drawn,
    }


def _pass(one: Mapping[str, Any], units: int) -> dict[str, Any]:
    kept = {name: [row[:units] for row in one[name]] for name in _STEP_PARTS}
    for gate, terms in one["terms"].items():
        kept |= {f"{gate}.{term}": [row[:units] for row in terms[term]] for term in _TERMS}
        kept |= {f"{gate}.{bias}": terms[bias][:units] for bias in _BIASES}
    return {"name": one["name"], "reads": one["reads"], "order": one["order"], "x": one["x"], "values": kept}


def _unit_values(one: Mapping[str, Any], step: int, unit: int) -> dict[str, float]:
    values = one["values"]
    return {name: rows[unit] if name.rsplit(".")[-1] in _BIASES else rows[step][unit] for name, rows in values.items()}
