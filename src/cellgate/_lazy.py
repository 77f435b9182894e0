"""Names of a package that are imported when they are first used, so that `cellgate --help` waits for no PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def import_on_use(package: str, homes: Mapping[str, str], modules: tuple[str, ...] = ()) -> None:
    """Give a package names that are imported from their homes at first use.

    A name may be that of a submodule too, as `cellgate.trace` is: the package's attribute is then the name from its
    home, whichever of the two is imported first.

    Args:
        package: its `__name__`.
        homes: name -> the module that has it.
        modules: submodules that are there without an import of their own.
    """

    class Package(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name in homes:
                value = getattr(import_module(homes[name]), name)
            elif name in modules:
                value = import_module(f"{package}.{name}")
            else:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            setattr(self, name, value)
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            # The import system sets a submodule here once it is loaded.
            if name in homes and isinstance(value, ModuleType):
                value = getattr(import_module(homes[name]), name)
            super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *homes, *modules})

    sys.modules[package].__class__ = Package


def import_with_torch(module: str) -> None:
    """Import a module as soon as PyTorch is: now, if it is already."""
    if "torch" in sys.modules:
        import_module(module)
    else:
        sys.meta_path.insert(0, _WithTorch(module))


class _WithTorch:
    """Finds torch as it would be found without it, and imports a module when torch is there."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of torch, for the import system; None of all others."""
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                import_module(self.module)

            spec.loader.exec_module = exec_module
        return spec
