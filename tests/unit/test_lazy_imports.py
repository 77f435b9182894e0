"""`import cellgate` waits for nothing; every public name is there all the same, whichever way it is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

import cellgate

SOURCE = Path(cellgate.__file__).parents[1]


def in_a_new_python(code):
    """What the code prints in a process that has imported nothing yet."""
    begin = f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_itself_imports_nothing_heavy():
    heavy = "torch", "numpy", "jinja2", "pandas", "sklearn", "rich", "typer", "narwhals"
    assert (
        in_a_new_python(f"import cellgate, cellgate.cli.start\nprint([m for m in {heavy} if m in sys.modules])") == "[]"
    )


def test_a_layer_needs_no_report_and_no_estimator():
    found = in_a_new_python(
        "from cellgate import LSTM\nprint([m for m in sys.modules if 'jinja2' in m or 'estimators' in m])"
    )
    assert found == "[]"


def test_an_estimator_needs_no_page():
    heavy = "jinja2", "pandas", "sklearn", "rich", "typer"
    found = in_a_new_python(f"from cellgate import Forecaster, load\nprint([m for m in {heavy} if m in sys.modules])")
    assert found == "[]"


@pytest.mark.parametrize(
    "first", ["from cellgate.trace import Tape", "cellgate.trace", "import cellgate.trace.layer", ""]
)
@pytest.mark.parametrize("name", ["trace", "load"])
def test_a_function_with_the_name_of_a_submodule(first, name):
    home = {"trace": "cellgate.trace", "load": "cellgate.estimators"}[name]
    said = in_a_new_python(
        f"import cellgate\n{first.replace('trace', name) if name == 'load' and first == 'cellgate.trace' else first}\n"
        f"import {home}, cellgate.trace\nfrom cellgate import {name} as one\nfrom {home} import {name} as two\n"
        f"print(callable(cellgate.{name}), one is two is cellgate.{name})\n"
        "from cellgate.trace import Tape\nimport cellgate.estimators.load\n"
        f"print(type(cellgate.{name}).__name__, cellgate.estimators.load is cellgate.load)"
    )
    assert said.split() == ["True", "True", "function", "True"]


@pytest.mark.parametrize("imports", ["import cellgate, torch", "import torch, cellgate"])
def test_pytorch_knows_the_layers_operator(imports):
    """A program saved by torch.export is loaded by those who have imported cellgate and used no name of it."""
    assert in_a_new_python(f"{imports}\nprint(torch.ops.cellgate.lstm)") == "cellgate.lstm"


def test_every_name_and_room():
    names = [*cellgate.__all__, "backends", "data", "equations", "errors", "estimators", "nn", "report", "training"]
    in_a_new_python("import cellgate\n" + "\n".join(f"cellgate.{name}" for name in names))
    in_a_new_python(f"from cellgate import *\nassert set({cellgate.__all__}) <= set(globals())")
    assert set(cellgate.__all__) <= set(dir(cellgate))
    with pytest.raises(AttributeError, match="module 'cellgate' has no attribute 'lstm'"):
        cellgate.lstm  # noqa: B018
