"""torch.nn.LSTM, and cellgate.LSTM in its ways: plain, lengths=, traced, with less memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from cellgate.bench.case import Case, nn_lstm
from cellgate.nn import LSTM

from .contender import Absent, Contender, streamed_inputs

__all__ = [
    "LEAN",
    "LENGTHS",
    "MINIMAL",
    "OURS",
    "TORCH",
    "TRACE",
    "cellgate_lean",
    "cellgate_lengths",
    "cellgate_lstm",
    "cellgate_minimal",
    "cellgate_trace",
    "torch_lstm",
]

OURS, TORCH = "cellgate", "nn.LSTM"
LENGTHS, TRACE, LEAN, MINIMAL = "cellgate lengths=", "cellgate trace", "cellgate lean", "cellgate minimal"


def torch_lstm(case: Case, mode: str, threads: int) -> Contender:
    """torch.nn.LSTM; streamed, one call a step with the state carried."""
    if case.reset is not None:
        raise Absent("has no resets")
    module = nn_lstm(case.shape)
    module.load_state_dict(case.weights)
    if mode == "stream":
        return _stream(TORCH, case, _Carried(module))
    return _module(TORCH, case, mode, module, packed=case.lengths is not None)


def cellgate_lstm(case: Case, mode: str, threads: int) -> Contender:
    """cellgate.LSTM, given what nn.LSTM is given; streamed, ``lstm.stream()``."""
    module = _ours(case)
    if mode == "stream":
        if not hasattr(module, "stream"):
            raise Absent("this version has no stream()")
        return _stream(OURS, case, module.stream(batch=case.shape.B))
    return _module(OURS, case, mode, module, packed=case.lengths is not None)


def cellgate_lengths(case: Case, mode: str, threads: int) -> Contender:
    """cellgate.LSTM on a padded batch with ``lengths=``."""
    return _module(LENGTHS, case, mode, _ours(case), packed=False)


def cellgate_trace(case: Case, mode: str, threads: int) -> Contender:
    """cellgate.LSTM with every gate of every step recorded."""
    try:
        from cellgate.trace import trace
    except ImportError:
        raise Absent("this version has no trace") from None
    module = _ours(case)
    plain = _module(TRACE, case, mode, module, packed=False)

    def call() -> Any:
        with trace(module) as tape:
            module(case.x)
        return tape

    return Contender(TRACE, call, plain.read, note=plain.note)


def cellgate_lean(case: Case, mode: str, threads: int) -> Contender:
    """cellgate.LSTM that keeps only cell states for backward."""
    return _module(LEAN, case, mode, _ours(case, memory="lean"), packed=case.lengths is not None)


def cellgate_minimal(case: Case, mode: str, threads: int) -> Contender:
    """cellgate.LSTM that keeps a cell state every few steps for backward."""
    return _module(MINIMAL, case, mode, _ours(case, memory="minimal"), packed=case.lengths is not None)


def _ours(case: Case, **options: Any) -> Any:
    shape = case.shape
    try:
        module = LSTM(
            shape.I,
            shape.H,
            shape.L,
            bias=shape.bias,
            bidirectional=shape.D == 2,
            proj_size=shape.P,
            dtype=getattr(torch, shape.dtype),
            **options,
        )
    except TypeError:
        if not options:
            raise
        raise Absent(f"this version has no {', '.join(options)}=") from None
    module.load_state_dict(case.weights)
    return module


def _module(name: str, case: Case, mode: str, module: nn.Module, packed: bool) -> Contender:
    options: dict[str, Any] = {}
    if case.lengths is not None and not packed:
        options["lengths"] = case.lengths
    if case.reset is not None:
        options["reset"] = case.reset
    x: Any = case.pack(case.x) if packed else case.x
    note = _backend_of(module, x, options, mode == "training")
    if mode == "inference":

        def run() -> Any:
            return module(x, **options)

        @torch.no_grad()
        def results() -> dict[str, Tensor]:
            return {"output": _padded(run()[0], case)}

        return Contender(name, run, results, note=note)

    leaf = (x.data if packed else x).detach().clone().requires_grad_()
    source: Any = PackedSequence(leaf, x.batch_sizes, x.sorted_indices, x.unsorted_indices) if packed else leaf
    grad = case.pack(case.grad).data if packed else case.grad
    parameters = dict(module.named_parameters())

    def train() -> Any:
        leaf.grad = None
        for parameter in parameters.values():
            parameter.grad = None
        output = module(source, **options)[0]
        torch.autograd.backward(output.data if packed else output, grad)
        return output

    def read() -> dict[str, Tensor]:
        results = {"output": _padded(train(), case)}
        assert leaf.grad is not None
        dx = PackedSequence(leaf.grad, x.batch_sizes, x.sorted_indices, x.unsorted_indices) if packed else leaf.grad
        results["dx"] = _padded(dx, case)
        for key, parameter in parameters.items():
            assert parameter.grad is not None
            results[f"d{key}"] = parameter.grad.clone()
        return results

    return Contender(name, train, read, between=_nudge(module), note=note)


def _backend_of(module: nn.Module, x: Any, options: dict[str, Any], training: bool) -> str:
    explain: Any = getattr(module, "explain_backend", None)
    if explain is None:
        return ""
    with torch.set_grad_enabled(training):
        return explain(x, **options).name


def _padded(output: Any, case: Case) -> Tensor:
    if isinstance(output, PackedSequence):
        output = pad_packed_sequence(output, total_length=case.shape.T)[0]
    return output.detach().clone()


def _nudge(module: nn.Module) -> Callable[[], None]:
    """Change every weight in its last bits, as an optimiser would between two calls, so that no cache is flattered."""
    factors = [1.0 + 2.0**-7, 1.0 / (1.0 + 2.0**-7)]

    def nudge() -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(factors[0])
        factors.reverse()

    return nudge


class _Carried:
    """nn.LSTM called one step at a time, as people do it: a (1, B, I) tensor in, the state handed on."""

    def __init__(self, module: nn.LSTM) -> None:
        self.module = module
        self.state: Any = None

    def push(self, x_t: Tensor) -> Tensor:
        output, self.state = self.module(x_t.unsqueeze(0), self.state)
        return output[0]

    def reset(self) -> None:
        self.state = None


def _stream(name: str, case: Case, stream: Any) -> Contender:
    steps = streamed_inputs(case)
    first = steps[0]

    @torch.no_grad()
    def read() -> dict[str, Tensor]:
        stream.reset()
        h = [torch.as_tensor(stream.push(x_t)).reshape(case.shape.B, -1).clone() for x_t in steps]
        return {"output": torch.stack(h)}

    return Contender(name, lambda: stream.push(first), read)
