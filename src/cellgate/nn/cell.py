"""``cellgate.LSTMCell``: one step of one layer, the contract of ``torch.nn.LSTMCell``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cellgate.backends import aten, reference, requested_backend
from cellgate.equations import LSTMWeights
from cellgate.errors import BackendError, ShapeError

from .call import under_transform
from .checks import check_constructor, check_input, check_state, check_state_pair, check_weights
from .recorders import refuse_to_be_scripted

__all__ = ["LSTMCell"]


class LSTMCell(nn.LSTMCell):
    """One LSTM step, ``torch.nn.LSTMCell`` in every number and name (it is a subclass of it).

    Args:
        input_size: I, may be 0.
        hidden_size: H.
        bias: Whether the cell has ``bias_ih`` and ``bias_hh``.
        device: Of the parameters.
        dtype: Of the parameters.

    Raises:
        TypeError: A size is not an int or ``bias`` is not a bool.
        ValueError: A size is out of range.

    Example:
        >>> import torch, cellgate
        >>> cell = cellgate.LSTMCell(20, 100)
        >>> h, c = cell(torch.zeros(1, 20))
        >>> h, c = cell(torch.zeros(1, 20), (h, c))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_constructor(input_size, hidden_size, 0, bias, False, 0.0)
        super().__init__(input_size, hidden_size, bias=bias, device=device, dtype=dtype)

    __prepare_scriptable__ = refuse_to_be_scripted

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Compute one step.

        Args:
            input: (B, I), or unbatched (I,).
            hx: (h, c), each (B, H) or unbatched (H,); zeros if left out.

        Returns:
            The new (h, c), shaped like hx.

        Raises:
            ShapeError: A size or rank is wrong (a ``ValueError`` and a ``RuntimeError``).
            DtypeError: Another dtype than the weights'.
        """
        weights = LSTMWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if not isinstance(input, Tensor) or input.dim() not in (1, 2):
            got = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
            raise ShapeError(
                f"input: expected (B, I) or unbatched (I,), got {got}: a cell takes one step, use cellgate.LSTM"
            )
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        check_weights([names], [[weights]], self.input_size, (self.hidden_size,), (0,), self.bias)
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        check_input("input", x, self.input_size, self.weight_ih, batch_first=False, packed=True)
        if hx is None:
            h = c = x.new_zeros(x.shape[0], self.hidden_size)
        else:
            check_state_pair(hx)
            expected = (x.shape[0], self.hidden_size) if batched else (self.hidden_size,)
            for k in (0, 1):
                check_state(f"hx[{k}]", hx[k], expected, x, 0 if batched else -1)
            h, c = hx if batched else (hx[0].unsqueeze(0), hx[1].unsqueeze(0))
        if torch.compiler.is_compiling() or under_transform():
            # The equations: a compiler fuses them, and torch.func and forward-mode AD have rules for them.
            h, c = reference.run_cell(x, h, c, weights)
            return (h, c) if batched else (h.squeeze(0), c.squeeze(0))
        backend = {"auto": aten, "aten": aten, "reference": reference}.get(requested_backend())
        if backend is None:
            raise BackendError(f"backend {requested_backend()!r} has no single cell: use cellgate.LSTM and its step()")
        h, c = backend.run_cell(x, h, c, weights)
        return (h, c) if batched else (h.squeeze(0), c.squeeze(0))
