"""How a trace listens: for the time of a block, every LSTM of the model gets a class whose forward also records.

The class is slipped under the module's own (see ``nn.derived``), so a library's subclass of ``nn.LSTM`` that ends in
``super().forward(...)`` is heard too, and the module stays the same object. The model's numbers do not change at all:
its output comes from the forward it always had, and the gates from a second run of the same call, with the same weights
and the same random numbers. One run does for both where that is known to be the same: without gradients on the native
engine, whose kernel computes alike whether it also writes the gates or not. And where the two runs cannot draw the same
random numbers (dropout inside an accelerator's kernel), the recorded run serves the model.

Who is heard: calls in the thread (the context, ``contextvars``) that opened the block. Other threads may use the model
meanwhile and notice nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence

from cellgate.backends import cpu, requested_backend, use_backend
from cellgate.errors import BackendError, InputError
from cellgate.nn import LSTM
from cellgate.nn.call import Prepared, run_recorded, under_transform
from cellgate.nn.convert import ConvertedLSTM
from cellgate.nn.derived import derived, rebased
from cellgate.nn.eager import Eager
from cellgate.nn.gates import LayerGates, layer_gates, to_public
from cellgate.nn.quick import run_quick_with_gates
from cellgate.nn.recorders import under_make_fx
from cellgate.nn.variant import variant_of

from .layer import GATES
from .tape import Tape, Track

__all__ = ["trace"]

_BOTTOMS = (LSTM, ConvertedLSTM, nn.LSTM)
"""The classes whose forward is an LSTM's; a module's is the first of them among its bases."""


def trace(
    model: nn.Module,
    *,
    gates: Iterable[str] = GATES,
    layers: Iterable[int] | None = None,
    modules: Iterable[str] | None = None,
    differentiable: bool = False,
) -> Tape:
    """Record what a model's gates do: i, f, g, o, c and h of every layer, direction and step, inside a ``with`` block.

    Every :class:`cellgate.LSTM` and ``nn.LSTM`` in the model is heard, nested, shared, converted or subclassed, and
    every way of calling it: itself, ``step`` (a call of one step) and ``gates``. Streams and cells are not. The
    model's outputs, gradients and random numbers are bit for bit those of the untraced model; each call costs a second,
    recorded run of its LSTM (the larger part of a block's time) and six floats a unit, sequence and step. The tape's
    numbers are its own: what the model writes into an output afterwards does not reach them.

    Compiled models can be traced: ``torch.compile`` sees other classes inside the block, compiles again with a break
    at each LSTM, and takes up the old code after it. With ``fullgraph=True`` it raises instead; trace the original.

    Args:
        model: Any module; an LSTM itself is called "lstm" on the tape.
        gates: What to keep, all six of "i", "f", "g", "o", "c", "h" or some; "fc" for two of them.
        layers: Which layers to keep, from 0; None for all.
        modules: Names of the modules to record, as in ``model.named_modules()``; None for all.
        differentiable: Leave the tensors in the autograd graph, for a loss on gates or their gradients with respect to
            weights and input. Otherwise they are constants and no graph is kept alive.

    Returns:
        The tape, for a ``with`` statement.

    Raises:
        InputError: No LSTM in the model, no such module, gate or layer. Inside the block: a call under a transform of
            torch.func, or one of ``torch.jit.trace`` or ``torch.export``, whose gates have no numbers.

    Example:
        >>> import torch, cellgate
        >>> model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(20, 100, num_layers=2)})
        >>> with cellgate.trace(model) as tape:
        ...     output, _ = model["lstm"](torch.zeros(3, 1, 20))
        >>> tape["lstm"].layer(1).f.shape
        torch.Size([3, 1, 100])
    """
    found = _lstms(model)
    wanted = _wanted_modules(found, model, modules)
    kept = tuple(gates) if isinstance(gates, Iterable) else (gates,)
    unknown = [gate for gate in kept if gate not in GATES]
    if unknown or not kept:
        raise InputError(f"gates: expected some of {', '.join(GATES)}, got {', '.join(map(repr, unknown)) or 'none'}")
    if layers is not None and not isinstance(layers, Iterable):
        raise InputError(f"layers: expected several numbers or None, got {layers!r}: write layers=[{layers!r}]")
    numbers = None if layers is None else tuple(layers)
    deepest = max(module.num_layers for _, module in wanted.values())
    if numbers is not None and (not numbers or any(not 0 <= n < deepest for n in numbers)):
        raise InputError(f"layers: expected numbers from 0 to {deepest - 1}, got {list(numbers)}")

    tracks = {name: Track(name) for name in wanted}
    aliases = {alias: name for name, (names, _) in wanted.items() for alias in names}
    listens = weakref.WeakKeyDictionary({module: name for name, (_, module) in wanted.items()})
    modules_kept = [module for _, module in wanted.values()]
    return Tape(tracks, aliases, kept, numbers, differentiable, _Opener(modules_kept, listens))


def _lstms(model: nn.Module) -> dict[str, tuple[list[str], Any]]:
    """Return, by first name, all names and the module of each LSTM in the model."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    found: dict[int, tuple[list[str], Any]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, _BOTTOMS):
            # torch.compile puts the model into a module of its own; its LSTMs keep the names they had.
            name = ".".join(part for part in name.split(".") if part != "_orig_mod") or "lstm"
            found.setdefault(id(module), ([], module))[0].append(name)
    return {names[0]: (names, module) for names, module in found.values()}


