"""The engine given what nobody means to give it: NaN, infinities, denormals, nothing at all, far too much."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
ISAS = [] if cpu.unavailable() else cpu.native().isas()

VALUES = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": -float("inf"),
    "huge": 3e38,
    "huge negative": -3e38,
    "denormal": 1e-40,
    "smallest": 1e-45,
    "minus zero": -0.0,
}
PLACES = ["input", "h_0", "c_0", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "weight_ih_l1"]


@pytest.fixture(params=ISAS)
def isa(request):
    """Run on one instruction set, and check that it was that one."""
    native = cpu.native()
    before = native.isa()
    native.force_isa(request.param)
    yield request.param
    assert native.isa() == request.param
    native.force_isa(before)


def _case(place: str, value: float, dtype: torch.dtype, scale: float = 1.0):
    """A module, an nn.LSTM with the same weights, and inputs, with one value in one place of one row."""
    torch.manual_seed(4)
    ours = cellgate.LSTM(5, 19, 2, dtype=dtype)
    x, h, c = torch.randn(7, 3, 5), torch.randn(2, 3, 19), torch.randn(2, 3, 19)
    x, h, c = (t.to(dtype) * scale for t in (x, h, c))
    with torch.no_grad():
        for p in ours.parameters():
            p.mul_(scale)
        where = {"input": x, "h_0": h, "c_0": c}.get(place)
        where = dict(ours.named_parameters())[place] if where is None else where
        where.view(-1)[where.numel() // 2] = value
    theirs = torch.nn.LSTM(5, 19, 2, dtype=dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, x, (h, c)


def _assert_same(got: torch.Tensor, want: torch.Tensor, what: str) -> None:
    """NaN and infinities in the same places, the rest equal to rounding."""
    for kind in (torch.isnan, torch.isposinf, torch.isneginf):
        assert torch.equal(kind(got), kind(want)), f"{what}: {kind.__name__} elsewhere"
    finite = want.isfinite()
    assert torch.allclose(got[finite], want[finite], rtol=2e-5, atol=2e-6), what


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", VALUES)
def test_values_as_in_nn_lstm(isa: str, value: str, place: str) -> None:
    """Forward in inference and training: what becomes NaN there becomes NaN here, and nothing else does."""
    for dtype in (torch.float32, torch.float64):
        ours, theirs, x, state = _case(place, VALUES[value], dtype)
        with torch.no_grad():
            inferred, want = ours(x, state), theirs(x, state)
        with cellgate.use_backend("cpu"):
            trained = ours(x, state)
        for got in (inferred, trained):
            for part, other, name in zip((got[0], *got[1]), (want[0], *want[1]), ("output", "h_n", "c_n"), strict=True):
                _assert_same(part.detach(), other, name)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", ["NaN", "huge", "huge negative", "denormal", "minus zero"])
def test_gradients_as_in_nn_lstm(isa: str, value: str, place: str) -> None:
    """Backward, too. (An infinity gives zero times infinity somewhere, and NaN then depends on the order of sums.)"""
    ours, theirs, x, state = _case(place, VALUES[value], torch.float32)
    exact = torch.nn.LSTM(5, 19, 2, dtype=torch.float64)
    exact.load_state_dict(theirs.state_dict())
    grads = []
    for module in (ours, theirs, exact):
        dtype = module.weight_ih_l0.dtype
        leaves = [t.to(dtype, copy=True).requires_grad_() for t in (x, *state)]
        with cellgate.use_backend("cpu"):
            output, (h_n, c_n) = module(leaves[0], (leaves[1], leaves[2]))
        grads.append(torch.autograd.grad(output.sum() + h_n.sum() + c_n.sum(), [*leaves, *module.parameters()]))
    for k, (got, want, true) in enumerate(zip(*grads, strict=True)):
        for kind in (torch.isnan, torch.isposinf, torch.isneginf):
            assert torch.equal(kind(got), kind(want)), f"gradient {k}: {kind.__name__} elsewhere"
        finite = want.isfinite()
        if finite.any():
            error, bound = ((g[finite].double() - true[finite]).abs().max() for g in (got, want))
            assert error <= 2 * bound + 1e-6 * (1 + true[finite].abs().max()), f"gradient {k}"


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 30.0, 1e10, 1e15])
def test_all_of_it_small_or_large(isa: str, scale: float) -> None:
    """Gates shut or open to the last bit; products that leave the range."""
    ours, theirs, x, state = _case("input", 0.0, torch.float32, scale)
    with torch.no_grad():
        got, want = ours(x, state), theirs(x, state)
    for part, other, name in zip((got[0], *got[1]), (want[0], *want[1]), ("output", "h_n", "c_n"), strict=True):
        _assert_same(part, other, name)


def test_denormals_are_kept(isa: str) -> None:
    """A cell state in the denormal range decays as the equations say: it is not rounded to zero."""
    lstm, peer = cellgate.LSTM(2, 17), torch.nn.LSTM(2, 17)
    with torch.no_grad():
        for p in (*lstm.parameters(), *peer.parameters()):
            p.zero_()
        c = torch.full((1, 1, 17), 1e-40)
        _, (h_n, c_n) = lstm(torch.zeros(3, 1, 2), (torch.zeros(1, 1, 17), c))
        _, (their_h, their_c) = peer(torch.zeros(3, 1, 2), (torch.zeros(1, 1, 17), c))
    assert (c_n > 0).all()
    assert torch.allclose(c_n, their_c, rtol=1e-3, atol=0)
    assert torch.allclose(h_n, their_h, rtol=1e-3, atol=0)


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("inputs", [0, 1])
@pytest.mark.parametrize("layers", [1, 2])
def test_next_to_nothing(isa: str, steps: int, batch: int, inputs: int, layers: int) -> None:
    """No steps, no rows, no features, one hidden unit: as the reference has it, values and gradients."""
    lstm = cellgate.LSTM(inputs, 1, layers, bidirectional=True)
    results = []
    for backend in ("cpu", "reference"):
        x = torch.ones(steps, batch, inputs, requires_grad=True)
        with cellgate.use_backend(backend):
            output, (h_n, c_n) = lstm(x)
            loss = output.sum() + h_n.sum() + c_n.sum()
            wanted = [x, *lstm.parameters()]
            grads = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
        results.append([output, h_n, c_n, *grads])
    for got, want in zip(*results, strict=True):
        assert got.shape == want.shape
        assert torch.allclose(got, want, atol=1e-6)


# ---- too much --------------------------------------------------------------------------------------------------------


def test_strides_beyond_32_bits() -> None:
    """Rows that lie more than 2^31 and 2^32 elements apart, in memory of which only a few pages exist."""
    step, row = 2**31 + 11, 2**30 + 5
    try:
        memory = torch.empty(2 * step + 4 * row + 8)
    except RuntimeError as error:  # the allocator's refusal
        pytest.skip(f"this machine does not promise 34 GB of address space: {error}")
    lstm, plain = cellgate.LSTM(8, 6), torch.randn(3, 4, 8)
    x = memory.as_strided((3, 4, 8), (step, row, 1))
    x.copy_(plain)
    results = []
    with cellgate.use_backend("cpu"):
        with torch.no_grad():
            assert torch.equal(lstm(x)[0], lstm(plain)[0])
        for data in (x, plain):
            output = lstm(data)[0]
            results.append([output, *torch.autograd.grad(output.sum(), list(lstm.parameters()))])
    for got, want in zip(*results, strict=True):
        assert torch.equal(got, want)


def test_sizes_beyond_32_bits() -> None:
    """The core counts in 64 bits what it will need."""
    stack = cpu.native().Stack(0, 1, True, [(8, 2**12, 0)])
    steps, batch = 2**16, 2**8
    assert stack.saved_size(steps, batch, 0, 1, 1, False) == steps * batch * 5 * 2**12


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(("steps", "batch"), [(2**42, 1), (1, 2**42), (2**31, 2**20), (2**60, 2**10)])
def test_more_than_there_is(steps: int, batch: int, grad: bool) -> None:
    """PyTorch's own refusal, before the engine runs; the layer works on."""
    lstm, x = cellgate.LSTM(4, 8), torch.randn(1, 1, 4)
    with torch.no_grad():
        before = lstm(x)[0]
    try:
        much = x.expand(steps, batch, 4)
    except RuntimeError:
        pytest.skip("PyTorch has no tensor of this size")
    # Words of PyTorch's allocator, or of its sizes.
    refusal = pytest.raises((RuntimeError, MemoryError), match=r"(?i)memory|overflow|size")
    with cellgate.use_backend("cpu"), torch.set_grad_enabled(grad), refusal:
        lstm(much)
    with torch.no_grad():
        assert torch.equal(lstm(x)[0], before)


