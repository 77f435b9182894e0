"""fit, predict, save and load: the faces of the tasks."""

from cellgate.estimators.folder import ModelFolderError
from cellgate.estimators.forecaster import Forecaster
from cellgate.estimators.load import load

__all__ = ["Forecaster", "ModelFolderError", "load"]
