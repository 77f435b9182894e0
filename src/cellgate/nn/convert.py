"""Every ``nn.LSTM`` of a model through cellgate, and back.

A module is converted by exchanging its class, so that it stays the same object: every reference to it, its parameters,
hooks and buffers, the optimiser's hold on them and the ``state_dict`` are untouched.

Which class it gets is a choice between two goods, and the default is the one that cannot change a number. Code in the
wild asks ``isinstance(self.rnn, nn.LSTM)`` in the middle of ``forward`` and takes h_n or the whole state accordingly: a
converted layer that answered no would make such a model compute something else, silently. So it answers yes. Dynamo, on
the other hand, refuses to look into any instance of ``nn.LSTM`` and breaks the graph there, as it does for ``nn.LSTM``
itself; ``keep_type=False`` makes plain layers instances of :class:`cellgate.LSTM`, which compile and export whole.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import jit, nn
from torch.nn.utils import parametrize

from cellgate.errors import InputError

from .cell import LSTMCell
from .checks import check_memory
from .derived import derived, rebased
from .eager import Eager
from .lstm import LSTM

__all__ = ["Conversion", "convert", "explain_conversion", "revert"]

Model = TypeVar("Model", bound=nn.Module)


_forward = Eager(LSTM.forward, "this layer is an nn.LSTM too, which Dynamo refuses: convert(model, keep_type=False)")


class ConvertedLSTM(nn.LSTM):
    """An ``nn.LSTM`` that runs through cellgate; what :func:`convert` makes of one."""

    _original: type = nn.LSTM
    _stays_when_copied = True

    # Dynamo does not take the module, but would try to compile, piece by piece, what its forward calls.
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run as :meth:`cellgate.LSTM.forward` does."""
        return _forward(self, *args, **kwargs)

    __prepare_scriptable__ = LSTM.__prepare_scriptable__
    explain_backend = LSTM.explain_backend
    _run_lstm = LSTM._run_lstm
    gates = LSTM.gates
    step = LSTM.step
    stream = LSTM.stream


class ConvertedToLSTM(LSTM):
    """A ``cellgate.LSTM`` that was an ``nn.LSTM``; what :func:`convert` makes of one with ``keep_type=False``."""

    _original: type = nn.LSTM
    _stays_when_copied = True


class ConvertedLSTMCell(LSTMCell):
    """A ``cellgate.LSTMCell`` that was an ``nn.LSTMCell``; what :func:`convert` makes of one."""

    _original: type = nn.LSTMCell
    _stays_when_copied = True


# A printed model, and code that asks a class for its name, find what was there before. Pickle goes by __qualname__.
ConvertedLSTM.__name__ = ConvertedToLSTM.__name__ = "LSTM"
ConvertedLSTMCell.__name__ = "LSTMCell"


