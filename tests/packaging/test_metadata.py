"""What pyproject.toml promises and what the installed package says must be one thing."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cellgate

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture
def installed() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution("cellgate")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("cellgate is not installed here, its source runs by PYTHONPATH: `make setup` installs it")


def test_installed_version_is_the_packages(installed):
    assert installed.version == cellgate.__version__


def test_command_is_installed(installed):
    commands = {entry.name: entry.value for entry in installed.entry_points if entry.group == "console_scripts"}
    assert commands == PROJECT["scripts"]


def test_package_is_typed():
    assert (Path(cellgate.__file__).parent / "py.typed").is_file()


def test_changelog_knows_the_version():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(cellgate.__version__)}\]", changelog, re.MULTILINE)


def test_import_needs_core_dependencies_only():
    """`import cellgate` must not pull in an extra, nor print, nor warn."""
    extras = {"matplotlib", "sklearn", "onnx", "onnxruntime", "onnxscript", "jax", "pandas", "polars"}
    code = f"import sys, cellgate; print(sorted({extras!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_constraints_pin_every_direct_dependency():
    """A fresh clone must install what we tested: every requirement of a make target has its line in constraints.txt."""
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {name(line) for line in lines if line and not line.startswith("#")}
    assert all("==" in line for line in lines if line and not line.startswith("#"))
    wanted = {name(r) for r in PROJECT["dependencies"]}
    wanted |= {name(r) for group in PROJECT["optional-dependencies"].values() for r in group}
    assert wanted <= pinned


def name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")
