"""One writer a folder, whatever the system: a lock that ends with the process, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cellgate.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Around all that is written to a folder: nobody else is in such a block of the same folder.

    Where the system has no locks, as some network drives have none, nobody is kept from it.

    Raises:
        InputError: if another is.
    """
    if fcntl is not None:
        handle = _lock_folder(folder)
    elif msvcrt is not None:
        handle = _lock_file(folder)
    else:
        handle = None
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
            if fcntl is None:
                with suppress(OSError):  # Windows has removed it with the handle
                    (folder / LOCK).unlink(missing_ok=True)


def _lock_folder(folder: Path) -> int | None:
    """Lock the folder itself: nothing of the lock is left in it."""
    assert fcntl is not None
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that cannot be read cannot be locked
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise _taken(folder) from None
    except OSError:  # some network drives have no locks
        pass
    return handle


def _lock_file(folder: Path) -> int | None:
    """Windows opens no folder: lock a file in it, which the system removes with the last handle, after a kill too."""
    assert msvcrt is not None
    path = folder / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_TEMPORARY", 0))
    except PermissionError:
        # So Windows says that the file of another is about to go; or nobody may write here, which is said later.
        if path.exists():
            raise _taken(folder) from None
        return None
    except OSError:
        return None
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue] - has it on Windows
    except PermissionError:
        os.close(handle)
        raise _taken(folder) from None
    except OSError:
        pass
    return handle


def _taken(folder: Path) -> InputError:
    return InputError(
        f"--out {folder}: expected a folder of this training alone, got one that another is writing to; "
        "give another name, or wait for its end"
    )
