"""The modules: parameters, state_dict and forward; no arithmetic."""

from .cell import LSTMCell
from .lstm import LSTM
from .sequence_model import SequenceModel

__all__ = ["LSTM", "LSTMCell", "SequenceModel"]
