"""A busy machine: two further processes that run the same contender on the same cell while it is timed."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

from .case import make_case
from .contenders import line_up
from .grid import Cell

__all__ = ["COPIES", "Copies"]

COPIES = 2


class Copies:
    """Two processes that wait until told which contender to run, and then run it over and over.

    Each copy has a heart: a counter of calls begun. A turn starts when both hearts have beaten, so that the machine is
    busy from the first timed call on.
    """

    def __init__(self, cell: Cell) -> None:
        context = multiprocessing.get_context("spawn")
        self._turn = context.Value("i", -1)
        self._go = context.Event()
        self._hearts = [context.Value("q", 0) for _ in range(COPIES)]
        self._idle = [context.Event() for _ in range(COPIES)]
        self._pipes = []
        self._processes = []
        for heart, idle in zip(self._hearts, self._idle, strict=True):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_copy, args=(theirs, self._turn, self._go, heart, idle), daemon=True, name="busy copy"
            )
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        self.prepare(cell)

    def prepare(self, cell: Cell) -> None:
        """Let the copies build the contenders of a cell."""
        for pipe in self._pipes:
            pipe.send(cell.as_dict())
        for pipe in self._pipes:
            answer = pipe.recv()
            if answer != "ready":
                raise RuntimeError(f"a busy copy could not start: {answer}")

    def turn(self, index: int) -> None:
        """Start the contender with this index in both copies; -1 lets them finish and rest."""
        if index >= 0:
            before = [heart.value for heart in self._hearts]
            for idle in self._idle:
                idle.clear()
            self._turn.value = index
            self._go.set()
            self._wait(lambda: all(h.value > b for h, b in zip(self._hearts, before, strict=True)))
        else:
            self._turn.value = -1
            self._go.clear()
            for idle in self._idle:
                while not idle.wait(1.0):
                    self._alive()

    def _wait(self, done: Any) -> None:
        while not done():
            self._alive()
            time.sleep(0.0005)

    def _alive(self) -> None:
        if not all(process.is_alive() for process in self._processes):
            raise RuntimeError("a busy copy died")

    def close(self) -> None:
        """End the copies."""
        for process in self._processes:
            process.terminate()
            process.join()

    def __enter__(self) -> Copies:
        """Return itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """End the copies."""
        self.close()


def _copy(pipe: Any, turn: Any, go: Any, heart: Any, idle: Any) -> None:
    """The life of a copy: build what the pipe names, run it while it is its turn."""
    import torch

    contenders: list[Any] = []
    while True:
        if pipe.poll():
            try:
                cell = Cell.from_dict(pipe.recv())
            except EOFError:
                return
            try:
                torch.set_num_threads(cell.threads)
                torch.set_grad_enabled(cell.mode == "training")
                contenders, _ = line_up(make_case(cell.row), cell)
                for contender in contenders:
                    contender.call()
                pipe.send("ready")
            except Exception as error:
                pipe.send(f"{type(error).__name__}: {error}")
        # A short wait: a quiet machine must not feel the resting copies.
        if not go.wait(0.05):
            continue
        index = turn.value
        contender = contenders[index] if 0 <= index < len(contenders) else None
        while contender is not None and turn.value == index:
            heart.value += 1
            if contender.between:
                contender.between()
            contender.call()
        idle.set()
        while go.is_set() and turn.value < 0:
            time.sleep(0.0002)
