"""How the gates of a cell come from their sums: the few choices in which the known cells differ."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Form"]


@dataclass(frozen=True)
class Form:
    """One member of the family of cells; the defaults are the LSTM's.

    Attributes:
        name: As users write it.
        input: "gate", sigmoid of its sum; or "one": there is no input gate.
        forget: "gate"; "one": nothing is forgotten; or "coupled": f = 1 - i.
        output: "gate" or "one".
        candidate: g from its sum: "tanh"; "identity"; or "wide", 2 tanh(a / 2), which lies in [-2, 2].
        squash: What the output gate lets through: "tanh" of c; "identity"; or "half", tanh(c / 2).
        memories: Vectors of H in the state c.
        bare: Its paper defines it without peepholes, normalisation, hard activations, limits and zoneout of the cell.
    """

    name: str
    input: str = "gate"
    forget: str = "gate"
    output: str = "gate"
    candidate: str = "tanh"
    squash: str = "tanh"
    memories: int = 1
    bare: bool = False
