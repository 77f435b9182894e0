"""The modules: parameters, state_dict and forward; no arithmetic."""

from .cell import LSTMCell
from .convert import Conversion, convert, explain_conversion, revert
from .gates import LayerGates
from .lstm import LSTM
from .sequence_model import SequenceModel
from .stream import Stream
from .tbptt import Chunk, tbptt
from .variant import Variant

__all__ = [
    "LSTM",
    "Chunk",
    "Conversion",
    "LSTMCell",
    "LayerGates",
    "SequenceModel",
    "Stream",
    "Variant",
    "convert",
    "explain_conversion",
    "revert",
    "tbptt",
]
