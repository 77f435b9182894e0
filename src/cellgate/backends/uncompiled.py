"""Backward functions that ``torch.compile`` leaves alone.

A function under ``torch.compile`` may call ``loss.backward()``. What autograd then calls in Python runs inside that
function, so Dynamo would compile it too; but it loses the object of a method of the native module, and the call ends in
a ``TypeError``. ``torch.compiler.disable`` keeps it out for a microsecond and a half a call, and imports Dynamo, which
takes seconds. A mark on the code object, which is what Dynamo sets for code of its own, takes neither.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["uncompiled"]

Code = TypeVar("Code", bound=Callable[..., Any])


def uncompiled(function: Code) -> Code:
    """Mark a function, and all that it calls, as code that Dynamo neither compiles nor looks into; return it.

    Where a version of PyTorch has no such mark, the function is wrapped, which does the same at the price above.
    """
    try:
        frames: Any = torch._C._dynamo.eval_frame  # pyright: ignore[reportAttributeAccessIssue]
        skip = frames._FrameAction.SKIP
        frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))
    except AttributeError:
        return torch.compiler.disable(function)  # pyright: ignore[reportReturnType, reportUnknownVariableType]
    return function