# Raises the limit on memory until everything succeeds; each time before, something else of what a call needs was
# refused: an output of PyTorch's, packed weights, what forward keeps, scratch space of forward or backward. The first
# call is made by another thread, because a thread keeps its scratch space.
SHORT_OF_MEMORY = """
import gc, resource, sys, threading
import torch, cellgate
from cellgate.backends import cpu

torch.manual_seed(0)
torch.set_num_threads(2)
grad = sys.argv[1] == "training"
lstm, small = cellgate.LSTM(1024, 1024), cellgate.LSTM(3, 5)
x = torch.randn(4, 32, 1024)

def call():
    if not grad:
        with torch.no_grad():
            return [lstm(x)[0]]
    output = lstm(x)[0]
    return [output.detach(), *torch.autograd.grad(output.sum(), list(lstm.parameters()))]

def used():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[0]) * resource.getpagesize()

with cellgate.use_backend("cpu"):
    want = []
    first = threading.Thread(target=lambda: want.extend(call()))
    first.start()
    first.join()
    with torch.no_grad():
        want_small = small(x[..., :3])[0]
    failures, raised = 0, set()
    for step in range(400):
        cpu.native().clear_cache()
        gc.collect()
        resource.setrlimit(resource.RLIMIT_AS, (used() + step * 2**22, resource.RLIM_INFINITY))
        try:
            got = call()
            break
        except (MemoryError, RuntimeError) as error:
            failures += 1
            raised.add(type(error).__name__)
            assert isinstance(error, MemoryError) or "memory" in str(error), error
            del error
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with torch.no_grad():
            assert torch.equal(small(x[..., :3])[0], want_small)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
print(failures, *sorted(raised))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by RLIMIT_AS and reads /proc")
@pytest.mark.parametrize("what", ["inference", "training"])
def test_out_of_memory_is_an_exception(what: str) -> None:
    """Wherever memory ends, the caller gets MemoryError, or PyTorch's RuntimeError, and a layer that works on."""
    # Every larger block is mapped and unmapped by itself, so that what was freed does not serve the next attempt.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", SHORT_OF_MEMORY, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    failures, *kinds = done.stdout.split()
    assert int(failures) > 2
    assert "MemoryError" in kinds, kinds
