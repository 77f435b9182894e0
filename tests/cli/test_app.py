"""The command itself: help, errors and exit codes, for every verb."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellgate.cli import app as cli


def test_help_lists_every_verb_without_importing_any(environment):
    code = (
        "import sys\nfrom cellgate.cli import app\n"
        "try: app.main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith('cellgate.cli.') and m != 'cellgate.cli.app'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    for verb in cli.VERBS:
        assert verb in done.stdout
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb, call):
    code, out, _ = call(verb, "--help")
    assert code == 0
    assert f"cellgate {verb}" in out


def test_version(call):
    from cellgate._version import __version__

    assert call("--version")[:2] == (0, f"cellgate {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'? See cellgate --help."),
        (["train"], "Missing argument"),
        (["train", "airline"], "Missing option '--out'"),
        (
            ["train", "airline", "--out", "m", "--horizon", "0"],
            "Invalid value for '--horizon': expected 1 or more, got '0'. See cellgate train --help.",
        ),
        (["train", "airline", "--out", "m", "--horizon", "1.5"], "expected a whole number, got '1.5'. See"),
        (["train", "airline", "--out", "m", "--max-time", "soon"], "expected a number, got 'soon'. See"),
        (["train", "x", "--out", "m", "--task", "tag", "--holdout", "2"], "expected 0.9 or less, got '2'. See"),
        (["predict", "--nope"], "No such option: --nope (Possible options: --force). See cellgate predict --help."),
        (["train", "airline", "--out", "m", "--hroizon", "3"], "No such option"),
        (["predict", "nowhere"], "nowhere: expected a model folder, found none; give the --out of a training"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_errors_as_json_go_where_the_caller_reads(call):
    code, out, err = call("predict", "nowhere", "--json")
    told = json.loads(out)
    assert (code, told["exit_code"], err) == (2, 2, "")
    assert "expected a model folder" in told["error"]


def test_a_fault_of_our_own_is_no_traceback(call, monkeypatch):
    def broken(name, arguments):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(cli, "_load", broken)
    code, _, err = call("info")
    assert code == 1
    assert err == "error: ZeroDivisionError: oh (this is a fault of cellgate's own; CELLGATE_TRACEBACK=1 shows where)\n"
    monkeypatch.setenv("CELLGATE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        cli.main(["info"])


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full is Linux's")
@pytest.mark.parametrize(
    "arguments", [["check", "airline", "--json"], ["check", "airline"], ["check", "none", "--json"]]
)
@pytest.mark.parametrize("buffered", [True, False])
def test_an_output_that_cannot_be_written_is_one_line(environment, arguments, buffered):
    environment = {**environment, "PYTHONUNBUFFERED": "" if buffered else "1"}
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "cellgate.cli.app", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert ("none: expected a file" if "none" in arguments else "got a full disk") in done.stderr


@pytest.mark.parametrize("arguments", [["check", "airline"], ["check", "airline", "--json"], ["walkthrough"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_fault(environment, arguments, unbuffered):
    """As with `| head -1`: nothing is said, and it went well."""
    reads, writes = os.pipe()
    os.close(reads)
    environment = {**environment, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "cellgate.cli.app", *arguments]
    with os.fdopen(writes, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("seed", ["99999999999999999999", "-99999999999999999999"])
def test_a_seed_that_no_generator_takes_is_a_mistake(seed, call, tmp_path):
    code, _, err = call("train", "airline", "--seed", seed, "--out", str(tmp_path / "m"))
    assert (code, err) == (2, f"error: seed: expected a whole number from -2**63 to 2**64 - 1, got {seed}\n")


def test_too_little_memory_is_no_fault_of_ours(call, tmp_path):
    arguments = ("train", "airline", "--hidden-size", "100000000", "--out", str(tmp_path / "m"))
    code, _, err = call(*arguments)
    assert (code, "fault" in err) == (2, False)
    assert "expected room in memory, got too little" in err


def test_what_an_encoding_does_not_have_is_escaped(environment, tmp_path):
    (tmp_path / "早.csv").write_text("t,v\n1,2\n")
    command = [sys.executable, "-m", "cellgate.cli.app", "check", str(tmp_path / "早.csv")]
    done = subprocess.run(command, capture_output=True, env={**environment, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, b"fault" in done.stderr) == (2, False)
    assert rb"\u65e9.csv" in done.stdout + done.stderr
