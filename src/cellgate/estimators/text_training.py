"""How large a language model is, how long it trains, and what of its text is held back."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from cellgate.data.text import Text
from cellgate.tasks.generate import GenerateObjective
from cellgate.tasks.network import SequenceNetwork
from cellgate.training import Draws, TrainingSettings

_HELD = 20_000  # characters to stop in time by
_TOKENS = 12_000_000  # to read in all, where the caller says nothing: some ten minutes on two cores
_FOUND = ("hidden_size", "max_epochs", "patience", "max_seconds")  # these show in the settings and the network


def characters_held(share: float | None, text: Text) -> int:
    """How many characters at the end of the text are not learnt, with the share that was asked for."""
    if share is None:
        return min(len(text.text) // 20, _HELD)
    return int(len(text.text) * share)


def network_for(params: dict[str, Any], shares: np.ndarray, tokens: int) -> SequenceNetwork:
    """A new network. One of words begins with the share that each has: to learn thousands of them takes long.

    Args:
        params: the estimator's arguments.
        shares: (V,) of each token in the text.
        tokens: how many there are to learn from.
    """
    characters, vocabulary = params["units"] == "characters", len(shares)
    hidden = params["hidden_size"] or (128 if tokens < 50_000 else 256 if tokens < 500_000 else 512)
    with Draws(params["seed"]).turn():
        model = SequenceNetwork(
            0,
            vocabulary,
            hidden,
            params["num_layers"],
            "all",
            dropout=params["dropout"],
            vocabulary=vocabulary,
            embedding_size=params["embedding_size"] or (64 if characters else 256),
            embedding_dropout=0.0 if characters else params["dropout"],
            locked=True,
            state_dropout=params["state_dropout"],
        )
    if not characters:
        with torch.no_grad():
            model.readout.bias.copy_(torch.from_numpy(np.log(shares)))
    return model


def training_settings(params: dict[str, Any], objective: GenerateObjective, tokens: int) -> TrainingSettings:
    """So many tokens are read in all, at least twice and at most forty times the text, where no time is set."""
    share = objective.rounds * objective.streams * objective.steps / tokens
    passes = 40.0 if params["max_seconds"] is not None else min(40.0, max(2.0, _TOKENS / tokens))
    epochs = params["max_epochs"] or max(3, math.ceil(passes / share))
    return TrainingSettings(
        max_epochs=epochs,
        max_seconds=params["max_seconds"],
        batch_size=objective.streams,
        learning_rate=params["learning_rate"],
        patience=params["patience"] or max(3, epochs // 2),
        warmup=min(100, max(1, epochs * objective.rounds // 20)),
        seed=int(params["seed"]),
    )


def fingerprint(params: dict[str, Any], text: Text, settings: TrainingSettings, model: SequenceNetwork) -> str:
    """Of everything that a training's result depends on, whether a size was found or said."""
    kept = {name: value for name, value in params.items() if name not in _FOUND}
    how = sorted(kept.items()), replace(settings, max_seconds=None), model.config()
    return hashlib.sha256(repr(how).encode() + text.text.encode("utf-8", "surrogatepass")).hexdigest()
