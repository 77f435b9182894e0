"""The native forward pass, once on every instruction set this CPU has, and what must hold around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
ISAS = [] if cpu.unavailable() else cpu.native().isas()


@pytest.fixture(params=ISAS)
def isa(request) -> Iterator[str]:
    """Run on one instruction set, and check that it was that one."""
    native = cpu.native()
    before = native.isa()
    native.force_isa(request.param)
    yield request.param
    assert native.isa() == request.param
    native.force_isa(before)


def peer(module, dtype=None):
    """nn.LSTM with the same weights."""
    other = torch.nn.LSTM(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        bias=module.bias,
        bidirectional=module.bidirectional,
        proj_size=module.proj_size,
        dtype=module.weight_ih_l0.dtype,
    )
    other.load_state_dict(module.state_dict())
    return other.to(dtype or module.weight_ih_l0.dtype)


def test_every_set_of_instructions_is_tested():
    assert "scalar" in ISAS
    assert cpu.native().isa() in ISAS


# T, B, I, H, layers, directions, projection, threads
SHAPES = [
    (5, 7, 3, 17, 1, 1, 0, 1),
    (12, 1, 32, 64, 1, 1, 0, 1),
    (30, 33, 20, 100, 2, 2, 0, 2),
    (1, 1, 128, 128, 1, 1, 0, 2),
    (3, 3, 1, 1, 2, 1, 0, 2),
    (9, 20, 64, 300, 1, 1, 0, 2),
    (9, 1, 64, 512, 2, 1, 0, 2),
    (10, 12, 9, 40, 2, 2, 13, 2),
    (2, 2, 9, 70, 2, 2, 23, 1),
    (63, 5, 40, 65, 1, 1, 0, 1),
    # Last blocks of 8, 11 and 14 units, in two, three and four vectors of 16; tiles of 7, 8, 9, 10 and 12 rows.
    (4, 13, 5, 24, 2, 1, 0, 1),
    (6, 8, 7, 27, 1, 2, 0, 1),
    (5, 9, 20, 62, 1, 1, 0, 1),
    (5, 20, 20, 104, 1, 1, 0, 2),
    (3, 36, 2, 36, 1, 1, 0, 1),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_nn_lstm(isa, shape, dtype, monkeypatch):
    T, B, I, H, layers, directions, proj, threads = shape  # noqa: E741 - the letters of the documentation
    torch.manual_seed(0)
    module = cellgate.LSTM(I, H, layers, bidirectional=directions == 2, proj_size=proj, dtype=dtype)
    x = torch.randn(T, B, I, dtype=dtype)
    hx = (
        torch.randn(layers * directions, B, proj or H, dtype=dtype),
        torch.randn(layers * directions, B, H, dtype=dtype),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad(), cellgate.use_backend("cpu"):
            for state in (None, hx):
                exact = peer(module, torch.float64)(x.double(), state and tuple(s.double() for s in state))
                theirs = peer(module)(x, state)
                for attempt in range(2):  # packed anew, then from the cache
                    ours = module(x, state)
                    triples = zip((ours[0], *ours[1]), (theirs[0], *theirs[1]), (exact[0], *exact[1]), strict=True)
                    # In float64 the yardstick has the same rounding as ours, and the floor is all there is.
                    floor = 4e-7 if dtype == torch.float32 else 1e-14
                    for mine, his, true in triples:
                        error, bound = (mine - true).abs().max(), 2 * (his - true).abs().max() + floor
                        assert error <= bound, (attempt, float(error), float(bound))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [2, 3])
def test_layers_of_different_sizes_on_several_threads(threads):
    """Threads that split the batch run ahead of each other from layer to layer, and share the memory between layers."""
    torch.manual_seed(5)
    module, x = cellgate.LSTM(4, [66, 16, 48, 9, 33]), torch.randn(9, 24, 4)
    before = torch.get_num_threads()
    with torch.no_grad(), cellgate.use_backend("reference"):
        expected = module(x)[0]
    torch.set_num_threads(threads)
    try:
        with torch.no_grad(), cellgate.use_backend("cpu"):
            for _ in range(40):
                assert torch.allclose(module(x)[0], expected, atol=1e-6)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("function", "ulps"), [("sigmoid", 3), ("tanh", 7)])
def test_activations_within_a_few_ulp(isa, function, ulps):
    rng = np.random.default_rng(1)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38], np.float32)
    bits = rng.integers(0, 2**32, 300_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([bits, rng.normal(size=300_000).astype(np.float32) * 4, special])
    y = np.empty_like(x)
    cpu.native().apply(function, x.ctypes.data, y.ctypes.data, x.size, False)
    with np.errstate(all="ignore"):
        exact = np.tanh(x.astype(np.float64)) if function == "tanh" else 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.array_equal(np.isnan(x), np.isnan(y))
    finite = ~np.isnan(x)
    error = np.abs(y[finite] - exact[finite])
    # Below exp(-87) the sigmoid stays at the smallest normal numbers.
    assert (error <= ulps * np.spacing(np.abs(exact[finite]).astype(np.float32)) + 2e-38).all()
    assert np.nanmax(np.abs(y)) <= 1


def test_nothing_is_written_past_the_ends(isa):
    T, B, I, H = 3, 5, 7, 19  # noqa: E741 - the letters of the documentation
    module = cellgate.LSTM(I, H)
    stack = cpu.native().Stack(0, 1, True, [(I, H, 0)])
    x, margin = torch.randn(T, B, I), 64
    sizes = {"y": T * B * H, "h": B * H, "c": B * H}
    blocks = {k: torch.full((n + 2 * margin,), float("nan")) for k, n in sizes.items()}
    for block in blocks.values():
        block[:margin] = block[-margin:] = -77.0
    at = {k: b.data_ptr() + 4 * margin for k, b in blocks.items()}
    weights = tuple(p.data_ptr() for p in module.parameters())
    stack.forward(T, B, x.data_ptr(), B * I, I, at["y"], B * H, H, weights, None, None, (at["h"],), (at["c"],), 2)
    for block in blocks.values():
        assert (block[:margin] == -77).all()
        assert (block[-margin:] == -77).all()
        assert not block.isnan().any()


# ---- threads and processes ------------------------------------------------------------------------------------------


def test_several_python_threads_at_once():
    modules = [cellgate.LSTM(20, 64 + 16 * k) for k in range(4)]
    x = torch.randn(40, 16, 20)
    with torch.no_grad():
        expected = [peer(m)(x)[0] for m in modules]
    wrong = []

    def work(k):
        with torch.no_grad():
            for _ in range(30):
                if not torch.allclose(modules[k](x)[0], expected[k], atol=1e-6):
                    wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads)
    assert not wrong
