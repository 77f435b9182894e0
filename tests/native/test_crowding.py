"""Whose hands run a call, and who helps whom: the rules on made-up machines, and that the results are the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cellgate.backends import cpu

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")


def run_program(name: str, folder: Path, *flags: str) -> None:
    """Compile a program of this folder and run it; it fails where what it checks does not hold, and says so."""
    if COMPILER is None:
        pytest.skip("compiles a C++ program, and there is no compiler here")
    program, source = folder / name, ROOT / f"tests/native/{name}.cpp"
    subprocess.run(
        [COMPILER, "-std=c++17", f"-I{ROOT / 'native'}", *flags, str(source), "-o", str(program)], check=True
    )
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_hands_suit_the_machine(tmp_path: Path) -> None:
    """Borrowed on a quiet one, whatever the odd hiccup; our own or the caller alone on a crowded one; then back."""
    run_program("check_crowding", tmp_path)


def test_members_help_one_another(tmp_path: Path) -> None:
    """Each piece of a shared product is done once, by its owner or by whoever is idle meanwhile."""
    run_program("check_pieces", tmp_path, "-pthread")


TRAIN = """
import hashlib
import torch, cellgate

torch.set_num_threads(THREADS)
digest = hashlib.sha256()
shapes = [(20, 32, 24, 40, 1, 1, 0), (9, 6, 20, 100, 2, 2, 0), (6, 3, 300, 320, 1, 1, 0), (12, 20, 20, 64, 1, 2, 24)]
for steps, batch, size, hidden, layers, directions, proj in shapes:
    torch.manual_seed(0)
    lstm = cellgate.LSTM(size, hidden, layers, bidirectional=directions == 2, proj_size=proj)
    x = torch.randn(steps, batch, size, requires_grad=True)
    for lengths in (None, torch.arange(batch) % steps + 1):
        with torch.no_grad():
            inferred = lstm(x, lengths=lengths)[0]
        output = lstm(x, lengths=lengths)[0]
        found = torch.autograd.grad(output.square().sum(), [x, *lstm.parameters()])
        for t in (inferred, output.detach(), *found):
            digest.update(t.numpy().tobytes())
runs = cellgate.backends.cpu.native().team_runs()
print(digest.hexdigest(), *[kind for kind, count in runs.items() if count])
"""


@pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bits_whoever_runs_it(threads: int) -> None:
    """A crowd changes who does the work of a team, never a result: teams of threads and one thread for all agree."""
    results = set()
    for kind in ("borrowed", "own", "one"):
        environment = os.environ | {"CELLGATE_THREADS": kind}
        program = TRAIN.replace("THREADS", str(threads))
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=100
        )
        assert done.returncode == 0, done.stderr
        digest, *ran = done.stdout.split()
        # Without a runtime that lends its threads ours take their place; in a crowd ours give way to the caller alone.
        assert kind in ran or (kind == "borrowed" and "own" in ran)
        results.add(digest)
    assert len(results) == 1


CALM = """
import os, time
import torch, cellgate

def threads():
    return len(os.listdir("/proc/self/task"))

def wait_for(count, calm=False):
    end, begin = time.monotonic() + 20, time.monotonic()
    while (threads() != count or (calm and time.monotonic() < begin + 0.2)) and time.monotonic() < end:
        if calm:
            native.calm_borrowed(cpus, time.monotonic_ns() + 500_000_000)
        time.sleep(0.01)
    return threads()

native = cellgate.backends.cpu.native()
cpus = native.available_cpus()
torch.set_num_threads(cpus)
torch.randn(1_000_000).mul_(2)
before = threads()
print(wait_for(before + MORE, calm=True) - before, wait_for(before) - before)
if os.fork() == 0:
    before = threads()
    native.calm_borrowed(cpus, time.monotonic_ns() + 500_000_000)
    time.sleep(0.2)
    os._exit(threads() != before)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads as Linux shows them")
@pytest.mark.parametrize(("kind", "more"), [("", 2), ("own", 0)])
def test_a_further_thread_of_the_runtime_comes_with_a_crowd_and_goes(kind: str, more: int) -> None:
    """It and the one that asked for it, once however often it is asked for; never in the child of a fork."""
    environment = os.environ | {"CELLGATE_THREADS": kind}
    program = CALM.replace("MORE", str(more))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(more), "0", "0"]


CROWD = """
import os, subprocess, sys, time

os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))  # as a machine of two CPUs, also for those who spin
import torch, cellgate

torch.set_num_threads(2)
lstm, x = cellgate.LSTM(20, 100), torch.randn(3, BATCH, 20)
weight = torch.randn(100_000)

def threads():
    return len(os.listdir("/proc/self/task"))

def steps_until(done):
    end = time.monotonic() + 40
    while not done() and time.monotonic() < end:
        lstm(x)[0].square().sum().backward()
        weight.mul_(1.0)
    return done()

native = cellgate.backends.cpu.native()
# PyTorch has all of its threads after a while; more are those of a crowd that is there already.
begin, counts = time.monotonic(), []
steps_until(lambda: time.monotonic() > begin + 0.3 and (not TEAM or native.team_runs()["borrowed"] > 50))
steps_until(lambda: counts.append(threads()) or time.monotonic() > begin + 1.5)
before = min(counts)
others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
try:
    print(steps_until(lambda: threads() > before and (not TEAM or native.team_runs()["one"] > 0)))
finally:
    for other in others:
        other.kill()
        other.wait()
print(steps_until(lambda: threads() == before))
"""


@pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads as Linux shows them")
@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="one CPU is no place for a crowd"
)
@pytest.mark.parametrize(("batch", "team"), [(32, True), (1, False)])
def test_a_crowd_is_noticed_kept_calm_and_forgotten(batch: int, team: bool) -> None:
    """Beside four processes that spin one thread works for two, and the runtime is calm; without them as before.

    Calls too small for two threads notice it too.
    """
    program = CROWD.replace("BATCH", str(batch)).replace("TEAM", str(team))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]
