"""The JSON of a task's runs: a head that says where they come from, and a line for every run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks import RESULTS
from cellgate.bench.machine import describe

__all__ = ["ADDING_JSON", "CHARACTERS_JSON", "CHARACTERS_MORE_JSON", "REBER_JSON", "save"]

ADDING_JSON = RESULTS / "variants_adding.json"
REBER_JSON = RESULTS / "variants_reber.json"
CHARACTERS_JSON = RESULTS / "variants_characters.json"
CHARACTERS_MORE_JSON = RESULTS / "variants_characters_more.json"
"""The same on more text, which is read less often."""


def save(path: str | Path, settings: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """Write the machine, the threads, the settings of all runs and the runs."""
    head = json.dumps({**describe(), "threads": torch.get_num_threads(), "settings": settings}, indent=1)[:-2]
    body = ",\n".join("  " + json.dumps(run) for run in runs)
    Path(path).write_text(f'{head},\n "runs": [\n{body}\n ]\n}}\n', encoding="utf-8")
