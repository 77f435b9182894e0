"""cellgate.LSTM equals nn.LSTM: its parameters times odd sizes, values and every gradient, on every backend."""

from __future__ import annotations

import contextlib
import itertools
import math

import pytest
import torch
from tests.parity.compare import (
    BACKEND_NAMES,
    DEVICES,
    FLOOR,
    Case,
    assert_within,
    budget,
    covering,
    dense_call,
    dense_inputs,
    distance,
    expected,
    measure,
    only,
)

import cellgate

SIZES = (1, 3, 63), (1, 3, 33), (0, 1, 20), (1, 17, 100)
"""T, B, I and H."""
LAYERS, BIAS, BATCH_FIRST, BIDIRECTIONAL, PROJECTED, HX = (1, 2), *[(False, True)] * 5
DTYPES = (torch.float32, torch.float64)


def case(size: tuple, flags: tuple, dtype: torch.dtype) -> Case:
    t, b, i, h = size
    layers, bias, batch_first, bidirectional, projected, hx = flags
    proj = max(1, h // 3) if projected and h > 1 else 0
    return Case(t, b, i, h, layers, bias, batch_first, bidirectional, proj, hx, dtype)


def cases() -> list[Case]:
    sizes = list(itertools.product(*SIZES))
    flags = list(itertools.product(LAYERS, BIAS, BATCH_FIRST, BIDIRECTIONAL, PROJECTED, HX))
    # Every combination of sizes, and every combination of flags twice, each with an even choice of the other and in
    # both dtypes. The full product is 10,368 layers a backend and finds nothing more.
    some_flags = covering(LAYERS, BIAS, BATCH_FIRST, BIDIRECTIONAL, PROJECTED, HX, rows=len(sizes))
    some_sizes = covering(*SIZES, rows=2 * len(flags))
    made = [case(s, f, d) for d in DTYPES for s, f in zip(sizes, some_flags, strict=True)]
    made += [case(s, f, DTYPES[k // len(flags)]) for k, (s, f) in enumerate(zip(some_sizes, flags * 2, strict=True))]
    made += [
        Case(3, 3, 20, 500),
        Case(1, 33, 1, 500, layers=2, bidirectional=True),
        Case(5, 2, 7, 500, proj=123, bias=False, dtype=torch.float64),
        Case(5, 4, 6, 9, layers=4, bidirectional=True),
        Case(5, 4, 6, 9, layers=4, proj=3, hx=False, dtype=torch.float64),
        # The worked example of the documentation.
        Case(3, 1, 20, 100, hx=False),
        Case(3, 1, 20, 100, layers=2, hx=False),
        Case(3, 1, 20, 100, bidirectional=True, hx=False),
    ]
    return list(dict.fromkeys(made))


CASES = cases()


def test_the_matrix_holds_every_size_and_every_flag():
    assert {(c.T, c.B, c.I, c.H) for c in CASES} >= set(itertools.product(*SIZES))
    flags = {(c.layers, c.bias, c.batch_first, c.bidirectional, bool(c.proj), c.hx) for c in CASES}
    assert flags >= set(itertools.product(LAYERS, BIAS, BATCH_FIRST, BIDIRECTIONAL, PROJECTED, HX))
    assert len(CASES) > 250


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the parity suite runs on the CPU only")
def test_the_suite_runs_on_cuda():
    assert "cuda" in DEVICES


def test_every_backend_that_is_ready_is_tested():
    ready = [name for name, state in cellgate.info().backends.items() if state == "ready"]
    assert ready == BACKEND_NAMES


def refuses(backend: str, case: Case, device: str) -> bool:
    """What a backend may refuse, by name, of this matrix; anything else must run."""
    if backend == "aten":
        return case.I == 0
    return backend == "cpu" and device != "cpu"


# Backends innermost, so that what nn.LSTM computes is computed once for all of them.
@pytest.mark.parametrize(
    ("case", "device", "backend"),
    [pytest.param(c, d, b, id=f"{c}-{d}-{b}") for c in CASES for d in DEVICES for b in BACKEND_NAMES],
)
def test_values_and_gradients(case: Case, device: str, backend: str):
    ours = case.ours(device)
    inputs = dense_inputs(case, device, case.dtype, case.I)
    if refuses(backend, case, device):
        with cellgate.use_backend(backend), pytest.raises(cellgate.BackendError):
            ours(inputs["x"])
        return
    ours.load_state_dict({k: v.to(case.dtype) for k, v in case.ours(device, torch.float32).state_dict().items()})
    with only(backend):
        got = measure(ours, dense_call(ours), inputs)
    featureless = ("dx", "dweight_ih_l0", "dweight_ih_l0_reverse") if case.I == 0 else ()
    assert_within(got, expected(case, device), case.dtype, but=featureless)


@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4], ids=["zero", "saturated", "huge"])
def test_extreme_weights(scale: float, backend: str, dtype: torch.dtype):
    """Gates fully open, fully shut, and all alike; nothing may overflow on the way.

    Shut gates make so much of single roundings that nn.LSTM's own error is ten times larger in one draw than in the
    next: over many draws, ours is not twice as large in the geometric mean.
    """
    case = Case(5, 3, 4, 17, bidirectional=True, dtype=dtype)
    eps = torch.finfo(dtype).eps
    ratios: dict[str, list[float]] = {}
    for draw in range(32):
        numbers = {}
        for module, name, d in (
            (case.peer(dtype=torch.float64), "truth", torch.float64),
            (case.peer(dtype=torch.float32), "plain", torch.float32),
            (case.ours(dtype=torch.float32).to(dtype), "ours", dtype),
        ):
            generator = torch.Generator().manual_seed(draw)
            with torch.no_grad():
                for p in module.parameters():
                    p.copy_(torch.empty(p.shape).uniform_(-scale, scale, generator=generator) / 17**0.5)
            inputs = dense_inputs(case, "cpu", d, case.I)
            with only(backend) if name == "ours" else contextlib.nullcontext():
                numbers[name] = measure(module, dense_call(module), inputs)
        want = budget(numbers["truth"], numbers["plain"], case.T * case.B)
        for name, truth in want.truth.items():
            got = numbers["ours"][name]
            assert (got.shape, got.dtype) == (truth.shape, dtype)
            assert got.isfinite().all()
            floor = FLOOR * eps * max(1.0, float(truth.abs().max()))
            theirs = want.error32[name] * eps / torch.finfo(torch.float32).eps
            ratios.setdefault(name, []).append(max(distance(got, truth), floor) / max(theirs, floor))
    means = {name: math.exp(sum(map(math.log, of)) / len(of)) for name, of in ratios.items()}
    assert max(means.values()) <= 2, means


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
def test_nan_in_gives_nan_out_from_that_step_on(backend: str, grad: bool):
    lstm = cellgate.LSTM(3, 17)
    x = torch.randn(5, 4, 3)
    clean = lstm(x)[0].detach()
    x[2, 1, 0] = float("nan")
    with only(backend), torch.set_grad_enabled(grad):
        output, (h_n, c_n) = lstm(x)
    bad = torch.zeros(5, 4, dtype=torch.bool)
    bad[2:, 1] = True
    assert output[bad].isnan().all()
    assert not output[~bad].isnan().any()
    torch.testing.assert_close(output[~bad], clean[~bad])
    assert h_n[0, 1].isnan().all()
    assert c_n[0, 1].isnan().all()


def test_aten_equals_nn_lstm_to_the_bit(device: str):
    """PyTorch's own kernel must be fed what nn.LSTM feeds it: no copy that changes a path, no other flag."""
    for flags in itertools.product(LAYERS, BIAS, BATCH_FIRST, BIDIRECTIONAL):
        case = Case(7, 5, 6, 24, *flags)
        ours, peer = case.ours(device), case.peer(device)
        inputs = dense_inputs(case, device, torch.float32, case.I)
        with only("aten"):
            got = measure(ours, dense_call(ours), inputs)
        want = measure(peer, dense_call(peer), inputs)
        for name, tensor in want.items():
            torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)
