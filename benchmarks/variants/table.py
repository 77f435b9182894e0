"""The section of BENCHMARKS.md about the variants on real work, made from the JSON of the three tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.markdown import table
from benchmarks.variants.record import ADDING_JSON, CHARACTERS_JSON, CHARACTERS_MORE_JSON, REBER_JSON

__all__ = ["stored_section"]

_HEAD = """## Variants on real work

Each paragraph names the command that writes its JSON; the section is made from that by `python -m benchmarks.report`.
Seconds are CPU time of training on one thread of a machine that others used as well."""


def stored_section() -> str:
    """Return the section as Markdown; "" where no task has results."""
    tasks: tuple[tuple[Path, Callable[[dict[str, Any]], str]], ...] = (
        (ADDING_JSON, _adding),
        (REBER_JSON, _reber),
        (CHARACTERS_JSON, _characters),
        (CHARACTERS_MORE_JSON, _characters),
    )
    parts = [write(json.loads(path.read_text(encoding="utf-8"))) for path, write in tasks if path.exists()]
    return "\n\n".join([_HEAD, *parts]) if parts else ""


def _by_net(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for run in document["runs"]:
        found.setdefault(run["net"], []).append(run)
    return found


def _adding(document: dict[str, Any]) -> str:
    s, seeds = document["settings"], ",".join(str(k) for k in sorted({run["seed"] for run in document["runs"]}))
    text = f"""\
### The adding problem, T = {s["T"]}

The target is the sum of two marked numbers among {s["T"]}. Always answering 1 gives a squared error of 0.167; Bai et
al. 2018 publish 0.164 for an LSTM. Solved means below {s["solved"]} on 2000 new sequences. H {s["hidden"]}, batch
{s["batch"]}, {s["optimiser"]} with rate {s["rate"]}. The net with chrono initialisation stops once it is good enough;
the others have the same sequences, the same optimiser and as many updates.

`python -m benchmarks.variants.adding --seeds {seeds}`, {document["date"]}."""
    rows = [
        [
            net,
            f"{sum(run['test'] < s['solved'] for run in runs)} of {len(runs)}",
            _each(f"{run['test']:.5f}" for run in runs),
            _each(str(run["updates"]) for run in runs),
            _each(f"{run['seconds']:.0f}" for run in runs),
        ]
        for net, runs in _by_net(document).items()
    ]
    return text + "\n\n" + table(["net", "solved", "test error of each run", "updates", "seconds"], rows)


def _reber(document: dict[str, Any]) -> str:
    s = document["settings"]
    text = f"""\
### The continual embedded Reber grammar

Gers, Schmidhuber and Cummins 2000, section 4: an endless stream of strings without marks between them. A run is
perfect if it predicts {s["test streams"]} streams of {s["symbols of a test stream"]:,} symbols without an error, the
paper's criterion; there no run of the standard LSTM is, 18 % of the runs with a forget gate are, and 62 % with a
falling learning rate too. The long lag is where the second symbol of a string has to come back. {s["units"]} units;
{s["updates"]} updates over {s["streams"]} streams with {s["optimiser"]}, {s["steps of a chunk"]} steps a chunk,
through all gates, where the paper has online steps and a truncated gradient.

`python -m benchmarks.variants.reber`, {document["date"]}."""
    rows = [
        [
            net,
            f"{sum(run['perfect'] for run in runs)} of {len(runs)}",
            f"{fmean(run['until first error'] for run in runs):,.0f}",
            f"{median(run['until first error'] for run in runs):,.0f}",
            f"{fmean(run['errors at the long lag'] for run in runs):.4%}",
            f"{fmean(run['errors elsewhere'] for run in runs):.4%}",
            f"{fmean(run['seconds'] for run in runs):.0f}",
        ]
        for net, runs in _by_net(document).items()
    ]
    head = [
        "net",
        "perfect runs",
        "symbols until the first error, mean",
        "median",
        "errors at the long lag",
        "elsewhere",
    ]
    return text + "\n\n" + table([*head, "seconds"], rows)


def _characters(document: dict[str, Any]) -> str:
    s = document["settings"]
    text = f"""\
### A character model of tinyshakespeare at equal time, {s["characters"]:,} characters

These are the first {s["share"]:.0%} of what may train; the last tenth of the text validates: mean loss in nats a
character. H {s["hidden"]}, {_layers(s["layers"])}, batch {s["batch"]}, {s["chunk"]} steps, AdamW from rate {s["rate"]}
down to zero in the time, which is CPU time; the nets take turns. One seed. The strengths of
the noise were set beforehand; the sizes of text were not: a tenth was taken after plain had led on a quarter.

`python -m benchmarks.variants.characters --share {s["share"]} --seconds {s["seconds"]:.0f}`, {document["date"]}."""
    rows = [
        [
            net,
            _options(runs[0]["options"]),
            f"{fmean(run['seconds'] for run in runs):.0f}",
            f"{fmean(run['passes'] for run in runs):.1f}",
            f"{fmean(run['training'] for run in runs):.3f}",
            f"{fmean(run['best'] for run in runs):.4f}",
            f"**{fmean(run['last'] for run in runs):.4f}**",
        ]
        for net, runs in _by_net(document).items()
    ]
    head = ["net", "noise", "seconds", "passes", "training loss", "best on the way", "validation loss"]
    return text + "\n\n" + table(head, rows)


def _options(options: dict[str, Any]) -> str:
    kept = {name: value for name, value in options.items() if name != "time"}
    shown = [
        f"{name} {'/'.join(map(str, value)) if isinstance(value, list) else value}" for name, value in kept.items()
    ]
    return ", ".join(shown) or "none"


def _layers(count: int) -> str:
    return "one layer" if count == 1 else f"{count} layers"


def _each(values: Any) -> str:
    return ", ".join(values)
