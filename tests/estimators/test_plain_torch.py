"""Estimators beside whatever the caller has set in PyTorch for work of his own."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

import cellgate
from cellgate import Forecaster, LanguageModel, SequenceClassifier, SequenceRegressor, SequenceTagger
from cellgate.estimators.plain_torch import plain_torch

X = np.random.default_rng(0).normal(size=(24, 5, 2))
LABELS = {
    SequenceClassifier: (X[:, :, 0].sum(1) > 0).astype(int),
    SequenceRegressor: X[:, :, 0].sum(1),
    SequenceTagger: (X[:, :, 0] > 0).astype(int),
}


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "a default device": lambda: default_device("meta"),
    "a device around": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_forecaster_is_the_same_beside_other_settings(tmp_path, setting):
    def everything(folder):
        forecaster = Forecaster(horizon=3, hidden_size=8, max_epochs=2).fit("airline")
        forecaster.save(folder)
        loaded = cellgate.load(folder)
        return (
            forecaster.predict()["cellgate"],
            loaded.predict()["cellgate"],
            loaded.stream().push(420.0).values,
            loaded.backtest(origins=2).values,
            loaded.encode().x.numpy(),
            loaded.explain().report.examples[0].layers[0].maps["f"],
        )

    expected = everything(tmp_path / "plain")
    with SETTINGS[setting]():
        found = everything(tmp_path / "other")
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("setting", ["float64", "a default device", "inference_mode"])
@pytest.mark.parametrize("kind", LABELS)
def test_estimators_of_sequences_are_the_same_beside_other_settings(kind, setting):
    def answers():
        return kind(hidden_size=8, max_epochs=2).fit(X, LABELS[kind]).predict(X)

    expected = answers()
    with SETTINGS[setting]():
        found = answers()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("setting", ["float64", "a default device", "inference_mode"])
def test_a_language_model_writes_on_beside_other_settings(setting):
    def written():
        model = LanguageModel(hidden_size=8, max_epochs=1).fit("one two three four\n" * 40)
        return model.generate(length=12), list(model.stream(length=12))

    expected = written()
    with SETTINGS[setting]():
        found = written()
    assert found == expected


def test_the_settings_are_the_callers_again_afterwards():
    with default_dtype(torch.float64), default_device("meta"), torch.inference_mode(), torch.autocast("cpu"):
        for _ in LanguageModel(hidden_size=8, max_epochs=1).fit("one two three four\n" * 40).stream(length=2):
            assert torch.get_default_dtype() == torch.float64  # between two tokens too
        with plain_torch():
            assert torch.empty(1).dtype == torch.float32
        with pytest.raises(cellgate.errors.InputError):
            Forecaster().fit(None)
        assert torch.get_default_dtype() == torch.float64
        assert torch.empty(1).device.type == "meta"
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
