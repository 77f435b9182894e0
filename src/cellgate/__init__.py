"""cellgate, the LSTM for PyTorch: equal to ``torch.nn.LSTM`` in every number, faster, with every gate in view."""

from cellgate._version import __version__
from cellgate.backends import info, use_backend
from cellgate.errors import BackendError, CellgateError, DtypeError, InputError, ShapeError
from cellgate.nn import LSTM, LSTMCell, SequenceModel

__all__ = [
    "LSTM",
    "BackendError",
    "CellgateError",
    "DtypeError",
    "InputError",
    "LSTMCell",
    "SequenceModel",
    "ShapeError",
    "__version__",
    "info",
    "use_backend",
]
