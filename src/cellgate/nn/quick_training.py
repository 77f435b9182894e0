"""The short way from a module to the native engine, for the most frequent training call: see ``backends/cpu_plain.py``.

As in ``quick``, the native core asks what the engine's safety depends on, and what is not known at once is left to the
full way, which also words the errors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from cellgate.backends.cpu_plain import train

from .quick import plain_calls, run_packed
from .quick_half import run_quick_half
from .quick_variant import run_quick_variant

__all__ = ["run_quick_training"]

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_calls = plain_calls("Trainings")
_prepare = None if _calls is None else _calls.prepare


def run_quick_training(module: Any, x: Any, hx: Any, lengths: Any = None, reset: Any = None) -> Any:
    """Run a call of an LSTM module, recorded by autograd, or return None where the full way is called for.

    Args:
        module: With the attributes of ``torch.nn.LSTM``.
        x: (T, B, I), (B, T, I) with ``batch_first``, or a PackedSequence.
        hx: (h_0, c_0) or None.
        lengths: The length of each sequence, or None.
        reset: Where episodes begin, or None.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    if _is_compiling() or _prepare is None or not _is_grad_enabled():
        return None
    if type(x) is PackedSequence:
        return run_packed(_packed, module, x, hx, lengths, reset)
    inputs = _prepare(module, x, hx, lengths, reset)
    if inputs is None:
        if hx is not None or lengths is not None or reset is not None:
            return None
        if getattr(module, "variant", None) is not None:
            found = run_quick_variant(module, x)
            if found is not None:
                return found
        return run_quick_half(module, x)
    output, h_n, c_n = train(*inputs)
    return output.transpose(0, 1) if module.batch_first else output, (h_n, c_n)


def _packed(module: Any, rows: Any, hx: Any, batch_sizes: Any) -> Any:
    assert _prepare is not None
    inputs = _prepare(module, rows, hx, None, None, batch_sizes)
    if inputs is None:
        return None
    output, h_n, c_n = train(*inputs)
    return output, (h_n, c_n)
