"""How the files of a training get into their folder, such that a model and its options always belong together.

Until a training is done, everything that is its own lies in the folder's `checkpoint`: what it saves, its options, and
at the end the model with all that is written beside it. Only then do the files take the place of what was there. They
do so between the removal of the old config.json and the coming of the new one, without which there is no model: a kill
in that moment leaves a training that was cut short, which --resume brings to its end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cellgate.cli.config import CHECKPOINT, SAVED, TUNED
from cellgate.cli.locking import LOCK
from cellgate.data.files import is_leftover, remove_leftovers
from cellgate.data.together import finish_writing
from cellgate.errors import InputError

REPORT = "report.html"
FORECAST = "forecast.csv"
HISTORY = "history.safetensors"
_MODEL = "config.json"  # its coming makes the model
_PARTS = (_MODEL, "model.safetensors", "preprocess.json", "metrics.json", "README.md", SAVED)
_BESIDE = (
    FORECAST,
    "holdout.csv",
    "forecast.svg",
    REPORT,
    HISTORY,
    "baseline.safetensors",
)  # not every training writes them
_STAGED = "model"
TRIAL = "trial"  # within the checkpoint of a search: the training that is tried


def is_search(out: Path) -> bool:
    """Whether what was cut short in a folder is a search (`cellgate tune`)."""
    return (out / CHECKPOINT / TRIAL).is_dir() or can_be_searched_on(out)


def can_be_searched_on(out: Path) -> bool:
    """Whether a search was cut short in a folder that can be resumed: it has left its options."""
    return (out / CHECKPOINT / TUNED).is_file()


def has_saves(out: Path) -> bool:
    """Whether there is anything of a training to go on from."""
    return any((out / CHECKPOINT).glob("*.safetensors"))


def is_no_loss(path: Path) -> bool:
    """Whether something in the folder of a training is worth nothing: options of a training without a save."""
    if path.name in (CHECKPOINT, TRIAL) and path.is_dir() and not path.is_symlink():
        return all(is_no_loss(one) for one in path.iterdir())
    return path.name in (SAVED, TUNED, LOCK) or is_leftover(path)


def require_places(out: Path) -> None:
    """Refuse a folder in which something that is no file has the name of one that will be written.

    Raises:
        InputError: naming it.
    """
    for name in (*_PARTS, *_BESIDE):
        if (out / name).is_dir():
            raise InputError(
                f"--out {out}: expected {name} to be a file or not there, got a folder of that name; rename it, or "
                "give another --out"
            )


@contextmanager
def in_place_of_earlier(out: Path) -> Iterator[Path]:
    """A folder to write a model and everything beside it to; at the end it takes the place of what `out` had.

    After an error nothing of it stays, and what `out` had is as it was.

    Yields:
        The folder, empty.
    """
    staged = out / CHECKPOINT / _STAGED
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    place(staged, out)


def place(staged: Path, out: Path, names: Collection[str] | None = None) -> None:
    """Move a model and everything beside it to `out`, in the place of an earlier one; what else is there stays.

    Args:
        staged: a folder of nothing but these files, on the same disk.
        out: the folder, made if it is not there.
        names: all files that are to be placed, where some of them may be in their places already; those in `staged`
            by default.
    """
    out.mkdir(exist_ok=True)
    finish_writing(out, _MODEL)  # of an estimator's own save that was cut short, which would count before this one
    here = {path.name for path in staged.iterdir()}
    (out / _MODEL).unlink(missing_ok=True)
    for name in set(_BESIDE).difference(here if names is None else names):  # of the model before
        (out / name).unlink(missing_ok=True)
    for name in sorted(here, key=lambda name: name == _MODEL):
        os.replace(staged / name, out / name)


def forget_checkpoint(out: Path) -> None:
    """Remove what a training could be resumed from, when its model is in place."""
    remove_leftovers(out)
    shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
