"""`cellgate train`: which task's command it is. Each task has a file of its own, `train_<task>.py`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from cellgate.errors import InputError

# task -> what it learns, for messages and help.
TASKS = {
    "forecast": "the next values of one or many series",
    "classify": "the class of a whole sequence",
    "regress": "a number for a whole sequence",
    "tag": "a label for every step",
    "generate": "a text, to write on",
}
DEFAULT = "forecast"


def choose(arguments: Sequence[str]) -> Callable[..., Any]:
    """The command of the task that the arguments name by --task; its options are its own.

    Raises:
        InputError: for a task that is none.
    """
    task = named_task(arguments) or DEFAULT
    if task not in TASKS:
        near = get_close_matches(task, TASKS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"--task: expected one of {', '.join(TASKS)}, got {task!r}{hint}")
    return importlib.import_module(f"cellgate.cli.train_{task}").command


def named_task(arguments: Sequence[str]) -> str | None:
    """What follows --task; the last one counts, as it does for any option."""
    named = None
    for k, word in enumerate(arguments):
        if word == "--":
            break
        if word == "--task" and k + 1 < len(arguments):
            named = arguments[k + 1]
        elif word.startswith("--task="):
            named = word.removeprefix("--task=")
    return named
