"""`cellgate info` says what `cellgate.info()` says, to a person and to a program."""

import json
import subprocess
import sys

import pytest
from rich.console import Console

import cellgate
from cellgate.backends import cpu
from cellgate.cli.app import main
from cellgate.cli.info import show


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert not left.value.code
    return capsys.readouterr().out


def test_json_is_the_information(capsys):
    assert json.loads(run(["info", "--json"], capsys)) == json.loads(json.dumps(cellgate.info().as_dict()))


def test_person_reads_versions_and_every_backend(capsys):
    said = run(["info"], capsys)
    about = cellgate.info()
    for fact in (about.cellgate, about.torch, about.python, about.machine, str(about.threads), *about.backends):
        assert fact in said


def test_missing_core_and_facts_are_shown_whole():
    about = cellgate.info().as_dict()
    about["backends"] = {"cpu": "not built [no compiler]: pip install --force-reinstall cellgate"}
    about["details"] = {"cpu": {"instruction_sets": ["avx512", "avx2"], "threads": 2}}
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        show(about, console)
    said = captured.get()
    # Square brackets in a reason are text, not rich markup.
    assert "not built [no compiler]: pip install --force-reinstall cellgate" in said
    assert "instruction sets: avx512, avx2" in said


@pytest.mark.skipif(cpu.unavailable() is not None, reason="tests the native core, which is not built here")
def test_an_unknown_instruction_set_is_shown_and_no_fault_of_ours(environment, tmp_path):
    """The tool with which one finds out must not fail of the same; whatever computes refuses, with the way out."""
    environment = {**environment, "CELLGATE_CPU_ISA": "foo"}

    def called(*arguments):
        command = [sys.executable, "-m", "cellgate.cli.app", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=80)

    ran = called("info", "--json")
    assert ran.returncode == 0, ran.stderr
    about = json.loads(ran.stdout)
    assert about["backends"]["aten"] == "ready"
    for word in ("foo", "scalar", "CELLGATE_CPU_ISA"):
        assert word in about["backends"]["cpu"]
    ran = called("bench", "--quick", "--json")
    assert ran.returncode == 2
    assert json.loads(ran.stdout)["error"] == about["backends"]["cpu"]
