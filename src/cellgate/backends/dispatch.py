"""The one place that chooses a backend, and says why.

Backends are modules with ``NAME``, ``reason_against(problem) -> str | None`` and ``run(problem, inputs) -> Result``.
Their order in :data:`BACKENDS` is the order of preference. ``"auto"`` takes the first without a reason against it that
does not concede: a module may have ``concedes(problem, threads) -> str | None``, why another is faster. A backend
asked for by name runs or raises :class:`cellgate.errors.BackendError` with the reason.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from cellgate.errors import BackendError, InputError

from . import aten, cpu, reference
from .problem import Inputs, Problem, Result

__all__ = ["AUTO", "BACKENDS", "Choice", "choose", "execute", "names", "requested_backend", "use_backend"]

AUTO = "auto"
BACKENDS = {module.NAME: module for module in (cpu, aten, reference)}

_requested: contextvars.ContextVar[str] = contextvars.ContextVar("cellgate_backend", default=AUTO)


@dataclass(frozen=True)
class Choice:
    """Which backend runs a problem, and why not the others.

    Attributes:
        name: The backend that runs.
        requested: What was asked for, "auto" or a name.
        reasons: For each other backend, why it does not run.
    """

    name: str
    requested: str
    reasons: dict[str, str]

    def __str__(self) -> str:
        """Return a few lines for a person."""
        how = "chosen by auto" if self.requested == AUTO else "asked for by name"
        lines = [f"backend: {self.name} ({how})"]
        lines += [f"  not {name}: {reason}" for name, reason in self.reasons.items()]
        return "\n".join(lines)


def names() -> tuple[str, ...]:
    """Return what may be asked for: "auto" and every backend."""
    return (AUTO, *BACKENDS)


requested_backend = _requested.get
"""Return the name asked for in this context, "auto" unless :func:`use_backend` is active.

Asked at every call and every step of a stream, so it is the variable's own method and not a function around it.
"""


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every cellgate layer inside the ``with`` block on one backend.

    Args:
        name: "auto", "cpu", "aten" or "reference".

    Raises:
        ValueError: No backend has this name.
        BackendError: Raised by the layer, if the backend cannot run it.

    >>> import cellgate, torch
    >>> lstm = cellgate.LSTM(20, 100)
    >>> with cellgate.use_backend("reference"):
    ...     output, (h_n, c_n) = lstm(torch.zeros(3, 1, 20))
    """
    _check_name(name)
    token = _requested.set(name)
    try:
        yield
    finally:
        _requested.reset(token)


def _check_name(name: str) -> None:
    if name != AUTO and name not in BACKENDS:
        raise InputError(f"backend: expected one of {', '.join(map(repr, names()))}, got {name!r}")


def choose(problem: Problem, requested: str = AUTO) -> Choice:
    """Choose the backend for a problem.

    Args:
        problem: What is to be computed.
        requested: "auto" or a backend's name.

    Returns:
        The choice with its reasons.

    Raises:
        ValueError: No backend has this name.
        BackendError: The backend asked for cannot run the problem.
    """
    return _choose(problem, requested, torch.get_num_threads())


@functools.lru_cache(maxsize=4096)
def _choose(problem: Problem, requested: str, threads: int) -> Choice:
    """Choose once for each problem and number of threads, on which it may depend who is faster."""
    _check_name(requested)
    reasons = {name: module.reason_against(problem) for name, module in BACKENDS.items()}
    able = [name for name, reason in reasons.items() if reason is None]
    if requested == AUTO:
        for name in able[:-1]:
            concession = getattr(BACKENDS[name], "concedes", lambda *_: None)(problem, threads)
            if concession is None:
                break
            reasons[name] = concession
        else:
            name = able[-1]
        chosen = name
    elif requested in able:
        chosen = requested
    else:
        raise BackendError(f"backend {requested!r} cannot run this: {reasons[requested]}. Able: {', '.join(able)}")
    others = {
        name: reason or ("not asked for" if requested != AUTO else f"able, but {chosen!r} is preferred")
        for name, reason in reasons.items()
        if name != chosen
    }
    return Choice(chosen, requested, others)


def execute(problem: Problem, inputs: Inputs, choice: Choice) -> Result:
    """Run a problem on the backend that was chosen for it."""
    return BACKENDS[choice.name].run(problem, inputs)
