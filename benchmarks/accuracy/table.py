"""The section of BENCHMARKS.md about accuracy, made from accuracy.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import RESULTS

PEERS_JSON = RESULTS / "peers.json"
BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
_HEAD = """## Accuracy

Written by `python -m benchmarks.accuracy` from benchmarks/results/accuracy.json: default settings, one run a row.
Designs were chosen on validation parts of the training data; only the held-out airline months were read several times
while designs were compared, which makes that row weak evidence. Seconds count from the file on disk to the scores."""


_PEERS_HEAD = """### Beside other tools

Written by `python -m benchmarks.accuracy.peers --venv DIR` from benchmarks/results/peers.json: each tool's LSTM with
its own defaults, but for the horizon, an input of five horizons, its standard scaler, a seed, and an end to the
training after so many seconds; each in a process of its own, in an environment of its own. Seconds are those of fitting
and forecasting; cellgate's are those of its row above, rolling origins and profile included."""
_SHOWN = {"airline": ("MASE",), "m4-hourly": ("OWA", "sMAPE", "MASE")}


def section(document: dict[str, Any], peers: dict[str, Any] | None = None) -> str:
    """The section as Markdown, with its markers.

    Args:
        document: accuracy.json.
        peers: peers.json; left out by default.
    """
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
    beside = _beside(document, peers) if peers else []
    return "\n\n".join([BEGIN, _HEAD, "\n".join(lines), *_remarks(document), *beside, END])


def _beside(document: dict[str, Any], peers: dict[str, Any]) -> list[str]:
    """The table of other tools, for the rows that both files have."""
    lines = ["| data | tool | scores | seconds (allowed) |", "| --- | --- | --- | ---: |"]
    for name, found in peers.items():
        row = document["rows"].get(name)
        if row is None:
            continue
        scores = {score: row["result"][score] for score in _SHOWN[name]}
        lines.append(f"| {row['data']} | cellgate | {_scores(scores)} | {row['seconds']:.0f} |")
        for peer, one in found.items():
            if "error" in one:
                lines.append(f"| | {peer} | failed: {one['error']} | |")
                continue
            scores = _scores({score: one[score] for score in _SHOWN[name]})
            lines.append(
                f"| | {peer} {one['versions'][peer]} | {scores} | {one['seconds']:.0f} ({one['seconds_allowed']:.0f}) |"
            )
    return [_PEERS_HEAD, "\n".join(lines)] if len(lines) > 2 else []


def stored_peers() -> dict[str, Any] | None:
    """What peers.json holds; None where there is none."""
    return json.loads(PEERS_JSON.read_text(encoding="utf-8")) if PEERS_JSON.exists() else None


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
    made = section(document, stored_peers())
    path.write_text(f"{before.rstrip()}\n\n{made}\n{after.lstrip(chr(10))}", encoding="utf-8")


def stored_section(results: Path) -> str:
    """The section from a stored accuracy.json; "" where there is none."""
    return section(json.loads(results.read_text(encoding="utf-8")), stored_peers()) if results.exists() else ""
