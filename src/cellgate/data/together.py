"""Several files of a folder replaced as one: whoever reads it finds all the old ones or all the new ones.

The new files are written to a folder of their own within it. When the last of them, which names the others, stands
there, they are the ones that count, wherever they lie: then they are moved to their places, one by one. A kill before
that moment leaves the old files, a kill after it the new ones, some of them still on the way; the next writing brings
them to their places.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from cellgate.data.files import write_atomic

_ON_THE_WAY = ".saving"


def write_together(folder: Path, files: Mapping[str, bytes], last: str) -> None:
    """Write files into a folder, which is made if it is not there; other files in it are left alone.

    Args:
        folder: the folder.
        files: name -> content.
        last: the one of them that names the others.

    Raises:
        OSError: if they cannot be written; the old files then stand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        if (folder / name).is_dir():  # which the last moment would be too late to find out
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    finish_writing(folder, last)
    staged = folder / _ON_THE_WAY
    try:
        staged.mkdir()
        for name in sorted(files, key=lambda name: name == last):
            write_atomic(staged / name, files[name])
    except BaseException as error:
        _forget(staged, last)
        if isinstance(error, OSError) and error.filename is not None:  # where the user looks for it
            place = folder / Path(error.filename).name if Path(error.filename) != staged else folder
            raise type(error)(error.errno, error.strerror, str(place)) from error
        raise
    finish_writing(folder, last)


def finish_writing(folder: Path, last: str) -> None:
    """Bring to their places the files of a writing that was cut short, or forget them if it had not come so far.

    Raises:
        OSError: if they cannot be moved; they count all the same.
    """
    staged = folder / _ON_THE_WAY
    if (staged / last).is_file():
        for path in sorted(staged.iterdir(), key=lambda path: path.name == last):
            os.replace(path, folder / path.name)
    _forget(staged, last)


def _forget(staged: Path, last: str) -> None:
    """Remove what was written; first of all the file that makes it count."""
    with contextlib.suppress(OSError):
        (staged / last).unlink()
    shutil.rmtree(staged, ignore_errors=True)


def places_of(folder: Path, last: str) -> tuple[Path, ...]:
    """Where the files that count lie, the first place before the second."""
    staged = folder / _ON_THE_WAY
    return (staged, folder) if (staged / last).is_file() else (folder,)


def read_part(places: tuple[Path, ...], name: str) -> bytes:
    """The content of one of the files, by `places_of`.

    Raises:
        OSError: of the folder's own file, if it is in none of the places.
    """
    for place in places[:-1]:
        with contextlib.suppress(FileNotFoundError):
            return (place / name).read_bytes()
    return (places[-1] / name).read_bytes()
