"""Where the figures come from: the machine, the versions, the commit; and the machine's own limits, measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import cellgate.backends
from cellgate.backends.dispatch import BACKENDS

__all__ = ["cache_sizes", "describe", "measure_limits", "native_core"]


def describe() -> dict[str, Any]:
    """Return date, commit, machine and versions, as plain data."""
    commit, dirty = _commit()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit,
        "dirty": dirty,
        "machine": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "caches": cache_sizes(),
            "memory": _memory(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "isa": _isa(),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("cellgate", "torch", "numpy", "onnxruntime", "jax")},
        },
    }


def measure_limits(threads: int, seconds: float = 0.02) -> dict[str, Any]:
    """Measure what the machine can do at most with this many threads.

    The best of a few tries counts, because a limit is what nothing surpasses.

    Returns:
        "fma_f32", "fma_f64": floating-point operations a second; "activations": sigmoids a second; "read": for every
        cache level and the memory its size in bytes and the bytes a second that can be read from it; "source": what
        measured it, the native core or, without that, PyTorch and NumPy (which reach less).
    """
    native = native_core()
    caches = cache_sizes()
    shared_by_all = {"L3"}
    sets = {
        level: size // 4 if level in shared_by_all else size // 2 * threads
        for level, size in caches.items()
        if level in ("L1", "L2", "L3")
    }
    sets["DRAM"] = max(4 * caches.get("L3", 32 << 20), 64 << 20)
    if native is not None:
        fma32 = _best(lambda: native.measure_fma_peak(threads, False, seconds))
        fma64 = _best(lambda: native.measure_fma_peak(threads, True, seconds))
        activations = _best(lambda: native.measure_activation_rate(threads, seconds))
        reads = {
            level: _best(lambda n=n: native.measure_read_bandwidth(n, threads, seconds), 4) for level, n in sets.items()
        }
    else:
        fma32 = _best(lambda: _product_rate(torch.float32, threads))
        fma64 = _best(lambda: _product_rate(torch.float64, threads))
        activations = _best(lambda: _sigmoid_rate(threads))
        reads = {level: _best(lambda n=n: _sum_rate(n, threads)) for level, n in sets.items()}
    sizes = {**caches, "DRAM": _memory() or sets["DRAM"]}
    return {
        "threads": threads,
        "source": "native core" if native is not None else "PyTorch (not the machine's true limits)",
        "fma_f32": fma32,
        "fma_f64": fma64,
        "activations": activations,
        "read": {level: {"bytes": sizes[level], "rate": rate} for level, rate in reads.items()},
    }


def cache_sizes() -> dict[str, int]:
    """Return bytes of the data caches, "L1" (of a core), "L2", "L3"; typical ones where the system does not tell."""
    found: dict[str, int] = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, level = (index / "type").read_text().strip(), (index / "level").read_text().strip()
            size = (index / "size").read_text().strip()
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = int(size.rstrip("KM")) * (1024 if size.endswith("K") else 1 << 20)
    return dict(sorted(found.items())) or {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}


def native_core() -> Any:
    """Return the compiled module, or None where there is none."""
    backend: Any = BACKENDS.get("cpu")
    return backend.native() if backend is not None and backend.unavailable() is None else None


def _isa() -> str | None:
    native = native_core()
    return None if native is None else native.isa()


def _best(measure: Callable[[], float], tries: int = 8) -> float:
    return max(measure() for _ in range(tries))


def _product_rate(dtype: torch.dtype, threads: int) -> float:
    a = torch.randn(768, 768, dtype=dtype)
    return 2 * 768**3 / _fastest(lambda: torch.mm(a, a), threads)


def _sigmoid_rate(threads: int) -> float:
    a = torch.randn(1 << 15)
    return a.numel() / _fastest(lambda: torch.sigmoid(a), threads)


def _sum_rate(size: int, threads: int) -> float:
    a = torch.ones(size // 4)
    return size / _fastest(lambda: torch.sum(a), threads)


def _fastest(call: Callable[[], Any], threads: int, calls: int = 10) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return min(times)


def _version(name: str) -> str | None:
    if name == "torch":
        return torch.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """The commit of the source tree this package runs from, and whether tracked code differs from it."""
    root = Path(cellgate.backends.__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None, None
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "src", "native"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return head.stdout.strip(), bool(changed.stdout.strip())


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
