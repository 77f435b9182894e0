"""Files written whole or not at all, and standard input as one that can be read again."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

STANDARD_INPUT = Path("/dev/stdin")  # where the system has it
_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")  # the names that mkstemp gives below


def bytes_of(path: Path) -> bytes:
    """What is in a file; of a pipe on standard input, which gives its bytes once, every time the same.

    Raises:
        OSError: if it cannot be read.
    """
    return _standard_input() if path == STANDARD_INPUT else path.read_bytes()


@functools.cache
def _standard_input() -> bytes:
    return STANDARD_INPUT.read_bytes()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that whoever opens it finds the old content or the new, never a part.

    Raises:
        OSError: if it cannot be written (no space, no right), with the file's name; the old content then stands.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):  # writing, unlike opening, does not say which file
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def is_leftover(path: Path) -> bool:
    """Whether a file is what a kill in the middle of write_atomic left, by its name."""
    return _LEFTOVER.fullmatch(path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill in the middle of write_atomic left in a folder."""
    for path in filter(is_leftover, folder.iterdir()):
        with contextlib.suppress(OSError):
            path.unlink()


def json_bytes(values: Any) -> bytes:
    """Plain values as readable JSON, numpy's numbers among them; NaN, which JSON does not know, becomes null."""
    plain = _without_nan(values)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # the name of a file that is no UTF-8
        return (json.dumps(plain, indent=2, allow_nan=False) + "\n").encode()


def text_bytes(text: str) -> bytes:
    """A text to be read by people as UTF-8; what is none, of the name of a file, becomes a question mark."""
    return text.encode("utf-8", "replace")


def _without_nan(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _without_nan(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_nan(value) for value in values]
    if isinstance(values, np.generic):
        values = values.item()
    if isinstance(values, float) and (values != values or values in (float("inf"), float("-inf"))):
        return None
    return values


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
