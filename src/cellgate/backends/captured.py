"""The layer as one node of a captured graph: for ``torch.compile``, ``torch.export``, fake and meta tensors.

A graph must not hold one node for every step: it would be right for one T only, and thousands of nodes long. So while
a graph is captured the whole stack is one opaque operator, ``cellgate::lstm``, of which the capture needs shapes only.
The backend is chosen when the graph runs, by the rules of ``dispatch`` and the ``use_backend`` of that moment.

Where the graph will train on the CPU, the operator's last output is a block of bytes for backward: one line that says
whether it was filled, then the block of ``native/saved.h`` or, for other cells, that of ``cpu_variant``, from which
backward records the stack again without running it. Where another backend runs, and in exported programs, which are
seldom trained, nothing is kept: backward runs the stack again with autograd and differentiates that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, get_type_hints

import torch
from torch import Tensor

from cellgate.equations import FORMS, PLAIN, Cell, CellMasks, LSTMWeights

from . import cpu, cpu_autograd, cpu_variant
from .dispatch import choose, execute, requested_backend
from .problem import Inputs, Problem, Result, State, nested_weights
from .ragged import check_range

__all__ = ["CAPTURED", "run_captured"]

CAPTURED = "captured"
"""The name that stands for a backend while it is not chosen yet."""

_LINE = 64  # bytes before what a forward pass leaves for backward; the first says whether there is anything


class _Call(NamedTuple):
    """The parameters of the operators: the one list of them, from which their schemas are made.

    Weights end with those of highway connections; masks are those of dropout between layers, then those inside the
    recurrence. From ``cell`` to ``clip`` stands ``Problem.cell``, with "" and 0.0 for None.
    """

    x: Tensor
    state: Sequence[Tensor]
    weights: Sequence[Tensor]
    masks: Sequence[Tensor]
    lengths: Tensor | None
    batch_sizes: Tensor | None
    reset: Tensor | None
    steps: int
    batch: int
    hidden_sizes: Sequence[int]
    proj_sizes: Sequence[int]
    directions: int
    bias: bool
    dropout: float
    memory: str
    cell: str
    peephole: bool
    norm: str
    hard: bool
    clip: float
    noise: str
    connection: str
    record: bool


_KINDS = {
    Tensor: "Tensor",
    Sequence[Tensor]: "Tensor[]",
    Tensor | None: "Tensor?",
    int: "SymInt",
    Sequence[int]: "SymInt[]",
    bool: "bool",
    float: "float",
    str: "str",
}
_PARAMETERS = ", ".join(f"{_KINDS[hint]} {name}" for name, hint in get_type_hints(_Call).items())


def run_captured(problem: Problem, inputs: Inputs) -> Result:
    """Run a problem as one operator; as ``execute``, but without gates and without looking at any value."""
    if problem.autocast:
        inputs = _autocast(inputs, torch.get_autocast_dtype(problem.device))
    cell = problem.cell
    h0, c0 = _parts(inputs.h0), _parts(inputs.c0)
    output, *states, _ = _lstm(
        inputs.x,
        [*h0, *c0],
        [w for layer in inputs.weights for one in layer for w in one if w is not None]
        + [w for pair in inputs.highway or () for w in pair],
        list(inputs.dropout_masks or ())
        + [m for layer in inputs.cell_masks or () for one in layer for m in one if m is not None],
        inputs.lengths,
        inputs.batch_sizes,
        inputs.reset,
        problem.steps,
        problem.batch,
        list(problem.hidden_sizes),
        list(problem.proj_sizes),
        problem.directions,
        problem.bias,
        problem.dropout,
        problem.memory,
        cell.name,
        cell.peephole,
        cell.norm or "",
        cell.hard,
        0.0 if cell.clip is None else float(cell.clip),
        ",".join(problem.noise),
        problem.connection or "",
        problem.needs_grad and not torch.compiler.is_exporting(),
    )
    half = len(states) // 2
    if problem.uniform:
        return Result(output, states[0], states[1])
    return Result(output, tuple(states[:half]), tuple(states[half:]))


@torch.library.custom_op("cellgate::lstm", mutates_args=(), schema=f"({_PARAMETERS}) -> Tensor[]")
def _lstm(*arguments) -> list[Tensor]:
    """Return output, then h_n and c_n (one tensor each, or one a layer where the layers differ in size), then bytes."""
    call = _Call(*arguments)
    problem, inputs = _problem(call)
    choice = choose(problem, requested_backend())
    kept = call.x.new_empty(_bytes_kept(call), dtype=torch.uint8)
    if len(kept):
        kept[:_LINE] = choice.name == cpu.NAME
        inputs.kept = kept[_LINE:] if kept[0] else None
    outputs = [t.contiguous() for t in _outputs(execute(problem, inputs, choice))]
    # An operator's results may not share memory, as those of a variant may with what is kept.
    memory = kept.untyped_storage().data_ptr()
    return [*(t.clone() if len(kept) and t.untyped_storage().data_ptr() == memory else t for t in outputs), kept]


@_lstm.register_fake
def _(*arguments) -> list[Tensor]:
    call = _Call(*arguments)
    x, hidden, proj = call.x, call.hidden_sizes, call.proj_sizes
    outs = [p or h for h, p in zip(hidden, proj, strict=True)]
    output = x.new_empty(*x.shape[:-1], call.directions * outs[-1])
    uniform = len(set(hidden)) == 1 and len(set(proj)) == 1
    rows = [len(outs) * call.directions] if uniform else [call.directions] * len(outs)
    memories = [FORMS[call.cell].memories * size for size in hidden]
    states = [
        x.new_empty(r, call.batch, size) for sizes in (outs, memories) for r, size in zip(rows, sizes, strict=False)
    ]
    return [output, *states, x.new_empty(_bytes_kept(call), dtype=torch.uint8)]


@torch.library.custom_op(
    "cellgate::lstm_backward",
    mutates_args=(),
    schema=f"(Tensor?[] grads, bool[] needs, Tensor output, Tensor kept, {_PARAMETERS}) -> Tensor[]",
)
def _lstm_backward(grads, needs, output, kept, *arguments) -> list[Tensor]:
    """Return the gradients of those of x, state and weights that ``needs`` marks, in this order."""
    call = _Call(*arguments)
    filled = bool(len(kept) and kept[0])
    if filled and _is_plain(call):
        problem, inputs = _problem(call)
        tensors = (*call.state, *call.weights)
        done = cpu_autograd.recorded(problem, inputs, torch.get_num_threads(), call.x, output, kept[_LINE:], tensors)
        # The compiler reads results as the fake kernel says that they lie, whatever the strides of x are.
        found = cpu_autograd.backward(cpu.stack_of(problem), problem, done, needs, grads, like_x=False)
        return [grad for grad in found if grad is not None]
    tensors = [call.x, *call.state, *call.weights]
    given = [t.detach().requires_grad_(need) for t, need in zip(tensors, needs, strict=True)]
    call = call._replace(x=given[0], state=given[1 : 1 + len(call.state)], weights=given[1 + len(call.state) :])
    with _autograd_recording():
        problem, inputs = _problem(call)
        if filled:
            inputs.kept, inputs.filled = kept[_LINE:], True
            outputs = _outputs(cpu.run(problem, inputs))
        else:
            outputs = _outputs(execute(problem, inputs, choose(problem, requested_backend())))
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        leaves = [t for t, need in zip(given, needs, strict=True) if need]
        found = torch.autograd.grad([o for o, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
    # An operator's results may not share memory, as the gradients of two bias vectors do.
    own: list[Tensor] = []
    taken = {grad.data_ptr() for grad in grads if grad is not None}
    for leaf, grad in zip(leaves, found, strict=True):
        made = torch.zeros_like(leaf) if grad is None else grad.contiguous()
        own.append(made.clone() if made.data_ptr() in taken else made)
        taken.add(made.data_ptr())
    return own


@_lstm_backward.register_fake
def _(grads, needs, output, kept, *arguments) -> list[Tensor]:
    call = _Call(*arguments)
    tensors = [call.x, *call.state, *call.weights]
    return [t.new_empty(t.shape) for t, need in zip(tensors, needs, strict=True) if need]


def _setup_context(ctx, inputs, output) -> None:
    call = _Call(*inputs)
    ctx.counts = len(call.state), len(call.weights), len(call.masks)
    ctx.sizes = call[7:]
    ctx.save_for_backward(output[0], output[-1], call.x, *call.state, *call.weights, *call.masks, *call[4:7])


def _backward(ctx, grads):
    n_state, n_weights, n_masks = ctx.counts
    output, kept, x, *rest = ctx.saved_tensors
    state, rest = rest[:n_state], rest[n_state:]
    weights, rest = rest[:n_weights], rest[n_weights:]
    masks, optional = rest[:n_masks], rest[n_masks:]
    need_x, need_state, need_weights = ctx.needs_input_grad[:3]
    needs = [need_x, *need_state, *need_weights]
    found = iter(
        _lstm_backward(list(grads[:-1]), needs, output, kept, x, state, weights, masks, *optional, *ctx.sizes)
        if any(needs)
        else ()
    )
    d_x = next(found) if need_x else None
    d_state = [next(found) if need else None for need in need_state]
    d_weights = [next(found) if need else None for need in need_weights]
    return d_x, d_state, d_weights, [None] * n_masks, *[None] * (3 + len(ctx.sizes))


_lstm.register_autograd(_backward, setup_context=_setup_context)


def _bytes_kept(call: _Call) -> int:
    """Return the length of the operator's last output."""
    if not call.record or call.x.device.type != "cpu" or call.x.dtype not in cpu.SCALARS or cpu.unavailable():
        return 0
    sizes = call.hidden_sizes, call.proj_sizes, call.directions
    if _is_plain(call):
        rows = call.x.shape[0] if call.batch_sizes is not None else call.steps * call.batch
        scalars = cpu_autograd.saved_scalars(call.steps, call.batch, rows, *sizes, call.dropout > 0, call.memory)
    else:
        scalars = cpu_variant.kept_scalars(call.steps, call.batch, *sizes, call.memory, _cell(call))
    return _LINE + scalars * call.x.element_size()