def _wanted_modules(
    found: dict[str, tuple[list[str], Any]], model: nn.Module, modules: Iterable[str] | None
) -> dict[str, tuple[list[str], Any]]:
    if not found:
        cells = any(isinstance(module, nn.LSTMCell) for module in model.modules())
        raise InputError(
            f"model: expected a cellgate.LSTM or nn.LSTM in it, got a {type(model).__name__} without: "
            + (
                "an LSTMCell is not recorded, use cellgate.LSTM and its step()"
                if cells
                else "scripted, quantized and exported models hide theirs, trace the original"
            )
        )
    if modules is None:
        return found
    names = [modules] if isinstance(modules, str) else list(modules)
    known = {alias: first for first, (aliases, _) in found.items() for alias in aliases}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        got = ", ".join(map(repr, unknown)) or "none"
        raise InputError(f"modules: expected some of {', '.join(map(repr, known))}, got {got}")
    return {known[name]: found[known[name]] for name in names}


# Who listens: in this context, the open tapes with the names of their modules.
_Listeners = tuple[tuple[Tape, "weakref.WeakKeyDictionary[nn.Module, str]"], ...]
_listeners: contextvars.ContextVar[_Listeners] = contextvars.ContextVar("cellgate_tapes", default=())

# Which modules have a recording class, in any context: how many open tapes hold them, the class they had, and that one.
_lock = threading.Lock()
_held: dict[int, tuple[int, type, type]] = {}
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    # A thread that opens or closes a block meanwhile is not there to let go of the lock in the child.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextlib.contextmanager
def _block(tape: Tape, modules: list[nn.Module], names: weakref.WeakKeyDictionary[nn.Module, str]) -> Iterator[None]:
    """Listen to the modules until the block ends, however it ends."""
    held: list[nn.Module] = []
    token = _listeners.set((*_listeners.get(), (tape, names)))
    try:
        for module in modules:
            _hold(module)
            held.append(module)
        yield
    finally:
        _listeners.reset(token)
        for module in held:
            _release(module)


class _Opener:
    """Opens the block of a tape. A copy of the tape hears the same modules; one that comes from a file hears none."""

    def __init__(self, modules: list[nn.Module], names: weakref.WeakKeyDictionary[nn.Module, str]) -> None:
        self._modules = modules
        self._names = names

    def __call__(self, tape: Tape) -> contextlib.AbstractContextManager[None]:
        return _block(tape, self._modules, self._names)

    def __deepcopy__(self, memo: Any) -> _Opener:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _closed, ()


def _closed() -> Any:
    """Return what stands for the opener of a tape that was pickled."""
    return _refuse


def _refuse(tape: Tape) -> contextlib.AbstractContextManager[None]:
    raise InputError("trace: expected a tape of a model, got one that was pickled: call cellgate.trace(model) again")


def _hold(module: nn.Module) -> None:
    _recorded.prepare()
    with _lock:
        if id(module) in _held:
            count, original, recording = _held[id(module)]
        else:
            count, original = 0, type(module)
            bottom = next(base for base in original.__mro__ if base in _BOTTOMS)
            recording = derived(original, _recording(bottom))
            module.__class__ = recording
        _held[id(module)] = (count + 1, original, recording)


