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
@pytest.mark.parametrize(
    "variant", ["cifg of Greff", "everything random", "layer norm", "slstm", "full gate recurrence"]
)
def test_save_modes(variant: str, memory: str) -> None:
    case = make(VARIANTS[variant], SHAPES["two layers, two directions"])
    want, _ = on_backend(case, "cpu")
    case.module.memory = memory
    got, _ = on_backend(case, "cpu")
    assert_close(got, want, 1e-14)


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
        steps, batch, _, hidden, out, recurrent, *_ = sizes
        cells, memory, planes = steps * batch, (3 if form[7] else 4 if form[8] else 1), (5 if form[7] else 4)
        counts = [batch * out, batch * memory * hidden, cells * out, cells * memory * hidden, cells * recurrent]
        counts += [cells * planes * hidden, cells * 4 * hidden, cells * 4 * hidden, cells * 2]
        first = len(addresses) - len(counts)
        self.run(
            addresses, first, counts, lambda a: cpu.native().variant_forward(is_double, sizes, form, clip, strides, a)
        )

    def variant_backward(self, is_double, sizes, form, clip, strides, addresses, gradient_strides, gradients) -> None:
        steps, batch, inputs, hidden, out, recurrent, *_ = sizes
        memory, four = (3 if form[7] else 4 if form[8] else 1), 4 * hidden
        counts = [steps * batch * inputs, four * inputs, four * recurrent, four, out * hidden, 3 * hidden, four, four]
        counts += [hidden, hidden, batch * out, batch * memory * hidden]
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
    want, _ = on_backend(case, "cpu")
    guards, run = Guarded(), cpu.cpu_variant.run
    monkeypatch.setattr(cpu.cpu_variant, "run", lambda _, *rest: run(guards, *rest))
    got, _ = on_backend(case, "cpu")
    assert guards.checked >= 10
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
