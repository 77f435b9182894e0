"""PyTorch's own kernels: ``torch.lstm``, that is oneDNN or ATen on a CPU, cuDNN on a GPU.

With this backend nobody is slower than before. What PyTorch has no kernel for is brought into a form that it has:
lengths become packed data, a size per layer becomes one call a layer, episodes become sequences of their own, and gates
are recovered from the finished hidden states with one large product.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch._VF import lstm as torch_lstm  # pyright: ignore[reportAttributeAccessIssue]
from torch._VF import lstm_cell as torch_lstm_cell  # pyright: ignore[reportAttributeAccessIssue]

from cellgate.equations import PLAIN, LSTMWeights

from . import reference
from .episodes import run_by_episodes
from .problem import Gates, Inputs, Problem, Result, join_state, split_state
from .ragged import packed_lengths, packed_rows, pad_rows
from .recover import recover_gates

__all__ = ["NAME", "draws_dropout_itself", "onednn_computes", "reason_against", "run", "run_cell"]

NAME = "aten"


def reason_against(problem: Problem) -> str | None:
    """Return why PyTorch's kernels cannot run this problem, or None if they can."""
    if problem.cell != PLAIN:
        return f"PyTorch's LSTM kernels know the plain cell only; this has {problem.cell}"
    if problem.noise:
        return "PyTorch's LSTM kernels take no masks inside the recurrence"
    if problem.connection is not None:
        return f"PyTorch's LSTM kernels have no {problem.connection} connections between layers"
    if problem.transformed:
        return "PyTorch's LSTM kernels have no vmap, jvp or torch.func rules"
    if problem.input_size == 0:
        return "PyTorch's LSTM kernels need input_size > 0"
    if problem.steps == 0 or problem.batch == 0:
        return "PyTorch's LSTM kernels need at least one step and one sequence"
    if problem.tracing and (problem.lengths or problem.reset):
        return "it takes ragged batches and resets apart by their values, of which a trace would keep the first"
    if problem.compiling and (problem.lengths or problem.reset):
        return "ragged batches and resets are taken apart on the host, which a compiled graph cannot do"
    return None


def draws_dropout_itself(problem: Problem) -> bool:
    """Whether dropout is better left to PyTorch's kernel: on an accelerator, where one call then covers all layers."""
    return problem.device != "cpu" and problem.uniform and not problem.gates


def run(problem: Problem, inputs: Inputs) -> Result:
    """Execute the stack with as few calls of ``torch.lstm`` as the problem allows."""
    if problem.reset:
        return run_by_episodes(problem, inputs, run)
    if problem.lengths:
        return _run_lengths(problem, inputs)
    if problem.uniform and inputs.dropout_masks is None and not problem.gates:
        return _call(problem, inputs)
    return _run_by_layer(problem, inputs)


def run_cell(x: Tensor, h: Tensor, c: Tensor, weights: LSTMWeights) -> tuple[Tensor, Tensor]:
    """Compute one step of one cell: x (B, I), h and c (B, H) to the new h and c."""
    return torch_lstm_cell(x, (h, c), weights.w_ih, weights.w_hh, weights.b_ih, weights.b_hh)


