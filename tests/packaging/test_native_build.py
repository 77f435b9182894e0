"""One build of the native core must run on every CPU of its architecture and beside every PyTorch.

These tests look at what `make` or pip left in build/, and skip where nothing has been compiled.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cellgate.backends import cpu

REPOSITORY = Path(__file__).resolve().parents[2]
WIDE = ("avx2", "avx512", "avx512_bf16", "neon")  # compiled with more than the architecture's least common features


def newest(pattern: str) -> Path:
    # Not those of scripts/sanitize: hardly optimised, they call what is inlined elsewhere.
    built = (path for path in (REPOSITORY / "build").glob(pattern) if "sanitize" not in path.parent.name)
    found = sorted(built, key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip(f"no native build in this checkout (build/{pattern}): `make setup` makes one")
    return found[-1]


def tool(name: str, *arguments: str | Path) -> str:
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"needs {name}, which comes with a compiler")
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def foreign_symbols(listing: str) -> list[str]:
    """The symbols that a file for one instruction set shares with files for others, from `nm -C` of the library.

    If a wide file defines a weak symbol, say an inline function of the standard library, the linker may keep that copy
    for all callers, and an older CPU meets instructions it does not know.
    """
    foreign, isa = [], None
    for line in listing.splitlines():
        if member := re.match(r"(\w+)\.cpp\.o(?:bj)?:$", line):
            isa = member[1] if member[1] in WIDE else None
        # T is code seen from outside, W weak code, i chosen at run time; V (weak) and the rest are data.
        elif isa and (symbol := re.match(r"[0-9a-f]* *[TWi] (.+)$", line)):
            if not symbol[1].startswith(f"cellgate::{isa}::"):
                foreign.append(f"{isa}: {symbol[1]}")
    return foreign


def test_wide_code_stays_in_its_own_namespace():
    listing = tool("nm", "-C", "--defined-only", newest("*/libcellgate_core.a"))
    assert "::table()" in listing  # the listing is one of the kernels
    assert foreign_symbols(listing) == []


def test_foreign_symbols_are_found():
    listing = (
        "avx2.cpp.o:\n0000 T cellgate::avx2::table()\n0010 W std::max(int, int)\nscalar.cpp.o:\n0000 W std::min()\n"
    )
    assert foreign_symbols(listing) == ["avx2: std::max(int, int)"]


def test_only_files_of_an_instruction_set_get_machine_flags():
    commands = json.loads(newest("*/compile_commands.json").read_text("utf-8"))
    ours = [c for c in commands if "/native/" in c["file"] and "nanobind" not in c["file"]]
    assert ours
    for entry in ours:
        machine = set(
            re.findall(r"(?<=\s)(?:-m(?:arch|cpu|tune|avx|fma|sse)\S*|/arch:\S+|-x\S*AVX\S*)", entry["command"])
        )
        assert "-march=native" not in machine
        if Path(entry["file"]).stem not in WIDE:
            assert not machine, f"{entry['file']} is compiled with {machine}"


def test_module_links_no_libtorch():
    if reason := cpu.unavailable():
        pytest.skip(reason)
    linked = tool("ldd", cpu.native().__file__)
    assert "libc.so" in linked or "libSystem" in linked  # the listing is one of libraries
    assert not [name for name in ("libtorch", "libc10", "libgomp", "libiomp") if name in linked]
