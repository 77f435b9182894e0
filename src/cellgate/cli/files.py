"""What the verbs ask of a file that they are to write."""

from __future__ import annotations

import os
from pathlib import Path

from cellgate.data.table import ARROW_SUFFIXES
from cellgate.errors import InputError

_OTHER_KINDS = {".json": "JSON", ".xlsx": "a spreadsheet", **dict.fromkeys(ARROW_SUFFIXES, "Parquet or Arrow")}


def require_csv(path: Path, option: str, force: bool) -> None:
    """As require_new, of a file that will be CSV, whatever it is called.

    Raises:
        InputError: also for a name that says that it is something else.
    """
    kind = _OTHER_KINDS.get(path.suffix.lower())
    if kind:
        raise InputError(f"{option} {path}: expected the name of a CSV file, got one of {kind}; end it in .csv")
    require_new(path, option, force)


def require_new(path: Path, option: str, force: bool) -> None:
    """Refuse, before any time is spent, a file that is there, or a folder that is not there or cannot be written to.

    Raises:
        InputError: With what to give instead.
    """
    if path.is_dir():
        raise InputError(f"{option} {path}: expected a file, got a folder; give a name in it")
    if path.exists() and not force:
        raise InputError(f"{option} {path}: expected a new file, got one that is there; give another name, or --force")
    if not path.parent.is_dir():
        raise InputError(f"{option} {path}: expected a folder that is there, got {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise InputError(f"{option} {path}: expected a place that can be written to, got one that cannot; give another")
