"""What the gates did at every step, statistics of it, what an output owes to its input, and a picture."""

from .attribution import Attribution, attribute
from .layer import Direction, Layer, Saturation
from .neighbours import Match, StateIndex
from .recorder import trace
from .tape import Call, Tape, Track

__all__ = [
    "Attribution",
    "Call",
    "Direction",
    "Layer",
    "Match",
    "Saturation",
    "StateIndex",
    "Tape",
    "Track",
    "attribute",
    "trace",
]
