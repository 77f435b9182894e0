"""Cells other than torch.nn.LSTM's on the native engine: one call for each layer and direction, one autograd node each.

The kernels (``native/variant.h``) know one direction of one padded layer. What stands around it, such as packed data, a
stack, dropout between layers and connections, is made of PyTorch's operations here.

With ``memory="fast"`` states c, gates and, with normalisation, both normalised products are kept for backward; with
"lean" the states only, with "minimal" those of every 16th step (with full gate recurrence, where gates are part of it,
all of them). What was not kept is computed again while backward goes through time, a chunk of steps after the other.

Where a compiled graph calls, which autograd does not see, all that and what every direction returns lies in
``Inputs.kept``. Backward then builds the graph of the stack from there, without running a kernel forward again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from cellgate.equations import Cell, CellMasks, Form, LSTMWeights, connect

from . import cpu_tensors, reference
from .cpu_autograd import gradients_of, leaves_of
from .problem import Gates, Inputs, Problem, Result, join_state, split_state
from .ragged import padded_inputs, repacked_result
from .uncompiled import uncompiled

__all__ = ["DirectionCall", "form_of", "kept_scalars", "recorded_backward", "run"]

_INPUT = {"gate": 0, "one": 1}
_FORGET = {"gate": 0, "one": 1, "coupled": 2}
_CANDIDATE = {"tanh": 0, "identity": 1, "wide": 2}
_SQUASH = {"tanh": 0, "identity": 1, "half": 2}
_NORM = {None: 0, "layer": 1, "rms": 2}
_EVERY = 16  # "minimal" keeps the state of every 16th step
_PROJECTION = 3 + LSTMWeights._fields.index("w_hr")  # its place after x, h0 and c0


def form_of(cell: Cell) -> tuple[int, ...]:
    """Return a cell's form as the kernels number it, in the order of ``CellForm`` in ``native/variant.h``."""
    form: Form = cell.form
    return (
        _INPUT[form.input],
        _FORGET[form.forget],
        _INPUT[form.output],
        _CANDIDATE[form.candidate],
        _SQUASH[form.squash],
        int(cell.hard),
        _NORM[cell.norm],
        int(cell.name == "slstm"),
        int(form.memories == 4),
    )


def run(native: Any, problem: Problem, inputs: Inputs, threads: int) -> Result:
    """Execute a stack of any cells.

    Args:
        native: The module ``cellgate._native``.
        problem: float32 or float64 on the CPU.
        inputs: Its tensors.
        threads: At most so many threads, in backward too.

    Returns:
        The result, every part of it differentiable with respect to x, h0, c0 and all weights.
    """
    if problem.steps == 0 or problem.batch == 0:
        return reference.run(problem, inputs)  # nothing to compute, but shapes and a graph
    if problem.packed:
        padded, padded_in = padded_inputs(problem, inputs)
        assert padded_in.lengths is not None
        return repacked_result(run(native, padded, padded_in, threads), padded_in.lengths)
    x = inputs.x
    block = None if inputs.kept is None else _Block(inputs.kept, x)
    record = problem.needs_grad if block is None else inputs.filled
    if block is not None:
        problem = replace(problem, needs_grad=True)  # kept is what backward needs, whoever calls it
    h0 = None if inputs.h0 is None else split_state(inputs.h0, problem)
    c0 = None if inputs.c0 is None else split_state(inputs.c0, problem)
    without_masks = replace(inputs, cell_masks=None, kept=None)
    h_n, c_n, gates = [], [], []
    for layer, directions in enumerate(inputs.weights):
        before = x
        if layer > 0 and inputs.dropout_masks is not None:
            x = x * inputs.dropout_masks[layer - 1]
        sides = []
        for d, weights in enumerate(directions):
            call = DirectionCall(
                native,
                problem,
                without_masks,
                CellMasks() if inputs.cell_masks is None else inputs.cell_masks[layer][d],
                threads,
                problem.hidden_sizes[layer],
                d == 1,
                block,
                inputs.filled,
            )
            state = (None, None) if h0 is None or c0 is None else (h0[layer][d], c0[layer][d])
            # Outside of the node, so that what it saves has a history.
            tensors = (_plain(x), *(None if t is None else cpu_tensors.contiguous(t) for t in (*state, *weights)))
            sides.append(_Direction.apply(call, *tensors) if record else _run(call, *tensors)[0])
        outputs = [side[0] for side in sides]
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        h_n.append(_side_by_side([side[1] for side in sides]))
        c_n.append(_side_by_side([side[2] for side in sides]))
        if problem.gates:
            gates.append(_gates(sides, outputs, problem.hidden_sizes[layer]))
        if layer > 0 and problem.connection is not None:
            x = connect(before, x, None if inputs.highway is None else inputs.highway[layer - 1])
    return Result(x, join_state(h_n, problem), join_state(c_n, problem), tuple(gates) if problem.gates else None)


