"""Functions that run as ordinary Python inside a compiled model too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Eager"]


class Eager:
    """A function that ``torch.compile`` neither looks into nor compiles: the graph breaks around it.

    ``torch.compiler.disable`` imports Dynamo, which takes seconds, so it is left alone until something is compiled.

    Args:
        function: What to call.
        reason: What Dynamo says where a break is not allowed.
    """

    def __init__(self, function: Callable[..., Any], reason: str) -> None:
        self.function = function
        self.reason = reason
        self.disabled: Callable[..., Any] | None = None

    def prepare(self) -> None:
        """Keep Dynamo out from now on, if it is there."""
        if self.disabled is None and "torch._dynamo" in sys.modules:
            self.disabled = torch.compiler.disable(self.function, reason=self.reason)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        if self.disabled is None:
            self.prepare()
        return (self.disabled or self.function)(*args, **kwargs)
