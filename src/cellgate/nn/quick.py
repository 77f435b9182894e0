"""The short way from a module to the native engine, for calls that only compute.

A streamed step or a short sequence takes the engine a few microseconds, the full way through ``checks`` and
``dispatch`` some fifty. A call without autograd on plain CPU tensors of the right shapes needs neither: the native core
asks just what the engine's safety depends on (``native/bindings_call.cpp``), and whatever it does not know at once it
leaves to the full way, which also words the errors.
"""

from __future__ import annotations

from typing import Any

import torch

from cellgate.backends import cpu, requested_backend

__all__ = ["run_quick"]

_is_compiling = torch.compiler.is_compiling


def _autocast_on() -> bool:
    return torch.is_autocast_enabled("cpu")


def _make_run() -> Any:
    """Return the native core's way of running a module, or None where it is not to be had."""
    tensors = cpu.tensors()
    if tensors is None:
        return None
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    # What changes the meaning of a call: gradients, modes, transforms, a trace, autocast.
    must_be_false = (
        torch.is_grad_enabled,
        torch._C._len_torch_dispatch_stack,
        torch._C._len_torch_function_stack,
        functorch.peek_interpreter_stack,
        torch._C._get_tracing_state,
        _autocast_on,
    )
    return cpu.native().Calls(tensors, must_be_false, torch.autograd.forward_ad, requested_backend).run


_run = _make_run()


def run_quick(module: Any, x: Any, hx: Any) -> Any:
    """Run a call of an LSTM module on the engine, or return None where the full way is called for.

    Args:
        module: With the attributes of ``torch.nn.LSTM``.
        x: (T, B, I), (B, T, I) with ``batch_first``, or (T, I).
        hx: (h_0, c_0) or None.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    if _is_compiling() or _run is None:
        return None
    return _run(module, x, hx)
