"""What parity means here: run a layer and its peer, compare values and every gradient within an error budget.

The truth is ``torch.nn.LSTM`` in float64. The budget (CONVENTIONS 11) is twice the error that plain PyTorch makes in
the same dtype plus an absolute floor of a few units in the last place of the largest number. For float64, where
PyTorch is its own truth, the error of plain PyTorch is the one it makes in float32 scaled by the ratio of precisions.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

import cellgate
from cellgate.backends.dispatch import BACKENDS
from cellgate.nn import call

__all__ = [
    "BACKEND_NAMES",
    "DEVICES",
    "FLOOR",
    "Case",
    "Expected",
    "assert_within",
    "budget",
    "cotangents",
    "covering",
    "dense_call",
    "dense_inputs",
    "expected",
    "measure",
    "only",
    "quiet_nn_lstm",
]

FLOOR = 8
"""Units in the last place that the error may have besides.

The gradient of a parameter is a sum over all steps of all sequences. Its n roundings walk at random, sqrt(n) units far,
and nn.LSTM's error is one draw from such a walk, so for them the floor is sqrt(n) where that is more.
"""

BACKEND_NAMES = [n for n, module in BACKENDS.items() if getattr(module, "unavailable", lambda: None)() is None]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

Numbers = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A layer and the sizes of its input."""

    T: int
    B: int
    I: int  # noqa: E741 - the letter that the whole project uses
    H: int
    layers: int = 1
    bias: bool = True
    batch_first: bool = False
    bidirectional: bool = False
    proj: int = 0
    hx: bool = True
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        flags = [
            f"L{self.layers}",
            "" if self.bias else "nobias",
            "bf" if self.batch_first else "",
            "bi" if self.bidirectional else "",
            f"P{self.proj}" if self.proj else "",
            "hx" if self.hx else "",
            str(self.dtype).removeprefix("torch."),
        ]
        return f"T{self.T}-B{self.B}-I{self.I}-H{self.H}-" + "-".join(filter(None, flags))

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def P(self) -> int:
        return self.proj or self.H

    def arguments(self) -> dict:
        return {
            "hidden_size": self.H,
            "num_layers": self.layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "bidirectional": self.bidirectional,
            "proj_size": self.proj,
        }

    def ours(self, device: str = "cpu", dtype: torch.dtype | None = None) -> cellgate.LSTM:
        torch.manual_seed(zlib.crc32(str(replace(self, dtype=torch.float32, hx=True)).encode()))
        return cellgate.LSTM(self.I, **self.arguments(), device=device, dtype=dtype or self.dtype)

    def peer(self, device: str = "cpu", dtype: torch.dtype | None = None) -> nn.LSTM:
        """Return nn.LSTM with our weights. It refuses input_size 0, so there it reads one feature with weight zero."""
        ours = self.ours(device, torch.float32)
        peer = nn.LSTM(max(self.I, 1), **self.arguments(), device=device)
        with torch.no_grad():
            for name, weight in peer.named_parameters():
                ours_weight = ours.get_parameter(name)
                weight.copy_(ours_weight if ours_weight.numel() else torch.zeros_like(weight))
        return peer.to(dtype or self.dtype)

    def numbers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, h_0 and c_0, float32 numbers whatever the dtype, so that every dtype starts from the same."""
        generator = torch.Generator().manual_seed(7 * self.T + 5 * self.B + 3 * self.I + self.H)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        rows = self.layers * self.directions
        x = draw(self.B, self.T, self.I) if self.batch_first else draw(self.T, self.B, self.I)
        return x, draw(rows, self.B, self.P), draw(rows, self.B, self.H)


@dataclass(frozen=True)
class Expected:
    """Numbers of nn.LSTM: in float64, and how far float32 is from them; and the steps of all sequences."""

    truth: Numbers
    error32: dict[str, float]
    steps: int


@contextmanager
def only(backend: str) -> Iterator[None]:
    """Run the block on one backend, and fail unless it, and no other, was given every problem in it."""
    ran: list[str] = []
    depth = 0

    def spy(name: str, run: Callable):
        def recorded(*args, **kwargs):
            nonlocal depth
            if depth == 0:
                ran.append(name)
            depth += 1
            try:
                return run(*args, **kwargs)
            finally:
                depth -= 1

        return recorded

    def quick(run: Callable):
        # A short way: it is the native engine, or it did not answer.
        def recorded(*args, **kwargs):
            result = run(*args, **kwargs)
            if result is not None:
                ran.append("cpu")
            return result

        return recorded

    originals = {name: module.run for name, module in BACKENDS.items()}
    ways = call.run_quick, call.run_quick_training
    call.run_quick, call.run_quick_training = (quick(way) for way in ways)
    for name, module in BACKENDS.items():
        module.run = spy(name, module.run)
    try:
        with cellgate.use_backend(backend):
            yield
    finally:
        call.run_quick, call.run_quick_training = ways
        for name, module in BACKENDS.items():
            module.run = originals[name]
    assert ran, f"{backend} was asked for and nothing ran"
    assert set(ran) == {backend}, f"{backend} was asked for, {set(ran)} ran"


@contextmanager
def quiet_nn_lstm() -> Iterator[None]:
    """Keep nn.LSTM from announcing that oneDNN has no projections; tests make warnings errors."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        yield


