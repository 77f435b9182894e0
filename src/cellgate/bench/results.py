"""The document of a run: what is in it, how it is written, whether it is whole."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cellgate.errors import InputError

from .contenders import OURS
from .grid import LOADS, MODES

__all__ = ["SCHEMA", "load", "losses", "new_document", "save", "validate"]

SCHEMA = 1
"""Raised when a reader of older documents would misunderstand newer ones."""


def new_document(description: dict[str, Any]) -> dict[str, Any]:
    """Return an empty document of a machine (``machine.describe()``)."""
    return {"schema": SCHEMA, **description, "limits": [], "cells": [], "memory": []}


def save(document: dict[str, Any], path: str | Path) -> None:
    """Write the document at once or not at all.

    Raises:
        InputError: It is not a document.
        OSError: It cannot be written.
    """
    validate(document)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(dumps(document))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def dumps(document: dict[str, Any]) -> str:
    """Return the document as text, one cell a line, so that two runs can be compared by diff."""
    rounded = _rounded(document)
    head = {key: value for key, value in rounded.items() if key not in ("cells", "memory")}
    text = json.dumps(head, indent=1)[:-2]
    for key in ("cells", "memory"):
        lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in rounded[key])
        text += f',\n "{key}": [' + (f"\n{lines}\n ]" if lines else "]")
    return text + "\n}\n"


def load(path: str | Path) -> dict[str, Any]:
    """Read and check a document.

    Raises:
        InputError: The file is something else.
        OSError: It cannot be read.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: expected the JSON of a benchmark, got something else ({error})") from None
    validate(document)
    return document


def losses(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every cell and peer where cellgate is slower, the worst first: {"id", "peer", "ratio"}."""
    found = [
        {"id": cell["id"], "peer": peer, "ratio": value["ratio"]}
        for cell in document["cells"]
        for peer, value in cell.get("ratios", {}).get(OURS, {}).items()
        if value["ratio"] < 1.0
    ]
    return sorted(found, key=lambda loss: loss["ratio"])


_HEAD = {
    "schema": int,
    "date": str,
    "machine": dict,
    "versions": dict,
    "limits": list,
    "cells": list,
    "memory": list,
}
_TIMES = ("median", "q25", "q75", "rounds", "calls")


def validate(document: Any) -> None:
    """Check that a document is whole.

    Raises:
        InputError: Something is missing or of the wrong kind; the message says what.
    """
    _expect(isinstance(document, dict), "document", "an object", document)
    for key, kind in _HEAD.items():
        _expect(isinstance(document.get(key), kind), key, kind.__name__, document.get(key))
    _expect(document["schema"] == SCHEMA, "schema", str(SCHEMA), document["schema"])
    for entry in document["limits"]:
        for key in ("threads", "fma_f32", "fma_f64", "activations", "read"):
            _expect(key in entry, f"limits.{key}", "a value", None)
    seen = set()
    for cell in document["cells"]:
        _validate_cell(cell)
        _expect(cell["id"] not in seen, f"cell {cell['id']!r}", "to stand once", "twice")
        seen.add(cell["id"])
    for entry in document["memory"]:
        for key in ("name", "floats", "bytes", "seconds"):
            _expect(key in entry or "absent" in entry, f"memory.{key}", "a value", None)


def _validate_cell(cell: Any) -> None:
    name = f"cell {cell.get('id')!r}" if isinstance(cell, dict) else "cell"
    _expect(isinstance(cell, dict) and isinstance(cell.get("id"), str), name, "an object with an id", cell)
    for key in ("row", "title", "mode", "threads", "load", "shape", "absent"):
        _expect(key in cell, f"{name}.{key}", "a value", None)
    _expect(cell["mode"] in MODES, f"{name}.mode", " or ".join(MODES), cell["mode"])
    _expect(cell["load"] in LOADS, f"{name}.load", " or ".join(LOADS), cell["load"])
    if "red" in cell:
        _expect("times" not in cell, f"{name}.times", "none beside a red check", "times")
        return
    _expect(isinstance(cell.get("check"), dict), f"{name}.check", "the errors of every contender", cell.get("check"))
    _expect(isinstance(cell.get("times"), dict) and cell["times"], f"{name}.times", "times", cell.get("times"))
    for contender, times in cell["times"].items():
        _expect(contender in cell["check"], f"{name}.check[{contender!r}]", "checked before it is timed", None)
        for key in _TIMES:
            value = times.get(key)
            _expect(isinstance(value, (int, float)) and value > 0, f"{name}.times[{contender!r}].{key}", "> 0", value)
        _expect(times["q25"] <= times["median"] <= times["q75"], f"{name}.times[{contender!r}]", "in order", times)


def _expect(true: bool, what: str, expected: str, got: Any) -> None:
    if not true:
        shown = repr(got)
        raise InputError(f"{what}: expected {expected}, got {shown[:80]}: not a whole result of cellgate bench")


def _rounded(value: Any) -> Any:
    """Six digits are more than any of these figures is worth."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return value