def _zeros(problem: Problem, x: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    return tuple(x.new_zeros(problem.directions, problem.batch, size) for size in sizes)


def _call(problem: Problem, inputs: Inputs) -> Result:
    """Call ``torch.lstm`` once, for layers of one size."""
    x = inputs.x
    h0, c0 = inputs.h0, inputs.c0
    if h0 is None or c0 is None:
        rows = problem.layers * problem.directions
        h0 = x.new_zeros(rows, problem.batch, problem.output_sizes[0])
        c0 = x.new_zeros(rows, problem.batch, problem.hidden_sizes[0])
    assert isinstance(h0, Tensor)
    assert isinstance(c0, Tensor)
    flat = [w for layer in inputs.weights for weights in layer for w in weights if w is not None]
    dropout = 0.0 if inputs.dropout_masks is not None else problem.dropout
    # cuDNN refuses a backward pass through a call without `train`, so a call that records a graph says it trains: with
    # dropout 0 that changes no number, and backward works in eval mode too. In a trace it is a constant.
    train = problem.needs_grad or dropout > 0
    with contextlib.ExitStack() as ways:
        ways.enter_context(_quietly(problem))
        if _fails_under_autocast(problem):
            dtype = torch.get_autocast_dtype("cpu")
            x, h0, c0, *flat = (tensor.to(dtype) for tensor in (x, h0, c0, *flat))
            ways.enter_context(torch.autocast("cpu", enabled=False))
        rest = (flat, problem.bias, problem.layers, dropout, train, problem.directions == 2)
        if inputs.batch_sizes is not None:
            output, h_n, c_n = torch_lstm(x, inputs.batch_sizes, (h0, c0), *rest)
        elif problem.compiling and problem.tracing:
            # torch.onnx.export: where steps come before sequences it writes their number into the graph.
            output, h_n, c_n = torch_lstm(x.transpose(0, 1), (h0, c0), *rest, True)
            return Result(output.transpose(0, 1), h_n, c_n, batch_first=output)
        else:
            output, h_n, c_n = torch_lstm(x, (h0, c0), *rest, False)
    return Result(output, h_n, c_n)


def onednn_computes(dtype: torch.dtype) -> bool:
    """Return whether PyTorch runs an LSTM of half precision on oneDNN on this CPU."""
    kind = "bf16" if dtype == torch.bfloat16 else "fp16"
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported")())


def _fails_under_autocast(problem: Problem) -> bool:
    """Return whether autocast would bring the call to oneDNN in a dtype for which this CPU has no instructions.

    PyTorch does not ask for them there, and nn.LSTM ends in an error. What is in that dtype already goes another way.
    """
    if problem.device != "cpu" or not problem.autocast or problem.packed or problem.lengths or any(problem.proj_sizes):
        return False
    return not onednn_computes(torch.get_autocast_dtype("cpu"))


@contextlib.contextmanager
def _quietly(problem: Problem) -> Iterator[None]:
    """Keep PyTorch quiet about what it does as well: projections without oneDNN, weights in several places on CUDA."""
    if (problem.device == "cpu" and not problem.proj_sizes[0]) or problem.compiling:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        yield


def _run_by_layer(problem: Problem, inputs: Inputs) -> Result:
    """Call ``torch.lstm`` once a layer: for sizes per layer, dropout masks from outside, or gates."""
    x = inputs.x
    h0 = split_state(inputs.h0, problem) if inputs.h0 is not None else _zeros(problem, x, problem.output_sizes)
    c0 = split_state(inputs.c0, problem) if inputs.c0 is not None else _zeros(problem, x, problem.hidden_sizes)
    h_n, c_n, gates = [], [], []
    for layer in range(problem.layers):
        if layer > 0 and inputs.dropout_masks is not None:
            x = x * inputs.dropout_masks[layer - 1]
        one = replace(
            problem,
            input_size=x.shape[-1],
            hidden_sizes=problem.hidden_sizes[layer : layer + 1],
            proj_sizes=problem.proj_sizes[layer : layer + 1],
            dropout=0.0,
        )
        one_in = replace(
            inputs, x=x, h0=h0[layer], c0=c0[layer], weights=inputs.weights[layer : layer + 1], dropout_masks=None
        )
        result = _call(one, one_in)
        if problem.gates:
            gates.append(_layer_gates(one, one_in, result))
        x = result.output
        h_n.append(result.h_n)
        c_n.append(result.c_n)
    return Result(x, join_state(h_n, problem), join_state(c_n, problem), tuple(gates) if problem.gates else None)


def _run_lengths(problem: Problem, inputs: Inputs) -> Result:
    """Run a padded ragged batch as packed data; sequences of length 0 stay out and keep their initial state."""
    assert inputs.lengths is not None
    x, device = inputs.x, inputs.x.device
    order = torch.argsort(inputs.lengths, descending=True, stable=True)
    lengths = inputs.lengths[order]
    some = int((lengths > 0).sum())
    h0 = split_state(inputs.h0, problem) if inputs.h0 is not None else _zeros(problem, x, problem.output_sizes)
    c0 = split_state(inputs.c0, problem) if inputs.c0 is not None else _zeros(problem, x, problem.hidden_sizes)
    if some == 0:
        # Nothing to compute, but backward must find its way to the weights all the same.
        return reference.run(problem, inputs)

    order_dev = order.to(device)
    kept, lengths = order_dev[:some], lengths[:some]
    longest = int(lengths[0])
    # Rows of the packed data inside x seen as (T*B, size): step t, then the sequences that reach it, longest first.
    sorted_rows = packed_rows(lengths, longest)
    rows = ((sorted_rows // some) * problem.batch + order[sorted_rows % some]).to(device)

    def pack(data: Tensor) -> Tensor:
        return data.flatten(0, 1).index_select(0, rows)

    packed = replace(problem, steps=longest, batch=some, packed=True, lengths=False)
    packed_in = replace(
        inputs,
        x=pack(x),
        h0=join_state([h.index_select(1, kept) for h in h0], problem),
        c0=join_state([c.index_select(1, kept) for c in c0], problem),
        lengths=None,
        batch_sizes=(lengths.unsqueeze(0) > torch.arange(longest, device="cpu").unsqueeze(1)).sum(1),
        dropout_masks=None if inputs.dropout_masks is None else [pack(m) for m in inputs.dropout_masks],
    )
    result = run(packed, packed_in)
    h_n = [h.index_copy(1, kept, new) for h, new in zip(h0, split_state(result.h_n, problem), strict=True)]
    c_n = [c.index_copy(1, kept, new) for c, new in zip(c0, split_state(result.c_n, problem), strict=True)]
    output = pad_rows(result.output, rows, problem.steps, problem.batch)
    gates = None
    if result.gates is not None:
        gates = tuple(_spread(g, problem, longest, kept) for g in result.gates)
    return Result(output, join_state(h_n, problem), join_state(c_n, problem), gates)


def _spread(gates: Gates, problem: Problem, longest: int, kept: Tensor) -> Gates:
    """Return gates of the sorted non-empty sequences as gates of the whole padded batch."""

    def spread(part: Tensor) -> Tensor:
        whole = part.new_zeros(problem.steps, problem.batch, *part.shape[2:])
        inner = part.new_zeros(longest, problem.batch, *part.shape[2:]).index_copy(1, kept, part)
        return torch.cat([inner, whole[longest:]]) if longest < problem.steps else inner

    return gates.map(spread)


def _layer_gates(problem: Problem, inputs: Inputs, result: Result) -> Gates:
    """Recover the gates of a layer that has just run."""
    weights: list[LSTMWeights] = list(inputs.weights[0])
    assert inputs.h0 is not None
    assert inputs.c0 is not None
    h0, c0 = split_state(inputs.h0, problem)[0], split_state(inputs.c0, problem)[0]
    x, h, lengths = inputs.x, result.output, None
    if inputs.batch_sizes is not None:
        lengths = packed_lengths(inputs.batch_sizes)
        rows = packed_rows(lengths, problem.steps).to(x.device)
        x, h = (pad_rows(data, rows, problem.steps, problem.batch) for data in (x, h))
    return recover_gates(x, h, h0, c0, weights, lengths)
