"""Rules about imports that import-linter cannot see: it does not know compiled modules."""

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src" / "cellgate"

# DESIGN: only backends/cpu.py imports the native module.
MAY_IMPORT_NATIVE = {"backends/cpu.py"}


def imports_native(code: str) -> bool:
    """Whether a module's code imports cellgate._native, by statement or by importlib with a literal name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import) and any("_native" in alias.name.split(".") for alias in node.names):
            return True
        if isinstance(node, ast.ImportFrom):
            named = (node.module or "").split(".") + [alias.name for alias in node.names]
            if "_native" in named:
                return True
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            literals = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if called in {"import_module", "__import__"} and any("_native" in name.split(".") for name in literals):
                return True
    return False


def test_only_the_cpu_backend_imports_the_native_module():
    importers = {
        path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if imports_native(path.read_text("utf-8"))
    }
    assert importers <= MAY_IMPORT_NATIVE, f"{importers - MAY_IMPORT_NATIVE} import cellgate._native: go through cpu.py"


def test_the_rule_sees_every_form_of_import():
    forms = [
        "import cellgate._native",
        "from cellgate import _native",
        "from cellgate._native import f",
        "from .. import _native as n",
        "def f():\n    from .._native import g",
        "import importlib\nimportlib.import_module('cellgate._native')",
    ]
    assert all(imports_native(code) for code in forms)
    assert not imports_native("from cellgate.backends import cpu\nnative = cpu.native")
