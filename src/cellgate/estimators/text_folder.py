"""The folder of a language model: written, and read again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cellgate.data.text import Vocabulary
from cellgate.estimators.folder import save_folder
from cellgate.estimators.sequence_card import sequence_card
from cellgate.tasks.generate import Bigrams
from cellgate.tasks.network import SequenceNetwork
from cellgate.training import TrainingRecord

if TYPE_CHECKING:
    from cellgate.estimators.language_model import LanguageModel


def save_text_model(model: LanguageModel, path: str | Path) -> None:
    """Write the folder of a fitted language model.

    Raises:
        OSError: if it cannot be written.
    """
    config = {
        "estimator": model.get_params(),
        "model": model.model_.config(),
        "task": {"trained_tokens": model.trained_tokens_},
        "training": {key: value for key, value in asdict(model.record_).items() if key != "history"},
    }
    preprocess = {"source": model.source_, "units": model.units, "tokens": list(model.vocabulary_.tokens)}
    counts = {name: torch.from_numpy(getattr(model.bigrams_, name)) for name in ("pairs", "counts", "unigram")}
    files = {
        "model.safetensors": model.model_.state_dict(),
        "preprocess.json": preprocess,
        "baseline.safetensors": counts,
        "metrics.json": {**model.metrics_, "history": [list(pair) for pair in model.record_.history]},
        "README.md": sequence_card("LanguageModel", model.BASELINE, config, preprocess, model.metrics_),
    }
    save_folder(path, "LanguageModel", config, files)


def restored(cls: type[LanguageModel], config: dict[str, Any], files: dict[str, Any]) -> LanguageModel:
    """The language model of a folder that load_folder has read; what `load` calls, and says of wrong parts."""
    made = cls(**config["estimator"])
    preprocess, metrics = files["preprocess.json"], dict(files["metrics.json"])
    made.source_, made.trained_tokens_ = preprocess["source"], config["task"]["trained_tokens"]
    made.vocabulary_ = Vocabulary(preprocess["units"], tuple(preprocess["tokens"]))
    counts = files["baseline.safetensors"]
    made.bigrams_ = Bigrams(*(counts[name].numpy() for name in ("pairs", "counts", "unigram")))
    made.record_ = TrainingRecord.from_json(config["training"], metrics.pop("history"))
    made.metrics_ = metrics
    made.model_ = SequenceNetwork(**config["model"])
    made.model_.load_state_dict(files["model.safetensors"])
    made.model_.eval()
    return made
