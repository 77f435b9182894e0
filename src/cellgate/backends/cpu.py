"""The native engine: our own kernels for the CPU, forward, backward and one step at a time.

The only importer of ``cellgate._native``, which is compiled from ``native/`` and never sees a tensor: this module hands
it addresses, strides and sizes. Without the compiled module every problem is refused with the reason, and the other
backends go on as before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from cellgate.equations import PLAIN
from cellgate.errors import BackendError

from . import cpu_autograd, cpu_half, cpu_tensors, cpu_variant, half
from .cpu_tensors import contiguous, plain_rows
from .problem import Inputs, Problem, Result, State
from .ragged import padded_inputs, repacked_result

try:
    from cellgate import _native
except ImportError as error:  # built without a compiler, or for another Python
    _native = None
    _why_not = str(error)
else:
    _why_not = ""

__all__ = [
    "NAME",
    "concedes",
    "details",
    "misconfigured",
    "named",
    "native",
    "reason_against",
    "run",
    "stack_of",
    "tensors",
    "unavailable",
]

NAME = "cpu"

SCALARS = {torch.float32: 0, torch.float64: 1}
"""The dtypes of the engine, by their number in ``native/stack.h``."""


def unavailable() -> str | None:
    """Return why this installation has no native engine, or None if it has one."""
    if _native is None:
        return (
            f"the native core is not built in this installation ({_why_not}), "
            "so layers run at the speed of torch.nn.LSTM; "
            "to have it, reinstall cellgate from a wheel, or from source with a C++ compiler"
        )
    return None


def misconfigured() -> str | None:
    """Return why the native engine refuses to run as the environment is set, or None if it does not."""
    try:
        native().isa()
    except BackendError as error:
        return str(error)
    return None


def native() -> Any:
    """Return the module ``cellgate._native``.

    Raises:
        RuntimeError: It is not there.
    """
    if _native is None:
        raise RuntimeError(unavailable())
    return _native


@functools.lru_cache(maxsize=1)
def tensors() -> Any:
    """Return the native core's way of reading and making tensors, or None where it is not to be had."""
    if _native is None:
        return None
    # PyTorch before 2.10 has no table by which tensors are read without a call into Python.
    table = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    made = _native.Tensors(
        Tensor,
        torch.nn.Parameter,
        table,
        torch.empty,
        torch.empty_like,
        torch.float32,
        torch.float64,
        torch.get_num_threads,
    )
    return made if made.usable else None


def new_block(size: tuple[int, ...], like: Tensor, least: int = 1 << 24) -> Tensor:
    """Return an uninitialised tensor; from ``least`` bytes on in memory that is used again when the tensor is gone.

    Memory fresh from the system costs a page fault for every page, which for a large trace or a large saved block takes
    longer than the layer itself.
    """
    made = tensors()
    bits = {torch.float32: 32, torch.float64: 64}.get(like.dtype)
    if made is None or bits is None or not like.is_cpu:
        return like.new_empty(size)
    return made.block(size, bits, least)


cpu_tensors.new_block = new_block


def details() -> dict[str, Any]:
    """Return what ``cellgate.info()`` shows of this backend."""
    if _native is None or misconfigured():
        return {}
    entries, size, hits, misses = _native.cache_statistics()
    waiting, waiting_size, fresh, reused = _native.block_statistics()
    runs = _native.team_runs()
    return {
        "instruction set": f"{_native.isa()} (of {', '.join(_native.isas())}; CELLGATE_CPU_ISA forces one)",
        "packed weights": f"{entries} sets, {size / 2**20:.1f} MB, {hits} hits, {misses} misses",
        "kept memory": f"{waiting} blocks, {waiting_size / 2**20:.1f} MB; {fresh} taken fresh, {reused} used again",
        "calls of several threads": f"{runs['borrowed']} by OpenMP's, {runs['own']} by our own, "
        f"{runs['one']} by the caller alone in a crowd",
    }


def reason_against(problem: Problem) -> str | None:
    """Return why the engine cannot run this problem, or None if it can."""
    if _native is None:
        return unavailable()
    if problem.device != "cpu":
        return f"it computes on the CPU; this is on {problem.device!r}"
    if problem.dtype not in SCALARS and problem.dtype not in half.HALVES:
        kinds = ", ".join(str(dtype).removeprefix("torch.") for dtype in (*SCALARS, *half.HALVES))
        return f"it computes in {kinds}; this is {str(problem.dtype).removeprefix('torch.')}"
    if problem.wrapped:
        return "it reads memory, and a subclass with __torch_dispatch__, such as DTensor, has none of its own"
    if problem.transformed:
        return "it has no vmap, jvp or torch.func rules"
    if problem.tracing:
        return "torch.jit.trace and make_fx record PyTorch's operators, and would take the result for a constant"
    if problem.autocast:
        return "under autocast PyTorch decides the dtypes"
    return None