def _side_by_side(states: Sequence[Tensor]) -> Tensor:
    """Return the state of every direction, (D, B, size)."""
    return states[0] if len(states) == 1 else torch.cat(list(states))


def _gates(sides: Sequence[Any], outputs: Sequence[Tensor], hidden: int) -> Gates:
    planes = torch.stack([side[3] for side in sides], dim=2).unflatten(-1, (-1, hidden))
    i, f, g, o = planes[:, :, :, :4].unbind(3)
    cells = torch.stack([side[4] for side in sides], dim=2)
    return Gates(i, f, g, o, cells[..., :hidden], torch.stack(list(outputs), dim=2))


class _Block:
    """Memory of which tensors are taken, one after the other."""

    def __init__(self, kept: Tensor, like: Tensor) -> None:
        self._rest = kept.view(like.dtype)

    def take(self, size: tuple[int, ...]) -> Tensor:
        count = math.prod(size)
        taken, self._rest = self._rest[:count].view(size), self._rest[_in_lines(count) :]
        return taken


def _in_lines(scalars: int) -> int:
    return (scalars + 31) // 32 * 32


@dataclass(slots=True)
class DirectionCall:
    """One direction of one layer, beside its differentiable tensors."""

    native: Any
    problem: Problem
    inputs: Inputs
    masks: CellMasks
    threads: int
    hidden: int
    backward: bool
    block: _Block | None = None  # where it keeps and returns everything, if anywhere
    filled: bool = False  # the block holds all that already


@dataclass(slots=True)
class _Kept:
    """Memory that the forward pass fills: c, gates, normalised products and their scales; None: not kept."""

    memory: Tensor | None
    gates: Tensor | None
    normal_ih: Tensor | None
    normal_hh: Tensor | None
    scales: Tensor | None

    def tensors(self) -> tuple[Tensor | None, ...]:
        return self.memory, self.gates, self.normal_ih, self.normal_hh, self.scales


def _run(
    call: DirectionCall, x: Tensor, *tensors: Tensor | None
) -> tuple[tuple[Tensor, ...], list[Tensor | None], _Kept]:
    """Return output, h_n, c_n and, for a trace, gates and memory; then the tensors and what was kept for backward."""
    kept = _keep(call, x)
    outs = _run_forward(call, x, tensors, kept)
    if call.problem.gates:
        assert kept.gates is not None
        assert kept.memory is not None
        outs += (kept.gates, kept.memory)
    return outs, [x, *tensors], kept