@dataclass(frozen=True)
class Conversion:
    """What runs through cellgate in a model, and what does not.

    Attributes:
        converted: For each converted module, by name, what it was.
        native: Names of the modules that were cellgate's from the beginning.
        open: Names of the modules that :func:`convert` would convert.
        left: For each recurrent module that stays as it is, by name, the reason.
        notes: For a module, by name, what its owner should know.
    """

    converted: dict[str, str] = field(default_factory=dict)
    native: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return a table for a person."""
        lines = [f"through cellgate   {_shown(name)}  ({was})" for name, was in self.converted.items()]
        lines += [f"cellgate's own     {_shown(name)}" for name in self.native]
        lines += [f"not yet converted  {_shown(name)}" for name in self.open]
        lines += [f"left as it is      {_shown(name)}: {reason}" for name, reason in self.left.items()]
        lines += [f"note               {_shown(name)}: {note}" for name, note in self.notes.items()]
        return "\n".join(lines) or "no LSTM in this model"


def convert(model: Model, *, inplace: bool = True, keep_type: bool = True, memory: str | None = None) -> Model:
    """Make every ``nn.LSTM`` and ``nn.LSTMCell`` of a model run through cellgate: same weights, same numbers.

    Nested and shared modules, the model itself, parametrized ones and subclasses whose ``forward`` ends in
    ``super().forward(...)`` are converted; what cannot be is left as it is, and :func:`explain_conversion` says why.
    Modules stay the same objects with the same ``Parameter`` objects, so optimisers, hooks, weight tying and the
    ``state_dict`` go on as before. Converting twice changes nothing.

    Args:
        model: Any module.
        inplace: Convert this model; else convert and return a deep copy and leave the model alone.
        keep_type: Keep ``isinstance(m, nn.LSTM)`` true, for models and libraries that ask. With False a plain
            ``nn.LSTM`` becomes a :class:`cellgate.LSTM`, which ``torch.compile`` takes whole where it breaks the graph
            at every ``nn.LSTM``. Subclasses of ``nn.LSTM`` keep their type either way.
        memory: What training keeps for backward in every LSTM that runs through cellgate, "fast", "lean" or "minimal":
            see :class:`cellgate.LSTM`. None leaves it as it is, "fast" in those converted now.

    Returns:
        The model, or its converted copy.

    Raises:
        TypeError: Not an ``nn.Module``.
        InputError: The model is being traced, or ``memory`` has another name.

    Example:
        >>> import torch, cellgate
        >>> model = torch.nn.Sequential(torch.nn.LSTM(20, 100, num_layers=2))
        >>> print(cellgate.explain_conversion(cellgate.convert(model)))
        through cellgate   0  (LSTM(20, 100, num_layers=2))
    """
    _check(model)
    _check_not_traced(model)
    if not inplace:
        model = copy.deepcopy(model)
    memory = None if memory is None else check_memory(memory)
    for module in model.modules():
        _convert(module, keep_type)
        if memory is not None and (isinstance(module, LSTM) or issubclass(type(module), ConvertedLSTM)):
            vars(module)["memory"] = memory
    return model


def revert(model: Model, *, inplace: bool = True) -> Model:
    """Undo :func:`convert`: every converted module is again of the class it had, with all its parameters.

    Modules made as :class:`cellgate.LSTM` from the beginning stay what they are.

    Args:
        model: Any module.
        inplace: Revert this model; else revert and return a deep copy.

    Returns:
        The model, or its reverted copy.

    Raises:
        TypeError: Not an ``nn.Module``.
        InputError: The model is being traced.
    """
    _check(model)
    _check_not_traced(model)
    if not inplace:
        model = copy.deepcopy(model)
    for module in model.modules():
        _revert(module)
    return model


def explain_conversion(model: nn.Module) -> Conversion:
    """Return what of a model runs through cellgate, what does not, and why; ``print`` it to read it.

    Args:
        model: Any module, before or after :func:`convert`.

    Raises:
        TypeError: Not an ``nn.Module``.
    """
    _check(model)
    found: dict[str, dict[str, str]] = {"converted": {}, "native": {}, "open": {}, "left": {}, "notes": {}}
    for name, module in model.named_modules():
        reason = _reason_against(module)
        if _original(module) is not None:
            found["converted"][name] = _described(module)
            if isinstance(module, nn.LSTM) and _class_below_parametrization(module) is not ConvertedLSTM:
                found["notes"][name] = "a subclass of nn.LSTM: torch.compile breaks the graph at it, as before"
        elif isinstance(module, LSTM | LSTMCell):
            found["native"][name] = ""
        elif reason is not None:
            found["left"][name] = reason
        elif isinstance(module, nn.LSTM | nn.LSTMCell):
            found["open"][name] = ""
    return Conversion(found["converted"], tuple(found["native"]), tuple(found["open"]), found["left"], found["notes"])


def _check(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected an nn.Module, got {type(model).__name__}")


def _check_not_traced(model: nn.Module) -> None:
    if any(getattr(type(module), "_recording", False) for module in model.modules()):
        raise InputError("model: expected one that is not being traced, got one inside a trace block: do it outside")


def _shown(name: str) -> str:
    return name or "(the model itself)"


def _described(module: nn.Module) -> str:
    original = _original(module)
    assert original is not None
    home = original.__module__
    where = "" if home.startswith("torch.nn") else f"{home}."
    return f"{where}{original.__qualname__}({module.extra_repr()})"


def _class_below_parametrization(module: nn.Module) -> type:
    """Return the module's class, or, if ``parametrize`` made that, the one it was made from."""
    cls = type(module)
    return cls.__bases__[0] if parametrize.is_parametrized(module) else cls


