"""What the gates did at every step, statistics of it, and a picture."""

from .layer import Direction, Layer, Saturation
from .recorder import trace
from .tape import Call, Tape, Track

__all__ = ["Call", "Direction", "Layer", "Saturation", "Tape", "Track", "trace"]
