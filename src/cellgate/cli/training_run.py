"""What every training does around its fit: a fresh folder before, what happened in words after."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgate.cli.config import CHECKPOINT, SAVED, save_config, seconds_so_far
from cellgate.cli.console import training_progress
from cellgate.cli.locking import locked
from cellgate.cli.placing import (
    REPORT,
    can_be_searched_on,
    forget_checkpoint,
    has_saves,
    in_place_of_earlier,
    is_no_loss,
    is_search,
    require_places,
)
from cellgate.data.files import write_atomic
from cellgate.data.words import counted
from cellgate.errors import CellgateError, InputError

if TYPE_CHECKING:
    from cellgate.training import TrainingRecord

BOARD = "tensorboard"
_WHY = {
    "patience": "no better for a while",
    "max_epochs": "all epochs done",
    "max_seconds": "time used up",
    "Ctrl-C": "stopped by Ctrl-C, the best so far kept",
}


def require_fresh(out: Path, force: bool, resume: bool, search: bool = False) -> None:
    """Refuse a folder with something in it, before any time is spent; `search` says that it is for one."""
    searched, asked = is_search(out), "search" if search else "training"
    cut_short = can_be_searched_on(out) if search else (out / CHECKPOINT).is_dir() and not searched
    require_places(out)
    if resume and search:
        if not cut_short:
            found = (
                "a training"
                if (out / CHECKPOINT).is_dir()
                else "a finished one"
                if (out / "model").is_dir()
                else "none"
            )
            raise InputError(f"--resume: expected a search in {out} that was cut short, found {found}; leave it out")
        return
    if resume:
        finished = (out / "config.json").is_file()
        # A training killed before its first save has left its options: it begins again.
        if not cut_short and (finished or not (out / SAVED).is_file()):
            found = "a finished one" if finished else "a search (cellgate tune)" if searched else "none"
            raise InputError(f"--resume: expected a training in {out} that was cut short, found {found}; leave it out")
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, got a file; give another name")
    # A training killed before its first save leaves its options only, which are no loss.
    if out.is_dir() and not all(is_no_loss(path) for path in out.iterdir()) and not force:
        remedy = "give another, or --force"
        if cut_short:
            remedy = f"--resume goes on with the {asked} in it that was cut short, --force starts again"
        raise InputError(f"--out {out}: expected a new or empty folder, got one with files in it; {remedy}")


@contextmanager
def alone_in(out: Path, force: bool, resume: bool, search: bool = False) -> Iterator[None]:
    """Around all that is written to the folder: no other training writes to it, and none has since `require_fresh`.

    Two into one folder would leave parts of both there. Nothing is left of the lock, in whatever way the training ends.
    A checkpoint that is not resumed is forgotten.

    Raises:
        InputError: for a folder that another training is writing to, or has written to.
    """
    new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            require_fresh(out, force, resume, search)
            earlier, model = [], out / "config.json"
            before = model.stat() if model.exists() else None
            if not resume:
                shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
                earlier = list((out / BOARD).glob("events.out.tfevents.*"))
            yield
            if earlier and model.exists() and (before is None or not os.path.samestat(before, model.stat())):
                for events in earlier:  # of the model whose place this one has taken
                    events.unlink(missing_ok=True)
                with suppress(OSError):  # with something in it, it stays
                    (out / BOARD).rmdir()
    except BaseException:
        if new:
            with suppress(OSError):  # with something in it, it stays
                out.rmdir()
        raise


@contextmanager
def saying_what_is_kept(out: Path) -> Iterator[None]:
    """Around all from the fit to the model in its place: Ctrl-C says what there is to go on from.

    The options are written first, to where the training saves itself: beside a model of others they would be wrong.
    After an error before the first save there is nothing to go on from, and no options are left to look like it;
    nor is there after a training that went wrong.
    Options that do not go with the saves that are there do not take the place of those that do.
    """
    folder = out / CHECKPOINT
    path = folder / SAVED
    before = path.read_bytes() if path.is_file() else None
    save_config(folder)
    try:
        yield
    except BaseException as error:
        from cellgate.training import CheckpointError, TrainingError

        if isinstance(error, TrainingError):  # to go on from a save would end in the same error
            shutil.rmtree(folder, ignore_errors=True)
        stays, saved = (out / "config.json").exists(), has_saves(out)  # an earlier model, and what this one could save
        again = f"cellgate train --resume --out {shlex.quote(str(out))}"
        told = f"before a pass over the data was done: no model is kept; {again} begins again"
        if saved:
            told = f"before the model was written; {again} goes on from the last save"
        elif stays:
            told = f"before a pass over the data was done: the model that was in {out} is still there"
        if isinstance(error, CheckpointError) and before is not None:
            write_atomic(path, before)
        elif isinstance(error, CheckpointError) or (not saved and (stays or isinstance(error, CellgateError))):
            path.unlink(missing_ok=True)
        for emptied in (folder, out):
            with suppress(OSError):  # with something in it, it stays
                emptied.rmdir()
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(f"stopped by Ctrl-C {told}") from None
        raise


def fit_and_save(
    out: Path,
    estimator: Any,
    learnt: Any,
    measured: Any,
    opened: Any,
    as_json: bool,
    tensorboard: bool,
    checkpoint_every: float,
    found: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    """Train a model of sequences or of text, measure it and write it; inside `alone_in`.

    Args:
        out: the folder.
        estimator: the model.
        learnt: what it is trained on.
        measured: what it is measured on, or None.
        opened: what its report shows it on; None for no report.
        as_json: whether standard output is JSON.
        tensorboard: whether TensorBoard's files are wanted.
        checkpoint_every: seconds between two saves.
        found: asked after the training, gives the options that the data decided, for train.toml.

    Returns:
        The scores, {} where nothing is measured.
    """
    with saying_what_is_kept(out):
        with training_progress(as_json, board_of(out, tensorboard)) as watch:
            estimator.fit(learnt, watch=watch, checkpoint=out / CHECKPOINT, checkpoint_every=checkpoint_every)
        metrics = estimator.evaluate(measured) if measured is not None else {}
        with in_place_of_earlier(out) as folder:
            if opened is not None:
                estimator.explain(opened, out=folder / REPORT)
            estimator.save(folder)
            save_config(folder, {**found(), **sizes_found(estimator)})
    forget_checkpoint(out)
    return metrics


def board_of(out: Path, wanted: bool) -> Path | None:
    """The folder for TensorBoard, if there shall be one."""
    return out / BOARD if wanted else None


def report_line(out: Path) -> str:
    """Where the page is."""
    return f"wrote {out / REPORT}: open it in a browser"


def training_line(units: str, record: TrainingRecord) -> str:
    """How the training went, in a line."""
    from cellgate.training import best_epoch

    return (
        f"{units}, {counted(record.epochs, 'epoch')} in {record.seconds:.1f} s ({_WHY[record.stopped_by]}), "
        + best_epoch(record)
    )


def sizes_found(estimator: Any) -> dict[str, int]:
    """The options that the amount of data has decided, for train.toml."""
    settings = estimator.settings_
    hidden = estimator.model_.lstm.hidden_size
    return {"hidden_size": hidden, "max_epochs": settings.max_epochs, "patience": settings.patience}


def next_command(out: Path, kind: str, foretold: bool = True) -> str:
    """What to type next, such that a shell takes it.

    Args:
        out: the model's folder.
        kind: the estimator's name.
        foretold: whether the model can forecast from what it was saved with.
    """
    verb, rest = {
        "Forecaster": ("predict", "" if foretold else " --future-data FILE"),
        "LanguageModel": ("generate", " --prompt TEXT"),
    }.get(kind, ("predict", " --data DATA"))
    return f"cellgate {verb} {shlex.quote(str(out))}{rest}"


def took() -> str:
    """How long the run took, all of it, to end a line with."""
    seconds = seconds_so_far()
    return "" if seconds is None else f", {seconds:.1f} s in all"


def training_facts(record: TrainingRecord) -> dict[str, object]:
    """The same for --json; `seconds` are those of the passes over the data."""
    return {
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "seconds": record.seconds,
        "stopped_by": record.stopped_by,
    }
