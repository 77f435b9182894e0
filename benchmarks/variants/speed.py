"""Time a training step of every variant beside cellgate's own plain LSTM and the loop that a user would write.

    python -m benchmarks.variants.speed [--budget 65] [--only slstm,peephole] [--shapes 0,1] [--print]

`python -m benchmarks` runs it after its own grid. A variant is timed only after its output and every gradient agree
with the loop's. The three take turns in one process (``cellgate.bench.timing``). The figures go to
benchmarks/results/variants_speed.json and from there to BENCHMARKS.md, with the goals of ``speed_table.py``. With
--budget no new cell is begun after so many seconds, the exit code is 4, and the same command goes on; with --print, or
for a part of the cells, nothing is written.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cellgate
from benchmarks import GRID_JSON, RESULTS, VARIANTS_JSON
from benchmarks.report import write_reports
from benchmarks.variants import loops
from cellgate.backends import cpu
from cellgate.bench import load
from cellgate.bench.machine import describe
from cellgate.bench.nearness import Nearness
from cellgate.bench.timing import Plan, interleave
from cellgate.equations import CellMasks
from cellgate.nn import call as nn_call

VARIANTS: dict[str, dict[str, Any]] = {
    "peephole": {"cell": "peephole"},
    "cifg": {"cell": "cifg"},
    "original": {"cell": "original"},
    "no_input_gate": {"cell": "no_input_gate"},
    "no_forget_gate": {"cell": "no_forget_gate"},
    "no_output_gate": {"cell": "no_output_gate"},
    "no_input_activation": {"cell": "no_input_activation"},
    "no_output_activation": {"cell": "no_output_activation"},
    "full_gate_recurrence": {"cell": "full_gate_recurrence"},
    "hard": {"activation": "hard"},
    "cell_clip": {"cell_clip": 3.0},
    "zoneout": {"zoneout": (0.1, 0.1)},
    "recurrent_dropout": {"recurrent_dropout": 0.2},
    "locked_dropout of h": {"locked_dropout": (0.0, 0.0, 0.2)},
    "layer norm": {"norm": "layer"},
    "rms norm": {"norm": "rms"},
    "slstm": {"cell": "slstm"},
}
SHAPES = (
    (100, 1, 32, 64),
    (100, 32, 16, 64),
    (100, 32, 64, 128),
    (100, 64, 128, 128),
    (100, 32, 256, 256),
    (100, 1, 512, 512),
    (100, 64, 512, 512),
)
"""T, B, I, H."""
CHECKED_STEPS = 25
"""Steps that outputs and gradients are compared over, in double precision."""
PARTIAL_JSON = RESULTS / "variants_speed.partial.json"
MORE = 4
PLAN = Plan(block=0.02, rounds=11, seconds=0.8, patience=2.5, least=3)


@dataclass
class Step:
    """A contender: forward and backward with a given gradient of the output."""

    name: str
    module: cellgate.LSTM
    x: Tensor
    grad: Tensor
    loop: bool = False
    between: Any = None

    def call(self) -> Tensor:
        self.module.zero_grad(set_to_none=True)
        self.x.grad = None
        if self.loop:
            output = loops.run(self.module, self.x, draw(self.module, self.x))
        else:
            output = self.module(self.x)[0]
        output.backward(self.grad)
        return output


def draw(module: cellgate.LSTM, x: Tensor) -> CellMasks:
    """Return the masks that the layer draws, from the same generator in the same order."""
    call = nn_call.prepare(module, x)
    nn_call.add_noise(module.variant, module.training, call.problem, call.inputs)
    return CellMasks() if call.inputs.cell_masks is None else call.inputs.cell_masks[0][0]


def check(ours: Step, loop: Step) -> None:
    """Raise unless both compute the same output and gradients.

    In double precision: a normalised recurrence of a hundred steps multiplies the roundings of single precision beyond
    what a bound could tell from a mistake.
    """
    found = []
    for step in (ours, loop):
        torch.manual_seed(1)
        x = step.x.detach()[:CHECKED_STEPS].double().requires_grad_()
        grad = step.grad[:CHECKED_STEPS].double()
        wide = Step(step.name, copy.deepcopy(step.module).double(), x, grad, step.loop)
        output = wide.call().detach()
        assert x.grad is not None
        grads = {name: p.grad for name, p in wide.module.named_parameters() if p.grad is not None}
        found.append({"output": output, "dx": x.grad} | grads)
    for name, want in found[1].items():
        error = float((found[0][name] - want).abs().max() / want.abs().max().clamp(min=1.0))
        if not error < 1e-6:
            raise SystemExit(f"{ours.name}: {name} deviates by {error:.2e} from the loop's")


def team_runs() -> dict[str, int]:
    """Return how many calls of several threads whose threads ran: a crowd shows in them."""
    return {} if cpu.unavailable() else dict(cpu.native().team_runs())


def measure(shape: tuple[int, int, int, int], options: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return medians and quartiles of a training step, in seconds, of the variant, the plain layer and the loop."""
    steps, batch, inputs, hidden = shape
    torch.manual_seed(0)
    x, grad = torch.randn(steps, batch, inputs), torch.randn(steps, batch, hidden)

    def step(name: str, module: cellgate.LSTM, *, loop: bool = False) -> Step:
        return Step(name, module, x.clone().requires_grad_(), grad, loop)

    layer = cellgate.LSTM(inputs, hidden, **options)
    ours, loop = step("variant", layer), step("loop", layer, loop=True)
    check(ours, loop)
    backend = layer.explain_backend(ours.x).name
    before = team_runs()
    times = interleave([ours, step("plain", cellgate.LSTM(inputs, hidden)), loop], plan)
    row: dict[str, Any] = {name: samples.as_dict() for name, samples in times.items()}
    row["backend"] = backend
    row["calls by threads"] = {kind: count - before.get(kind, 0) for kind, count in team_runs().items()}
    row["of plain"] = row["variant"]["median"] / row["plain"]["median"]
    row["faster than loop"] = row["loop"]["median"] / row["variant"]["median"]
    return row


