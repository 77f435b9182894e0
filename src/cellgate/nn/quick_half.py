"""The short way of training in bfloat16, see ``backends/half_plain.py``: ``quick_training`` for another dtype."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellgate.backends import Problem, cpu, requested_backend
from cellgate.backends.half_plain import HalfStack, train

__all__ = ["run_quick_half"]

_autocast_on = torch.is_autocast_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.peek_interpreter_stack  # pyright: ignore[reportAttributeAccessIssue]
_tracing = torch._C._get_tracing_state
_strided = torch.strided
_PLAIN = (Tensor, torch.nn.Parameter)
_MEMORY = ("fast", "lean", "minimal")

_stacks: dict[tuple[Any, ...], HalfStack] = {}


def run_quick_half(module: Any, x: Any) -> Any:
    """Run a call of an LSTM module, recorded by autograd, or return None where the full way is called for.

    Args:
        module: With the attributes of ``torch.nn.LSTM``.
        x: (T, B, I), or (B, T, I) with ``batch_first``.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    if type(x) not in _PLAIN or not x.is_cpu or x.dtype != torch.bfloat16:
        return None
    if x.layout is not _strided or x.is_nested or x.is_neg() or x.dim() != 3:
        return None
    own = module.__dict__
    variant = own.get("variant")
    if variant is not None and not (variant.plain_in_training if own["training"] else variant.plain_in_evaluation):
        return None
    layers, memory = own["num_layers"], own.get("memory", "fast")
    if own["training"] and layers > 1 and own["dropout"] > 0:
        return None
    sizes = (own["input_size"], own["hidden_size"], own["proj_size"], layers, own["bias"], own["bidirectional"])
    stack = _stacks.get((*sizes, memory))
    if stack is None:
        stack = _stack(sizes, memory)
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
            if type(w) not in _PLAIN or w.shape != next(shape) or w.dtype != torch.bfloat16 or name in own:
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
    found = train(stack, rows, weights)
    if found is None:
        return None
    output, h_n, c_n = found
    return output.transpose(0, 1) if batch_first else output, (h_n, c_n)


def _stack(sizes: tuple[Any, ...], memory: Any) -> HalfStack | None:
    input_size, hidden, proj, layers, bias, bidirectional = sizes
    if not isinstance(hidden, int) or not isinstance(proj, int):
        return None  # a size per layer
    if cpu.unavailable() or memory not in _MEMORY:
        return None
    if len(_stacks) > 1000:
        _stacks.clear()
    directions = 2 if bidirectional else 1
    kinds = (hidden,) * layers, (proj,) * layers, directions, bias, torch.bfloat16, "cpu"
    return _stacks.setdefault((*sizes, memory), HalfStack(Problem(0, 0, input_size, *kinds, memory=memory)))
