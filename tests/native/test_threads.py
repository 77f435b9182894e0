"""The engine among threads and processes: as many threads as PyTorch says, no lock held, safe in any company."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Of Python 3.12, and of JAX where a test before imported it: a process of several threads was forked, as is the point.
quiet_fork = pytest.mark.filterwarnings("ignore:.*fork.*")

COUNT_THREADS = """
import os
import torch, cellgate

def threads():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(1)
x = torch.randn(20, 64, 64)
with cellgate.use_backend("cpu"):
    lstm = cellgate.LSTM(64, 256)
    before, counts = threads(), []
    for n in (1, 2, 3):
        torch.set_num_threads(n)
        with torch.no_grad():
            lstm(x)
        lstm(x)
        counts.append(threads() - before)
print(*counts)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
@pytest.mark.parametrize("kind", ["own", "borrowed"])
def test_as_many_threads_as_pytorch_says(kind: str) -> None:
    """With set_num_threads(n) the engine has n - 1 helpers, whether its own or those of PyTorch's OpenMP runtime."""
    environment = os.environ | {"CELLGATE_THREADS": kind}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.stdout.split() == ["0", "1", "2"], done.stderr


ON_ONE_CPU = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch, cellgate

torch.set_num_threads(8)
lstm, x = cellgate.LSTM(64, 256), torch.randn(20, 64, 64)
lstm(x)[0].sum().backward()
cellgate.LSTM(64, 256, peephole=True)(x)[0].sum().backward()
print(*cellgate.backends.cpu.native().team_runs().values())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a CPU")
def test_no_more_threads_than_cpus() -> None:
    """Members meet at every step: one without a CPU would hold up the others for a time slice each time."""
    environment = {name: value for name, value in os.environ.items() if name != "CELLGATE_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", ON_ONE_CPU], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.stdout.split() == ["0", "0", "0"], done.stdout + done.stderr


MORE_THAN_CPUS = """
import os
import torch, cellgate

torch.manual_seed(0)
wrong = 0
for size, batch, steps, both in ((24, 8, 30, False), (24, 3, 30, True), (24, 4, 30, True), (128, 16, 20, True)):
    for kind in ({}, {"peephole": True}):
        lstm, x = cellgate.LSTM(16, size, bidirectional=both, **kind), torch.randn(steps, batch, 16)
        results = []
        for threads in (1, 3, 4, 8, 64):
            torch.set_num_threads(threads)
            with torch.no_grad():
                results.append([lstm(x)[0]])
            results[-1] += torch.autograd.grad(lstm(x)[0].square().sum(), lstm.parameters())
        for found in results[1:]:
            wrong += not all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(found, results[0]))
print(wrong)
"""


@pytest.mark.parametrize("cpus", [1, 2])
def test_more_threads_than_cpus_give_the_numbers(cpus: int) -> None:
    """What was planned for a large team is planned anew for the one there is, whose size another grid may suit best."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < cpus:
        pytest.skip("needs more CPUs than there are, or a system that binds processes to them")
    environment = {name: value for name, value in os.environ.items() if name != "CELLGATE_THREADS"}
    code = MORE_THAN_CPUS.replace(
        "import os\n", f"import os\nos.sched_setaffinity(0, {set(sorted(os.sched_getaffinity(0))[:cpus])})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert done.stdout.split() == ["0"], done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to a CPU")
@pytest.mark.parametrize("bind", ["true", "false"])
def test_cpus_are_those_of_the_process(bind: str) -> None:
    """Where the OpenMP runtime binds threads, the caller is bound to one; the others are there all the same."""
    code = "import torch, cellgate; print(cellgate.backends.cpu.native().available_cpus())"
    environment = os.environ | {"OMP_PROC_BIND": bind}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100)
    assert done.stdout.split() == [str(len(os.sched_getaffinity(0)))], done.stderr


def long_call(backward: bool) -> Callable[[], None]:
    """A native call of some tenths of a second that holds nothing of Python."""
    lstm, x = cellgate.LSTM(128, 256), torch.randn(400, 32, 128)
    output = lstm(x)[0].sum() if backward else None

    def call() -> None:
        if output is not None:
            output.backward()
        else:
            with torch.no_grad():
                lstm(x)

    return call


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
def test_other_python_threads_go_on(backward: bool) -> None:
    """While the engine computes, another Python thread gets its turn every few milliseconds."""
    call, span, ticks = long_call(backward), [], []

    def work() -> None:
        span.append(time.perf_counter())
        call()
        span.append(time.perf_counter())

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    worker.join()
    inner = [t for t in ticks if span[0] < t < span[1]]
    # Were the lock held, there would be none between the first milliseconds and the end.
    assert len(inner) > 5, (len(inner), span[1] - span[0])
    assert inner[-1] - inner[0] > 0.5 * (span[1] - span[0])


HELPED = """
import torch, cellgate

torch.manual_seed(0)
lstm, x = cellgate.LSTM(8, 520), torch.randn(600, 20, 8)
with cellgate.use_backend("cpu"), torch.no_grad():
    torch.set_num_threads(1)
    want = lstm(x)[0]
    torch.set_num_threads(3)
    print(sum(not torch.allclose(lstm(x)[0], want, atol=1e-5) for _ in range(40)))
"""


def test_members_that_help_are_waited_for() -> None:
    """More threads than CPUs: a helper that is taken off its CPU still has what its tile reads when it comes back.

    Input products of some steps are taken at once, into memory that the tiles of the steps before still read.
    """
    environment = os.environ | {"CELLGATE_THREADS": "own"}
    done = subprocess.run([sys.executable, "-c", HELPED], capture_output=True, text=True, env=environment, timeout=200)
    assert done.stdout.split() == ["0"], done.stdout + done.stderr


INITIAL_STATE = """
import torch, cellgate