def _is_plain(call: _Call) -> bool:
    return _cell(call) == PLAIN and not call.noise and not call.connection


def _cell(call: _Call) -> Cell:
    return Cell(call.cell, call.peephole, call.norm or None, call.hard, call.clip or None)


def _problem(call: _Call) -> tuple[Problem, Inputs]:
    """Return the call as a backend wants it."""
    if call.lengths is not None:
        check_range(call.lengths, call.steps)
    x = call.x
    problem = Problem(
        steps=call.steps,
        batch=call.batch,
        input_size=x.shape[-1],
        hidden_sizes=tuple(call.hidden_sizes),
        proj_sizes=tuple(call.proj_sizes),
        directions=call.directions,
        bias=call.bias,
        dtype=x.dtype,
        device=x.device.type,
        needs_grad=torch.is_grad_enabled() and any(t.requires_grad for t in (x, *call.state, *call.weights)),
        packed=call.batch_sizes is not None,
        lengths=call.lengths is not None,
        reset=call.reset is not None,
        dropout=call.dropout,
        memory=call.memory,
        cell=_cell(call),
        noise=tuple(call.noise.split(",")) if call.noise else (),
        connection=call.connection or None,
    )
    half = len(call.state) // 2
    h0, c0 = (_joined(part, problem) for part in (call.state[:half], call.state[half:]))
    between = problem.layers - 1 if problem.dropout > 0 else 0
    inputs = Inputs(
        x,
        h0,
        c0,
        nested_weights(call.weights, problem),
        call.lengths,
        call.batch_sizes,
        call.reset,
        list(call.masks[:between]) or None,
    )
    if problem.noise:
        drawn = iter(call.masks[between:])
        inputs.cell_masks = [
            [CellMasks(**{name: next(drawn) for name in problem.noise}) for _ in range(problem.directions)]
            for _ in range(problem.layers)
        ]
    if problem.connection == "highway":
        pairs = call.weights[len(call.weights) - 2 * (problem.layers - 1) :]
        inputs.highway = list(zip(pairs[::2], pairs[1::2], strict=True))
    return problem, inputs