class _Direction(Function):
    """One direction of one layer: (x, h0, c0, weights) to output, h_n, c_n and, for a trace, gates and memory."""

    @staticmethod
    def forward(ctx: Any, call: DirectionCall, *tensors: Any) -> Any:
        ctx.set_materialize_grads(False)
        outs, given, kept = _run(call, *tensors)
        ctx.call = call
        saved = (outs[0], *given, *kept.tensors())
        ctx.saved = cpu_tensors.Saved.of(saved)
        ctx.save_for_backward(*saved)
        return outs

    @staticmethod
    @uncompiled
    def backward(ctx: Any, dy: Tensor | None, dh_n: Any, dc_n: Any, *trace: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        call: DirectionCall = ctx.call
        output, x, *tensors = saved = ctx.saved_tensors
        ctx.saved.replaced(saved)
        needs, grads = ctx.needs_input_grad[1:], (dy, dh_n, dc_n, *trace)
        if torch.is_grad_enabled() or cpu_tensors.more_than_numbers(grads):
            return (None, *recorded_backward(needs, call, x, tensors, grads))
        count = 2 + len(LSTMWeights._fields)
        kept = _Kept(*tensors[count:])
        return (None, *_run_backward(call, x, output, tensors[:count], kept, needs, grads))


def _every(memory: str, cell: Cell, gates: bool) -> int:
    """Return at which intervals states are kept."""
    return _EVERY if memory == "minimal" and not gates and cell.memories != 4 else 1


def _kept_sizes(
    steps: int, batch: int, hidden: int, memory: str, cell: Cell, *, gates: bool = False
) -> list[tuple[int, ...] | None]:
    """Return the sizes of what training keeps of a direction, in the order of ``_Kept``."""
    planes = 5 if cell.name == "slstm" else 4
    every = _every(memory, cell, gates)
    gates = gates or memory == "fast"
    normal = gates and cell.norm is not None
    return [
        (-(-steps // every), batch, cell.memories * hidden),
        (steps, batch, planes * hidden) if gates else None,
        *((steps, batch, size) if normal else None for size in (4 * hidden, 4 * hidden, 4)),
    ]


def _out_sizes(steps: int, batch: int, hidden: int, out: int, cell: Cell) -> list[tuple[int, ...]]:
    """Return the sizes of output, h_n and c_n."""
    return [(steps, batch, out), (1, batch, out), (1, batch, cell.memories * hidden)]


def kept_scalars(
    steps: int,
    batch: int,
    hidden_sizes: Sequence[int],
    proj_sizes: Sequence[int],
    directions: int,
    memory: str,
    cell: Cell,
) -> int:
    """Return the size of ``Inputs.kept`` for a stack; sizes may be symbols of a graph."""
    total = 0
    for hidden, proj in zip(hidden_sizes, proj_sizes, strict=True):
        sizes = [size for size in _kept_sizes(steps, batch, hidden, memory, cell) if size is not None]
        sizes += _out_sizes(steps, batch, hidden, proj or hidden, cell)
        total += directions * sum(_in_lines(math.prod(size)) for size in sizes)
    return total


def _keep(call: DirectionCall, x: Tensor) -> _Kept:
    problem = call.problem
    if not (problem.needs_grad or problem.gates):
        return _Kept(None, None, None, None, None)
    # Past a length nothing is written; a trace must show zeros there.
    ragged = problem.gates and problem.lengths

    def empty(size: tuple[int, ...] | None) -> Tensor | None:
        if size is None:
            return None
        if call.block is not None:
            return call.block.take(size)
        block = cpu_tensors.new_block(size, x, cpu_tensors.REUSED_PIECE)
        return block.zero_() if ragged else block

    sizes = _kept_sizes(problem.steps, problem.batch, call.hidden, problem.memory, problem.cell, gates=problem.gates)
    if not problem.needs_grad:
        sizes[2:] = [None] * 3
    return _Kept(*map(empty, sizes))


def _arguments(
    call: DirectionCall, x: Tensor, tensors: Sequence[Tensor | None], kept: _Kept, outs: Sequence[Tensor | None]
) -> tuple[tuple[Any, ...], list[Any]]:
    """Return what both passes are called with, and the tensors whose addresses are in it."""
    problem = call.problem
    h0, c0, *rest = tensors
    w = _weights(rest)
    output, h_n, c_n = outs
    assert output is not None
    sizes = (
        problem.steps,
        problem.batch,
        x.shape[-1],
        call.hidden,
        output.shape[-1],
        int(call.backward),
        int(problem.needs_grad),
        call.threads,
        _every(problem.memory, problem.cell, problem.gates),
    )
    lengths, reset = (None if t is None else t.contiguous() for t in (call.inputs.lengths, call.inputs.reset))
    masks = [None if m is None else _plain(m) for m in call.masks[1:]]
    locked = None if call.masks.locked is None else call.masks.locked.contiguous()
    strides = [n for t in (x, *masks, output) for n in ((0, 0) if t is None else t.stride()[:2])]
    ordered = [
        *(lengths, reset, x, w.w_ih, w.w_hh, w.b_ih, w.b_hh, w.w_hr, w.peephole, w.w_gg),
        *(w.gain_ih, w.shift_ih, w.gain_hh, w.shift_hh, w.gain_c, w.shift_c),
        *(h0, c0, locked, *masks, h_n, c_n, output, None),
        *kept.tensors(),
    ]
    clip = problem.cell.clip or 0.0
    is_double = x.dtype == torch.float64
    return (is_double, sizes, form_of(problem.cell), clip, tuple(strides), cpu_tensors.addresses(ordered)), ordered


def _run_forward(call: DirectionCall, x: Tensor, tensors: Sequence[Tensor | None], kept: _Kept) -> tuple[Tensor, ...]:
    problem, w = call.problem, _weights(tensors[2:])
    out = call.hidden if w.w_hr is None else w.w_hr.shape[0]
    new = x.new_empty if call.block is None else call.block.take
    outs = tuple(new(size) for size in _out_sizes(problem.steps, problem.batch, call.hidden, out, problem.cell))
    if call.filled:
        return outs
    arguments, _alive = _arguments(call, x, tensors, kept, outs)
    call.native.variant_forward(*arguments)
    return outs


def _run_backward(
    call: DirectionCall,
    x: Tensor,
    output: Tensor,
    tensors: Sequence[Tensor | None],
    kept: _Kept,
    needs: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Return the gradients of x, h0, c0 and the weights, in the order of ``LSTMWeights``."""
    problem, hidden = call.problem, call.hidden
    needs = _needed(problem, needs, grads)
    h0, c0, *rest = tensors
    w = _weights(rest)
    dy, dh_n, dc_n, *trace = grads
    dgates, dmemory = trace if trace else (None, None)
    dcell = None if dmemory is None else cpu_tensors.contiguous(dmemory[..., :hidden])
    dy = None if dy is None else _plain(dy)
    dh_n, dc_n, dgates = (None if g is None else cpu_tensors.contiguous(g) for g in (dh_n, dc_n, dgates))
    dx = x.new_empty(problem.steps, problem.batch, x.shape[-1]) if needs[0] else None

    def like(t: Tensor | None, *, wanted: bool = True) -> Tensor | None:
        return None if t is None or not wanted else cpu_tensors.empty_gradient(t)

    need = dict(zip(LSTMWeights._fields, needs[3:], strict=True))
    d = {name: like(getattr(w, name), wanted=need[name]) for name in LSTMWeights._fields}
    with_norm = problem.cell.norm is not None
    db = x.new_empty(4 * hidden) if w.b_ih is not None or with_norm else None
    # Shifts of both products have the gradient of the bias.
    for name in ("b_ih", "b_hh", "shift_ih", "shift_hh"):
        d[name] = db if getattr(w, name) is not None else None
    dh0, dc0 = like(h0, wanted=needs[1]), like(c0, wanted=needs[2])
    arguments, _alive = _arguments(call, x, tensors, kept, (output, None, None))
    strides = (*((0, 0) if dy is None else dy.stride()[:2]), *((0, 0) if dx is None else dx.stride()[:2]))
    named = ("w_hr", "peephole", "w_gg", "gain_ih", "gain_hh", "gain_c", "shift_c")
    ordered = [dy, dh_n, dc_n, dgates, dcell, dx, d["w_ih"], d["w_hh"], db, *(d[name] for name in named), dh0, dc0]
    call.native.variant_backward(*arguments, strides, cpu_tensors.addresses(ordered))
    return [dx, dh0, dc0, *(d[name] if need[name] else None for name in LSTMWeights._fields)]


def recorded_backward(
    needs: Sequence[bool], call: DirectionCall, x: Tensor, tensors: Sequence[Any], grads: Sequence[Any]
) -> list[Any]:
    """Return gradients by way of the reference, made of PyTorch's operations: it takes batches of gradients too.

    Where autograd records, they are differentiable functions of inputs and incoming gradients.

    Args:
        needs: Whether a gradient is wanted of x, h0, c0 and of each field of ``LSTMWeights``.
        call: What was computed.
        x: The input.
        tensors: h0, c0 and the weights as the kernels take them; None: not there.
        grads: Of output, h_n, c_n and what a trace shows.
    """
    recording, needs = torch.is_grad_enabled(), _needed(call.problem, needs, grads)
    with torch.enable_grad():
        leaves = leaves_of((x, *tensors[: 2 + len(LSTMWeights._fields)]), needs)
        outputs = _run_again(call, leaves)
    return gradients_of(leaves, outputs, needs, grads, recording)


def _needed(problem: Problem, needs: Sequence[bool], grads: Sequence[Any]) -> Sequence[bool]:
    """Return which gradients there are to find: see ``cpu_tensors.needed``."""
    if problem.steps != 1 or grads[0] is not None or grads[1] is not None:
        return needs
    return [need and k != _PROJECTION for k, need in enumerate(needs)]


def _run_again(call: DirectionCall, leaves: Sequence[Any]) -> list[Tensor]:
    """Run the reference on x, h0, c0 and weights; return what ``_Direction`` returns."""
    x, h0, c0, *rest = leaves
    weights = _weights(rest)
    problem = call.problem
    one = replace(
        problem,
        input_size=x.shape[-1],
        hidden_sizes=(call.hidden,),
        proj_sizes=(0 if weights.w_hr is None else weights.w_hr.shape[0],),
        directions=1,
        connection=None,
        dropout=0.0,
    )
    ran = reference.run_direction(one, call.inputs, call.masks, weights, x, h0, c0, call.backward)
    output, h_n, c_n, parts = ran
    outputs: list[Tensor] = [output, h_n.unsqueeze(0), c_n.unsqueeze(0)]
    if problem.gates:
        planes = list(parts[:4]) + ([parts[1] * 0] if problem.cell.name == "slstm" else [])
        memory = torch.cat([parts[4]] + [parts[4] * 0] * (problem.cell.memories - 1), -1)
        outputs += [torch.cat(planes, -1), memory]
    return outputs


def _weights(tensors: Sequence[Any]) -> LSTMWeights:
    return LSTMWeights(*tensors)


def _plain(t: Tensor) -> Tensor:
    """Return the tensor with its last dimension contiguous."""
    t = t.resolve_neg()
    return t if t.stride(-1) == 1 or t.shape[-1] <= 1 else t.contiguous()
