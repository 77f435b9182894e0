"""What a run of ``speed.py`` says: the section of BENCHMARKS.md, its goals, and the columns of docs/variants.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.goals import Verdict
from benchmarks.markdown import table
from cellgate.bench.table import duration, three_digits

__all__ = ["costs", "put_costs", "section", "stored", "verdicts"]

BEGIN, END = "<!-- variants speed: begin -->", "<!-- variants speed: end -->"
COSTS_BEGIN, COSTS_END = "<!-- costs: begin -->", "<!-- costs: end -->"
Row = dict[str, Any]

NORMALISED = ("layer norm", "rms norm", "slstm")
MORE_WORK = "full_gate_recurrence"
_HEAD = """## Speed of the variants

One training step (forward and backward, no optimiser, float32) of every variant, beside cellgate's own plain LSTM of
the same sizes and beside the loop over steps that a user would write with the same equations. Output and every gradient
are compared with the loop's in double precision before anything is timed; the three take turns. **of plain**: time over
that of the plain LSTM. **loop over it**: how many times as long the loop takes."""


def verdicts(document: dict[str, Any]) -> list[Verdict]:
    """Judge a run by the goals of the variants."""
    rows = document["rows"]
    told = f"a variant's training, {document['threads']} threads"

    def most(what: str, of: Callable[[Row], bool], limit: float) -> Verdict:
        found = [row for row in rows if of(row)]
        if not found:
            return Verdict(f"{told}, over plain cellgate: {what}", f"<= {limit:g}", None, None)
        worst = max(found, key=lambda row: row["of plain"])
        value = worst["of plain"]
        return Verdict(f"{told}, over plain cellgate: {what}", f"<= {limit:g}", value, value <= limit, _label(worst))

    def least(what: str, of: Callable[[Row], bool], limit: float) -> Verdict:
        found = [row for row in rows if of(row)]
        if not found:
            return Verdict(f"{told}, times the user's loop: {what}", f">= {limit:g}", None, None)
        worst = min(found, key=lambda row: row["faster than loop"])
        value = worst["faster than loop"]
        return Verdict(f"{told}, times the user's loop: {what}", f">= {limit:g}", value, value >= limit, _label(worst))

    return [
        most("every cell and regulariser", lambda r: r["name"] not in (*NORMALISED, MORE_WORK), 1.5),
        most("full gate recurrence, whose products are over twice as large", lambda r: r["name"] == MORE_WORK, 1.5),
        most("layer norm, RMS norm, sLSTM", lambda r: r["name"] in NORMALISED, 1.8),
        least("H <= 128", lambda r: r["T, B, I, H"][3] <= 128, 4.0),
        least("H 256 and 512", lambda r: r["T, B, I, H"][3] > 128, 1.5),
    ]


def section(document: dict[str, Any]) -> str:
    """Return the section as Markdown, with its markers."""
    machine, rows = document["machine"], document["rows"]
    commit = f"commit {document['commit']}" + (" with local changes" if document.get("dirty") else "")
    origin = (
        f"Written by `python -m benchmarks` from variants_speed.json, measured on {document['date']} at "
        f"{commit}: {machine['cpu']}, {document['threads']} threads, torch {document['versions']['torch']}."
    )
    slower = [row for row in rows if row["faster than loop"] < 1]
    lost = f"The loop is faster in {len(slower)} of {len(rows)} cells"
    lost += ": " + ", ".join(_label(row) for row in slower) + "." if slower else "."
    missed = [
        [_label(row), f"{row['of plain']:.2f}", f"{_limit(row):g}"] for row in rows if row["of plain"] > _limit(row)
    ]
    parts = [BEGIN, _HEAD, origin, lost]
    if missed:
        parts += [f"Above the goal for the ratio to the plain LSTM in {len(missed)} of {len(rows)} cells:"]
        parts += [table(["cell", "of plain", "goal"], missed)]
    for shape in _shapes(rows):
        lines = [
            [
                row["name"].replace("_", " "),
                _time(row["variant"]),
                _time(row["plain"]),
                f"{row['of plain']:.2f}",
                _time(row["loop"]),
                f"{three_digits(row['faster than loop'])}×",
            ]
            for row in rows
            if tuple(row["T, B, I, H"]) == shape
        ]
        parts.append("### " + _words(shape))
        parts.append(table(["variant", "cellgate", "plain cellgate", "of plain", "loop", "loop over it"], lines))
    return "\n\n".join([*parts, END])


def costs(document: dict[str, Any]) -> str:
    """Return what each variant costs, shape by shape, as the table of docs/variants.md."""
    rows = document["rows"]
    shapes = _shapes(rows)
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        own = {tuple(row["T, B, I, H"]): row for row in rows if row["name"] == name}
        cells = [f"{own[s]['of plain']:.2f} / {three_digits(own[s]['faster than loop'])}" for s in shapes if s in own]
        lines.append([name.replace("_", " "), *cells])
    return table(["T, B, I, H", *(", ".join(map(str, shape)) for shape in shapes)], lines)


def put_costs(document: dict[str, Any], path: Path) -> None:
    """Put the table of costs between its markers in a Markdown file."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(COSTS_BEGIN)
    _, _, after = rest.partition(COSTS_END)
    path.write_text(f"{before}{COSTS_BEGIN}\n\n{costs(document)}\n\n{COSTS_END}{after}", encoding="utf-8")


def stored(path: Path) -> dict[str, Any] | None:
    """Return the document of the last run, or None."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _limit(row: Row) -> float:
    return 1.8 if row["name"] in NORMALISED else 1.5


def _shapes(rows: list[Row]) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(tuple(row["T, B, I, H"]) for row in rows))


def _label(row: Row) -> str:
    return f"{row['name'].replace('_', ' ')}, {_words(row['T, B, I, H'])}"


def _words(shape: Any) -> str:
    return " ".join(f"{letter}{size}" for letter, size in zip("TBIH", shape, strict=True))


def _time(found: dict[str, float]) -> str:
    half = (found["q75"] - found["q25"]) / 2 / found["median"]
    return f"{duration(found['median'])} ±{half:.0%}"