def _outputs(result: Result) -> list[Tensor]:
    return [result.output, *_parts(result.h_n), *_parts(result.c_n)]


def _parts(state: State | None) -> list[Tensor]:
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else list(state)


def _joined(parts: Sequence[Tensor], problem: Problem) -> State | None:
    if not parts:
        return None
    return parts[0] if problem.uniform else tuple(parts)


def _autocast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Cast as autocast would, which does not look into the operator."""

    def cast(state: State | None) -> State | None:
        if state is None:
            return None
        return state.to(dtype) if isinstance(state, Tensor) else tuple(part.to(dtype) for part in state)

    return replace(
        inputs,
        x=inputs.x.to(dtype),
        h0=cast(inputs.h0),
        c0=cast(inputs.c0),
        weights=[
            [LSTMWeights._make(None if w is None else w.to(dtype) for w in cell) for cell in layer]
            for layer in inputs.weights
        ],
        dropout_masks=None if inputs.dropout_masks is None else [mask.to(dtype) for mask in inputs.dropout_masks],
        cell_masks=None
        if inputs.cell_masks is None
        else [
            [CellMasks._make(None if m is None else m.to(dtype) for m in masks) for masks in layer]
            for layer in inputs.cell_masks
        ],
        highway=None if inputs.highway is None else [(w.to(dtype), b.to(dtype)) for w, b in inputs.highway],
    )


class _autograd_recording:
    """Record gradients although an operator's kernel runs below autograd, where nothing is recorded."""

    def __enter__(self) -> None:
        self._guards = (
            torch.enable_grad(),
            torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False),
            torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.ADInplaceOrView, False),
        )
        for guard in self._guards:
            guard.__enter__()

    def __exit__(self, *args: object) -> None:
        for guard in reversed(self._guards):
            guard.__exit__(None, None, None)
