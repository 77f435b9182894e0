"""PyTorch as the estimators count on it, whatever the caller has set for work of his own.

Their networks are float32 and on the CPU, and training needs gradients. A notebook may have another default dtype or
device, gradients switched off, inference mode or autocast: none of them says anything about an estimator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import ParamSpec, TypeVar

import torch

_P = ParamSpec("_P")
_T = TypeVar("_T")


@contextmanager
def plain_torch() -> Iterator[None]:
    """float32 and the CPU as defaults, gradients recorded, no autocast; as it was set, afterwards."""
    with ExitStack() as stack:
        # Each costs time in every call of PyTorch, or is seen by other threads: only what has to be changed is.
        before = torch.get_default_dtype()
        if before != torch.float32:
            stack.callback(torch.set_default_dtype, before)
            torch.set_default_dtype(torch.float32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        yield


def in_plain_torch(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The function, run in `plain_torch`."""

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with plain_torch():
            return function(*args, **kwargs)

    return run


def each_in_plain_torch(items: Iterator[_T]) -> Iterator[_T]:
    """The items, each made in `plain_torch`; what is done between two of them is not."""
    while True:
        with plain_torch():
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
