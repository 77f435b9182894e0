"""From the public call of an LSTM module to a backend and back: layouts, states, lengths, resets; no arithmetic.

The functions take any module with the attributes of ``torch.nn.LSTM``, so that converted, traced and original layers
all go through one door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensor
from torch.nn.utils.rnn import PackedSequence

from cellgate.backends import (
    CAPTURED,
    Choice,
    Gates,
    Inputs,
    Problem,
    Result,
    State,
    choose,
    execute,
    requested_backend,
    run_captured,
)
from cellgate.backends.aten import draws_dropout_itself
from cellgate.backends.problem import any_wrapped
from cellgate.equations import LSTMWeights
from cellgate.errors import InputError

from .checks import (
    autocast_on,
    check_input,
    check_lengths,
    check_memory,
    check_packed,
    check_reset,
    check_state,
    check_state_pair,
    check_weights,
    one_length,
)
from .initial import initial_state
from .jagged import jagged_like, padded_from_jagged
from .noise import add_noise, draw_dropout_masks
from .onnx_export import choose_for_onnx, exporting_to_onnx
from .quick import run_quick
from .quick_training import run_quick_training
from .recorders import leaf, under_make_fx
from .variant import FIELDS, variant_of

__all__ = [
    "Prepared",
    "hidden_sizes",
    "memory_sizes",
    "output_sizes",
    "prepare",
    "proj_sizes",
    "run",
    "run_recorded",
    "under_transform",
    "weights_of",
]


def hidden_sizes(module: Any) -> tuple[int, ...]:
    """Return H of every layer."""
    size = module.hidden_size
    return (size,) * module.num_layers if isinstance(size, int) else tuple(size)


def proj_sizes(module: Any) -> tuple[int, ...]:
    """Return P of every layer, 0 where there is no projection."""
    size = module.proj_size
    return (size,) * module.num_layers if isinstance(size, int) else tuple(size)


def output_sizes(module: Any) -> tuple[int, ...]:
    """Return the size of h of every layer in one direction."""
    return tuple(p or h for h, p in zip(hidden_sizes(module), proj_sizes(module), strict=True))


def memory_sizes(module: Any) -> tuple[int, ...]:
    """Return the size of c of every layer in one direction."""
    memories = variant_of(module).description.memories
    return tuple(memories * size for size in hidden_sizes(module))


def weights_of(module: Any) -> list[list[LSTMWeights]]:
    """Return ``weights[layer][direction]``, read by name at every call, so that whoever replaces one is obeyed."""
    directions = 2 if module.bidirectional else 1
    cells = []
    variant = getattr(module, "variant", None)
    for names in module._all_weights:
        tensors = [getattr(module, name) for name in names]
        if variant is not None:
            found = {FIELDS[name.partition("_l")[0]]: tensor for name, tensor in zip(names, tensors, strict=True)}
            if variant.single_bias:
                found["b_hh"] = torch.zeros_like(found["b_ih"])
            cells.append(LSTMWeights(**found))
            continue
        w_hr = tensors.pop() if names[-1].startswith("weight_hr") else None
        b_ih, b_hh = tensors[2:] if len(tensors) == 4 else (None, None)
        cells.append(LSTMWeights(tensors[0], tensors[1], b_ih, b_hh, w_hr))
    return [cells[k : k + directions] for k in range(0, len(cells), directions)]


@dataclass(slots=True)
class Prepared:
    """A checked call: the problem, its tensors, and what is needed to give the result its public form."""

    problem: Problem
    inputs: Inputs
    choice: Choice
    batched: bool
    packed: PackedSequence | None
    jagged: Tensor | None = None


def prepare(
    module: Any,
    input: Tensor | PackedSequence,
    hx: Any = None,
    lengths: Any = None,
    reset: Any = None,
    *,
    gates: bool = False,
    backend: str | None = None,
) -> Prepared:
    """Check a call and choose its backend, without computing anything.

    Raises:
        InputError: An argument is wrong; see ``checks``.
        BackendError: The backend asked for cannot run it.
    """
    weights = weights_of(module)
    weight = weights[0][0].w_ih
    jagged = None
    if isinstance(input, Tensor) and input.is_nested:
        jagged = input
        input, lengths = padded_from_jagged(input, module.batch_first, lengths, reset)
    packed = input if isinstance(input, PackedSequence) else None
    data = input.data if isinstance(input, PackedSequence) else input
    variant = variant_of(module)
    cell = variant.description
    check_weights(
        module._all_weights,
        weights,
        module.input_size,
        hidden_sizes(module),
        proj_sizes(module),
        module.bias,
        cell=cell,
        single_bias=variant.single_bias,
    )
    check_input("input", data, module.input_size, weight, batch_first=module.batch_first, packed=packed is not None)
    compiling, transformed = torch.compiler.is_compiling(), under_transform()
    proxied = not compiling and under_make_fx()
    capturing = compiling or proxied or data.device.type == "meta" or isinstance(data, FakeTensor)

    batched, batch_sizes = True, None
    if packed is not None:
        if lengths is not None or reset is not None:
            which = "lengths" if lengths is not None else "reset"
            raise InputError(
                f"{which}: expected None with a PackedSequence, which has lengths of its own: pass padded input"
            )
        batch_sizes = packed.batch_sizes
        if not capturing:
            batch_sizes = check_packed(data.shape[0], batch_sizes)
        x, steps, batch = data, len(batch_sizes), int(batch_sizes[0])
    else:
        batched = data.dim() == 3
        x = data.transpose(0, 1) if batched and module.batch_first else data
        x = x if batched else x.unsqueeze(1)
        steps, batch = x.shape[0], x.shape[1]

    h0, c0 = _initial_state(module, hx, batch, batched, x)
    if h0 is None and variant.learned_state:
        h0, c0 = (_join(module, parts) for parts in initial_state(module, batch))
    if packed is not None and packed.sorted_indices is not None:
        h0, c0 = (_select(state, packed.sorted_indices) for state in (h0, c0))

    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if tracing:
        # While the jit traces, sizes are tensors: in the zero state they keep the batch free, elsewhere they are ints.
        h0, c0 = _traced_zeros(module, x, batch_sizes) if h0 is None else (h0, c0)
        steps, batch = int(steps), int(batch)

    if lengths is not None:
        known = not capturing and not transformed
        lengths = check_lengths(lengths if batched else one_length(lengths), batch, steps, values=known)
        # Where nothing is ragged the plain kernels give the same numbers; but a trace will be run with other lengths.
        if known and not tracing and bool((lengths == steps).all()):
            lengths = None
    if reset is not None:
        transposed = batched and module.batch_first
        expected = ((batch, steps) if transposed else (steps, batch)) if batched else (steps,)
        reset = check_reset(reset, expected, "(B, T)" if transposed else "(T, B)" if batched else "(T,)", x)
        reset = reset.T if transposed else reset if batched else reset.unsqueeze(1)

    dropout = float(module.dropout or variant.locked_dropout[1]) if module.training and module.num_layers > 1 else 0.0
    tensors = _tensors(x, h0, c0, weights)
    problem = Problem(
        steps=steps,
        batch=batch,
        input_size=module.input_size,
        hidden_sizes=hidden_sizes(module),
        proj_sizes=proj_sizes(module),
        directions=2 if module.bidirectional else 1,
        bias=module.bias,
        dtype=x.dtype,
        device=x.device.type,
        # A trace outlives the moment it is made in, so it says that it trains where the module does, as nn.LSTM's says.
        needs_grad=bool(module.training)
        if tracing
        else torch.is_grad_enabled() and any(t.requires_grad for t in tensors),
        packed=packed is not None,
        lengths=lengths is not None,
        reset=reset is not None,
        dropout=dropout,
        gates=gates,
        transformed=transformed,
        compiling=compiling,
        tracing=tracing or proxied,
        autocast=autocast_on(x.device),
        wrapped=not compiling and any_wrapped(tensors),
        memory=check_memory(getattr(module, "memory", "fast")),
        cell=cell,
        noise=variant.noise(module.training),
        connection=variant.connection,
    )
    uncapturable = gates or transformed
    if compiling and exporting_to_onnx():
        problem = replace(problem, tracing=True, needs_grad=bool(module.training))
        choice = choose_for_onnx(problem)
    elif compiling:
        # Dynamo can neither look up what use_backend asks for nor use a cache; what runs is chosen when the graph runs.
        choice = Choice("reference" if uncapturable else CAPTURED, "auto", {})
    elif capturing and not uncapturable:
        choice = Choice(CAPTURED, "auto", {})
    else:
        choice = choose(problem, backend or requested_backend())
    inputs = Inputs(x, h0, c0, weights, lengths, batch_sizes, reset)
    if variant.connection == "highway":
        layers = range(1, module.num_layers)
        inputs.highway = [tuple(getattr(module, f"{kind}_highway_l{n}") for kind in ("weight", "bias")) for n in layers]
    return Prepared(problem, inputs, choice, batched, packed, jagged)


def run(module: Any, input: Any, hx: Any = None, lengths: Any = None, reset: Any = None) -> Any:
    """Execute one public call: ``output, (h_n, c_n)``."""
    result = run_quick(module, input, hx, lengths, reset)
    if result is None:
        result = run_quick_training(module, input, hx, lengths, reset)
    if result is not None:
        return result
    if isinstance(input, torch.fx.Proxy):
        return leaf(module, input, hx, lengths, reset)
    if isinstance(input, Tensor) and input.is_nested:
        padded, sizes = padded_from_jagged(input, module.batch_first, lengths, reset)
        output, state = run(module, padded, hx, sizes)
        return jagged_like(input, output), state
    return run_recorded(module, input, hx, lengths, reset, gates=False)[0]


def run_recorded(
    module: Any, input: Any, hx: Any = None, lengths: Any = None, reset: Any = None, *, gates: bool = True
) -> tuple[Any, tuple[Gates, ...] | None, Prepared]:
    """Execute one public call and return also the gates of every layer, and what was prepared.

    Returns:
        ``(output, (h_n, c_n))`` in public form; one :class:`Gates` a layer, time-major and, for packed input, in packed
        order; the prepared call.
    """
    call = prepare(module, input, hx, lengths, reset, gates=gates)
    problem = call.problem
    variant = getattr(module, "variant", None)
    if variant is not None:
        add_noise(variant, module.training, problem, call.inputs)
    if problem.dropout > 0 and call.inputs.dropout_masks is None:
        if not (call.choice.name == "aten" and draws_dropout_itself(problem)):
            call.inputs.dropout_masks = draw_dropout_masks(problem, call.inputs.x)
    captured = call.choice.name == CAPTURED
    result = run_captured(problem, call.inputs) if captured else execute(problem, call.inputs, call.choice)
    return _public(module, call, result), result.gates, call


def _public(module: Any, call: Prepared, result: Result) -> Any:
    output, h_n, c_n = result.output, result.h_n, result.c_n
    if call.packed is not None:
        packed = call.packed
        if packed.unsorted_indices is not None:
            h_n, c_n = _select(h_n, packed.unsorted_indices), _select(c_n, packed.unsorted_indices)
        return PackedSequence(output, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices), (h_n, c_n)
    if not call.batched:
        return output.squeeze(1), (_squeeze(h_n), _squeeze(c_n))
    if module.batch_first:
        output = output.transpose(0, 1) if result.batch_first is None else result.batch_first
    return output if call.jagged is None else jagged_like(call.jagged, output), (h_n, c_n)


def _initial_state(module: Any, hx: Any, batch: int, batched: bool, x: Tensor) -> tuple[State | None, State | None]:
    """Check hx and return (h0, c0) batched, in the form of ``State``."""
    if hx is None:
        return None, None
    check_state_pair(hx)
    directions = 2 if module.bidirectional else 1
    sizes = (output_sizes(module), memory_sizes(module))
    uniform = _uniform(module)

    def checked(name: str, state: Any, rows: int, size: int) -> Tensor:
        expected = (rows, batch, size) if batched else (rows, size)
        check_state(name, state, expected, x, 1 if batched else -1)
        return state if batched else state.unsqueeze(1)

    states: list[State] = []
    for k, (state, layer_sizes) in enumerate(zip(hx, sizes, strict=True)):
        if uniform and isinstance(state, Tensor):
            states.append(checked(f"hx[{k}]", state, module.num_layers * directions, layer_sizes[0]))
            continue
        if isinstance(state, Tensor) or not isinstance(state, Sequence) or len(state) != module.num_layers:
            got = f"one tensor {tuple(state.shape)}" if isinstance(state, Tensor) else type(state).__name__
            form = (
                "a tensor"
                if uniform
                else f"{module.num_layers} tensors, one a layer, because the layers differ in size"
            )
            raise InputError(f"hx[{k}]: expected {form}, got {got}")
        layers = [checked(f"hx[{k}][{n}]", s, directions, layer_sizes[n]) for n, s in enumerate(state)]
        states.append(torch.cat(layers) if uniform else tuple(layers))
    return states[0], states[1]


def _traced_zeros(module: Any, x: Tensor, batch_sizes: Tensor | None) -> tuple[State, State]:
    directions = 2 if module.bidirectional else 1
    batch = x.shape[1] if batch_sizes is None else batch_sizes[0]
    layers = [
        [x.new_zeros(directions, batch, size) for size in sizes]  # pyright: ignore[reportArgumentType]
        for sizes in (output_sizes(module), memory_sizes(module))
    ]
    h0, c0 = (_join(module, parts) for parts in layers)
    return h0, c0


def _uniform(module: Any) -> bool:
    return all(len(set(s)) == 1 for s in (hidden_sizes(module), proj_sizes(module)))


def _join(module: Any, layers: list[Tensor]) -> State:
    """Return one (D, B, size) a layer in the form of ``State``."""
    return torch.cat(layers) if _uniform(module) else tuple(layers)


def _select(state: State | None, indices: Tensor) -> Any:
    if state is None:
        return None
    if isinstance(state, Tensor):
        return state.index_select(1, indices)
    return tuple(part.index_select(1, indices) for part in state)


def _squeeze(state: State) -> State:
    return state.squeeze(1) if isinstance(state, Tensor) else tuple(part.squeeze(1) for part in state)


def _tensors(x: Tensor, h0: State | None, c0: State | None, weights: list[list[LSTMWeights]]) -> list[Tensor]:
    """Return the differentiable tensors of a call."""
    states = [part for s in (h0, c0) if s is not None for part in ((s,) if isinstance(s, Tensor) else s)]
    return [x, *states, *(w for layer in weights for ws in layer for w in ws if w is not None)]


def under_transform() -> bool:
    """Whether a torch.func transform or forward-mode AD is active."""
    functorch = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
    # Dynamo wraps what this returns, so that None is no longer None there; but it knows the type.
    transform = isinstance(functorch.peek_interpreter_stack(), functorch.CInterpreter)
    return transform or torch.autograd.forward_ad._current_level >= 0
