"""Tensors whose memory is not there, or is elsewhere: the engine reads addresses, and must not be told of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map

import cellgate
from cellgate.backends import cpu

pytestmark = pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")

KINDS = {
    "plain": {},
    "projection": {"proj_size": 3},
    "lean": {"memory": "lean"},
    "float64": {"dtype": torch.float64},
    "bfloat16": {"dtype": torch.bfloat16},
    "slstm": {"cell": "slstm"},
    "norm": {"norm": "layer"},
}
CALLS: dict[str, Callable] = {
    "call": lambda module, x, hx: module(x, hx)[0],
    "lengths": lambda module, x, hx: module(x, hx, lengths=[6, 2, 4])[0],
    "gates": lambda module, x, hx: module.gates(x, hx)[0],
    "stream": lambda module, x, hx: module.stream(batch=3, hx=hx).push_many(x),
    "a step": lambda module, x, hx: module.stream(batch=3, hx=hx).push(x[0]),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def _module(kind: str, **more) -> cellgate.LSTM:
    torch.manual_seed(0)
    return cellgate.LSTM(5, 8, **KINDS[kind], **more)


def _input(module: cellgate.LSTM) -> torch.Tensor:
    return torch.randn(6, 3, 5).to(module.weight_hh_l0.dtype)


def _give_back(t: torch.Tensor) -> None:
    t.untyped_storage().resize_(0)


@kinds
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("whose", ["weight_hh_l0", "bias_ih_l0", "input"])
def test_memory_that_was_given_back_is_an_error(whose: str, grad: bool, call: str, kind: str) -> None:
    """As FSDP gives back the memory of weights between calls."""
    if (whose, call) == ("input", "a step"):
        pytest.skip("PyTorch itself refuses to take a part of such a tensor")
    module = _module(kind)
    x = _input(module)
    CALLS[call](module, x, None)  # whatever is remembered from one call to the next
    _give_back(x if whose == "input" else getattr(module, whose))
    with torch.set_grad_enabled(grad), pytest.raises(cellgate.InputError, match="memory was given back"):
        CALLS[call](module, x, None)


def test_a_view_far_into_memory_that_was_given_back() -> None:
    """Its address is an offset, and not null; such are the views that FSDP makes of one flat parameter."""
    module = _module("plain")
    flat = torch.randn(1 << 20)
    view = flat[500_000 : 500_000 + 256].view(32, 8)
    module.weight_hh_l0.data = view
    x = _input(module)
    stream = module.stream()
    want = module(x)[0]
    torch.testing.assert_close(stream.push_many(x[:, 0]), want[:, 0].detach())
    _give_back(flat)
    for run in (lambda: module(x), lambda: torch.no_grad()(module)(x), lambda: stream.push(x[0, 0])):
        with pytest.raises(cellgate.InputError, match="memory was given back"):
            run()
    flat.untyped_storage().resize_(4 << 20)
    flat.fill_(0.1)
    assert module(x)[0].isfinite().all(), "what was gathered again works again"


@kinds
@pytest.mark.parametrize("whose", ["weight_hh_l0", "input", "output"])
@pytest.mark.parametrize("call", ["call", "lengths"])
def test_memory_given_back_before_backward(call: str, whose: str, kind: str) -> None:
    if kind == "bfloat16" and (call == "lengths" or not cpu.native().has_half()):
        pytest.skip("is widened, and reads no memory of the caller's in backward")
    module = _module(kind)
    x = _input(module).requires_grad_()
    output = CALLS[call](module, x, None)
    loss = output.sum()
    _give_back(x if whose == "input" else output if whose == "output" else getattr(module, whose))
    with pytest.raises(cellgate.InputError, match="memory was given back"):
        loss.backward()


@kinds
@pytest.mark.parametrize("call", ["call", "lengths"])
def test_hooks_that_give_back_another_dtype(call: str, kind: str) -> None:
    """Numbers of another dtype would be read as if they were of the first: a wrong gradient, or past the end."""
    module = _module(kind)
    x = _input(module).requires_grad_()
    for wrong in (torch.float16, torch.float64):
        if wrong == x.dtype:
            continue

        def unpack(t: torch.Tensor, wrong: torch.dtype = wrong) -> torch.Tensor:
            return t.to(wrong) if t.is_floating_point() else t

        with saved_tensors_hooks(lambda t: t, unpack):
            output = CALLS[call](module, x, None)
        with pytest.raises(cellgate.DtypeError, match="hook of autograd"):
            output.sum().backward()


class Wrapper(torch.Tensor):
    """A tensor whose numbers are in another one, as those of DTensor and of quantised weights are."""

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Wrapper:
        shape, strides = inner.shape, inner.stride()
        return torch.Tensor._make_wrapper_subclass(cls, shape, strides=strides, dtype=inner.dtype, device=inner.device)

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"Wrapper({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        inside = tree_map(lambda t: t.inner if isinstance(t, Wrapper) else t, (args, kwargs or {}))
        return tree_map(lambda t: Wrapper(t) if isinstance(t, torch.Tensor) else t, function(*inside[0], **inside[1]))


def _numbers(t: torch.Tensor) -> torch.Tensor:
    return t.inner if isinstance(t, Wrapper) else t.detach()


@kinds
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("whose", ["weight_hh_l0", "bias_ih_l0", "input", "state"])
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_wrappers_are_left_to_pytorchs_operators(whose: str, call: str, kind: str) -> None:
    module = _module(kind)
    x, hx = _input(module), None
    if whose == "state":
        hx = tuple(
            torch.randn(1, 3, size).to(x.dtype) for size in (module.proj_size or 8, module.weight_hh_l0.shape[0])
        )
        hx = (hx[0], hx[1][..., : 24 if kind == "slstm" else 8])
    want = CALLS[call](module, x, hx)
    if whose == "input":
        x = Wrapper(x)
    elif whose == "state":
        hx = tuple(Wrapper(part.contiguous()) for part in hx)
    else:
        setattr(module, whose, torch.nn.Parameter(Wrapper(getattr(module, whose).detach())))
    with torch.no_grad():
        got = CALLS[call](module, x, hx)
    tolerance = 3e-2 if x.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(_numbers(got), want.detach(), rtol=tolerance, atol=tolerance)
    if call == "call":
        assert module.explain_backend(x, hx).name != "cpu"


@kinds
@pytest.mark.parametrize("call", ["call", "lengths"])
def test_a_wrapped_gradient(call: str, kind: str) -> None:
    module = _module(kind)
    x = _input(module).requires_grad_()
    output = CALLS[call](module, x, None)
    dy = torch.randn(output.shape).to(output.dtype)
    (want,) = torch.autograd.grad(output, x, dy, retain_graph=True)
    (got,) = torch.autograd.grad(output, x, Wrapper(dy))
    tolerance = 3e-2 if x.dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(_numbers(got), want, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # by PyTorch itself
@pytest.mark.parametrize("kind", ["plain", "projection", "slstm", "norm"])
@pytest.mark.parametrize("call", ["call", "lengths"])
def test_a_gradient_with_a_tangent(call: str, kind: str) -> None:
    """Backward is linear in dy, so the tangent of a gradient is the gradient of the tangent."""
    module = _module(kind).double()
    x = _input(module).requires_grad_()
    output = CALLS[call](module, x, None)
    dy, tangent = torch.randn_like(output), torch.randn_like(output)
    leaves = [x, *module.parameters()]
    want = torch.autograd.grad(output, leaves, tangent, retain_graph=True)
    with forward_ad.dual_level():
        found = torch.autograd.grad(output, leaves, forward_ad.make_dual(dy, tangent))
        got = [forward_ad.unpack_dual(gradient).tangent for gradient in found]
    for one, other in zip(got, want, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)
