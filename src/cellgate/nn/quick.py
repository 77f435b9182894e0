"""The short way from a module to the native engine, for calls that only compute.

A streamed step or a short sequence takes the engine a few microseconds, the full way through ``checks`` and
``dispatch`` some fifty. A call without autograd on plain CPU tensors of the right shapes needs neither: this module
asks just what the engine's safety depends on, and whatever it does not know at once it leaves to the full way, which
also words the errors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellgate.backends import Problem, cpu, requested_backend

__all__ = ["run_quick"]

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_autocast_on = torch.is_autocast_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transform = torch._C._functorch.peek_interpreter_stack  # pyright: ignore[reportAttributeAccessIssue]
_tracing = torch._C._get_tracing_state
_empty = torch.empty
_strided = torch.strided
_threads = torch.get_num_threads
_PLAIN = (Tensor, torch.nn.Parameter)


class _Plan:
    """What is known of all modules with the same sizes."""

    __slots__ = ("directions", "forward", "hidden", "layers", "output", "shapes", "width")

    def __init__(self, key: tuple[Any, ...]) -> None:
        input_size, hidden, proj, layers, bias, bidirectional, dtype = key
        self.layers, self.directions = layers, 2 if bidirectional else 1
        self.hidden, self.output = hidden, proj or hidden
        self.width = self.directions * self.output
        problem = Problem(0, 0, input_size, (hidden,) * layers, (proj,) * layers, self.directions, bias, dtype, "cpu")
        self.forward = cpu.stack_of(problem).forward
        self.shapes: list[tuple[int, ...]] = []
        for layer in range(layers):
            for _ in range(self.directions):
                self.shapes.append((4 * hidden, self.width if layer else input_size))
                self.shapes.append((4 * hidden, self.output))
                self.shapes += [(4 * hidden,)] * 2 if bias else []
                self.shapes += [(proj, hidden)] if proj else []


_plans: dict[tuple[Any, ...], _Plan] = {}


def run_quick(module: Any, x: Any, hx: Any) -> Any:
    """Run a call of an LSTM module on the engine, or return None where the full way is called for.

    Args:
        module: With the attributes of ``torch.nn.LSTM``.
        x: (T, B, I), (B, T, I) with ``batch_first``, or (T, I).
        hx: (h_0, c_0) or None.

    Returns:
        ``output, (h_n, c_n)`` or None.
    """
    if _is_compiling() or _is_grad_enabled() or type(x) is not Tensor or not x.is_cpu:
        return None
    if x.layout is not _strided or x.is_neg():
        return None
    own = module.__dict__
    if own.get("variant") is not None:
        return None
    dtype = x.dtype
    key = (
        own["input_size"],
        own["hidden_size"],
        own["proj_size"],
        own["num_layers"],
        own["bias"],
        own["bidirectional"],
        dtype,
    )
    plan = _plans.get(key)
    if plan is None:
        plan = _plan(key)
        if plan is None:
            return None
    if own["training"] and own["dropout"] > 0 and plan.layers > 1:
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
    weights = []
    shape = iter(plan.shapes)
    for names in own["_all_weights"]:
        for name in names:
            w = parameters.get(name)
            # The last: someone put a tensor in the place of the parameter.
            if type(w) not in _PLAIN or w.shape != next(shape) or w.dtype != dtype or name in own:
                return None
            if not (w.is_cpu and w.is_contiguous()):
                return None
            weights.append(w.data_ptr())

    size = x.shape
    if len(size) == 3:
        if own["batch_first"]:
            batch, steps, width = size
            x_row, x_step, unit = x.stride()
        else:
            steps, batch, width = size
            x_step, x_row, unit = x.stride()
        states = (plan.layers * plan.directions, batch)
    elif len(size) == 2:
        (steps, width), batch, (x_step, unit), x_row = size, 1, x.stride(), 0
        states = (plan.layers * plan.directions,)
    else:
        return None
    if width != key[0] or (unit != 1 and width > 1) or steps == 0 or batch == 0:
        return None

    h0 = c0 = None
    if hx is not None:
        if type(hx) is not tuple or len(hx) != 2:
            return None
        h, c = hx
        if type(h) is not Tensor or type(c) is not Tensor or h.dtype != dtype or c.dtype != dtype:
            return None
        if h.shape != (*states, plan.output) or c.shape != (*states, plan.hidden):
            return None
        if not (h.is_cpu and c.is_cpu and h.is_contiguous() and c.is_contiguous()):
            return None
        h0, c0 = h.data_ptr(), c.data_ptr()

    # Time-major in memory, as nn.LSTM's output is.
    y = _empty((*size[:-1], plan.width) if not own["batch_first"] else (steps, *size[:-2], plan.width), dtype=dtype)
    h_n = _empty((*states, plan.output), dtype=dtype)
    c_n = _empty((*states, plan.hidden), dtype=dtype)
    y_step, y_row = batch * plan.width, plan.width
    if plan.layers == 1:
        at = (None if h0 is None else (h0,), None if c0 is None else (c0,), (h_n.data_ptr(),), (c_n.data_ptr(),))
    else:
        each = plan.directions * batch * x.element_size()
        at = tuple(
            None if start is None else tuple(range(start, start + plan.layers * stride, stride))
            for start, stride in (
                (h0, each * plan.output),
                (c0, each * plan.hidden),
                (h_n.data_ptr(), each * plan.output),
                (c_n.data_ptr(), each * plan.hidden),
            )
        )
    plan.forward(
        steps, batch, x.data_ptr(), x_step, x_row, y.data_ptr(), y_step, y_row, tuple(weights), *at, _threads()
    )
    return y.transpose(0, 1) if len(size) == 3 and own["batch_first"] else y, (h_n, c_n)


def _plan(key: tuple[Any, ...]) -> _Plan | None:
    _, hidden, proj, _, _, _, dtype = key
    if not isinstance(hidden, int) or not isinstance(proj, int):
        return None  # a size per layer
    if cpu.unavailable() or dtype not in cpu.SCALARS:
        return None
    if len(_plans) > 1000:
        _plans.clear()
    return _plans.setdefault(key, _Plan(key))
