"""The native core, for type checkers where it is not built: see native/bindings.cpp for what is in it."""

from typing import Any

def __getattr__(name: str) -> Any: ...
