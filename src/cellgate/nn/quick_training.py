"""The short way from a module to the native engine, for the most frequent training call: see ``backends/cpu_plain.py``.

As in ``quick``, what is not known at once is left to the full way, which also words the errors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellgate.backends import Problem, cpu, half_plain, requested_backend
from cellgate.backends.cpu_plain import PlainStack, train

__all__ = ["run_quick_training"]

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_autocast_on = torch.is_autocast_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.peek_interpreter_stack  # pyright: ignore[reportAttributeAccessIssue]
_tracing = torch._C._get_tracing_state
_strided = torch.strided
_PLAIN = (Tensor, torch.nn.Parameter)
_MEMORY = ("fast", "lean", "minimal")
_WIDE = (torch.float32, torch.float64)

_stacks: dict[tuple[Any, ...], PlainStack] = {}


def run_quick_training(module: Any, x: Any, hx: Any) -> Any:
    """Run a call of an LSTM module, recorded by autograd, or return None where the full way is called for.

    Args:
        module: With the attributes of ``torch.nn.LSTM``.
        x: (T, B, I), or (B, T, I) with ``batch_first``.
        hx: None.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    if hx is not None or _is_compiling() or not _is_grad_enabled() or type(x) not in _PLAIN or not x.is_cpu:
        return None
    if x.layout is not _strided or x.is_nested or x.is_neg() or x.dim() != 3:
        return None
    own = module.__dict__
    if own.get("variant") is not None:
        return None
    dtype = x.dtype
    layers, memory = own["num_layers"], own.get("memory", "fast")
    if own["training"] and layers > 1 and own["dropout"] > 0:
        return None
    sizes = (own["input_size"], own["hidden_size"], own["proj_size"], layers, own["bias"], own["bidirectional"])
    stack = _stacks.get((*sizes, dtype, memory))
    if stack is None:
        stack = _stack(sizes, dtype, memory)
        if stack is None:
            return None
    if (
        _dispatch_modes()
        or _function_modes()
        or _transform() is not None
        or _tracing() is not None
        or _autocast_on("cpu")
        or requested_backend() not in ("auto", "cpu")
        or torch.autograd.forward_ad._current_level >= 0
    ):
        return None

    parameters = own["_parameters"]
    weights, recorded = [], x.requires_grad
    shape = iter(stack.shapes)
    for names in own["_all_weights"]:
        for name in names:
            w = parameters.get(name)
            # The last: someone put a tensor in the place of the parameter.
            if type(w) not in _PLAIN or w.shape != next(shape) or w.dtype != dtype or name in own:
                return None
            if not (w.is_cpu and w.is_contiguous()):
                return None
            recorded = recorded or w.requires_grad
            weights.append(w)
    batch_first = own["batch_first"]
    rows = x.transpose(0, 1) if batch_first else x
    steps, batch, width = rows.shape
    if not recorded or width != sizes[0] or steps == 0 or batch == 0 or (width > 1 and rows.stride(2) != 1):
        return None
    found = train(stack, rows, weights) if dtype in _WIDE else half_plain.train(stack, rows, weights)
    if found is None:
        return None
    output, h_n, c_n = found
    return output.transpose(0, 1) if batch_first else output, (h_n, c_n)


def _stack(sizes: tuple[Any, ...], dtype: torch.dtype, memory: Any) -> PlainStack | None:
    input_size, hidden, proj, layers, bias, bidirectional = sizes
    if not isinstance(hidden, int) or not isinstance(proj, int):
        return None  # a size per layer
    if cpu.unavailable() or memory not in _MEMORY or (dtype not in _WIDE and dtype != torch.bfloat16):
        return None
    if len(_stacks) > 1000:
        _stacks.clear()
    directions = 2 if bidirectional else 1
    problem = Problem(
        0, 0, input_size, (hidden,) * layers, (proj,) * layers, directions, bias, dtype, "cpu", memory=memory
    )
    return _stacks.setdefault((*sizes, dtype, memory), PlainStack(problem))