def _release(module: nn.Module) -> None:
    with _lock:
        count, original, recording = _held.pop(id(module))
        if count > 1:
            _held[id(module)] = (count - 1, original, recording)
        elif type(module) is recording:
            module.__class__ = original
        elif type(module).__bases__ == (recording,):
            # Parametrized inside the block.
            module.__class__ = rebased(type(module), original)
        # Else its class was exchanged inside the block by someone who knew better; without a tape it only listens.


@functools.cache
def _recording(bottom: Any) -> type:
    """Return a class to be derived from, whose forward is that of ``bottom`` and records."""

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return _recorded(self, bottom, args, kwargs)

    names = {"forward": forward, "_recording": True, "_stays_when_copied": False}
    if bottom is not nn.LSTM:
        # The other ways in. A step of a subclass does not go through the subclass's forward, recorded or not.
        names |= {
            "_run_lstm": lambda self, input, hx: _recorded(self, bottom, (input, hx), {}),
            "gates": lambda self, *args, **kwargs: _recorded(self, bottom, args, kwargs, with_gates=True),
        }
    return type(f"Recording{bottom.__name__}", (bottom,), names)


def _record(
    module: Any, bottom: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, with_gates: bool = False
) -> Any:
    """Run the forward of an LSTM, or its ``gates``, and put them on the tapes that listen in this context."""
    listening = [(tape, names[module]) for tape, names in _listeners.get() if module in names]
    if not listening:
        return (bottom.gates if with_gates else bottom.forward)(module, *args, **kwargs)
    _check_ordinary(args[0] if args else kwargs.get("input"))
    quick = None if bottom is nn.LSTM else _quick(module, *args, **kwargs)
    if quick is not None:
        output, state, public = quick
        batched = output.dim() == 3
        rest = {
            "lengths": None,
            "reset": None,
            "batch_first": bool(module.batch_first) and batched,
            "batched": batched,
        }
        layers = [_parts(layer, detach=False) for layer in public]
        given = (output, state, layers) if with_gates else (output, state)
        for tape, name in listening:
            tape._keep(name, layers, rest, cpu.NAME, 0.0, given)
        return (output, state, public) if with_gates else (output, state)
    differentiable = any(tape.differentiable for tape, _ in listening)
    # A parametrization may draw random numbers or step its own state; both runs must see the same weights.
    cached = bottom is not nn.LSTM and parametrize.is_parametrized(module)
    same_weights = parametrize.cached() if cached else contextlib.nullcontext()
    with same_weights:
        if with_gates:
            result, gates, call = _recorded_call(module, *args, **kwargs)
            distance: Tensor | float = 0.0
        elif _dropout_in_the_kernel(module) or _same_kernel(module, bottom, args, kwargs):
            result, gates, call = _rerun(module, bottom, args, kwargs)
            distance = 0.0
        else:
            random_before = _random_state(module)
            result = bottom.forward(module, *args, **kwargs)
            like = _WithItsWeights(module) if bottom is nn.LSTM else module
            with _random_again(random_before), torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
                again, gates, call = _rerun(like, bottom, args, kwargs)
            distance = _distance(result, again)
    if call.problem.transformed:
        raise InputError("trace: expected an ordinary call, got one under torch.func or forward-mode AD: trace outside")
    public = tuple(layer_gates(module, call, layer) for layer in gates)
    rest = _layout(module, call)
    given = (result, [_parts(layer, detach=True) for layer in public]) if with_gates else result
    for tape, name in listening:
        layers = [_parts(layer, detach=not tape.differentiable) for layer in public]
        tape._keep(name, layers, rest, call.choice.name, distance, given)
    return (*result, public) if with_gates else result


_recorded = Eager(_record, "cellgate.trace records this LSTM, which a compiled graph cannot")


def _check_ordinary(x: Any) -> None:
    """Refuse calls that are not run but written down, by whatever makes a graph of them: their gates have no values."""
    data = x.data if isinstance(x, PackedSequence) else x
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        what = "torch.jit.trace"
    elif isinstance(data, FakeTensor) or under_make_fx():
        what = "torch.export, make_fx or another that has no numbers yet"
    else:
        return
    raise InputError(f"trace: expected an ordinary call, got one of {what}: make the graph outside the block")


