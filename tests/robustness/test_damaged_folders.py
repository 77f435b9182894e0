"""A model folder with a missing, damaged, foreign, old or future part is refused in one line, never loaded wrong."""

import json
import random
import shutil

import numpy as np
import pytest

import cellgate.estimators
from cellgate.estimators import (
    Forecaster,
    LanguageModel,
    ModelFolderError,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    load,
)
from cellgate.estimators.folder import FORMAT, sum_of


def waves():
    y = np.repeat(["slow", "fast"], 10)
    return np.sin(np.arange(9) * np.where(y == "slow", 0.3, 0.7)[:, None]), y


KINDS = {
    "Forecaster": lambda: Forecaster(3, max_epochs=1, hidden_size=8).fit(np.arange(60) % 7 + 1.0),
    "SequenceClassifier": lambda: SequenceClassifier(max_epochs=1, hidden_size=8).fit(*waves()),
    "SequenceRegressor": lambda: SequenceRegressor(max_epochs=1, hidden_size=8).fit(waves()[0], np.arange(20.0)),
    "SequenceTagger": lambda: SequenceTagger(max_epochs=1, hidden_size=8).fit([["a", "b"]] * 20, [["X", "Y"]] * 20),
    "LanguageModel": lambda: LanguageModel(max_epochs=1, hidden_size=8, steps=16, batch_size=2).fit(
        "to be or not " * 40
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "m"
    KINDS[request.param]().save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "m")
    return tmp_path / "m"


def refused(folder):
    with pytest.raises(ModelFolderError) as caught:
        load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert "expected" in message
    return message


def parts(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "README.md")


def test_a_whole_folder_loads(folder):
    assert type(load(folder)).__name__ in KINDS


def test_every_missing_file_is_named(folder):
    for name in parts(folder):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert name in refused(folder)
        (folder / name).mkdir()
        assert name in refused(folder)
        (folder / name).rmdir()
        (folder / name).write_bytes(content)
    load(folder)


def test_every_cut_file_is_refused(folder):
    for name in parts(folder):
        content = (folder / name).read_bytes()
        for keep in (0, 1, 7, len(content) // 2, len(content) - 2):
            (folder / name).write_bytes(content[:keep])
            assert name in refused(folder)
        (folder / name).write_bytes(content)


def test_every_changed_byte_is_refused(folder):
    chance = random.Random(5)
    for name in parts(folder):
        content = (folder / name).read_bytes()
        for _ in range(60):
            changed = bytearray(content)
            changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            (folder / name).write_bytes(changed)
            try:
                same = json.loads(changed) == json.loads(content)
            except ValueError:
                same = False
            if not same:  # a space for a tab changes nothing
                assert str(folder / name) in refused(folder) or name == "config.json"
        (folder / name).write_bytes(content)


def test_noise_in_place_of_every_file(folder):
    noise = np.random.default_rng(0).bytes(3000)
    for name in parts(folder):
        content = (folder / name).read_bytes()
        for other in (noise, b"[]", b"{}", b"null", b"\xff\xfe{}", b"9" * 5000):
            (folder / name).write_bytes(other)
            refused(folder)
        (folder / name).write_bytes(content)


def rewrite(folder, **changes):
    """The config with other values and the right sum, as somebody's program might write it."""
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    config.pop("sum", None)
    (folder / "config.json").write_text(json.dumps({**config, "sum": sum_of(config)}))


def test_formats_and_kinds(folder):
    rewrite(folder, format=FORMAT + 1)
    assert "update cellgate" in refused(folder)
    for old in (0, -1, "1.0", None, [], {}):
        rewrite(folder, format=old)
        assert "train again" in refused(folder)
    rewrite(folder, format=FORMAT, kind="Prophet")
    assert "expected a model of kind" in refused(folder)
    assert "got 'Prophet'" in refused(folder)


def test_a_config_that_does_not_fit(folder):
    good = json.loads((folder / "config.json").read_text())
    for changes in (
        {"model": {**good["model"], "hidden_size": 9}},
        {"model": {**good["model"], "hidden_size": -1}},
        {"model": {**good["model"], "hidden_size": "many"}},
        {"model": {}},
        {"model": None},
        {"estimator": None},
        {"estimator": {**good["estimator"], "colour": "red"}},
        {"task": {}},
        {"training": {"epochs": 1, "moon": 2}},
        {"files": None},
        {"files": {}},
        {"files": {**good["files"], "../m/config.json": "0"}},
        {"files": {**good["files"], "/etc/hostname": "0"}},
    ):
        rewrite(folder, **{**good, **changes})
        refused(folder)


def test_the_weights_of_another_model(folder, tmp_path):
    Forecaster(3, max_epochs=1, hidden_size=9).fit(np.arange(60) % 7 + 1.0).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", folder)
    assert "model.safetensors: expected the file that was saved" in refused(folder)


def test_no_folder_at_all(tmp_path):
    assert "expected a model folder, found none" in refused(tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "expected a model folder" in refused(tmp_path / "file")
    assert "with a config.json, found none in it" in refused(tmp_path)
    assert cellgate.load is load