def cotangents(values: Numbers) -> Numbers:
    """Return what each output is weighted with in the loss: fixed numbers, all different."""
    generator = torch.Generator().manual_seed(11)
    return {k: torch.randn(v.shape, generator=generator).to(v.device, torch.float64) for k, v in values.items()}


def measure(module: nn.Module, call: Callable[..., Numbers], tensors: Numbers) -> Numbers:
    """Return the outputs of a call and the gradients of a loss over all of them.

    Args:
        module: Whose parameters' gradients are wanted.
        call: Takes the tensors by name, returns outputs by name.
        tensors: Inputs by name; their gradients come back as "d" and the name.
    """
    leaves = {k: v.detach().requires_grad_() for k, v in tensors.items()}
    module.zero_grad(set_to_none=True)
    values = call(**leaves)
    weights = cotangents(values)
    torch.stack([(v * weights[k].to(v.dtype)).sum() for k, v in values.items()]).sum().backward()
    gradients = {f"d{k}": v.grad for k, v in leaves.items()}
    gradients |= {f"d{k}": v.grad for k, v in module.named_parameters()}
    missing = [k for k, v in gradients.items() if v is None]
    assert not missing, f"no gradient reached {missing}"
    return {k: v.detach() for k, v in (values | gradients).items()}


def dense_call(module: nn.Module, **kwargs) -> Callable[..., Numbers]:
    """Return a call over padded input with or without hx."""

    def call(x: Tensor, h0: Tensor | None = None, c0: Tensor | None = None) -> Numbers:
        output, (h_n, c_n) = module(x, None if h0 is None else (h0, c0), **kwargs)
        return {"output": output, "h_n": h_n, "c_n": c_n}

    return call


def dense_inputs(case: Case, device: str, dtype: torch.dtype, features: int) -> Numbers:
    x, h0, c0 = (t.to(device, dtype) for t in case.numbers())
    if features != case.I:
        x = x.new_zeros(*x.shape[:-1], features)
    return {"x": x, "h0": h0, "c0": c0} if case.hx else {"x": x}


@functools.lru_cache(maxsize=8)
def expected(case: Case, device: str = "cpu") -> Expected:
    """Return what nn.LSTM computes for a case, cached for the backends that are compared with it one after another."""
    numbers = {}
    with quiet_nn_lstm():
        for dtype in (torch.float64, torch.float32):
            peer = case.peer(device, dtype)
            inputs = dense_inputs(case, device, dtype, max(case.I, 1))
            numbers[dtype] = measure(peer, dense_call(peer), inputs)
    return budget(numbers[torch.float64], numbers[torch.float32], case.T * case.B)


def budget(truth: Numbers, plain32: Numbers, steps: int) -> Expected:
    return Expected(truth, {k: distance(plain32[k], truth[k]) for k in truth}, steps)


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0


def assert_within(ours: Numbers, want: Expected, dtype: torch.dtype, *, but: tuple[str, ...] = ()) -> None:
    """Check every number of ours against the truth; ``but`` names what has no counterpart there."""
    assert set(ours) == set(want.truth), set(ours) ^ set(want.truth)
    eps = torch.finfo(dtype).eps
    wrong = []
    for name, truth in want.truth.items():
        if name in but:
            continue
        got = ours[name]
        assert got.shape == truth.shape, f"{name}: {tuple(got.shape)} instead of {tuple(truth.shape)}"
        assert got.dtype == dtype, f"{name}: {got.dtype} instead of {dtype}"
        scale = max(1.0, float(truth.abs().max())) if truth.numel() else 1.0
        floor = max(FLOOR, math.sqrt(want.steps)) if name.startswith(("dweight", "dbias")) else FLOOR
        allowed = 2 * want.error32[name] * eps / torch.finfo(torch.float32).eps + floor * eps * scale
        error = distance(got, truth)
        if not error <= allowed:  # NaN fails too
            wrong.append(f"{name}: error {error:.3g}, allowed {allowed:.3g}, largest number {scale:.3g}")
    assert not wrong, "\n".join(wrong)


def covering(*lists, rows: int) -> list[tuple]:
    """Return ``rows`` combinations, stepping through the product with a stride that visits all values evenly."""
    everything = list(itertools.product(*lists))
    stride = next(
        s for s in range(max(1, len(everything) * 5 // 8), len(everything) + 2) if coprime(s, len(everything))
    )
    return [everything[k * stride % len(everything)] for k in range(rows)]


def coprime(a: int, b: int) -> bool:
    while b:
        a, b = b, a % b
    return a == 1
