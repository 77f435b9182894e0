"""cellgate, the LSTM for PyTorch: equal to ``torch.nn.LSTM`` in every number, faster, with every gate in view."""

from cellgate._version import __version__
from cellgate.backends import info, use_backend
from cellgate.errors import BackendError, CellgateError, DtypeError, InputError, ShapeError
from cellgate.estimators import Forecaster, LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger, load
from cellgate.nn import LSTM, LSTMCell, SequenceModel, convert, explain_conversion, revert, tbptt
from cellgate.trace import trace

__all__ = [
    "LSTM",
    "BackendError",
    "CellgateError",
    "DtypeError",
    "Forecaster",
    "InputError",
    "LSTMCell",
    "LanguageModel",
    "SequenceClassifier",
    "SequenceModel",
    "SequenceRegressor",
    "SequenceTagger",
    "ShapeError",
    "__version__",
    "convert",
    "explain_conversion",
    "info",
    "load",
    "revert",
    "tbptt",
    "trace",
    "use_backend",
]
