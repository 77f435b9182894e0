"""Killed at random moments, many times, and resumed each time, a training ends as if it had never been disturbed."""

import json
import random
import signal
import tomllib

import numpy as np
import pytest

import cellgate.estimators

TRAININGS = {
    "forecast": ["airline", "--horizon", "6", "--max-epochs", "12"],
    "classify": ["waves.npz", "--max-epochs", "15", "--hidden-size", "8"],
    "regress": ["numbers.npz", "--max-epochs", "15", "--hidden-size", "8"],
    "tag": ["words.conll", "--max-epochs", "6", "--hidden-size", "8"],
    "generate": ["text.txt", "--max-epochs", "4", "--hidden-size", "8", "--batch-size", "4", "--steps", "64"],
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with what the trainings read."""
    folder = tmp_path_factory.mktemp("inputs")
    chance = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    x = np.sin(np.arange(12) * (0.3 + 0.4 * y[:, None])) + 0.1 * chance.normal(size=(80, 12))
    words = "to be or not that is the question whether tis nobler".split()
    np.savez(folder / "waves.npz", X=x[:, :, None], y=y)
    np.savez(folder / "numbers.npz", X=x[:, :, None], y=x.mean(1))
    sentences = [[f"{word} {'AB'[word in 'to be or']}" for word in chance.choice(words, 6)] for _ in range(80)]
    (folder / "words.conll").write_text("\n\n".join("\n".join(sentence) for sentence in sentences) + "\n")
    (folder / "text.txt").write_text(" ".join(chance.choice(words, 1500)))
    return folder


def options_of(task, inputs):
    data, *rest = TRAININGS[task]
    data = str(inputs / data) if (inputs / data).exists() else data
    return ["train", data, *rest, "--task", task]


def test_a_loss_that_is_no_number_is_said_and_nothing_is_saved(server, tmp_path, inputs):
    for task in TRAININGS:
        out = tmp_path / task
        ended = server.run(*options_of(task, inputs), "--learning-rate", "1e15", "--out", out)
        assert ended.code == 3, (task, ended.output)
        last = ended.output.splitlines()[-1]
        assert last.startswith("error: expected a finite")
        assert "lower --learning-rate" in last
        assert not (out / "config.json").exists()


def result(folder):
    """Every file of a model's folder, without the seconds that it took."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    config = json.loads(found.pop("config.json"))
    config["training"].pop("seconds")
    config.pop("sum")
    for name in ("README.md",):  # tells the seconds too
        found.pop(name)
        config["files"].pop(name)
    return found, config


@pytest.mark.parametrize("task", TRAININGS)
def test_a_training_killed_at_random_moments(server, tmp_path, inputs, task):
    options = [*options_of(task, inputs), "--checkpoint-every", "0", "--json"]
    whole = server.run(*options, "--out", tmp_path / "whole")
    assert whole.code == 0, whole.output
    moments, kills, seconds = random.Random(7), 0, whole.seconds
    for k in range(20):
        # How fast the machine is changes: where a training ended before it was killed often enough, another follows.
        out = tmp_path / f"killed{k}"
        more, seconds = kill_and_resume(server, options, out, moments, seconds)
        kills += more
        assert not (out / "checkpoint").exists()
        assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
        assert result(out) == result(tmp_path / "whole")
        if kills >= 4:
            break
    assert kills >= 4


def kill_and_resume(server, options, out, moments, seconds):
    """Kill a training at moments of the seconds that it takes, and resume it, until it is done.

    Returns how often it was killed, and how long its last run took.
    """
    for kills in range(15):
        # At first anywhere in the run, later early in what is left, so that there are many kills; the last is left
        # alone.
        after = moments.uniform(0, seconds * (0.5 if kills < 6 else 1.5)) if kills < 14 else None
        resume = ["--resume"] if (out / "checkpoint").is_dir() else []
        ended = server.run(*options, "--out", out, *resume, after=after)
        if ended.code != -signal.SIGKILL:
            assert ended.code == 0, ended.output
            break
        if (out / "config.json").exists():
            cellgate.estimators.load(out)  # where it stands, everything does
            if not (out / "checkpoint").exists():  # killed when all was done, while it was leaving
                return kills + 1, ended.seconds
    return kills, ended.seconds


@pytest.mark.parametrize("task", ["forecast", "classify", "generate"])
def test_a_model_and_its_options_belong_together_whenever_a_second_training_is_killed(server, tmp_path, inputs, task):
    options, out = [*options_of(task, inputs), "--checkpoint-every", "0"], tmp_path / "m"
    seconds = server.run(*options, "--out", out).seconds
    moments, found = random.Random(5), []
    for seed in range(1, 9):
        ended = server.run(*options, "--seed", str(seed), "--force", "--out", out, after=moments.uniform(0, seconds))
        seconds = ended.seconds if ended.code == 0 else seconds  # as fast as the machine is by now
        if not (out / "config.json").exists():
            ended = server.run("train", "--resume", "--out", out)
            assert ended.code == 0, ended.output
        said = tomllib.loads((out / "train.toml").read_text())["train"]["seed"]
        found.append(cellgate.estimators.load(out).seed)
        assert said == found[-1]
    assert set(found) != set(range(1, 9))  # some were killed before their model was there


@pytest.mark.parametrize("task", TRAININGS)
def test_ctrl_c_at_random_moments_is_never_a_traceback(server, tmp_path, inputs, task):
    options = [*options_of(task, inputs), "--checkpoint-every", "0.01"]
    seconds = server.run(*options, "--out", tmp_path / "whole").seconds
    moments, codes = random.Random(3), []
    while len(codes) < 5 or (130 not in codes and len(codes) < 20):
        out = tmp_path / f"m{len(codes)}"
        ended = server.run(*options, "--out", out, after=moments.uniform(0, seconds), sent=signal.SIGINT)
        codes.append(ended.code)
        seconds = ended.seconds if ended.code == 0 else seconds  # as fast as the machine is by now
        assert ended.code in (0, 130), ended.output
        # An interrupt inside a library's destructor is reported by Python itself, which nobody can keep from it.
        assert "Traceback" not in ended.output or "Exception ignored in" in ended.output, ended.output
        if (out / "config.json").exists():
            cellgate.estimators.load(out)
        else:
            assert ended.code == 130
    assert 130 in codes
