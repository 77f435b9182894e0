"""A full disk and a folder that may not be written: one clear line, and the last good save stands."""

import os
import resource
import tempfile
import time
from pathlib import Path

import pytest

import cellgate.estimators

NOBODY = 65534
OPTIONS = ["train", "airline", "--horizon", "6", "--max-epochs", "6", "--checkpoint-every", "0"]


def test_a_disk_that_fills_up_while_training(server, tmp_path):
    """From the third save on, the process may write no file of more than a kilobyte."""
    out = tmp_path / "m"

    def fill_up(child):
        saves: set[int] = set()
        while len(saves) < 3:
            saves |= {path.stat().st_mtime_ns for path in (out / "checkpoint").glob("*.safetensors")}
            time.sleep(0.001)
        resource.prlimit(child, resource.RLIMIT_FSIZE, (1024, 1024))

    ended = server.run(*OPTIONS, "--out", out, watch=fill_up)
    assert ended.code == 2, ended.output
    last = ended.output.splitlines()[-1]
    assert last.startswith("error: ")
    assert "File too large" in last
    assert "--resume goes on from it" in last
    assert not (out / "config.json").exists()
    resumed = server.run(*OPTIONS, "--out", out, "--resume")
    assert resumed.code == 0, resumed.output
    cellgate.estimators.load(out)


def test_a_disk_that_is_full_when_the_model_is_saved(server, tmp_path):
    out = tmp_path / "m"

    def fill_up(child):
        while not (out / "checkpoint" / "model" / "forecast.csv").exists():
            time.sleep(0.001)
        resource.prlimit(child, resource.RLIMIT_FSIZE, (1024, 1024))

    ended = server.run(*OPTIONS, "--out", out, watch=fill_up)
    if ended.code == 0:
        pytest.skip("the limit came after the last file")
    assert ended.code == 2, ended.output
    assert "error: " in ended.output
    assert not (out / "config.json").exists()
    assert not [path.name for path in out.iterdir() if path.name.endswith(".tmp")]
    assert server.run(*OPTIONS, "--out", out, "--resume").code == 0
    cellgate.estimators.load(out)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, whom the folder's rights bind")
def test_a_folder_that_may_not_be_written_is_said_before_the_training(server):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        ended = server.run(*OPTIONS, "--out", folder / "m", user=NOBODY)
        assert ended.code == 2, ended.output
        assert f"error: {folder / 'm'}: Permission denied" in ended.output
        assert "trained" not in ended.output
        assert not (folder / "m").exists()
