"""What a cell computes: each equation written once, in plain PyTorch, one file a cell."""

from .cells import FORMS, PLAIN, Cell
from .connections import connect
from .form import Form
from .gated import Stepper, input_sums, stepper
from .lstm import LSTMStep, LSTMWeights, input_part, lstm_step
from .projected import projected_lstm_step
from .regularisers import CellMasks, StepMasks, activation_penalty

__all__ = [
    "FORMS",
    "PLAIN",
    "Cell",
    "CellMasks",
    "Form",
    "LSTMStep",
    "LSTMWeights",
    "StepMasks",
    "Stepper",
    "activation_penalty",
    "connect",
    "input_part",
    "input_sums",
    "lstm_step",
    "projected_lstm_step",
    "step_for",
    "stepper",
]


def step_for(weights: LSTMWeights):
    """Return the step function whose equations go with these weights."""
    return lstm_step if weights.w_hr is None else projected_lstm_step
