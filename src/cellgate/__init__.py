"""cellgate, the LSTM for PyTorch: equal to ``torch.nn.LSTM`` in every number, faster, with every gate in view."""

from typing import TYPE_CHECKING

from cellgate._lazy import import_on_use, import_with_torch
from cellgate._version import __version__
from cellgate.errors import BackendError, CellgateError, DtypeError, InputError, ShapeError

if TYPE_CHECKING:
    from cellgate.backends import info, use_backend
    from cellgate.estimators import (
        Forecaster,
        LanguageModel,
        SequenceClassifier,
        SequenceRegressor,
        SequenceTagger,
        load,
    )
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

_HOMES = {
    "backends": ("info", "use_backend"),
    "estimators": (
        "Forecaster",
        "LanguageModel",
        "SequenceClassifier",
        "SequenceRegressor",
        "SequenceTagger",
        "load",
    ),
    "nn": ("LSTM", "LSTMCell", "SequenceModel", "convert", "explain_conversion", "revert", "tbptt"),
    "trace": ("trace",),
}
import_on_use(
    __name__,
    {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names},
    modules=("backends", "data", "equations", "estimators", "nn", "report", "tasks", "training"),
)
# Programs of torch.export and compiled ones look for the layer's operator in PyTorch, not here.
import_with_torch("cellgate.backends")
