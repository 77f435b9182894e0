"""torch.optim.AdamW, number for number, without what it imports for torch.compile: most of a second at the first step.

Its methods call TorchDynamo, to be left out of compiled graphs. This loop is in none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch

_step: Callable[[torch.optim.AdamW], Any] = inspect.unwrap(torch.optim.AdamW.step)


class AdamW(torch.optim.AdamW):
    """Fused AdamW; `groups` and `lr` as torch.optim.AdamW takes them."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, lr=lr, fused=True)

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the parameters by their gradients."""
        _step(self)
