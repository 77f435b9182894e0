"""Half precision on the engine: values and every gradient as near to the truth as twice nn.LSTM's own distance."""

from __future__ import annotations

import pickle

import pytest
import torch

import cellgate
from cellgate.backends import Problem, choose, cpu, cpu_half
from cellgate.backends.dispatch import _choose

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])

# T, B, I, H, layers, directions, projection
SHAPES = [(9, 3, 4, 17, 1, 1, 0), (30, 8, 20, 100, 2, 2, 0), (12, 5, 6, 40, 2, 1, 13), (1, 1, 64, 64, 1, 1, 0)]
SHAPES += [(6, 7, 5, 33, 2, 2, 0), (3, 2, 1, 1, 1, 1, 0), (4, 40, 17, 48, 3, 1, 0)]


def _pair(shape: tuple[int, ...], dtype: torch.dtype):
    """Our layer and nn.LSTM with the same rounded weights, nn.LSTM in float64 with them, and inputs."""
    steps, batch, inputs, hidden, layers, directions, proj = shape
    torch.manual_seed(1)
    sizes = {"num_layers": layers, "bidirectional": directions == 2, "proj_size": proj}
    ours = cellgate.LSTM(inputs, hidden, **sizes).to(dtype)
    theirs, exact = torch.nn.LSTM(inputs, hidden, **sizes).to(dtype), torch.nn.LSTM(inputs, hidden, **sizes).double()
    for other in (theirs, exact):
        other.load_state_dict(ours.state_dict())
    x = torch.randn(steps, batch, inputs).to(dtype)
    state = tuple(torch.randn(layers * directions, batch, size).to(dtype) for size in (proj or hidden, hidden))
    return ours, theirs, exact, x, state


def _results(module: torch.nn.Module, x: torch.Tensor, state: tuple[torch.Tensor, ...], grad: bool):
    dtype = module.weight_ih_l0.dtype
    leaves = [t.to(dtype, copy=True).requires_grad_(grad) for t in (x, *state)]
    with torch.set_grad_enabled(grad):
        output, (h_n, c_n) = module(leaves[0], (leaves[1], leaves[2]))
    results = {"output": output, "h_n": h_n, "c_n": c_n}
    if grad:
        shares = torch.Generator().manual_seed(2)
        loss = sum((r.double() * torch.randn(r.shape, generator=shares)).sum() for r in results.values())
        named = dict(zip(("x", "h_0", "c_0"), leaves, strict=True)) | dict(module.named_parameters())
        found = torch.autograd.grad(loss, list(named.values()))
        results |= {f"gradient of {name}": g for name, g in zip(named, found, strict=True)}
    return {name: r.detach() for name, r in results.items()}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@HALVES
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_within_twice_the_error_of_nn_lstm(shape: tuple[int, ...], grad: bool, dtype: torch.dtype) -> None:
    ours, theirs, exact, x, state = _pair(shape, dtype)
    with cellgate.use_backend("cpu"):
        got = _results(ours, x, state, grad)
    want, true = _results(theirs, x, state, grad), _results(exact, x, state, grad)
    for name in true:
        assert got[name].dtype == dtype
        error, bound = ((r[name].double() - true[name]).abs().max() for r in (got, want))
        assert error <= 2 * bound + torch.finfo(dtype).eps * true[name].abs().max(), name


@HALVES
def test_the_cell_state_is_not_rounded_on_the_way(dtype: torch.dtype) -> None:
    """Hundreds of small additions to c, each below half a unit of it in half precision, all arrive."""
    lstm = cellgate.LSTM(1, 1).to(dtype)
    with torch.no_grad():
        for p in lstm.parameters():
            p.zero_()
        lstm.bias_ih_l0.copy_(torch.tensor([30.0, 30.0, 0.0005, 30.0]))  # i = f = o = 1, g = tanh(0.0005)
        start = (torch.zeros(1, 1, 1, dtype=dtype), torch.ones(1, 1, 1, dtype=dtype))
        with cellgate.use_backend("cpu"):
            c_n = lstm(torch.zeros(1000, 1, 1, dtype=dtype), start)[1][1]
    assert c_n.dtype == dtype
    assert abs(float(c_n) - 1.5) < 0.01


@HALVES
@pytest.mark.parametrize("variant", [{}, {"cell_clip": 50.0}], ids=["plain", "variant"])
def test_a_stream_does_not_round_the_cell_state_either(variant: dict, dtype: torch.dtype) -> None:
    """Nor do its copies; what is read of it is rounded, as what the module returns."""
    lstm = cellgate.LSTM(1, 1, **variant).to(dtype)
    with torch.no_grad():
        for p in lstm.parameters():
            p.zero_()
        lstm.bias_ih_l0.copy_(torch.tensor([30.0, 30.0, 0.0005, 30.0]))
    start, nothing = (torch.zeros(1, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)), torch.zeros(1, dtype=dtype)
    stream = lstm.stream(hx=start)
    for _ in range(150):
        stream.push(nothing)
    for other in (stream, stream.fork(), pickle.loads(pickle.dumps(stream))):
        for _ in range(350):
            h = other.push(nothing)
        last = other.push_many(torch.zeros(500, 1, dtype=dtype))[-1]
        assert h.dtype == last.dtype == other.state[1].dtype == dtype
        assert abs(float(other.state[1]) - 1.5) < 0.01


@HALVES
@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l1", "bias_ih_l1"])
def test_a_stream_sees_weights_written_without_a_record(name: str, batch: int | None, dtype: torch.dtype) -> None:
    lstm = cellgate.LSTM(6, 8, 2).to(dtype)
    stream, x = lstm.stream(batch), torch.randn(*([] if batch is None else [batch]), 6).to(dtype)
    state = tuple(torch.randn_like(part) for part in stream.state)
    stream.state = state
    before = stream.push(x)
    lstm.get_parameter(name).data.mul_(-2)
    stream.state = state
    now = stream.push(x)
    assert not torch.equal(now, before)
    assert torch.equal(now, lstm.stream(batch, state).push(x))


