"""A report as one HTML file: plain data laid out, drawn, and given to the page's script in a small form."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup

from cellgate.report.cell_svg import cell_svg
from cellgate.report.charts import bars_svg, matrix_svg, training_svg, units_svg
from cellgate.report.example_svg import GATES, curves_svg, influence_svg, layer_svg, legend, map_rows
from cellgate.report.frame import LEFT, RIGHT, Frame
from cellgate.report.model import Bars, Example, LayerMaps, Matrix, Panel, Report, States, TableRows, Words
from cellgate.report.network_svg import network_svg
from cellgate.report.page import json_block, render

__all__ = ["figures_of", "report_page"]

_MAP_NUMBERS = 420_000
"""Over all maps of a page: about 1.7 MB as pictures and numbers. What is more is averaged, and the page says so."""
_MOST_STEPS = 480


def report_page(report: Report) -> str:
    """Return the page, one HTML file that needs nothing else."""
    last = report.examples[0].layers[-1:]  # whole: a row of the smaller maps may stand for several units
    report, notes = _smaller(report)
    examples = [_example(example, k) for k, example in enumerate(report.examples)]
    return render(
        "report.html",
        report=report,
        notes=(*report.notes, *notes),
        network=network_svg(report.network),
        cell=cell_svg(_a_unit(last[0])) if last else None,
        differs=report.network.layers[-1].cell if report.network.layers else "",
        examples=examples,
        panels=[_panel(panel) for panel in report.panels],
        training=None if report.training is None else training_svg(*report.training),
        matches=bool(report.states),
        kept=report.states.kept if report.states else 0.0,
        data=json_block([_data(example) for example in report.examples], "examples"),
        states=json_block(_states(report.states), "states") if report.states else "",
    )


def figures_of(report: Report) -> dict[str, Markup]:
    """Return every picture of the report by a name fit for a file."""
    report, _ = _smaller(report)
    found: dict[str, Markup] = {"network": network_svg(report.network)}
    for k, example in enumerate(report.examples):
        one = _example(example, k)
        if one["curves"] is not None:
            found[f"example-{k + 1}"] = one["curves"]
        for j, layer in enumerate(one["layers"]):
            found[f"example-{k + 1}-gates-{j + 1}"] = layer["maps"]
            found[f"example-{k + 1}-units-{j + 1}"] = layer["units"]
        if one["influence"] is not None:
            found[f"example-{k + 1}-influence"] = one["influence"]
    for panel in report.panels:
        drawn = [content for content in _panel(panel)["content"] if content["kind"] == "figure"]
        for k, content in enumerate(drawn):
            found[panel.key if len(drawn) == 1 else f"{panel.key}-{k + 1}"] = content["figure"]
    if report.training is not None:
        found["training"] = training_svg(*report.training)
    return found


def _a_unit(layer: LayerMaps) -> dict[str, float | None]:
    """The values of the unit with the longest memory at the last step, for the drawing of the cell."""
    unit = int(np.argmax(np.nan_to_num(layer.memory, posinf=1e9)))
    row = layer.order.index(unit) if unit in layer.order else 0
    values = {name: float(maps[min(row, len(maps) - 1), -1]) for name, maps in layer.maps.items()}
    before = {
        f"{name}_prev": float(maps[min(row, len(maps) - 1), -2]) if maps.shape[1] > 1 else 0.0
        for name, maps in layer.maps.items()
        if name in ("c", "h")
    }
    kept, added = values["f"] * before["c_prev"], values["i"] * values["g"]
    return {**values, **before, "kept": kept, "added": added, "tanh_c": float(np.tanh(values["c"]))}


# ---------------------------------------------------------------- smaller


def _smaller(report: Report) -> tuple[Report, list[str]]:
    """Average steps and units of the maps until the page is small enough; say so."""
    blocks = max(1, sum(len(layer.maps) for example in report.examples for layer in example.layers))
    cells = _MAP_NUMBERS // blocks
    notes: list[str] = []

    def shrink(layer: LayerMaps) -> LayerMaps:
        units, steps = next(iter(layer.maps.values())).shape
        fold = max(1, -(-steps // _MOST_STEPS))
        columns = -(-steps // fold)
        group = max(1, -(-units // max(8, cells // columns)))
        if fold > 1:
            notes.append(f"in the heat maps {fold} steps are averaged in a column")
        if group > 1:
            notes.append(f"in the heat maps of {layer.title} {group} units that do alike are averaged in a row")
        maps = {name: _folded(_folded(values, fold).T, group).T for name, values in layer.maps.items()}
        return replace(layer, maps=maps, order=layer.order[::group] if group > 1 else layer.order)

    examples = tuple(replace(e, layers=tuple(shrink(layer) for layer in e.layers)) for e in report.examples)
    return replace(report, examples=examples), list(dict.fromkeys(notes))


def _folded(values: np.ndarray, fold: int) -> np.ndarray:
    """(R, C) with every `fold` columns averaged, the last one over what is left."""
    if fold == 1:
        return values
    starts = np.arange(0, values.shape[1], fold)
    return np.add.reduceat(values, starts, axis=1) / np.diff(np.append(starts, values.shape[1]))


# ---------------------------------------------------------------- laid out


def _example(example: Example, number: int) -> dict[str, Any]:
    frame = Frame(len(example.labels), example.labels, example.tokens)
    steps = (len(example.labels) if example.now is None else example.now + 1) - (
        example.layers[0].start if example.layers else 0
    )
    return {
        "number": number,
        "name": example.name,
        "note": example.note,
        "legend": legend(example),
        "curves": curves_svg(example, frame) if example.lines or example.strips else None,
        "layers": [
            {"title": layer.title, "maps": layer_svg(layer, frame, steps), "units": units_svg(layer, steps)}
            for layer in example.layers
        ],
        "influence": None if example.influence is None else influence_svg(example.influence, frame),
        "owes": example.influence,
        "by_column": None if example.influence is None else bars_svg(_by_column(example)),
    }


def _by_column(example: Example) -> Bars:
    influence = example.influence
    assert influence is not None
    sizes = np.abs(influence.gradient).sum(0), np.abs(influence.occlusion).sum(0)
    order = np.argsort(-(sizes[0] + sizes[1]), kind="stable")[:12]
    return Bars(
        names=tuple(influence.columns[k] for k in order),
        kinds=(("gradient × input", "model", sizes[0][order]), ("occlusion", "baseline", sizes[1][order])),
        axis="column",
        unit=influence.unit or "summed size",
    )


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "key": panel.key,
        "title": panel.title,
        "shows": panel.shows,
        "not_proved": panel.not_proved,
        "content": [_content(content) for content in panel.content],
    }


def _content(content: Bars | Matrix | TableRows | Words) -> dict[str, Any]:
    if isinstance(content, Bars):
        return {"kind": "figure", "figure": bars_svg(content), "keys": [(n, r) for n, r, _ in content.kinds]}
    if isinstance(content, Matrix):
        return {"kind": "figure", "figure": matrix_svg(content), "keys": []}
    if isinstance(content, Words):
        return {"kind": "words", "name": content.name, "pieces": _shaded(content)}
    return {"kind": "table", "table": content}


def _shaded(words: Words) -> list[tuple[str, float, str, str]]:
    """(piece, opacity, colour, value) of every piece."""
    found = []
    for piece, value in zip(words.pieces, words.values, strict=True):
        if words.signed:
            share = float(np.clip(abs(value) / (max(abs(words.low), abs(words.high)) or 1.0), 0, 1))
            colour = "high" if value >= 0 else "low"
        else:
            share = float(np.clip((value - words.low) / ((words.high - words.low) or 1.0), 0, 1))
            colour = "high"
        found.append((piece, round(0.75 * share, 3), colour, f"{value:.3g}"))
    return found


# ---------------------------------------------------------------- for the script


def _data(example: Example) -> dict[str, Any]:
    return {
        "left": LEFT,
        "right": RIGHT,
        "labels": list(example.labels),
        "now": example.now,
        "lines": [{"name": e.name, "start": e.start, "values": _numbers(e.values)} for e in example.lines]
        + [
            {"name": f"{e.name}, {end}", "start": e.start, "values": _numbers(values)}
            for e in example.lines
            for end, values in (("low", e.low), ("high", e.high))
            if values is not None
        ]
        + [{"name": s.name, "start": s.start, "values": _numbers(s.values)} for s in example.strips],
        "layers": [_layer(layer, example) for layer in example.layers],
        "influence": None
        if example.influence is None
        else {
            "columns": list(example.influence.columns),
            "edges": [int(edge) for edge in example.influence.edges],
            "gradient": [_numbers(row) for row in example.influence.gradient],
            "occlusion": [_numbers(row) for row in example.influence.occlusion],
        },
    }


def _layer(layer: LayerMaps, example: Example) -> dict[str, Any]:
    rows = map_rows(layer)
    steps = (len(example.labels) if example.now is None else example.now + 1) - layer.start
    return {
        "title": layer.title,
        "start": layer.start,
        "steps": steps,
        "columns": int(rows[0].values.shape[1]),
        "order": list(layer.order),
        "rows": [
            {
                "gate": row.gate,
                "name": GATES[row.gate],
                "y": row.y,
                "height": row.height,
                "units": int(row.values.shape[0]),
                "low": row.low,
                "high": row.high,
                "values": _packed(row.values, row.low, row.high),
            }
            for row in rows
        ],
    }


def _packed(values: np.ndarray, low: float, high: float) -> str:
    """Numbers as 16 bits each between low and high, row by row, in base 64."""
    scaled = np.rint(np.clip((values - low) / (high - low), 0, 1) * 65535).astype("<u2")
    return base64.b64encode(scaled.tobytes()).decode()


def _states(states: States) -> dict[str, Any]:
    return {
        "what": states.what,
        "sequences": list(states.sequences),
        "lengths": list(states.lengths),
        "labels": list(states.labels),
        "signal": None if states.signal is None else _numbers(states.signal),
        "width": int(states.codes.shape[1]),
        "codes": base64.b64encode(np.ascontiguousarray(states.codes, dtype=np.int8).tobytes()).decode(),
        "scale": states.scale,
        "units": states.units,
        "shown": [list(pair) for pair in states.shown],
    }


def _numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Five digits of each, None for what is no number."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in np.asarray(values, dtype=float)]
