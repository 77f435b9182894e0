"""Time a training step of every variant beside cellgate's own plain LSTM and the loop that a user would write.

    python -m benchmarks.variants.speed [--threads 1] [--seconds 1.0] [--out benchmarks/results/variants_speed.json]

A variant is timed only after its output and every gradient agree with the loop's. The three take turns in one process
(``cellgate.bench.timing``). Goals: at most 1.5 times the plain LSTM (1.8 with layer norm and for the sLSTM), at least 4
times faster than the loop (H <= 128), 1.5 times (H 512).
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cellgate
from benchmarks.variants import loops
from cellgate.bench.machine import describe
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
SHAPES = ((100, 1, 32, 64), (100, 32, 16, 64), (100, 32, 64, 128), (100, 64, 512, 512))
"""T, B, I, H."""


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
        x = step.x.detach().double().requires_grad_()
        wide = Step(step.name, copy.deepcopy(step.module).double(), x, step.grad.double(), step.loop)
        output = wide.call().detach()
        assert x.grad is not None
        grads = {name: p.grad for name, p in wide.module.named_parameters() if p.grad is not None}
        found.append({"output": output, "dx": x.grad} | grads)
    for name, want in found[1].items():
        error = float((found[0][name] - want).abs().max() / want.abs().max().clamp(min=1.0))
        if not error < 1e-6:
            raise SystemExit(f"{ours.name}: {name} deviates by {error:.2e} from the loop's")


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
    times = interleave([ours, step("plain", cellgate.LSTM(inputs, hidden)), loop], plan)
    row: dict[str, Any] = {name: samples.as_dict() for name, samples in times.items()}
    row["backend"] = backend
    row["of plain"] = row["variant"]["median"] / row["plain"]["median"]
    row["faster than loop"] = row["loop"]["median"] / row["variant"]["median"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long each cell is measured")
    parser.add_argument("--only", default="", help="names of variants, with commas")
    parser.add_argument("--shapes", default="", help="indices of the shapes, such as 0,1")
    parser.add_argument("--out", default="", help="write the figures to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    plan = Plan(seconds=arguments.seconds, patience=arguments.seconds, least=2)
    shapes = [SHAPES[int(k)] for k in arguments.shapes.split(",")] if arguments.shapes else list(SHAPES)
    rows = []
    print(f"{'variant':22} {'T, B, I, H':20} {'of plain':>9} {'than loop':>10}")
    for shape in shapes:
        for name, options in VARIANTS.items():
            if arguments.only and name not in arguments.only.split(","):
                continue
            row = measure(shape, options, plan)
            rows.append({"name": name, "T, B, I, H": shape, **row})
            print(f"{name:22} {shape!s:20} {row['of plain']:9.2f} {row['faster than loop']:10.2f}", flush=True)
    if arguments.out:
        head = json.dumps({**describe(), "threads": arguments.threads}, indent=1)[:-2]
        body = ",\n".join("  " + json.dumps(row) for row in rows)
        Path(arguments.out).write_text(f'{head},\n "rows": [\n{body}\n ]\n}}\n')


if __name__ == "__main__":
    main()
