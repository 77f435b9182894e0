"""`cellgate info` says what `cellgate.info()` says, to a person and to a program."""

import json

import pytest
from rich.console import Console

import cellgate
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