torch.manual_seed(0)
lstm, x, w = cellgate.LSTM(4, 128).requires_grad_(False), torch.randn(600, 24, 4), torch.randn(600, 24, 128)
lengths = torch.linspace(600, 30, 24).long()
state = [torch.randn(1, 24, 128, requires_grad=True) for _ in range(2)]

def gradients(threads):
    torch.set_num_threads(threads)
    return torch.autograd.grad((lstm(x, state, lengths=lengths)[0] * w).sum(), state)

with cellgate.use_backend("cpu"):
    want = gradients(1)
    wrong = 0
    for _ in range(60):
        wrong += not all(torch.allclose(a, b, atol=1e-4) for a, b in zip(gradients(6), want))
print(wrong)
"""


def test_gradients_of_the_state_alone() -> None:
    """More threads than CPUs: none runs so far ahead of the others that it writes what they still read."""
    environment = os.environ | {"CELLGATE_THREADS": "own"}
    done = subprocess.run(
        [sys.executable, "-c", INITIAL_STATE], capture_output=True, text=True, env=environment, timeout=200
    )
    assert done.stdout.split() == ["0"], done.stdout + done.stderr


NICENESS = """
import os

os.nice(7)  # of this thread and of those that it starts
import torch, cellgate

torch.set_num_threads(2)
with cellgate.use_backend("cpu"):
    cellgate.LSTM(64, 64)(torch.randn(20, 64, 64))
print(*{open(f"/proc/self/task/{t}/stat").read().rsplit(")")[1].split()[16] for t in os.listdir("/proc/self/task")})
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads /proc")
def test_helpers_are_as_nice_as_their_process() -> None:
    """The engine's own threads ask for short time slices; the niceness that the user chose stays."""
    environment = os.environ | {"CELLGATE_THREADS": "own"}
    done = subprocess.run(
        [sys.executable, "-c", NICENESS], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.stdout.split() == ["7"], done.stdout + done.stderr


def trained(module: cellgate.LSTM, x: torch.Tensor) -> list[torch.Tensor]:
    """Output and every gradient of one training step."""
    output = module(x)[0]
    return [output.detach(), *torch.autograd.grad(output.square().sum(), list(module.parameters()))]


def same(got: list[torch.Tensor], want: list[torch.Tensor]) -> bool:
    """Whether two lists of results agree to rounding; the number of threads may change the order of a sum."""
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max())) for a, b in zip(got, want, strict=True)
    )


def test_several_python_threads_train_at_once() -> None:
    """Each with a module of its own, and all with one module."""
    torch.set_num_threads(2)
    modules = [cellgate.LSTM(20, 64 + 16 * k, bidirectional=k % 2 == 1) for k in range(3)]
    x = torch.randn(30, 24, 20)
    expected, wrong = [trained(m, x) for m in modules], []

    def work(k: int) -> None:
        for turn in range(8):
            which = k if turn % 2 else 0
            if not same(trained(modules[which], x), expected[which]):
                wrong.append((k, turn))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(100)
    assert not any(t.is_alive() for t in threads)
    assert not wrong


def succeeds_in_child(check: Callable[[], bool], seconds: float = 60) -> bool:
    """Run a check in a forked child; False where it fails, raises, or does not come back in time."""
    child = os.fork()
    if child == 0:
        good = False
        try:
            good = check()
        finally:
            os._exit(0 if good else 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


@needs_fork
@quiet_fork
def test_after_fork() -> None:
    """Child and parent go on, with several threads each, in inference and training; so does a grandchild."""
    torch.set_num_threads(2)
    # So small that PyTorch's own operators keep to one thread: with several they hang in a forked child.
    module, x = cellgate.LSTM(20, 80), torch.randn(12, 32, 20)
    expected = trained(module, x)

    def check() -> bool:
        with torch.no_grad():
            inferred = module(x)[0]
        return torch.allclose(inferred, expected[0], atol=1e-6) and same(trained(module, x), expected)

    assert check()
    assert succeeds_in_child(check)
    assert succeeds_in_child(lambda: check() and succeeds_in_child(check, 30))
    assert check()


FORK_FIRST = """
import os, sys
import torch, cellgate

torch.set_num_threads(2)
x = torch.randn(50, 16, 20)
torch.randn(600, 600) @ torch.randn(600, 600)
torch.randn(4_000_000).exp_()  # PyTorch's runtime has its threads now; the engine has not been called yet
child = os.fork()
if child == 0:
    with cellgate.use_backend("cpu"), torch.no_grad():
        cellgate.LSTM(20, 256)(x)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""


@needs_fork
def test_first_call_in_a_forked_child() -> None:
    """PyTorch's OpenMP threads are gone in the child, though the engine never saw the fork's parent use them."""
    done = subprocess.run([sys.executable, "-c", FORK_FIRST], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


class Rows(torch.utils.data.Dataset):
    """What a DataLoader's workers compute with the engine."""

    def __init__(self, module: cellgate.LSTM) -> None:
        self.module = module

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        with torch.no_grad():
            return self.module(torch.full((10, 8, 20), float(index)))[0]


@quiet_fork
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a single CPU
def test_in_data_loader_workers() -> None:
    """Workers are forked while this process holds threads, and itself computes in between."""
    torch.set_num_threads(2)
    rows = Rows(cellgate.LSTM(20, 128))
    expected = [rows[k] for k in range(4)]
    loader = torch.utils.data.DataLoader(rows, batch_size=None, num_workers=2, timeout=60)
    for epoch in range(2):
        for k, ours in enumerate(loader):
            assert torch.allclose(ours, expected[k], atol=1e-6), (epoch, k)
            assert torch.allclose(rows[k], expected[k], atol=1e-6), (epoch, k)
