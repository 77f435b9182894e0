"""The modules: parameters, state_dict and forward; no arithmetic."""

from .cell import LSTMCell
from .convert import Conversion, convert, explain_conversion, revert
from .gates import LayerGates
from .lstm import LSTM
from .sequence_model import SequenceModel
from .stream import Stream

__all__ = [
    "LSTM",
    "Conversion",
    "LSTMCell",
    "LayerGates",
    "SequenceModel",
    "Stream",
    "convert",
    "explain_conversion",
    "revert",
]