def concedes(problem: Problem, threads: int) -> str | None:
    """Return why "auto" should rather take another backend, though the engine can run this problem, or None."""
    if problem.dtype not in half.HALVES:
        return None
    return half.slower_than_aten(problem, threads, cpu_half.reason_against(native(), problem) is None)


@functools.lru_cache(maxsize=1024)
def _stack(scalar: int, directions: int, bias: bool, layers: tuple[tuple[int, int, int], ...]) -> Any:
    return native().Stack(scalar, directions, bias, list(layers))


def stack_of(problem: Problem) -> Any:
    """Return the native description of a problem's layers, in float32 for narrower dtypes."""
    layers, size = [], problem.input_size
    for hidden, proj in zip(problem.hidden_sizes, problem.proj_sizes, strict=True):
        layers.append((size, hidden, proj))
        size = (proj or hidden) * problem.directions
    return _stack(SCALARS.get(problem.dtype, 0), problem.directions, problem.bias, tuple(layers))


def run(problem: Problem, inputs: Inputs) -> Result:
    """Execute the stack in one native call.

    Raises:
        InputError: There is no memory behind a tensor.
    """
    cpu_tensors.check_backed(named(inputs))
    if problem.needs_grad and (problem.lengths or problem.packed or problem.reset):
        inputs = cpu_tensors.kept_apart(inputs)
    if problem.dtype in half.HALVES:
        if inputs.kept is None and cpu_half.reason_against(native(), problem) is None:
            return cpu_half.run(native(), stack_of(problem), problem, inputs, torch.get_num_threads())
        return half.narrowed(run(*half.widened(problem, inputs)), problem.dtype)
    if problem.cell != PLAIN or problem.noise or problem.connection is not None:
        return cpu_variant.run(native(), problem, inputs, torch.get_num_threads())
    stack, threads = stack_of(problem), torch.get_num_threads()
    if inputs.kept is not None:
        return cpu_autograd.run_kept(stack, problem, inputs, threads)
    if problem.needs_grad:
        return cpu_autograd.run_recorded(stack, problem, inputs, threads)
    if problem.gates:
        if problem.packed:
            padded, padded_in = padded_inputs(problem, inputs)
            assert padded_in.lengths is not None
            return repacked_result(run(padded, padded_in), padded_in.lengths)
        with torch.no_grad():
            return cpu_autograd.run_recorded(stack, problem, inputs, threads)
    return _infer(stack, problem, inputs, threads)


def named(inputs: Inputs) -> Iterator[tuple[str, Tensor | None]]:
    """Go through the tensors of a call, with what each is called in an error."""
    yield "input", inputs.x
    for k, state in enumerate((inputs.h0, inputs.c0)):
        yield from ((f"hx[{k}]", part) for part in cpu_tensors.state_parts(state))
    for layer, directions in enumerate(inputs.weights):
        for weights in directions:
            yield from ((f"{name} of layer {layer}", w) for name, w in zip(weights._fields, weights, strict=True))


def _infer(stack: Any, problem: Problem, inputs: Inputs, threads: int) -> Result:
    x = plain_rows(inputs.x)
    # Everything whose address is taken is named here, so that it lives until the call has returned.
    weights = [contiguous(w) for layer in inputs.weights for cell in layer for w in cell if w is not None]
    h0, c0 = _state_parts(inputs.h0), _state_parts(inputs.c0)
    masks = None if inputs.dropout_masks is None else [contiguous(mask) for mask in inputs.dropout_masks]
    lengths, sizes, reset = (
        None if t is None else contiguous(t) for t in (inputs.lengths, inputs.batch_sizes, inputs.reset)
    )

    y = cpu_tensors.empty_output(problem, x)
    h_n = cpu_tensors.empty_states(problem, problem.output_sizes, x)
    c_n = cpu_tensors.empty_states(problem, problem.hidden_sizes, x)
    layers = cpu_tensors.layer_addresses
    stack.forward(
        problem.steps,
        problem.batch,
        x.data_ptr(),
        *cpu_tensors.strides(x),
        y.data_ptr(),
        *cpu_tensors.strides(y),
        cpu_tensors.addresses(weights),
        layers(h0, problem, problem.output_sizes),
        layers(c0, problem, problem.hidden_sizes),
        layers(h_n, problem, problem.output_sizes),
        layers(c_n, problem, problem.hidden_sizes),
        threads,
        _address(lengths),
        _address(reset),
        x.shape[0] if problem.packed else 0,
        _address(sizes),
        None if masks is None else cpu_tensors.addresses(masks),
    )
    if problem.uniform:
        return Result(y, h_n[0], c_n[0])
    return Result(y, tuple(h_n), tuple(c_n))


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def _state_parts(state: State | None) -> tuple[Tensor, ...]:
    if state is None:
        return ()
    return (contiguous(state),) if isinstance(state, Tensor) else tuple(contiguous(part) for part in state)