def _original(module: nn.Module) -> type | None:
    """Return the class that a converted module had, or None for any other module."""
    cls = _class_below_parametrization(module)
    return cls._original if issubclass(cls, ConvertedLSTM | ConvertedToLSTM | ConvertedLSTMCell) else None


def _convert(module: nn.Module, keep_type: bool) -> None:
    if not isinstance(module, nn.LSTM | nn.LSTMCell) or isinstance(module, LSTMCell):
        return
    if _original(module) is not None or _reason_against(module) is not None:
        return
    original = _class_below_parametrization(module)
    if original is nn.LSTM:
        new = ConvertedLSTM if keep_type else ConvertedToLSTM
    elif original is nn.LSTMCell:
        new = ConvertedLSTMCell
    else:
        new = derived(original, ConvertedLSTM if isinstance(module, nn.LSTM) else ConvertedLSTMCell)
    _exchange(module, new)
    if issubclass(new, LSTM):
        # The list of weights that nn.LSTM keeps beside its parameters; cellgate.LSTM reads them by name.
        module.__dict__.pop("_flat_weights", None)
        module.__dict__.pop("_flat_weight_refs", None)


def _revert(module: nn.Module) -> None:
    original = _original(module)
    if original is None:
        return
    _exchange(module, original)
    module.__dict__.pop("memory", None)
    if isinstance(module, nn.LSTM):
        # Weights may have been replaced meanwhile, which only some ways of replacing them tell the list.
        module._init_flat_weights()


def _exchange(module: nn.Module, new: type) -> None:
    module.__class__ = rebased(type(module), new) if parametrize.is_parametrized(module) else new


_INTERNAL = (
    "check_input",
    "check_hidden_size",
    "check_forward_args",
    "get_expected_hidden_size",
    "permute_hidden",
    "_update_flat_weights",
)


def _reason_against(module: nn.Module) -> str | None:
    """Return why a module that is or resembles an LSTM cannot be converted, or None."""
    cls = type(module)
    if isinstance(module, jit.ScriptModule):
        name = getattr(module, "original_name", "")
        return "scripted: its code is compiled; convert the model before torch.jit" if "LSTM" in name else None
    if ".quantized." in cls.__module__ and "LSTM" in cls.__name__:
        return "quantized: its weights are packed integers"
    if ".quantizable." in cls.__module__ and cls.__name__ == "LSTM":
        return "quantizable: it is made of observed cells"
    if not isinstance(module, nn.LSTM | nn.LSTMCell):
        return None
    if "forward" in vars(module):
        return "its forward is replaced on the instance, and would not be reached"
    base = nn.LSTM if isinstance(module, nn.LSTM) else nn.LSTMCell
    above = cls.__mro__[: cls.__mro__.index(base)]
    for owner in above:
        own = vars(owner)
        for name in _INTERNAL:
            if name in own:
                return f"{owner.__qualname__}.{name} changes what nn.LSTM does inside"
        if "forward" in own and not _calls_super(own["forward"]):
            return f"{owner.__qualname__}.forward does not go through super().forward"
    return None


def _calls_super(function: Callable[..., Any]) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    # Without code to read (a compiled extension) there is no telling; a forward that never arrives here does no harm.
    return code is None or "super" in code.co_names
