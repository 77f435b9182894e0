"""`cellgate check`: what data would be taken for, and what looks odd, without training; a file a kind of data."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cellgate.cli.train import named_task
from cellgate.errors import InputError

# task -> the file that checks data for it
_FILES = {
    "forecast": "check_forecast",
    "classify": "check_sequences",
    "regress": "check_sequences",
    "tag": "check_sequences",
    "generate": "check_text",
}
# What a file's name gives away, where no --task is given. A table is tried as series first.
_SUFFIXES = {
    ".npy": "classify", ".npz": "classify",
    ".conll": "tag", ".conllu": "tag", ".iob": "tag", ".iob2": "tag", ".bio": "tag",
    ".md": "generate", ".text": "generate",
}  # fmt: skip


def choose(arguments: Sequence[str]) -> Callable[..., Any]:
    """The command for the task that --task names, or that the file's name suggests.

    Raises:
        InputError: for a task that is none.
    """
    task = named_task(arguments)
    if task is None:
        task = next((_SUFFIXES[s] for word in arguments if (s := Path(word).suffix.lower()) in _SUFFIXES), "forecast")
    if task not in _FILES:
        near = get_close_matches(task, _FILES, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--task: expected one of {', '.join(_FILES)}, got {task!r}{hint}")
    return importlib.import_module(f"cellgate.cli.{_FILES[task]}").command
