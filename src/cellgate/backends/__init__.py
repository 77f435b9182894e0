"""How a layer is executed: a frozen description of the problem, one place that chooses, and the backends."""

from .captured import CAPTURED, run_captured
from .dispatch import Choice, choose, execute, names, requested_backend, use_backend
from .info import Info, info
from .problem import Gates, Inputs, Problem, Result, State, join_state, split_state

__all__ = [
    "CAPTURED",
    "Choice",
    "Gates",
    "Info",
    "Inputs",
    "Problem",
    "Result",
    "State",
    "choose",
    "execute",
    "info",
    "join_state",
    "names",
    "requested_backend",
    "run_captured",
    "split_state",
    "use_backend",
]