@HALVES
@pytest.mark.parametrize("way", ["lengths", "packed", "reset", "gates", "dropout"])
def test_every_option(way: str, dtype: torch.dtype) -> None:
    """What the options do is what they do in float32, rounded."""
    torch.manual_seed(0)
    wide = cellgate.LSTM(4, 9, 2, dropout=0.5 if way == "dropout" else 0.0)
    wide.load_state_dict({k: v.to(dtype).float() for k, v in wide.state_dict().items()})
    narrow = cellgate.LSTM(4, 9, 2, dropout=wide.dropout, dtype=dtype)
    narrow.load_state_dict(wide.state_dict())
    x = torch.randn(7, 3, 4).to(dtype)

    def call(module: cellgate.LSTM, x: torch.Tensor):
        torch.manual_seed(3)
        with torch.no_grad(), cellgate.use_backend("cpu"):
            if way == "packed":
                packed = torch.nn.utils.rnn.pack_padded_sequence(x, [7, 4, 2])
                return module(packed)[0].data
            if way == "gates":
                return torch.stack([getattr(g, f) for g in module.gates(x)[-1] for f in "ifgoc"])
            if way == "reset":
                return module(x, reset=torch.arange(21).view(7, 3) % 4 == 0)[0]
            return module(x, lengths=[7, 0, 3] if way == "lengths" else None)[0]

    got, want = call(narrow, x), call(wide, x.float())
    assert got.dtype == dtype
    assert torch.allclose(got.float(), want, rtol=0, atol=2 * torch.finfo(dtype).eps)


def test_auto_takes_the_faster_backend_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine has no instructions and PyTorch has, large dense problems go to PyTorch; all else stays."""

    def problem(hidden: int, **options: object) -> Problem:
        return Problem(10, 32, 16, (hidden,), (0,), 1, True, torch.bfloat16, "cpu", **options)

    torch.set_num_threads(2)
    _choose.cache_clear()
    assert choose(problem(512, lengths=True)).name == "cpu"
    assert choose(problem(512), "cpu").name == "cpu"
    if cpu.native().has_half():
        assert {choose(problem(h, needs_grad=g)).name for h in (64, 512) for g in (False, True)} == {"cpu"}
    monkeypatch.setattr(cpu_half, "reason_against", lambda *_: "no instructions")
    _choose.cache_clear()
    try:
        assert choose(problem(64, needs_grad=True)).name == "cpu"
        large = choose(problem(512))
        if torch.ops.mkldnn._is_mkldnn_bf16_supported():
            assert large.name == "aten"
            assert "float32" in large.reasons["cpu"]
            torch.set_num_threads(1)
            assert choose(problem(64, needs_grad=True)).name == "aten", "one thread has nothing to gain"
        else:
            assert large.name == "cpu"
    finally:
        _choose.cache_clear()


needs_instructions = pytest.mark.skipif(
    cpu.unavailable() is not None or not cpu.native().has_half(), reason="this CPU does not multiply bfloat16"
)


def _spied(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets an entry for every call of the kernels for bfloat16: whether it was to be recorded."""
    ran, run = [], cpu_half.run

    def spy(native, stack, problem, inputs, threads):
        ran.append(problem.needs_grad)
        return run(native, stack, problem, inputs, threads)

    monkeypatch.setattr(cpu_half, "run", spy)
    return ran


@needs_instructions
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
def test_dense_batches_use_the_instructions(grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, with batch_first and a given state too; what they are not made for goes another way."""
    ran = _spied(monkeypatch)
    lstm = cellgate.LSTM(12, 24, 2, batch_first=True, dtype=torch.bfloat16)
    x, state = torch.randn(4, 6, 12).bfloat16(), torch.randn(2, 4, 24).bfloat16()
    with torch.set_grad_enabled(grad):
        for hx in (None, (state, state)):
            lstm(x, hx)
        assert ran == [grad] * 2
        lstm(x, lengths=[6, 2, 3, 1])
        cellgate.LSTM(12, 24, proj_size=7, dtype=torch.bfloat16)(x)
    assert len(ran) == 2


@needs_instructions
def test_no_bit_depends_on_threads_or_neighbours() -> None:
    """Each row is summed by itself: any number of threads, alone or in a batch, gives the same."""
    torch.manual_seed(0)
    lstm = cellgate.LSTM(24, 70, 2, bidirectional=True, dtype=torch.bfloat16)
    x, results = torch.randn(40, 30, 24).bfloat16(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        with torch.no_grad():
            results.append(lstm(x)[0])
    with torch.no_grad():
        results.append(torch.cat([lstm(part)[0] for part in x.split([1, 7, 22], dim=1)], dim=1))
    assert all(torch.equal(r, results[0]) for r in results[1:])


@needs_instructions
def test_hostile_values_as_in_nn_lstm() -> None:
    """Infinities saturate, a NaN stays in its row, huge values overflow nothing."""
    ours, theirs, *_ = _pair((5, 6, 8, 20, 1, 1, 0), torch.bfloat16)
    x = torch.randn(5, 6, 8).bfloat16()
    x[1, 0, 3], x[2, 1, 0], x[0, 2], x[3, 3, 1] = float("inf"), float("nan"), 1e30, -float("inf")
    with torch.no_grad():
        got, want = ours(x)[0], theirs(x)[0]
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.allclose(got.float(), want.float(), rtol=0, atol=0.03, equal_nan=True)
