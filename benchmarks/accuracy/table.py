"""The section of BENCHMARKS.md about accuracy, made from accuracy.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
_HEAD = """## Accuracy

Written by `python -m benchmarks.accuracy` from benchmarks/results/accuracy.json: default settings, one run a row.
Designs were chosen on validation parts of the training data; only the held-out airline months were read several times
while designs were compared, which makes that row weak evidence. Seconds count from the file on disk to the scores."""


def section(document: dict[str, Any]) -> str:
    """The section as Markdown, with its markers."""
    lines = [
        "| data | target | cellgate | baseline | seconds (allowed) | cores | met |",
        "| --- | --- | --- | --- | ---: | ---: | --- |",
    ]
    for row in document["rows"].values():
        cells = [
            row["data"],
            row["target"],
            _scores(row["result"]),
            _scores(row["baseline"]),
            f"{row['seconds']:.0f} ({row['seconds_allowed']:.0f})",
            str(row["cores"]),
            "yes" if row["met"] else "**no**",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n\n".join([BEGIN, _HEAD, "\n".join(lines), *_remarks(document), END])


def _scores(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())


def _remarks(document: dict[str, Any]) -> list[str]:
    told = {name: row["details"].get("note") for name, row in document["rows"].items()}
    notes = [f"- {name}: {note}" for name, note in told.items() if note]
    return ["\n".join(notes)] if notes else []


def put_section(path: Path, document: dict[str, Any]) -> None:
    """Put the section into a Markdown file: in place of the old one, or at the end."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    before, found, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if found else ""
    path.write_text(f"{before.rstrip()}\n\n{section(document)}\n{after.lstrip(chr(10))}", encoding="utf-8")


def stored_section(results: Path) -> str:
    """The section from a stored accuracy.json; "" where there is none."""
    return section(json.loads(results.read_text(encoding="utf-8"))) if results.exists() else ""
