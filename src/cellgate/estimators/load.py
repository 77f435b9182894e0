"""cellgate.load: whatever fit or train saved."""

from __future__ import annotations

from pathlib import Path

from cellgate.estimators.folder import ModelFolderError, load_folder
from cellgate.estimators.forecaster import Forecaster

_KINDS = {"Forecaster": Forecaster}


def load(path: str | Path) -> Forecaster:
    """Load a model folder.

    Args:
        path: the folder that `save`, or `cellgate train --out`, wrote.

    Returns:
        The estimator, fitted.

    Raises:
        ModelFolderError: if the folder holds no model, a damaged one, or one this version does not know.
    """
    kind, config, files = load_folder(path)
    if kind not in _KINDS:
        raise ModelFolderError(f"{path}: expected a model of kind {', '.join(_KINDS)}, got {kind!r}; update cellgate")
    return _KINDS[kind]._from_folder(config, files, path)
