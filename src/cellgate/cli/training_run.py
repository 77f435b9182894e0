"""What every training does around its fit: a fresh folder before, what happened in words after."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cellgate.cli.config import SAVED
from cellgate.data.files import is_leftover, remove_leftovers
from cellgate.errors import InputError

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
        if not cut_short:
            raise InputError(f"--resume: expected a training in {out} that was cut short, found none; leave it out")
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
    return (
        f"{units}, {record.epochs} epochs in {record.seconds:.1f} s ({_WHY[record.stopped_by]}), "
        f"best was {record.best_epoch}"
    )


def training_facts(record: TrainingRecord) -> dict[str, object]:
    """The same for --json."""
    return {
        "epochs": record.epochs,
        "best_epoch": record.best_epoch,
        "seconds": record.seconds,
        "stopped_by": record.stopped_by,
    }
