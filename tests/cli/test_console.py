"""What the verbs print, and the bar that a training draws on a terminal."""

import io
import itertools
import json
import os
import subprocess
import sys

import pytest

from cellgate.cli.console import training_progress
from cellgate.training import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("validation", [0.25, None])
def test_the_bar_tells_of_every_epoch_with_and_without_validation(monkeypatch, validation):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with training_progress(quiet=False) as watch:
        for epoch in (1, 2, 3):
            watch(Progress(epoch, 3, 0.5, validation, 0.25 if validation else float("inf"), 1, 1.0, 1234.0))
    shown = terminal.getvalue()
    assert "epoch 3/3" in shown
    assert "1,234/s" in shown
    assert ("validation 0.2500" in shown) == (validation is not None)


def test_no_bar_where_nobody_looks(monkeypatch):
    with training_progress(quiet=False) as watch:
        assert watch is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    with training_progress(quiet=True) as watch:
        assert watch is None


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_names_that_an_output_cannot_encode_are_no_fault(tmp_path, encoding):
    name = "Größe 早"
    rows = [f"2024-01-{day:02},{day % 7}" for day in range(1, 29)]
    (tmp_path / "t.csv").write_text("\n".join([f"ds,{name}", *rows]), encoding="utf-8")
    command = [sys.executable, "-m", "cellgate.cli.app", "check", str(tmp_path / "t.csv")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    for options in ([], ["--json"]):
        done = subprocess.run([*command, *options], capture_output=True, env=environment, timeout=120)
        assert (done.returncode, done.stderr) == (0, b"")
        out = done.stdout.decode(encoding)
        if options:
            assert name in json.dumps(json.loads(out), ensure_ascii=False)
        else:
            assert f"value = {name.encode(encoding, 'backslashreplace').decode(encoding)}" in out


@pytest.mark.parametrize("width", [60, 200])
def test_paragraphs_of_a_help_are_broken_by_the_terminal_alone(width, environment):
    environment = {**environment, "COLUMNS": str(width), "TERMINAL_WIDTH": str(width)}
    shown = subprocess.run(
        [sys.executable, "-m", "cellgate.cli.app", "stream", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [line.strip() for line in shown[shown.index("Rows are") : shown.index("tail -f")].strip().splitlines()]
    for line, following in itertools.pairwise(lines):
        assert len(line) + 1 + len(following.split()[0]) > width - 3  # no line ends before it has to
