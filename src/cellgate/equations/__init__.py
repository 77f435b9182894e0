"""What a cell computes: each equation written once, in plain PyTorch, one file a cell."""

from .lstm import LSTMStep, LSTMWeights, input_part, lstm_step
from .projected import projected_lstm_step

__all__ = ["LSTMStep", "LSTMWeights", "input_part", "lstm_step", "projected_lstm_step", "step_for"]


def step_for(weights: LSTMWeights):
    """Return the step function whose equations go with these weights."""
    return lstm_step if weights.w_hr is None else projected_lstm_step
