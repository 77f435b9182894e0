"""Run the whole grid into benchmarks/results/grid.json, then the variants (variants/speed.py) into variants_speed.json,
then write BENCHMARKS.md and the chart from both.

    python -m benchmarks                  everything, about twenty minutes on two cores
    python -m benchmarks --budget 65      a slice: begins no new cell after 65 seconds; run again, it goes on

A slice leaves with exit code 4 while cells are missing, so that a shell can repeat it, for instance between other work
on a machine that is shared:

    until python -m benchmarks --budget 65; [ $? -ne 4 ]; do :; done
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from benchmarks import GRID_JSON, PARTIAL_JSON
from benchmarks.report import write_reports
from benchmarks.variants import speed
from cellgate.bench import GRID, cells_of, load, new_document, save
from cellgate.bench.machine import describe
from cellgate.bench.memory import MODES
from cellgate.bench.session import run
from cellgate.bench.table import line

MORE = 4


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--budget", type=float, help="begin no new cell after this many seconds")
    parser.add_argument("--fresh", action="store_true", help="forget the slices of an unfinished run")
    arguments = parser.parse_args(argv)
    if arguments.fresh:
        PARTIAL_JSON.unlink(missing_ok=True)
        speed.PARTIAL_JSON.unlink(missing_ok=True)

    start, most = time.monotonic(), torch.get_num_threads()
    cells = cells_of(GRID, [most, 1] if most > 1 else [1], ("quiet", "busy"))
    document = load(PARTIAL_JSON) if PARTIAL_JSON.exists() else new_document(describe())
    total = len(cells) + len(MODES)

    def tell(step: str, record: dict | None) -> None:
        if record is not None:
            done = len(document["cells"]) + len(document["memory"])
            print(f"[{done}/{total}] {line(record)}", flush=True)

    missing = run(
        cells, document, memory=MODES, budget=arguments.budget, tell=tell, save=lambda found: save(found, PARTIAL_JSON)
    )
    if missing:
        print(f"{missing} of {total} left; the same command goes on")
        return MORE
    save(document, GRID_JSON)
    left = None if arguments.budget is None else arguments.budget - (time.monotonic() - start)
    missing = speed.run_all(left)
    if missing:
        print(f"{missing} variants left; the same command goes on")
        return MORE
    PARTIAL_JSON.unlink(missing_ok=True)
    write_reports(load(GRID_JSON))  # as it is stored, rounded: what anyone makes of it again
    return 1 if any("red" in record for record in document["cells"]) else 0


if __name__ == "__main__":
    sys.exit(main())