def _quick(module: Any, input: Any, hx: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:
    """Run without gradients and ragged data on the native engine, whose kernel is the same with gates and without."""
    return None if lengths is not None or reset is not None else run_quick_with_gates(module, input, hx)


def _rerun(like: Any, bottom: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # nn.LSTM runs on PyTorch's kernels, so its gates are best had from there; cellgate's layers as they were asked to.
    wanted = "aten" if bottom is nn.LSTM else requested_backend()
    try:
        with use_backend(wanted):
            return _recorded_call(like, *args, **kwargs)
    except BackendError:
        # The backend asked for by name has no gates. It has run the model; the trace may come from another.
        with use_backend("auto"):
            return _recorded_call(like, *args, **kwargs)


def _recorded_call(module: Any, input: Any, hx: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:
    """Take the arguments of a forward."""
    return run_recorded(module, input, hx, lengths, reset)


class _WithItsWeights:
    """An nn.LSTM whose weights are those that its last forward used, whatever reading their names gives by now."""

    def __init__(self, module: nn.LSTM) -> None:
        self._module = module
        self._weights = dict(zip(module._flat_weights_names, module._flat_weights, strict=True))

    def __getattr__(self, name: str) -> Any:
        weights = self.__dict__["_weights"]
        return weights[name] if name in weights else getattr(self.__dict__["_module"], name)


def _same_kernel(module: Any, bottom: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the native engine runs this call with and without gates, and so gives the same bits."""
    x = args[0] if args else kwargs.get("input")
    if torch.is_grad_enabled() or bottom is nn.LSTM or getattr(module, "variant", None) is not None:
        return False
    # A PackedSequence is padded for its gates, which groups its rows in another way.
    if type(x) is not Tensor or requested_backend() not in ("auto", cpu.NAME) or torch.is_autocast_enabled("cpu"):
        return False
    return x.is_cpu and x.dtype in cpu.SCALARS and not under_transform() and cpu.unavailable() is None


def _uses_dropout(module: Any) -> bool:
    return module.training and module.dropout > 0 and module.num_layers > 1


def _device(module: Any) -> torch.device:
    return getattr(module, module._all_weights[0][0]).device


def _dropout_in_the_kernel(module: Any) -> bool:
    return _uses_dropout(module) and _device(module).type != "cpu"


def _random_state(module: Any) -> Tensor | None:
    draws = module.training and variant_of(module).draws
    return torch.get_rng_state() if draws or _uses_dropout(module) else None


@contextlib.contextmanager
def _random_again(state: Tensor | None) -> Iterator[None]:
    """Draw the random numbers that were drawn after ``state`` once more; then go on as if this had not happened."""
    if state is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)
        yield


def _distance(result: Any, again: Any) -> Tensor | float:
    data, data_again = (_numbers(out).detach() for out in (result[0], again[0]))
    return (data - data_again).abs().max() if data.numel() else 0.0


def _numbers(output: Tensor | PackedSequence) -> Tensor:
    """Return the numbers of an output as one ordinary tensor."""
    if isinstance(output, PackedSequence):
        return output.data
    return output.values() if output.is_nested else output


def _parts(layer: LayerGates, *, detach: bool) -> list[dict[str, Tensor]]:
    """Return the gates of a layer by name, one dict a direction."""
    directions = [layer] if layer.backward is None else [layer, layer.backward]
    return [{n: getattr(d, n).detach() if detach else getattr(d, n) for n in GATES} for d in directions]


def _layout(module: Any, call: Prepared) -> dict[str, Any]:
    lengths, reset = call.inputs.lengths, call.inputs.reset
    if call.packed is not None:
        _, lengths = torch.nn.utils.rnn.pad_packed_sequence(call.packed._replace(data=call.packed.data.detach()[:, :1]))
        lengths = None if bool((lengths == call.problem.steps).all()) else lengths
    if reset is not None:
        reset = to_public(module, call)(reset.unsqueeze(-1)).squeeze(-1)
    return {
        "lengths": lengths,
        "reset": reset,
        "batch_first": bool(module.batch_first) and call.batched,
        "batched": call.batched,
    }
