"""cellgate.load: whatever fit or train saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cellgate.estimators.classifier import SequenceClassifier
from cellgate.estimators.folder import ModelFolderError, load_folder
from cellgate.estimators.forecaster import Forecaster
from cellgate.estimators.language_model import LanguageModel
from cellgate.estimators.plain_torch import in_plain_torch
from cellgate.estimators.regressor import SequenceRegressor
from cellgate.estimators.tagger import SequenceTagger

_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger, LanguageModel)
}


@in_plain_torch
def load(path: str | Path, expected: Any = None) -> Any:
    """Load a model folder.

    Args:
        path: the folder that `save`, or `cellgate train --out`, wrote.
        expected: the estimator's class that it has to be of, Forecaster for instance; any where left out.

    Returns:
        The estimator, fitted.

    Raises:
        ModelFolderError: if the folder holds no model, a damaged one, or one this version does not know.
    """
    kind, config, files = load_folder(path)
    if kind not in _KINDS:
        raise ModelFolderError(f"{path}: expected a model of kind {', '.join(_KINDS)}, got {kind!r}; update cellgate")
    if expected is not None and not issubclass(expected, _KINDS[kind]):
        raise ModelFolderError(
            f"{path}: expected the folder of a {expected.__name__}, got that of a {kind}; {kind}.load reads it"
        )
    try:
        return (expected or _KINDS[kind])._from_folder(config, files)
    except ModelFolderError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise ModelFolderError(f"{path}: expected the parts of a {kind}, got others ({error}); train again") from error
