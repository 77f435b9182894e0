"""The native kernels of every cell against the oracle and the reference: values, gates and every gradient."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Iterator

import pytest
import torch
from tests.variants.cases import SHAPES, VARIANTS, assert_close, make, on_backend, on_oracle

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="the native core is not built")
ISAS = [] if cpu.unavailable() else list(cpu.native().isas())
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = cpu.native().isa()
    cpu.native().force_isa(request.param)
    assert cpu.native().isa() == request.param
    yield request.param
    cpu.native().force_isa(before)


@pytest.mark.parametrize("shape", ["dense", "ragged, reset, two directions", "projected"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_papers(variant: str, shape: str) -> None:
    case = make(VARIANTS[variant], SHAPES[shape])
    got, masks = on_backend(case, "cpu", gates=True)
    assert_close(got, on_oracle(case, masks, gates=True), 1e-11)


SINGLE = [
    "peephole",
    "original",
    "everything random",
    "layer norm",
    "rms norm",
    "slstm with noise",
    "full gate recurrence",
]
PRECISIONS = [(v, torch.float64) for v in VARIANTS] + [(v, torch.float32) for v in SINGLE]


@pytest.mark.parametrize(("variant", "dtype"), PRECISIONS, ids=[f"{v}, {str(d)[6:]}" for v, d in PRECISIONS])
def test_equals_the_reference_on_every_instruction_set(isa: str, variant: str, dtype: torch.dtype) -> None:
    """Sizes with tails in every direction, several chunks of the large products, two directions, a projection apart."""
    both = {"ragged": True, "bidirectional": True}
    for sizes, shape in (((12, 90, 5, 37), both), ((2, 5, 1, 67), {"proj_size": 3})):
        case = make(VARIANTS[variant], shape, sizes=sizes, dtype=torch.float64)
        with torch.no_grad():
            for parameter in case.module.parameters():
                parameter.mul_(0.3)  # at these sizes, so that float32 has a well-posed problem
        if dtype == torch.float32:
            case.module.float()
            case = dataclasses.replace(case, x=case.x.float(), h0=case.h0.float(), c0=case.c0.float())
        want, _ = on_backend(case, "reference")
        got, _ = on_backend(case, "cpu")
        assert_close(got, want, TOLERANCE[dtype])


@pytest.mark.parametrize("variant", ["everything random", "layer norm, peepholes, zoneout", "slstm with noise"])
def test_threads_change_nothing_but_roundings(variant: str) -> None:
    """Masks are drawn before the kernels, the same whoever computes with them; sums differ in their order."""
    case = make(VARIANTS[variant], {"ragged": True}, sizes=(200, 33, 24, 40))
    with torch.no_grad():
        for parameter in case.module.parameters():
            parameter.mul_(0.3)
    torch.set_num_threads(1)
    want, masks = on_backend(case, "cpu")
    for threads in (2, 4):
        torch.set_num_threads(threads)
        got, masks_again = on_backend(case, "cpu")
        assert_close(got, want, 1e-11)
        for one, other in zip(masks[0][0], masks_again[0][0], strict=True):
            assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("memory", ["lean", "minimal"])
@pytest.mark.parametrize("shape", ["two layers, two directions", "ragged, reset, two directions", "projected"])
@pytest.mark.parametrize(
    "variant",
    [
        "cifg of Greff",
        "everything random",
        "layer norm",
        "rms norm of cifg, dropped",
        "slstm with noise",
        "full gate recurrence",
        "highway",
    ],
)
def test_save_modes(variant: str, shape: str, memory: str) -> None:
    """What is computed again is what was kept; with steps enough for states kept at intervals, and several chunks."""
    case = make(VARIANTS[variant], SHAPES[shape], sizes=(90, 13, 3, 7))
    with torch.no_grad():
        for parameter in case.module.parameters():
            parameter.mul_(0.4)
    want, _ = on_backend(case, "cpu")
    case.module.memory = memory
    got, _ = on_backend(case, "cpu")
    assert_close(got, want, 1e-10)


@pytest.mark.parametrize("memory", ["fast", "minimal"])
@pytest.mark.parametrize("shape", ["ragged, reset, two directions", "projected"])
@pytest.mark.parametrize("variant", ["everything random", "layer norm", "slstm", "full gate recurrence"])
def test_few_rows_share_the_columns(isa: str, variant: str, shape: str, memory: str) -> None:
    """Work and weights large enough that two threads share the units of a batch of three."""
    options = dict(SHAPES[shape]) | ({"proj_size": 161} if shape == "projected" else {})
    case = make(VARIANTS[variant], options, sizes=(60, 3, 5, 170))
    with torch.no_grad():
        for parameter in case.module.parameters():
            parameter.mul_(0.1)
    case.module.memory = memory
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(on_backend(case, "cpu")[0])
    assert_close(results[1], results[0], 1e-10)


@pytest.mark.parametrize("memory", ["fast", "lean", "minimal"])
def test_memory_of_training(memory: str) -> None:
    """Floats that autograd holds for each of T*B*H, beside output and input."""
    steps, batch, hidden = 64, 5, 32
    for variant, fast, lean, minimal in (
        ("peephole", 5, 1, 1 / 16),
        ("layer norm", 5 + 8 + 4 / 32, 1, 1 / 16),
        ("slstm", 8, 3, 3 / 16),
        ("full gate recurrence", 8, 4, 4),
    ):
        module = cellgate.LSTM(3, hidden, **VARIANTS[variant], memory=memory)
        held = []

        def keep(t: torch.Tensor, held=held) -> torch.Tensor:
            held.append(t)
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            output = module(torch.randn(steps, batch, 3))[0]
        known = {p.data_ptr() for p in module.parameters()}
        # The short way holds one block of one dimension, the full way a tensor for each part.
        per_step = [t for t in held if t.data_ptr() not in known and t.dim() in (1, 3) and t.shape[-1] not in (3,)]
        floats = sum(t.numel() for t in per_step) / (steps * batch * hidden) - 1  # its output
        assert floats == pytest.approx({"fast": fast, "lean": lean, "minimal": minimal}[memory]), variant
        output.sum().backward()


@pytest.mark.parametrize("variant", ["peephole", "layer norm", "slstm", "full gate recurrence"])
def test_inference_finds_its_packed_weights(variant: str) -> None:
    """Weights are packed once while they stay as they are, and anew after any write."""
    module = cellgate.LSTM(3, 20, **VARIANTS[variant])
    x = torch.randn(4, 2, 3)
    cpu.native().clear_cache()
    with torch.no_grad():
        module(x)
        _, _, hits, misses = cpu.native().cache_statistics()
        again = module(x)[0]
        assert cpu.native().cache_statistics()[2:] == (hits + 1, misses)
        module.weight_hh_l0.data[0, 0] += 1.0
        changed = module(x)[0]
        assert cpu.native().cache_statistics()[2:] == (hits + 1, misses + 1)
        with cellgate.use_backend("reference"):
            assert_close({"y": changed}, {"y": module(x)[0]}, 1e-5)
    assert not torch.equal(again, changed)


@pytest.mark.parametrize(
    "variant", ["cifg of Greff", "zoneout", "layer norm", "slstm", "full gate recurrence", "highway"]
)
def test_inference(variant: str) -> None:
    """Without autograd, evaluated, packed, unbatched, empty, and with input that is no plain memory."""
    case = make(VARIANTS[variant], {})
    module = case.module.eval()
    lengths = torch.tensor([6, 5, 5, 2])
    wide = torch.randn(4, 6, 6, dtype=torch.float64)
    calls = [
        lambda: module(case.x, (case.h0, case.c0)),
        lambda: module(torch.nn.utils.rnn.pack_padded_sequence(case.x, lengths))[0].data,
        lambda: module(case.x[:, 0]),
        lambda: module(wide.transpose(0, 1)[..., ::2]),
        lambda: module(case.x[:0]),
        lambda: module(case.x[:, :0]),
    ]
    for call in calls:
        results = []
        for backend in ("reference", "cpu"):
            with torch.no_grad(), cellgate.use_backend(backend):
                results.append(call())
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["peephole", "everything random", "layer norm", "slstm", "full gate recurrence"])
def test_gradient_of_gradient(variant: str) -> None:
    case = make(VARIANTS[variant], {}, sizes=(3, 2, 2, 3))
    second = []
    for backend in ("reference", "cpu"):
        x = case.x.clone().requires_grad_()
        torch.manual_seed(2)
        with cellgate.use_backend(backend):
            output = case.module(x)[0]
            first = torch.autograd.grad(output.square().sum(), [x, *case.module.parameters()], create_graph=True)
            loss = torch.stack([g.square().sum() for g in first]).sum()
            second.append(torch.autograd.grad(loss, [x, *case.module.parameters()], allow_unused=True))
    for a, b in zip(*second, strict=True):
        if a is not None:
            torch.testing.assert_close(b, a)


def test_padding_may_hold_anything() -> None:
    case = make(VARIANTS["layer norm"], {"ragged": True, "bidirectional": True})
    clean, _ = on_backend(case, "cpu")
    for b, length in enumerate(case.options["lengths"].tolist()):
        case.x[length:, b] = float("nan")
    dirty, _ = on_backend(case, "cpu")
    assert_close(dirty, clean, 1e-14)


@pytest.mark.parametrize("variant", ["everything random", "layer norm", "slstm", "full gate recurrence"])
def test_poison(variant: str) -> None:
    """Memory that is handed to the kernels uninitialised holds NaN here, and no result does."""
    case = make(VARIANTS[variant], SHAPES["ragged, reset, two directions"])
    clean, _ = on_backend(case, "cpu")
    torch.use_deterministic_algorithms(True)  # fills torch.empty with NaN
    try:
        assert torch.empty(3).isnan().all()
        poisoned, _ = on_backend(case, "cpu")
    finally:
        torch.use_deterministic_algorithms(False)
    assert_close(poisoned, clean, 1e-14)


class Guarded:
    """The native module, with every array that it writes moved between guards, which must survive."""

    GUARD = 64

    def __init__(self) -> None:
        self.checked = 0

    def variant_forward(self, is_double, sizes, form, clip, strides, addresses) -> None:
        steps, batch, _, hidden, out, *_ = sizes
        cells, memory, planes = steps * batch, (3 if form[7] else 4 if form[8] else 1), (5 if form[7] else 4)
        counts = [batch * out, batch * memory * hidden, cells * out, 0, -(-steps // sizes[8]) * batch * memory * hidden]
        counts += [cells * planes * hidden, cells * 4 * hidden, cells * 4 * hidden, cells * 4]
        first = len(addresses) - len(counts)
        self.run(
            addresses, first, counts, lambda a: cpu.native().variant_forward(is_double, sizes, form, clip, strides, a)
        )

    def variant_backward(self, is_double, sizes, form, clip, strides, addresses, gradient_strides, gradients) -> None:
        steps, batch, inputs, hidden, out, *_ = sizes
        memory, four = (3 if form[7] else 4 if form[8] else 1), 4 * hidden
        counts = [steps * batch * inputs, four * inputs, four * out, four, out * hidden, 3 * hidden, 9 * hidden**2]
        counts += [four, four, hidden, hidden, batch * out, batch * memory * hidden]
        first = len(gradients) - len(counts)
        before = (is_double, sizes, form, clip, strides, addresses, gradient_strides)
        self.run(gradients, first, counts, lambda g: cpu.native().variant_backward(*before, g))

    def run(self, addresses, first, counts, call) -> None:
        swapped, buffers = list(addresses), []
        for k, count in enumerate(counts, first):
            if addresses[k]:
                buffers.append((addresses[k], torch.full((count + 2 * self.GUARD,), 12345.0, dtype=torch.float64)))
                swapped[k] = buffers[-1][1][self.GUARD :].data_ptr()
        call(tuple(swapped))
        for address, buffer in buffers:
            inner = buffer[self.GUARD : -self.GUARD].clone()
            for guard in (buffer[: self.GUARD], buffer[-self.GUARD :]):
                assert (guard == 12345.0).all(), "a kernel wrote outside an output"
            ctypes.memmove(address, inner.data_ptr(), inner.numel() * inner.element_size())
            self.checked += 1


@pytest.mark.parametrize("shape", ["reset, no bias", "projected", "two layers, two directions"])
@pytest.mark.parametrize(
    "variant", ["everything random", "layer norm, peepholes, zoneout", "slstm", "full gate recurrence"]
)
def test_canaries(isa: str, variant: str, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No output is written outside its bounds."""
    case = make(VARIANTS[variant], SHAPES[shape], sizes=(5, 7, 3, 19))
    case.module.memory = {"reset, no bias": "lean", "projected": "minimal"}.get(shape, "fast")
    want, _ = on_backend(case, "cpu")
    guards, run = Guarded(), cpu.cpu_variant.run
    monkeypatch.setattr(cpu.cpu_variant, "run", lambda _, *rest: run(guards, *rest))
    got, _ = on_backend(case, "cpu")
    assert guards.checked >= 9
    assert_close(got, want, 1e-14)


def test_frozen_parameters_get_no_gradient() -> None:
    case = make(VARIANTS["layer norm, peepholes, zoneout"], {})
    case.module.eval()
    want, _ = on_backend(case, "cpu")
    case.module.weight_ih_l0.requires_grad_(False)
    case.module.norm_c_weight_l0.requires_grad_(False)
    output = case.module(case.x)[0]
    output.sum().backward()
    for name, parameter in case.module.named_parameters():
        assert (parameter.grad is None) == (name in ("weight_ih_l0", "norm_c_weight_l0"))
    assert torch.isfinite(want["output"]).all()
