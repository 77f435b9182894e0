"""Classes for modules whose class is exchanged while they live: a new base slipped under the class they have.

Exchanging the class of a module keeps its identity: references, hooks, parameters and optimisers stay what they are. A
forward slipped in *below* a library's own class is what its ``super().forward(...)`` then reaches.
"""

from __future__ import annotations

import copyreg
import functools
from typing import Any

from torch import nn

__all__ = ["derived", "rebased"]


@functools.lru_cache(maxsize=256)
def derived(original: type, mixin: type) -> type:
    """Return a class that is ``original`` with ``mixin`` between it and its own bases.

    ``mixin`` must inherit from the base it is to come before. The class has the name of the original; pickle and copy
    restore instances as instances of the original, unless the mixin has a true ``_stays_when_copied``.
    """

    def __reduce_ex__(self: nn.Module, protocol: Any) -> Any:
        reduced: Any = super(new, self).__reduce_ex__(protocol)
        function, arguments, *rest = reduced
        function, arguments = _restored(self, mixin, original, function, arguments)
        return (function, arguments, *rest)

    names = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    if getattr(mixin, "_stays_when_copied", False):
        names["_original"] = original
    bases = (mixin,) if issubclass(mixin, original) else (original, mixin)
    new = type(original.__name__, bases, {**names, "__reduce_ex__": __reduce_ex__})
    return new


def _restored(module: nn.Module, mixin: type, original: type, function: Any, arguments: tuple) -> tuple[Any, tuple]:
    if getattr(mixin, "_stays_when_copied", False):
        return _blank, (original, mixin)
    if function is copyreg.__newobj__:  # pyright: ignore[reportAttributeAccessIssue]
        return _blank, (original, None)
    return function, tuple(original if argument is type(module) else argument for argument in arguments)


def _blank(original: type, mixin: type | None) -> Any:
    """Return an instance without contents, for pickle and copy to fill."""
    new: Any = original if mixin is None else derived(original, mixin)
    return new.__new__(new)


def rebased(made_by_torch: type, base: type) -> type:
    """Return a class like the one that ``torch.nn.utils.parametrize`` made for a module, on another base.

    Its properties sit in the class itself, where ``remove_parametrizations`` looks for them, so nothing may be derived
    from it.
    """
    contents = {k: v for k, v in vars(made_by_torch).items() if k not in ("__dict__", "__weakref__")}
    return type(f"Parametrized{base.__name__}", (base,), contents)
