"""neuralforecast's LSTM and Darts' BlockRNNModel on two of our rows, in an environment of their own.

    python -m benchmarks.accuracy.peers --venv DIR [--seconds 300]

makes a virtual environment in DIR (once), installs the two libraries there, runs each on airline passengers (last 24
months) and, where CELLGATE_DATA has it, on M4 Hourly, and writes benchmarks/results/peers.json: scores, seconds and
versions. Every run is a process of its own, with the library's own defaults but for: the horizon, an input of five
horizons, scaling by the library's standard scaler, a seed, and an end to the training after so many seconds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from benchmarks.accuracy.table import PEERS_JSON

PACKAGES = ("neuralforecast==3.3.0", "darts[torch]==0.48.1")
TORCH = "torch==2.13.0"  # the same as ours
_SCRIPT = Path(__file__).with_name("peer_worker.py")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.peers", description=__doc__.split("\n")[0])
    parser.add_argument("--venv", type=Path, required=True, help="folder of the environment, made if it is not there")
    parser.add_argument("--seconds", type=float, default=300, help="the most training time of a run")
    parser.add_argument("--peers", nargs="*", default=["neuralforecast", "darts"])
    parser.add_argument("--data", nargs="*", default=["airline", "m4-hourly"])
    arguments = parser.parse_args(argv)
    python = ready(arguments.venv)
    found: dict[str, Any] = json.loads(PEERS_JSON.read_text()) if PEERS_JSON.exists() else {}
    for data in arguments.data:
        for peer in arguments.peers:
            result = run(python, peer, data, arguments.seconds)
            print(json.dumps({"peer": peer, "data": data, **result}), flush=True)
            found.setdefault(data, {})[peer] = result
            PEERS_JSON.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def ready(folder: Path) -> Path:
    """The environment's Python, with everything installed."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", TORCH, *PACKAGES]
    subprocess.run(command, check=True)
    return python


def run(python: Path, peer: str, data: str, seconds: float) -> dict[str, Any]:
    """One peer on one data set; {"error": ...} where it fails."""
    command = [str(python), str(_SCRIPT), peer, data, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_SCRIPT.parent, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}
    return json.loads(lines[-1])


if __name__ == "__main__":
    sys.exit(main())
