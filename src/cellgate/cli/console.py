"""What the verbs print: aligned plain lines on stdout, progress on stderr and only on a terminal."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cellgate.data.files import json_bytes
from cellgate.data.words import one_line
from cellgate.errors import InputError


def say(line: str = "") -> None:
    """One line for the reader, whatever is in the names that it has."""
    print(one_line(line), flush=True)


def say_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Labels and texts in two columns; a repeated label is written once."""
    width = max(len(label) for label, _ in pairs)
    previous = ""
    for label, text in pairs:
        say(f"{'' if label == previous else label:<{width}}  {text}")
        previous = label


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: the first column to the left, numbers to the right."""
    head, rows = [one_line(cell) for cell in head], [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    for row in (head, *rows):
        cells = [
            f"{row[0]:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        say("  ".join(cells).rstrip())


def paper(**options: Any) -> Any:
    """Standard output as a rich Console, where a reader that leaves (`| head`) is a BrokenPipeError, as for print."""
    from rich.console import Console

    class Paper(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Paper(**options)


def say_json(values: dict[str, Any]) -> None:
    """One JSON object, for programs."""
    plain = json.loads(json_bytes(values))
    text = json.dumps(plain, ensure_ascii=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain)  # letters as JSON's own escapes, where the output does not know them
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def training_progress(quiet: bool, board: Path | None = None) -> Iterator[Callable[[Any], None] | None]:
    """A watcher for the training loop that draws a bar where somebody looks, and writes to a TensorBoard if asked.

    Args:
        quiet: whether to draw no bar even on a terminal.
        board: a folder for TensorBoard, or None.

    Yields:
        A function of training.Progress, or None where there is nothing to do.

    Raises:
        InputError: if TensorBoard is asked for and not installed.
    """
    with _bar(quiet) as bar, _board(board) as writer:
        watchers = [watch for watch in (bar, writer) if watch is not None]

        def watch(progress: Any) -> None:
            for told in watchers:
                told(progress)

        yield watch if watchers else None


@contextmanager
def _board(folder: Path | None) -> Iterator[Callable[[Any], None] | None]:
    """A watcher that writes to a TensorBoard; epochs of a second stage follow those of the first."""
    if folder is None:
        yield None
        return
    if not importlib.util.find_spec("tensorboard"):
        raise InputError("--tensorboard: expected TensorBoard to be installed, found none; pip install tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    before = last = 0  # epochs of the stages before, and the last one written
    with SummaryWriter(str(folder)) as writer:

        def watch(progress: Any) -> None:
            nonlocal before, last
            if before + progress.epoch <= last:
                before = last
            last = before + progress.epoch  # a training that is resumed goes on from its epoch
            for name, value in (
                ("loss/training", progress.loss),
                ("loss/validation", progress.validation),
                ("loss/best validation", progress.best),
                ("examples a second", progress.examples_per_second),
            ):
                if value is not None and math.isfinite(value):
                    writer.add_scalar(name, value, last)

        yield watch


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[Any], None] | None]:
    """A watcher that draws a bar, or None where nobody looks.

    The bar shows the pass, the best validation loss so far, the rate, and the time left if no stop comes early.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TextColumn("left at most"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        # The first epoch of a large model takes a while: until then the bar only moves.
        task = bar.add_task("training", total=None, told="first epoch")

        def watch(progress: Any) -> None:
            told = f"epoch {progress.epoch}/{progress.max_epochs}  loss {progress.loss:.4f}"
            if progress.validation is not None:
                told += f"  validation {progress.validation:.4f} (best {progress.best:.4f})"
            told += f"  {progress.examples_per_second:,.0f}/s"
            bar.update(task, total=progress.max_epochs, completed=progress.epoch, told=told)

        yield watch