def run(
    document: dict[str, Any],
    shapes: list[tuple[int, int, int, int]],
    variants: list[str],
    budget: float | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda row: None,
) -> int:
    """Measure what the document does not hold yet; return how many cells are still missing."""
    start, known = time.monotonic(), {(row["name"], tuple(row["T, B, I, H"])) for row in document["rows"]}
    todo = [(shape, name) for shape in shapes for name in variants if (name, shape) not in known]
    nearness = Nearness(torch.get_num_threads())
    while todo and (budget is None or time.monotonic() - start < budget):
        shape, name = todo.pop(0)
        found, handover = nearness.measure(lambda s=shape, n=name: measure(s, VARIANTS[n], PLAN))
        row = {"name": name, "T, B, I, H": list(shape), **found, "handover": handover}
        document["rows"].append(row)
        tell(row)
    return len(todo)


def run_all(budget: float | None = None) -> int:
    """Run the whole grid, or a slice of it; write the figures when all are there. Return how many are missing."""
    document = (
        json.loads(PARTIAL_JSON.read_text(encoding="utf-8"))
        if PARTIAL_JSON.exists()
        else {**describe(), "threads": torch.get_num_threads(), "rows": []}
    )
    total = len(SHAPES) * len(VARIANTS)

    def tell(row: dict[str, Any]) -> None:
        show(row, f"[{len(document['rows'])}/{total}] ")
        save(document, PARTIAL_JSON)

    missing = run(document, list(SHAPES), list(VARIANTS), budget, tell)
    if not missing:
        save(document, VARIANTS_JSON)
        PARTIAL_JSON.unlink(missing_ok=True)
    return missing


def show(row: dict[str, Any], head: str = "") -> None:
    """Print a cell."""
    of_plain, of_loop = f"{row['of plain']:.2f} of plain", f"{row['faster than loop']:.1f} times the loop"
    print(f"{head}{row['name']:22} {row['T, B, I, H']!s:20} {of_plain:>14}, {of_loop}", flush=True)


def save(document: dict[str, Any], path: Path) -> None:
    """Write the document, one cell a line."""
    head = json.dumps({key: value for key, value in document.items() if key != "rows"}, indent=1)[:-2]
    body = ",\n".join("  " + json.dumps(row) for row in document["rows"])
    path.write_text(f'{head},\n "rows": [\n{body}\n ]\n}}\n', encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, help="begin no new cell after this many seconds")
    parser.add_argument("--only", default="", help="names of variants, with commas")
    parser.add_argument("--shapes", default="", help="indices of the shapes, such as 0,1")
    parser.add_argument("--threads", type=int, help="PyTorch's, for a look; the stored figures are of all")
    parser.add_argument("--print", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    if arguments.only or arguments.shapes or arguments.threads or arguments.print:
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        shapes = [SHAPES[int(k)] for k in arguments.shapes.split(",")] if arguments.shapes else list(SHAPES)
        run({"rows": []}, shapes, arguments.only.split(",") if arguments.only else list(VARIANTS), None, show)
        return 0
    missing = run_all(arguments.budget)
    if missing:
        print(f"{missing} left; the same command goes on")
        return MORE
    write_reports(load(GRID_JSON))
    return 0


if __name__ == "__main__":
    sys.exit(main())
