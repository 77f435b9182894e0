"""PyTorch's defaults of dtype and device are for tensors that nobody names: they change no result of a layer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import cellgate

T, B = 7, 4
LENGTHS = [7, 0, 3, 1]

SIZES = {
    "plain": {},
    "two layers, two directions": {"num_layers": 2, "bidirectional": True},
    "projection": {"proj_size": 3},
    "a size per layer": {"hidden_size": [8, 6]},
    "slstm": {"cell": "slstm"},
    "norm and zoneout": {"norm": "layer", "zoneout": 0.1, "num_layers": 2},
    "locked dropout": {"locked_dropout": 0.3, "num_layers": 2},
    "learned state": {"learned_state": True},
}


def _packed(x: torch.Tensor) -> torch.nn.utils.rnn.PackedSequence:
    return torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor([7, 5, 3, 1], device="cpu"))


def _reset(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(T * B, device="cpu").reshape(T, B) % 5 == 0


WAYS: dict[str, Callable] = {
    "dense": lambda module, x: module(x),
    "lengths": lambda module, x: module(x, lengths=LENGTHS),
    "a tensor of lengths": lambda module, x: module(x, lengths=torch.tensor(LENGTHS, device="cpu")),
    "reset": lambda module, x: module(x, reset=_reset(x)),
    "a list of resets": lambda module, x: module(x, reset=_reset(x).tolist()),
    "packed": lambda module, x: module(_packed(x)),
    "gates": lambda module, x: module.gates(x)[:2],
    "gates of lengths": lambda module, x: module.gates(x, lengths=LENGTHS)[:2],
}


def _results(sizes: dict, way: str, dtype: torch.dtype, backend: str, grad: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    module = cellgate.LSTM(5, **{"hidden_size": 8, **sizes}, device="cpu", dtype=torch.float64).to(dtype)
    x = torch.randn(T, B, 5, dtype=torch.float64, device="cpu").to(dtype).requires_grad_(grad)
    with cellgate.use_backend(backend), torch.set_grad_enabled(grad):
        output, (h_n, c_n) = WAYS[way](module, x)
        data = output.data if way == "packed" else output
        states = [part for state in (h_n, c_n) for part in (state if isinstance(state, tuple) else (state,))]
        results = [data, *states]
        if grad:
            sum(part.square().sum() for part in results).backward()
            results += [x.grad, *(p.grad for p in module.parameters())]
    if not module.bidirectional and way == "dense":
        stream = module.eval().stream(batch=B)
        results += [stream.push(x.detach()[0]), stream.push_many(x.detach())]
    return [part.detach() for part in results]


DEFAULTS: tuple[torch.dtype | str, ...] = (torch.bfloat16, torch.float64, "meta")
"""With "meta" every tensor made without a device is one without numbers, as with "cuda" it is one far away."""


def _results_by_default(default: torch.dtype | str, case: tuple) -> list[torch.Tensor]:
    before = torch.get_default_dtype()
    try:
        if isinstance(default, str):
            with torch.device(default):
                return _results(*case)
        torch.set_default_dtype(default)
        return _results(*case)
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("sizes", SIZES)
def test_defaults_change_no_bit(sizes: str, backend: str) -> None:
    if backend == "aten" and any(key in SIZES[sizes] for key in ("cell", "norm", "locked_dropout")):
        pytest.skip("PyTorch's kernels have no such cell")
    for way in WAYS:
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            for grad in (False, True):
                case = SIZES[sizes], way, dtype, backend, grad
                want = _results(*case)
                for default in DEFAULTS:
                    if default == dtype:
                        continue  # what is forgotten there is right by luck
                    for k, (a, b) in enumerate(zip(_results_by_default(default, case), want, strict=True)):
                        assert a.dtype == b.dtype, (default, case, k)
                        assert torch.equal(a, b), (default, case, k)
