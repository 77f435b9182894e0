"""fit, predict, save and load: the faces of the tasks."""

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
