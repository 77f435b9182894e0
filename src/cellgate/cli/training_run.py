"""What every training does around its fit: a fresh folder before, what happened in words after."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellgate.cli.config import SAVED, seconds_so_far
from cellgate.data.files import is_leftover, remove_leftovers
from cellgate.data.words import counted
from cellgate.errors import CellgateError, InputError

if TYPE_CHECKING:
    from cellgate.training import TrainingRecord

CHECKPOINT = "checkpoint"
REPORT = "report.html"
_WHY = {
    "patience": "no better for a while",
    "max_epochs": "all epochs done",
    "max_seconds": "time used up",
    "Ctrl-C": "stopped by Ctrl-C, the best so far kept",
}


def require_fresh(out: Path, force: bool, resume: bool) -> None:
    """Refuse a folder with something in it, before any time is spent; forget a checkpoint that is not resumed."""
    cut_short = (out / CHECKPOINT).is_dir()
    if resume:
        finished = (out / "config.json").is_file()
        # A training killed before its first save has left its options: it begins again.
        if not cut_short and (finished or not (out / SAVED).is_file()):
            found = "a finished one" if finished else "none"
            raise InputError(f"--resume: expected a training in {out} that was cut short, found {found}; leave it out")
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: expected a folder, got a file; give another name")
    # A training killed before its first save leaves its options only, which are no loss.
    if out.is_dir() and any(path.name != SAVED and not is_leftover(path) for path in out.iterdir()) and not force:
        remedy = "give another, or --force"
        if cut_short:
            remedy = "--resume goes on with the training in it that was cut short, --force starts again"
        raise InputError(f"--out {out}: expected a new or empty folder, got one with files in it; {remedy}")
    if cut_short:
        shutil.rmtree(out / CHECKPOINT)


@contextmanager
def saying_what_is_kept(out: Path) -> Iterator[None]:
    """Around all from the fit to the saved model: Ctrl-C says what there is to go on from.

    After an error before the first save there is nothing, and no options are left to look like a training cut short.
    """
    try:
        yield
    except KeyboardInterrupt:
        again = f"cellgate train --resume --out {out}"
        told = f"before a pass over the data was done: no model is kept; {again} begins again"
        if any((out / CHECKPOINT).glob("*.safetensors")):
            told = f"before the model was written; {again} goes on from the last save"
        raise KeyboardInterrupt(f"stopped by Ctrl-C {told}") from None
    except CellgateError:
        if not any((out / CHECKPOINT).glob("*")) and not (out / "config.json").exists():
            (out / SAVED).unlink(missing_ok=True)
            with suppress(OSError):  # with something in it, it stays
                out.rmdir()
        raise


def board_of(out: Path, wanted: bool) -> Path | None:
    """The folder for TensorBoard, if there shall be one."""
    return out / "tensorboard" if wanted else None


def forget_checkpoint(out: Path) -> None:
    """Remove the state to resume from; called when everything else is written."""
    remove_leftovers(out)
    shutil.rmtree(out / CHECKPOINT, ignore_errors=True)


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
