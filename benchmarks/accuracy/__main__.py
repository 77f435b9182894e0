"""Run rows, keep their results in the JSON, write the section of BENCHMARKS.md. See the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import torch

from benchmarks import BENCHMARKS_MD
from benchmarks.accuracy import ACCURACY_JSON, ROWS, Row, find_row
from benchmarks.accuracy.table import put_section
from cellgate.bench.machine import describe


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--dry", action="store_true", help="print the results only, write nothing")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        parser.error(f"expected rows among {', '.join(ROWS)}, got {unknown[0]!r}")
    for name in arguments.rows or ROWS:
        row = find_row(name)
        if row.missing():
            print(f"{name}: left out, expected {', '.join(row.missing())} in the folder that CELLGATE_DATA names")
            continue
        found = measure(row)
        print(json.dumps({"row": name, **{key: value for key, value in found.items() if key != "origin"}}), flush=True)
        if not arguments.dry:
            # Read anew: another run may have added its row meanwhile.
            document = json.loads(ACCURACY_JSON.read_text()) if ACCURACY_JSON.exists() else {"rows": {}}
            document["rows"][name] = found
            document["rows"] = {key: document["rows"][key] for key in ROWS if key in document["rows"]}
            ACCURACY_JSON.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            put_section(BENCHMARKS_MD, document)
    return 0


def measure(row: Row) -> dict[str, Any]:
    """Run a row once; its outcome with the time, the machine and the versions, as plain values."""
    began = time.perf_counter()
    outcome = row.run()
    seconds = time.perf_counter() - began
    return {
        "data": row.data,
        "target": row.target,
        "result": outcome.result,
        "baseline": outcome.baseline,
        "seconds": round(seconds, 1),
        "seconds_allowed": row.seconds,
        "score_met": outcome.met,
        "time_met": seconds <= row.seconds,
        "met": outcome.met and seconds <= row.seconds,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "details": outcome.details,
        "origin": describe(),
    }


if __name__ == "__main__":
    sys.exit(main())
