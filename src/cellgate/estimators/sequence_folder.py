"""The folder of an estimator of sequences: written, and read again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cellgate.data.features import FeatureEncoding
from cellgate.data.panel import as_names
from cellgate.data.sequences import SequenceRoles
from cellgate.estimators.folder import save_folder
from cellgate.estimators.sequence_card import sequence_card
from cellgate.tasks.network import SequenceNetwork
from cellgate.training import TrainingRecord

if TYPE_CHECKING:
    from cellgate.estimators.sequence_estimator import SequenceEstimator

_E = TypeVar("_E", bound="SequenceEstimator")


def save_sequences(estimator: SequenceEstimator, path: str | Path) -> None:
    """Write the folder of a fitted estimator.

    Raises:
        OSError: if it cannot be written.
    """
    kind, record = type(estimator).__name__, estimator.record_
    config = {
        "estimator": {**estimator.plain_params(), "features": list(as_names(estimator.features))},
        "model": estimator.model_.config(),
        "task": estimator._answer_config(),
        "training": {key: value for key, value in asdict(record).items() if key != "history"},
    }
    preprocess = {
        "source": estimator.source_,
        "roles": asdict(estimator.roles_),
        "encoding": estimator.encoding_.to_json(),
        "columns": getattr(estimator, "n_features_in_", None),
    }
    files = {
        "model.safetensors": estimator.model_.state_dict(),
        "preprocess.json": preprocess,
        "metrics.json": {**estimator.metrics_, "history": [list(pair) for pair in record.history]},
        "README.md": sequence_card(kind, estimator.BASELINE, config, preprocess, estimator.metrics_),
    }
    save_folder(path, kind, config, files)


def restored(cls: type[_E], config: dict[str, Any], files: dict[str, Any]) -> _E:
    """The estimator of a folder that load_folder has read; what `load` calls, and says of wrong parts."""
    made = cls(**{**config["estimator"], "features": tuple(config["estimator"]["features"])})
    preprocess, metrics = files["preprocess.json"], dict(files["metrics.json"])
    made.source_ = preprocess["source"]
    roles = preprocess["roles"]
    lists = {name: tuple(value) for name, value in roles.items() if isinstance(value, list)}
    made.roles_ = SequenceRoles(**{**roles, **lists})
    made.encoding_ = FeatureEncoding.from_json(preprocess["encoding"])
    if preprocess["columns"] is not None:
        made.n_features_in_ = preprocess["columns"]
    made._restore_answers(config["task"])
    made.record_ = TrainingRecord.from_json(config["training"], metrics.pop("history"))
    made.metrics_ = metrics
    made.model_ = SequenceNetwork(**config["model"])
    made.model_.load_state_dict(files["model.safetensors"])
    made.model_.eval()
    return made
