"""What a call is to recorders: to ``torch.fx`` one node or one operator, to ``torch.jit.script`` nothing it knows."""

from __future__ import annotations

import sys
from typing import Any

import torch

from cellgate.errors import InputError

__all__ = ["leaf", "refuse_to_be_scripted", "under_make_fx"]


def leaf(module: Any, input: torch.fx.Proxy, hx: Any, lengths: Any, reset: Any) -> torch.fx.Proxy:
    """Return a call as one node, as ``symbolic_trace`` records nn.LSTM: it looks into no module of torch.nn.

    Raises:
        InputError: The module is not a part of a model, but traced itself.
    """
    tracer: Any = input.tracer
    try:
        path = tracer.path_of_module(module)
    except NameError:
        path = ""
    if not path:
        raise InputError(
            "input: expected a tensor, got a Proxy of torch.fx, and the LSTM is no part of the model that is traced: "
            "trace a model that has it for a submodule"
        )
    kwargs = {key: value for key, value in (("lengths", lengths), ("reset", reset)) if value is not None}
    return tracer.create_proxy("call_module", path, (input,) if hx is None else (input, hx), kwargs)


def under_make_fx() -> bool:
    """Whether ``make_fx`` records what runs: PyTorch's operators, not what the engine writes into their results."""
    recorder = sys.modules.get("torch.fx.experimental.proxy_tensor")
    return recorder is not None and recorder.get_proxy_mode() is not None


def refuse_to_be_scripted(module: torch.nn.Module) -> Any:
    """Say what to do instead; as ``__prepare_scriptable__`` of a module, which ``torch.jit.script`` calls first.

    Raises:
        InputError: Always.
    """
    raise InputError(
        f"torch.jit.script: expected a model of PyTorch's own layers, got cellgate's {type(module).__name__}, whose "
        "code it cannot compile: use cellgate.revert(model) first, or load the state_dict of a layer that was made as "
        "cellgate's into PyTorch's; or use torch.export"
    )
