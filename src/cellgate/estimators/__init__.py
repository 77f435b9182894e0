"""fit, predict, save and load: the faces of the tasks."""

from typing import TYPE_CHECKING

from cellgate._lazy import import_on_use

if TYPE_CHECKING:
    from cellgate.estimators.classifier import SequenceClassifier
    from cellgate.estimators.folder import ModelFolderError
    from cellgate.estimators.forecaster import Forecaster
    from cellgate.estimators.language_model import LanguageModel
    from cellgate.estimators.load import load
    from cellgate.estimators.regressor import SequenceRegressor
    from cellgate.estimators.tagger import SequenceTagger

__all__ = [
    "Forecaster",
    "LanguageModel",
    "ModelFolderError",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "load",
]

_HOMES = {
    "Forecaster": "forecaster",
    "LanguageModel": "language_model",
    "ModelFolderError": "folder",
    "SequenceClassifier": "classifier",
    "SequenceRegressor": "regressor",
    "SequenceTagger": "tagger",
    "load": "load",
}
import_on_use(__name__, {name: f"{__name__}.{home}" for name, home in _HOMES.items()})
