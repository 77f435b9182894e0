"""The short way from a module to the native engine, for calls that only compute.

A streamed step or a short sequence takes the engine a few microseconds, the full way through ``checks`` and
``dispatch`` some fifty. A call without autograd on plain CPU tensors of the right shapes needs neither: the native core
asks just what the engine's safety depends on (``native/bindings_call.cpp``), and whatever it does not know at once it
leaves to the full way, which also words the errors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from cellgate.backends import cpu, requested_backend

from .gates import LayerGates

__all__ = ["plain_calls", "run_packed", "run_quick", "run_quick_with_gates"]

_is_compiling = torch.compiler.is_compiling


def plain_calls(kind: str, *must_be_false: Any) -> Any:
    """Return the native core's way of running a module, or None where it is not to be had.

    Args:
        kind: "Calls" or "Trainings", classes of ``cellgate._native``.
        *must_be_false: Functions that must return something false beside those that always must.
    """
    tensors = cpu.tensors()
    if tensors is None:
        return None
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    # What changes the meaning of a call: modes, transforms, a trace, autocast.
    must_be_false = (
        *must_be_false,
        torch._C._len_torch_dispatch_stack,
        torch._C._len_torch_function_stack,
        functorch.peek_interpreter_stack,
        torch._C._get_tracing_state,
        (torch.is_autocast_enabled, "cpu"),
    )
    return getattr(cpu.native(), kind)(tensors, must_be_false, torch.autograd.forward_ad, requested_backend)


_calls = plain_calls("Calls", torch.is_grad_enabled)
_run = None if _calls is None else _calls.run


def run_quick(module: Any, x: Any, hx: Any, lengths: Any = None, reset: Any = None) -> Any:
    """Run a call of an LSTM module on the engine, or return None where the full way is called for.

    Args:
        module: With the attributes of ``torch.nn.LSTM``.
        x: (T, B, I), (B, T, I) with ``batch_first``, (T, I), or a PackedSequence.
        hx: (h_0, c_0) or None.
        lengths: The length of each sequence, or None.
        reset: Where episodes begin, or None.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    if _is_compiling() or _run is None:
        return None
    if type(x) is PackedSequence:
        return run_packed(_packed, module, x, hx, lengths, reset)
    return _run(module, x, hx, False, lengths, reset)


def _packed(module: Any, rows: Tensor, hx: Any, batch_sizes: Tensor) -> Any:
    assert _run is not None
    return _run(module, rows, hx, False, None, None, batch_sizes)


def run_packed(run: Any, module: Any, packed: PackedSequence, hx: Any, lengths: Any, reset: Any) -> Any:
    """Run a packed call by its rows, or return None where the full way is called for.

    Args:
        run: Takes the module, rows (N, I), hx of the sequences in packed order, and batch sizes; returns output (N,
            D*P) and (h_n, c_n) in that order, or None.
        module: With the attributes of ``torch.nn.LSTM``.
        packed: The input.
        hx: (h_0, c_0) in the caller's order, or None.
        lengths: None, or the full way words the error; so for ``reset``.
        reset: None.
    """
    data, sizes, into, back = packed
    if lengths is not None or reset is not None or (into is not None and hx is not None):
        return None
    found = run(module, data, hx, sizes)
    if found is None:
        return None
    output, (h_n, c_n) = found
    if back is not None:
        h_n, c_n = h_n.index_select(1, back), c_n.index_select(1, back)
    return PackedSequence(output, sizes, into, back), (h_n, c_n)


def run_quick_with_gates(module: Any, x: Any, hx: Any) -> tuple[Any, Any, tuple[LayerGates, ...]] | None:
    """Run a call and keep its gates, or return None where the full way is called for.

    Args:
        module: As for :func:`run_quick`; so are ``x`` and ``hx``.
        x: The input.
        hx: (h_0, c_0) or None.

    Returns:
        ``output, (h_n, c_n), gates``, a :class:`LayerGates` for each layer; or None.
    """
    found = None if _is_compiling() or _run is None else _run(module, x, hx, True)
    if found is None:
        return None
    output, state, saved = found
    layers, directions = module.num_layers, 2 if module.bidirectional else 1
    hidden, size = module.hidden_size, module.proj_size or module.hidden_size
    batched, swapped = x.dim() == 3, bool(module.batch_first) and x.dim() == 3
    steps, batch = (x.shape[1], x.shape[0]) if swapped else (x.shape[0], x.shape[1] if batched else 1)

    def view(of: Tensor, at: int, row: int, units: int) -> Tensor:
        """Return (T, B, units), in the caller's layout, of rows of so many scalars."""
        if not batched:
            return of.as_strided((steps, units), (row, 1), at)
        if swapped:
            return of.as_strided((batch, steps, units), (row, batch * row, 1), at)
        return of.as_strided((steps, batch, units), (batch * row, row, 1), at)

    at, gates = 0, []
    for layer in range(layers):
        # The arrays of native/saved.h, each at a multiple of 32 scalars.
        rows, four, cells = steps * batch, at, at + _in_lines(steps * batch * directions * 4 * hidden)
        after = cells + _in_lines(rows * directions * hidden)
        if module.proj_size:
            after += _in_lines(rows * directions * hidden)
        last = layer + 1 == layers
        h_of, h_at, width = (
            (output, output.storage_offset(), directions * size) if last else (saved, after, directions * size)
        )
        at = after if last else after + _in_lines(rows * width)
        made = None
        for d in reversed(range(directions)):
            i, f, g, o = (view(saved, four + (d * 4 + k) * hidden, directions * 4 * hidden, hidden) for k in range(4))
            c = view(saved, cells + d * hidden, directions * hidden, hidden)
            made = LayerGates(i, f, g, o, c, view(h_of, h_at + d * size, width, size), made)
        gates.append(made)
    return output, state, tuple(gates)


def _in_lines(scalars: int) -> int:
    return -(-scalars // 32) * 32
