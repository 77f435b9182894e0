"""Where the time of a training epoch goes: inside the LSTM (forward and backward) or outside it."""

from __future__ import annotations

import time
from typing import Any

from cellgate import LSTM, Forecaster
from cellgate.data import Panel


def share_outside_lstm(panel: Panel, horizon: int) -> float:
    """The share of an epoch of a Forecaster's training, validation with it, that is not the LSTM's.

    Epochs three to five are counted: before, the LSTM touches memory for the first time, which would flatter the share.

    The LSTM's time is that of its forward call, and in backward the time from the gradient of its output to the last
    gradient of its weights. All else is outside: batches, readout, loss, clipping, optimiser.
    """
    inside, begun = 0.0, 0.0
    marks: list[tuple[float, float]] = []
    plain = LSTM.forward

    def ended(_: Any) -> None:
        nonlocal inside, begun
        now = time.perf_counter()
        inside, begun = inside + now - begun, now

    def begins(_: Any) -> None:
        nonlocal begun
        begun = time.perf_counter()

    def timed(self: LSTM, *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if not hasattr(self, "_watched"):
            self._watched = [weight.register_post_accumulate_grad_hook(ended) for weight in self.parameters()]
        start = time.perf_counter()
        output, state = plain(self, *args, **kwargs)
        inside += time.perf_counter() - start
        if output.requires_grad:
            output.register_hook(begins)
        return output, state

    LSTM.forward = timed
    try:
        Forecaster(horizon, max_epochs=5).fit(panel, watch=lambda progress: marks.append((progress.seconds, inside)))
    finally:
        LSTM.forward = plain
    (begin, before), (end, after) = marks[1], marks[-1]
    return 1 - (after - before) / (end - begin)
