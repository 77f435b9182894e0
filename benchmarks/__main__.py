"""Run the whole grid into benchmarks/results/grid.json, then the variants (variants/speed.py) into variants_speed.json,
then write BENCHMARKS.md and the chart from both.

    python -m benchmarks                  everything, about twenty minutes on two cores
    python -m benchmarks --budget 65      a slice: begins no new cell after 65 seconds; run again, it goes on
    python -m benchmarks --far            again what was measured while the CPUs were far from one another
    python -m benchmarks --beside         beside the record of another machine, into grid_<isa>.json: the quiet grid
                                          with all threads, in a third of the time

A slice leaves with exit code 4 while cells are missing, so that a shell can repeat it, for instance between other work
on a machine that is shared:

    until python -m benchmarks --budget 65; [ $? -ne 4 ]; do :; done

The host of a virtual machine may keep its CPUs apart for longer than a cell can wait (cellgate.bench.nearness). --far
goes by the hand-overs that the cells recorded, whatever their times, takes quiet cells together with busy ones, and
needs the code that the record is of.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from typing import Any

import torch

from benchmarks import GRID_JSON, PARTIAL_JSON, beside_json
from benchmarks.report import write_reports
from benchmarks.variants import speed
from cellgate.bench import GRID, cells_of, load, new_document, save
from cellgate.bench.machine import describe
from cellgate.bench.memory import MODES
from cellgate.bench.nearness import is_far
from cellgate.bench.session import run
from cellgate.bench.table import line

MORE = 4


def near_cells(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells but for those whose quiet one recorded a slow hand-over."""

    def work(cell: dict[str, Any]) -> tuple[str, str, int]:
        return cell["row"], cell["mode"], cell["threads"]

    found = {work(cell): cell.get("handover") or [] for cell in document["cells"] if cell["load"] == "quiet"}
    seen = [handover for both in found.values() for handover in both]
    return [cell for cell in document["cells"] if not any(is_far(h, seen) for h in found.get(work(cell), []))]


def same_code(commit: str) -> bool:
    """Whether the package is as it was in a commit."""
    return subprocess.run(["git", "diff", "--quiet", commit, "--", "native", "src"], check=False).returncode == 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--budget", type=float, help="begin no new cell after this many seconds")
    parser.add_argument("--fresh", action="store_true", help="forget the slices of an unfinished run")
    parser.add_argument(
        "--far", action="store_true", help="measure cells of the record whose CPUs were far apart again"
    )
    parser.add_argument(
        "--beside",
        action="store_true",
        help="keep grid.json, of another machine, and write this one's quiet grid beside it",
    )
    arguments = parser.parse_args(argv)
    if arguments.far and (arguments.fresh or arguments.budget is not None):
        parser.error("--far goes with neither --fresh nor --budget: it begins from the whole record")
    grid, partial = GRID_JSON, PARTIAL_JSON
    if arguments.beside:
        isa = describe()["machine"]["isa"]
        if isa is None:
            parser.error("--beside names the record by the native kernels' instruction set, and there are none here")
        grid, partial = beside_json(isa), PARTIAL_JSON.with_name(f"grid.partial_{isa}.json")
    if arguments.fresh:
        partial.unlink(missing_ok=True)
        if not arguments.beside:
            speed.PARTIAL_JSON.unlink(missing_ok=True)

    start, most = time.monotonic(), torch.get_num_threads()
    counts, loads = ([most, 1] if most > 1 else [1]), ("quiet", "busy")
    if arguments.beside:
        counts, loads = [most], ("quiet",)
    cells = cells_of(GRID, counts, loads)
    document = load(partial) if partial.exists() else new_document(describe())
    if arguments.far:
        document = load(grid)
        if not same_code(document["commit"]):
            parser.error(f"the record is of {document['commit']}, whose code was another: run without --far")
        document["cells"] = near_cells(document)
    total = len(cells) + len(MODES)

    def tell(step: str, record: dict | None) -> None:
        if record is not None:
            done = len(document["cells"]) + len(document["memory"])
            print(f"[{done}/{total}] {line(record)}", flush=True)

    missing = run(
        cells, document, memory=MODES, budget=arguments.budget, tell=tell, save=lambda found: save(found, partial)
    )
    if missing:
        print(f"{missing} of {total} left; the same command goes on")
        return MORE
    places = {cell.id: place for place, cell in enumerate(cells)}
    document["cells"].sort(key=lambda record: places[record["id"]])
    save(document, grid)
    if arguments.far or arguments.beside:
        partial.unlink(missing_ok=True)
        write_reports(load(GRID_JSON))
        return 1 if any("red" in record for record in document["cells"]) else 0
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
