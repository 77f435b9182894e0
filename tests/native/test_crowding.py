"""Whose threads run a call: the rules of ``native/crowding.h`` on made-up machines."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")


@pytest.mark.skipif(COMPILER is None, reason="compiles a C++ program, and there is no compiler here")
def test_kind_of_threads_suits_the_machine(tmp_path: Path) -> None:
    """Borrowed on a quiet one, whatever the odd hiccup; our own on a crowded one; borrowed again after the crowd."""
    assert COMPILER is not None
    program = tmp_path / "check_crowding"
    source = ROOT / "tests/native/check_crowding.cpp"
    subprocess.run([COMPILER, "-std=c++17", f"-I{ROOT / 'native'}", str(source), "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
