"""Memory of training: by how much the peak of resident memory grows in one forward and backward pass.

Each figure comes from a fresh process (``python -m cellgate.bench.memory ...``), because a peak never falls again and
an allocator keeps what it once had.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .shape import Shape

__all__ = ["MODES", "SHAPE", "measure_memory"]

SHAPE = Shape(8000, 16, 256, 256)
MODES = ("cellgate", "cellgate lean", "cellgate minimal", "nn.LSTM")


def measure_memory(name: str, shape: Shape = SHAPE, threads: int | None = None) -> dict[str, Any]:
    """Run one training step in a fresh process and return its growth of peak memory.

    Args:
        name: One of :data:`MODES`.
        shape: The problem.
        threads: PyTorch's; all if None.

    Returns:
        {"name", "shape", "bytes", "floats" (for each of T*B*H), "seconds"}, or {"name", "shape", "absent": reason}.
    """
    request = json.dumps({"name": name, "shape": shape.as_dict(), "threads": threads})
    done = subprocess.run(
        [sys.executable, "-m", "cellgate.bench.memory", request], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"memory of {name}: the process failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak() -> int:
    """Peak of resident memory so far, bytes."""
    with contextlib.suppress(OSError, IndexError):
        # On Linux a child's resource usage begins with the peak of its parent; this is of the process alone.
        return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _peak()


def _run(request: dict[str, Any]) -> dict[str, Any]:
    import torch

    from .case import nn_lstm

    shape = Shape(**request["shape"])
    if request["threads"]:
        torch.set_num_threads(request["threads"])
    result: dict[str, Any] = {"name": request["name"], "shape": str(shape)}
    if request["name"] == "nn.LSTM":
        module: Any = nn_lstm(shape)
    else:
        from cellgate.nn import LSTM

        options: dict[str, Any] = {}
        if request["name"] != "cellgate":
            options["memory"] = request["name"].removeprefix("cellgate ")
        try:
            module = LSTM(shape.I, shape.H, shape.L, dtype=getattr(torch, shape.dtype), **options)
        except TypeError:
            return {**result, "absent": "this version has no memory="}
    # A short pass first: code, thread stacks and first-use buffers are not what is measured.
    module(torch.randn(2, shape.B, shape.I))[0].sum().backward()
    x = torch.randn(shape.T, shape.B, shape.I)
    module.zero_grad(set_to_none=True)
    before = _resident()
    if before < _peak() - (8 << 20):
        result["note"] = "the peak before was above the memory in use"
    start = time.perf_counter()
    module(x)[0].sum().backward()
    seconds = time.perf_counter() - start
    growth = _peak() - before
    floats = growth / 4 / (shape.T * shape.B * shape.H)
    return {**result, "bytes": growth, "floats": floats, "seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(_run(json.loads(sys.argv[1]))))
