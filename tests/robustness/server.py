"""Runs of the command that may be killed at any moment.

They are forked from a process that has imported everything, so that a run begins at once and dozens fit into seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SERVER = """
import contextlib, io, json, os, sys, tempfile
import torch
import cellgate.estimators
from cellgate.cli import app, train
torch.set_num_threads(1)
for task in train.TASKS:
    train.choose(["--task", task])
try:  # what is imported late is imported now
    with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
        app.main(["train", "airline", "--max-epochs", "1", "--out", folder])
except SystemExit as left:
    assert not left.code, left.code
while line := sys.stdin.readline():
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 99
        try:
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1), os.dup2(log, 2)
            if order["user"]:
                os.setgroups([]), os.setgid(order["user"]), os.setuid(order["user"])
            app.main(order["arguments"])
        except SystemExit as left:
            code = left.code or 0
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(child, flush=True)
    sys.stdin.readline()  # until then the child, ended or not, keeps its number
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (minus the signal that killed it), what it printed, how long it ran."""

    code: int
    output: str
    seconds: float


class Server:
    """Runs the command in children of one process."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._log = folder / "log"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "OMP_NUM_THREADS": "1"},
        )

    def run(
        self,
        *arguments: object,
        after: float | None = None,
        sent: signal.Signals = signal.SIGKILL,
        watch: Callable[[int], None] | None = None,
        user: int | None = None,
    ) -> Ended:
        """Run to the end, or send a signal after so many seconds; `watch` is called with the process id meanwhile."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._log.unlink(missing_ok=True)
        order = {"arguments": [str(argument) for argument in arguments], "log": str(self._log), "user": user}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        began = time.monotonic()
        if after is not None:
            time.sleep(after)
            os.kill(child, sent)
        if watch is not None:
            watch(child)
        self._process.stdin.write("wait\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Ended(code, self._log.read_text(), time.monotonic() - began)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
