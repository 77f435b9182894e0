"""What a layer is asked to compute: a frozen description, the tensors that go with it, and the result.

A backend executes a whole stack (all layers, both directions) in one call, on time-major data. It decides from the
:class:`Problem` alone whether it can; the tensors travel in :class:`Inputs`.

Letters: T steps, B batch, I input size, H hidden size, P size of h (the projection, or H), L layers, D directions,
N total steps of a packed batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cellgate.equations import PLAIN, Cell, CellMasks, LSTMWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "Gates",
    "Inputs",
    "LSTMWeights",
    "Problem",
    "Result",
    "State",
    "any_wrapped",
    "join_state",
    "nested_weights",
    "split_state",
]

_NO_DISPATCH = getattr(Tensor, "__torch_dispatch__", None)

State = Tensor | tuple[Tensor, ...]
"""h or c of a stack: (L*D, B, size) if layers have one size (``Problem.uniform``), else L tensors (D, B, size_l)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything a backend may base its decision on.

    Attributes:
        steps: T. For packed data the longest length.
        batch: B.
        input_size: I, features of the first layer's input; may be 0.
        hidden_sizes: H of each layer.
        proj_sizes: P of each layer, 0 where the layer has no projection.
        directions: D, 1 or 2.
        bias: Whether the cells have their two bias vectors.
        dtype: Of input, state and weights.
        device: Device type, "cpu" or "cuda" for example.
        needs_grad: Autograd will record this call; in a trace, which may run either way, the module is in training.
        packed: x and the output are packed data (N, size) with ``Inputs.batch_sizes``; rows are sorted by length.
        lengths: x is padded and ``Inputs.lengths`` holds the length of each sequence.
        reset: ``Inputs.reset`` holds a mask.
        dropout: Probability of dropout between layers if this call trains, else 0.0. ``Inputs.dropout_masks`` then
            holds a mask for every layer but the last, unless the backend draws them itself.
        gates: The caller wants all gates and cell states back.
        transformed: A torch.func transform (vmap, jvp, grad) or forward-mode AD is under way.
        compiling: Inside torch.compile or torch.export.
        tracing: Inside torch.jit.trace or torch.onnx.export, which take PyTorch's operators and nothing else.
        autocast: Autocast is on for this device.
        wrapped: A tensor is of a subclass with ``__torch_dispatch__``, such as a DTensor, and has no memory of its own.
        memory: What training keeps for backward: "fast", "lean" or "minimal".
        cell: What the cells compute.
        noise: Which masks inside the recurrence come with it (fields of ``CellMasks``), in ``Inputs.cell_masks``.
        connection: "residual" or "highway" connections around every layer but the first, or None.
    """

    steps: int
    batch: int
    input_size: int
    hidden_sizes: tuple[int, ...]
    proj_sizes: tuple[int, ...]
    directions: int
    bias: bool
    dtype: torch.dtype
    device: str
    needs_grad: bool = False
    packed: bool = False
    lengths: bool = False
    reset: bool = False
    dropout: float = 0.0
    gates: bool = False
    transformed: bool = False
    compiling: bool = False
    tracing: bool = False
    autocast: bool = False
    wrapped: bool = False
    memory: str = "fast"
    cell: Cell = PLAIN
    noise: tuple[str, ...] = ()
    connection: str | None = None

    @property
    def layers(self) -> int:
        """L, the number of layers."""
        return len(self.hidden_sizes)

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Size of h of each layer in one direction: its projection, else its hidden size."""
        return tuple(p or h for h, p in zip(self.hidden_sizes, self.proj_sizes, strict=True))

    @property
    def memory_sizes(self) -> tuple[int, ...]:
        """Size of c of each layer: its hidden size, or a multiple for cells that remember more."""
        return tuple(h * self.cell.memories for h in self.hidden_sizes)

    @property
    def uniform(self) -> bool:
        """Whether all layers have the same sizes, so that states are stacked as nn.LSTM stacks them."""
        return len(set(self.hidden_sizes)) == 1 and len(set(self.proj_sizes)) == 1


