"""README and docs keep up with the code: links lead somewhere, every public name is there, commands exist."""

import io
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from rich.console import Console

import cellgate
from cellgate.cli import app
from cellgate.cli.walkthrough import show
from cellgate.trace.walkthrough import walk

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def fenced(text: str) -> list[str]:
    """The lines inside code fences that hold no Python session."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks if ">>>" not in block for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for found in LINK.finditer(prose):
        target = found.group(1) or found.group(2)
        if re.match(r"\w+:", target):
            continue
        path, _, heading = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name}: no {target}"
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), flags=re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings]
            assert heading in anchors, f"{page.name}: no heading for {target}"


def test_reference_holds_every_public_name():
    text = (ROOT / "docs" / "reference.md").read_text()
    missing = [name for name in cellgate.__all__ if not re.search(rf"`{name}\b", text)]
    assert not missing


def test_reference_holds_every_method_of_the_layer_and_every_verb():
    text = (ROOT / "docs" / "reference.md").read_text()
    own = [name for name, part in vars(cellgate.LSTM).items() if callable(part) and not hasattr(torch.nn.LSTM, name)]
    assert not [name for name in own if name[0] != "_" and not re.search(rf"`lstm\.{name}\b", text)]
    assert not [verb for verb in app.VERBS if not re.search(rf"`cellgate {verb}\b", text)]


def test_reference_names_exist():
    """What the tables call methods and attributes of the layer are such."""
    text = (ROOT / "docs" / "reference.md").read_text()
    for owner, kind in (("lstm", cellgate.LSTM(1, 1)), ("model", cellgate.SequenceModel(1, 1, 1, 1, device="cpu"))):
        for name in re.findall(rf"`{owner}\.(\w+)", text):
            assert hasattr(kind, name), f"{owner}.{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page):
    lines = [line.split("#")[0].removeprefix("$").strip() for line in fenced(page.read_text())]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("cellgate ")]
    inline = re.findall(r"`cellgate ([a-z]+)", page.read_text())
    assert set(inline) | {words[0] for words in commands} <= set(app.VERBS)
    for verb, *rest in commands:
        options = [word.split("=")[0] for word in rest if word.startswith("--")]
        known = {name for parameter in app._load(verb, rest).params for name in parameter.opts}
        assert set(options) <= known, f"cellgate {verb}: {set(options) - known}"


def test_the_walkthrough_in_the_readme_is_what_the_command_prints():
    out = io.StringIO()
    show(walk(), Console(file=out, width=80))
    printed = iter(out.getvalue().splitlines())
    _, shown = PAGES[0].read_text().split("$ cellgate walkthrough\n")
    for line in shown.split("```")[0].splitlines():
        if line != "...":
            assert any(same_but_for_rounding(line, other) for other in printed), f"not printed, or not there: {line}"


def same_but_for_rounding(line: str, other: str) -> bool:
    """Another machine may round the last digit to the other side."""
    number = re.compile(r"[+-]\d\.\d+")
    pairs = list(zip(number.findall(line), number.findall(other), strict=False))
    same_text = number.sub("#", line) == number.sub("#", other)
    return same_text and all(abs(float(a) - float(b)) <= 1.01 * 10 ** -(len(a) - 3) for a, b in pairs)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page):
    targets = re.findall(r"\bmake ([a-z][a-z-]+)", "\n".join(fenced(page.read_text())))
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{page.name}: make {target}"


def test_the_figures_of_m4_hourly_in_the_readme_are_those_that_were_measured():
    row = json.loads((ROOT / "benchmarks" / "results" / "accuracy.json").read_text())["rows"]["m4-hourly"]
    told = re.search(
        r"M4 Hourly, (\d+) series, takes (\d+) s on two cores and\s+scores OWA ([\d.]+) ", PAGES[0].read_text()
    )
    assert told
    assert told[2] == f"{row['seconds']:.0f}"
    assert told[3] == f"{row['result']['OWA']:.3f}"
