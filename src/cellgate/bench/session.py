"""A run: cells through worker processes into a document, with a word on every step; can stop and be continued."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from .grid import Cell
from .measure import compare_with_limits
from .memory import measure_memory
from .timing import Plan

__all__ = ["BUSY", "QUICK_PLAN", "THOROUGH", "run"]

THOROUGH = Plan()
QUICK_PLAN = Plan(block=0.015, rounds=5, seconds=0.25, patience=2.0, least=3)
# Time slices of other processes are as long as a small call, so few rounds would measure luck. And where three
# processes of one thread share two CPUs, one of them has a CPU of its own and two have half a one: for a whole turn
# a contender is as fast as on a quiet machine, or half as fast, or anything between.
BUSY = Plan(block=0.03, rounds=15, seconds=0.4, patience=3.0, least=3)
"""How long a cell takes: of a thorough run, of a quick one, and on a busy machine."""

PATIENCE = 240.0  # seconds without an answer after which a worker is taken to hang
LIMITS_EVERY = 20.0  # seconds after which the machine's limits are measured again

Listener = Callable[[str, dict[str, Any] | None], None]


def run(
    cells: Sequence[Cell],
    document: dict[str, Any],
    *,
    plan: Plan = THOROUGH,
    memory: Sequence[str] = (),
    budget: float | None = None,
    tell: Listener = lambda step, record: None,
    save: Callable[[dict[str, Any]], None] = lambda document: None,
) -> int:
    """Measure what the document does not hold yet.

    Args:
        cells: What is wanted; cells that the document has are skipped.
        document: Is added to.
        plan: For quiet cells; busy ones have their own.
        memory: Names of ``memory.MODES`` to measure too.
        budget: Begin no new cell after this many seconds.
        tell: Called with a step's name when it begins (record None) and with its record when it ends.
        save: Called with the document after every record.

    Returns:
        How many cells and memory figures are still missing.
    """
    start = time.monotonic()
    known = {record["id"] for record in document["cells"]}
    todo = [cell for cell in cells if cell.id not in known]
    measured = {entry["name"] for entry in document["memory"]}
    wanted = [name for name in memory if name not in measured]
    worker: _Worker | None = None
    measured_at = 0.0

    def spent() -> bool:
        return budget is not None and time.monotonic() - start > budget

    try:
        while todo and not spent():
            cell = todo.pop(0)
            if worker is None or worker.threads != cell.threads:
                if worker is not None:
                    worker.close()
                worker = _Worker(cell.threads)
                measured_at = -LIMITS_EVERY
            if time.monotonic() - measured_at > LIMITS_EVERY:
                tell("the machine's limits", None)
                _take_limits(document, worker.limits())
                measured_at = time.monotonic()
            tell(cell.id, None)
            record = worker.measure(cell, BUSY if cell.load == "busy" else plan)
            if worker.dead:
                worker.close()
                worker = None
            document["cells"].append(record)
            compare_with_limits(record, next(e for e in document["limits"] if e["threads"] == cell.threads))
            save(document)
            tell(cell.id, record)
    finally:
        if worker is not None:
            worker.close()
    while wanted and not spent():
        name = wanted.pop(0)
        tell(f"memory of {name}", None)
        document["memory"].append(measure_memory(name))
        save(document)
        tell(f"memory of {name}", document["memory"][-1])
    return len(todo) + len(wanted)


def _take_limits(document: dict[str, Any], found: dict[str, Any]) -> None:
    """Keep the best seen of each limit, since a limit is what nothing surpasses, and compare all cells with it."""
    same = [entry for entry in document["limits"] if entry["threads"] == found["threads"]]
    if not same:
        document["limits"].append(found)
        return
    known = same[0]
    if known["source"] != found["source"]:
        known.update(found)
    for key in ("fma_f32", "fma_f64", "activations"):
        known[key] = max(known[key], found[key])
    for level, read in found["read"].items():
        known["read"][level]["rate"] = max(known["read"][level]["rate"], read["rate"])
    for record in document["cells"]:
        if record["threads"] == known["threads"]:
            compare_with_limits(record, known)


class _Worker:
    """A measuring process and the conversation with it."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.dead = False
        environment = dict(os.environ)
        environment["OMP_NUM_THREADS"] = str(max(threads, 1))
        environment["NPROC"] = str(threads)  # XLA's own name for its number of threads
        if threads == 1:
            flags = environment.get("XLA_FLAGS", "")
            environment["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cellgate.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._buffer = b""

    def limits(self) -> dict[str, Any]:
        """Return the machine's limits as they are now."""
        answer = self._ask({"limits": self.threads})
        if "error" in answer:
            raise RuntimeError(f"the measuring process failed: {answer['error']}")
        return answer

    def measure(self, cell: Cell, plan: Plan) -> dict[str, Any]:
        """Return the cell's record; a crash or an exception makes it red."""
        answer = self._ask({"cell": cell.as_dict(), "plan": asdict(plan)})
        if "error" not in answer:
            return answer
        return {
            "id": cell.id,
            "row": str(cell.row.shape),
            "title": cell.row.title,
            "mode": cell.mode,
            "threads": cell.threads,
            "load": cell.load,
            "shape": cell.row.shape.as_dict(),
            "absent": {},
            "red": answer["error"],
        }

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._line())
        except (BrokenPipeError, EOFError):
            self.dead = True
            return {"error": f"the measuring process ended with {self._process.wait()}: {self._last_words()}"}
        except TimeoutError:
            self.dead = True
            return {"error": f"no answer for {PATIENCE:.0f} s"}

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + PATIENCE
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                piece = os.read(self._process.stdout.fileno(), 1 << 16)
                if not piece:
                    raise EOFError
                self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-500:] or "it said nothing"

    def close(self) -> None:
        """End the process, and with it its busy copies."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()  # the worker ends its copies and leaves
        try:
            self._process.wait(5.0 if not self.dead else 0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()
