"""The modules: parameters, state_dict and forward; no arithmetic."""

from .cell import LSTMCell
from .lstm import LSTM

__all__ = ["LSTM", "LSTMCell"]