@dataclass(slots=True)
class Inputs:
    """The tensors of one call.

    Attributes:
        x: (T, B, I), any strides; or packed data (N, I).
        h0: Initial h, or None for zeros.
        c0: Initial c, or None for zeros. Both are given or neither is.
        weights: ``weights[layer][direction]``.
        lengths: (B,) int64 on the CPU, 0 <= length <= T, in any order; or None.
        batch_sizes: (T,) int64 on the CPU, how many sequences reach each step of packed data; or None.
        reset: (T, B) bool on x's device: the state is zero before that step; or None. A reset at t separates step t
            from step t-1 for both directions: read backwards, the state is zero before step t-1.
        dropout_masks: One for every layer but the last, shaped like that layer's output, already scaled by 1/(1-p);
            or None.
        cell_masks: ``cell_masks[layer][direction]``, time-major and padded also for packed data; or None.
        highway: (W_t, b_t) of every layer but the first, with ``connection="highway"``; or None.
        kept: Memory in which the native engine is to leave what backward needs, where autograd does not record the call
            (``native/saved.h``, for other cells ``cpu_variant``); or None. Other backends leave it alone.
        filled: Whether ``kept`` holds it already: a variant is then only recorded again, without running forward.
    """

    x: Tensor
    h0: State | None
    c0: State | None
    weights: Sequence[Sequence[LSTMWeights]]
    lengths: Tensor | None = None
    batch_sizes: Tensor | None = None
    reset: Tensor | None = None
    dropout_masks: Sequence[Tensor] | None = None
    cell_masks: Sequence[Sequence[CellMasks]] | None = None
    highway: Sequence[tuple[Tensor, Tensor]] | None = None
    kept: Tensor | None = None
    filled: bool = False


@dataclass(slots=True)
class Gates:
    """What one layer's cells did: gates i, f, g, o and cell c of (T, B, D, H), hidden state h of (T, B, D, P).

    Zero past the end of a sequence. Never packed: packed problems give them padded to (T, B), rows in packed order.
    """

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c: Tensor
    h: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Gates:
        """Return the gates with a function applied to each of the six tensors."""
        return Gates(*(function(getattr(self, field.name)) for field in fields(self)))


@dataclass(slots=True)
class Result:
    """What a backend returns.

    Attributes:
        output: (T, B, D*P) of the last layer, zero past the end of a sequence; or packed data (N, D*P).
        h_n: h after each sequence's own last step (its first step for the backward direction); h0 for length 0.
        c_n: c likewise.
        gates: One :class:`Gates` a layer if ``Problem.gates``, else None.
        batch_first: (B, T, D*P), the output as it was before it became (T, B, D*P), where it was made so.
    """

    output: Tensor
    h_n: State
    c_n: State
    gates: tuple[Gates, ...] | None = None
    batch_first: Tensor | None = None


def any_wrapped(tensors: Iterable[Tensor]) -> bool:
    """Whether one is of a subclass whose operations go to its ``__torch_dispatch__``, its numbers elsewhere."""
    return any(getattr(type(t), "__torch_dispatch__", None) is not _NO_DISPATCH for t in tensors)


def nested_weights(flat: Sequence[Tensor], problem: Problem) -> list[list[LSTMWeights]]:
    """Return a flat list of weights, in PyTorch's order, as ``weights[layer][direction]``."""
    given = iter(flat)
    cell = problem.cell
    there = {
        "w_ih": True,
        "w_hh": True,
        "b_ih": problem.bias,
        "b_hh": problem.bias,
        "peephole": cell.peephole,
        "w_gg": cell.memories == 4,
        **dict.fromkeys(("gain_ih", "gain_hh", "gain_c"), cell.norm is not None),
        **dict.fromkeys(("shift_ih", "shift_hh", "shift_c"), cell.norm == "layer"),
    }
    return [
        [
            LSTMWeights._make(next(given) if there.get(name, proj > 0) else None for name in LSTMWeights._fields)
            for _ in range(problem.directions)
        ]
        for proj in problem.proj_sizes
    ]


def split_state(state: State, problem: Problem) -> tuple[Tensor, ...]:
    """Return the state as one tensor of (D, B, size) a layer, whatever its form."""
    if isinstance(state, tuple):
        return state
    return state.unflatten(0, (problem.layers, problem.directions)).unbind(0)


def join_state(layers: Sequence[Tensor], problem: Problem) -> State:
    """Return one (D, B, size) tensor a layer in the form that ``problem.uniform`` calls for."""
    if not problem.uniform:
        return tuple(layers)
    return layers[0] if len(layers) == 1 else torch.cat(tuple(layers))
