"""What every explanation gathers from a trained network, whatever its task: plain data for the report.

All numbers of gates come from ``cellgate.trace``; nothing is computed a second way here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.data.files import text_bytes, write_atomic
from cellgate.errors import InputError
from cellgate.nn import LSTM
from cellgate.nn.variant import variant_of
from cellgate.report.model import Influence, LayerMaps, Network, NetworkLayer, Report, States
from cellgate.trace import Attribution, Call, attribute

__all__ = [
    "Explanation", "affordable", "better", "by_group", "deliver", "gates_in", "influence_of", "keep_report",
    "layer_maps", "network_of", "require_examples", "require_place", "scores_said", "sequence_name", "small_states",
    "training_of", "what_it_reads", "what_it_remembers",
]  # fmt: skip

_FRAME = 720  # pixels of the page that a notebook shows at a time
_DIRECTIONS = 16  # of the states that a page holds
_MOST_STATES = 12_000  # steps
_MULTIPLICATIONS = 1e12  # for all readings of one sequence: some twenty seconds on two cores


@dataclass(frozen=True)
class Explanation:
    """A model explained: the plain data, and the page made of it.

    Attributes:
        report: everything the page shows, as plain data.
        opened: of a forecaster, where it was opened if that is not the end of its series, in a line; else empty.
    """

    report: Report
    opened: str = ""

    def __repr__(self) -> str:
        """What is found, a line each, not all of its numbers."""
        found = "".join(f"\n  {finding}" for finding in self.report.findings)
        return f"<Explanation, {self.report.title}: save(path) writes the page>{found}"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for a notebook: its styles and scripts stay inside."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.report.title)}" sandbox="allow-scripts" '
            f'style="width:100%;height:{_FRAME}px;border:0"></iframe>'
        )

    @property
    def html(self) -> str:
        """The page, one HTML file that needs nothing else."""
        from cellgate.report.report_page import report_page  # with Jinja: an estimator does not wait for it

        return report_page(self.report)

    def save(self, path: str | Path) -> Path:
        """Write the page and return where it is.

        Raises:
            OSError: if it cannot be written.
        """
        write_atomic(Path(path), text_bytes(self.html))
        return Path(path)

    def save_figures(self, folder: str | Path) -> list[str]:
        """Write every picture as SVG, and as PNG where the extra "figures" is installed; return their names."""
        from cellgate.report.figures import save_figures
        from cellgate.report.report_page import figures_of

        return save_figures(figures_of(self.report), Path(folder))


def deliver(report: Report, out: str | Path | None, figures: str | Path | None = None, opened: str = "") -> Explanation:
    """The explanation, written where it was asked for."""
    explanation = Explanation(report, opened)
    if out is not None:
        explanation.save(out)
    if figures is not None:
        explanation.save_figures(figures)
    return explanation


def require_place(report: bool | str | Path) -> None:
    """Refuse, before a training, a report that could not be written after it.

    Raises:
        InputError: for a folder in place of a file, and for a file in a folder that is not there.
    """
    if isinstance(report, bool):
        return
    path = Path(report)
    if path.is_dir():
        raise InputError(f"report: expected a file, got a folder, {path}; give a name in it")
    if not path.parent.is_dir():
        raise InputError(f"report: expected a file in a folder that is there, got {path}; make the folder first")


def keep_report(estimator: Any, explanation: Explanation, report: bool | str | Path) -> None:
    """What `fit(..., report=)` asks for: the page in a file, or, for True, nothing on disk but `report_`."""
    if isinstance(report, bool):
        estimator.report_ = explanation
    else:
        explanation.save(report)


def affordable(model: nn.Module, steps: int, most: int, least: int = 16) -> int:
    """How many times a sequence may be read anew, so that a large model is explained in seconds too, not in minutes.

    Args:
        model: with its LSTM as `model.lstm`.
        steps: of the sequence.
        most: the number for a small model.
        least: the number for the largest.
    """
    lstm = model.lstm
    assert isinstance(lstm, LSTM)
    weights = sum(p.numel() for p in lstm.parameters() if p.dim() == 2)
    return max(least, min(most, int(_MULTIPLICATIONS // max(weights * steps, 1))))


# ---------------------------------------------------------------- the network


def network_of(model: nn.Module, reads: str, readout: str, output: str) -> Network:
    """The network as it is drawn.

    Args:
        model: with its LSTM as `model.lstm`.
        reads: what goes in, in words.
        readout: what the readout is.
        output: what comes out.
    """
    lstm = model.lstm
    assert isinstance(lstm, LSTM)
    total = sum(p.numel() for p in model.parameters())
    layers, below = [], reads
    for k in range(lstm.num_layers):
        named = [(name, p) for name, p in lstm.named_parameters() if name.removesuffix("_reverse").endswith(f"_l{k}")]
        hidden = lstm.hidden_size if isinstance(lstm.hidden_size, int) else lstm.hidden_size[k]
        proj = lstm.proj_size if isinstance(lstm.proj_size, int) else lstm.proj_size[k]
        layers.append(
            NetworkLayer(
                name="lstm",
                reads=below,
                hidden_size=hidden,
                proj_size=proj,
                directions=2 if lstm.bidirectional else 1,
                parameters=sum(p.numel() for _, p in named),
                cell=str(variant_of(lstm)),
            )
        )
        below = f"h of layer {k + 1}"
    learned = sum(layer.parameters for layer in layers)
    return Network(reads, tuple(layers), readout, output, total - learned, total)


# ---------------------------------------------------------------- gates


def layer_maps(call: Call, sequence: int, start: int) -> tuple[LayerMaps, ...]:
    """The gates of one sequence in every layer and direction of a traced call.

    Args:
        call: from a tape.
        sequence: which of its batch.
        start: the position of its first step on the example's axis.
    """
    found = []
    for layer in call.layers:
        for direction, way in zip(layer.directions, ("forward", "backward"), strict=False):
            title = f"layer {layer.index + 1}" + (f", {way}" if len(layer.directions) > 1 else "")
            maps = direction.heat_maps(sequence)
            ordered = {
                name: values[list(maps.order)] if len(values) == maps.units else values
                for name, values in maps.maps.items()
            }
            forget = maps.maps["f"].mean(1)
            with np.errstate(divide="ignore"):
                memory = 1 / np.abs(np.log(forget))
            found.append(
                LayerMaps(
                    title=title,
                    start=start,
                    maps=ordered,
                    order=maps.order,
                    memory=memory,
                    closed={g: (maps.maps[g] < 0.1).mean(1) for g in ("i", "f", "o")},
                    opened={g: (maps.maps[g] > 0.9).mean(1) for g in ("i", "f", "o")},
                )
            )
    return tuple(found)


def gates_in(call: Call, sequence: int, steps: int) -> Tensor:
    """(T, D * P) the hidden states of the last layer for one sequence, both directions side by side."""
    parts = [direction.time_major("h")[:steps, sequence] for direction in call.layers[-1].directions]
    return torch.cat(parts, dim=-1).detach().float().cpu()


def small_states(
    what: str,
    states: Sequence[Tensor],
    names: Sequence[str],
    labels: Sequence[Sequence[str]],
    signal: Sequence[np.ndarray] | None,
    shown: Sequence[tuple[int, int]],
) -> States:
    """Hidden states in few directions of 8 bits each, so that a page can hold those of thousands of steps.

    Units are first brought to the same spread, as ``cellgate.trace.StateIndex`` does; then the principal directions
    that hold most of what is left are kept.

    Args:
        what: whose states.
        states: (T, H) a sequence; those of the examples must come first, the rest is left out where it gets too much.
        names: of the sequences.
        labels: of every step.
        signal: a number of every step, to draw around a match.
        shown: (sequence, first position) of every example.
    """
    kept: list[int] = []
    total = 0
    for k, one in enumerate(states):
        if total + len(one) > _MOST_STATES and k > max(sequence for sequence, _ in shown):
            break
        kept.append(k)
        total += len(one)
    joined = torch.cat([states[k] for k in kept]).double()
    spread = joined.std(0, unbiased=False)
    scaled = (joined - joined.mean(0)) / torch.where(spread > 0, spread, torch.ones_like(spread))
    width = min(_DIRECTIONS, scaled.shape[1])
    _, sizes, directions = torch.linalg.svd(scaled, full_matrices=False)
    codes = scaled @ directions[:width].T
    step = float(codes.abs().max()) / 127 or 1.0
    energy = sizes.square()
    return States(
        what=what,
        sequences=tuple(names[k] for k in kept),
        lengths=tuple(len(states[k]) for k in kept),
        labels=tuple(label for k in kept for label in labels[k]),
        signal=None if signal is None else np.concatenate([signal[k] for k in kept]),
        codes=torch.round(codes / step).to(torch.int8).numpy(),
        scale=step,
        units=scaled.shape[1],
        kept=float(energy[:width].sum() / energy.sum()) if float(energy.sum()) > 0 else 1.0,
        shown=tuple(shown),
    )


def influence_of(
    found: Attribution,
    output: str,
    unit: str,
    columns: Sequence[str],
    start: int,
    show: Callable[[float], float] = float,
) -> Influence:
    """An attribution as a report shows it.

    Args:
        found: from ``cellgate.trace.attribute``.
        output: which number it is of.
        unit: its unit.
        columns: names of the input's columns.
        start: the position of the first step read.
        show: turns the two output values into the unit.
    """
    return Influence(
        output=output,
        unit=unit,
        value=show(found.output),
        neutral=show(found.neutral),
        columns=tuple(columns),
        edges=found.edges.numpy() + start,
        gradient=found.gradient.detach().cpu().double().numpy(),
        occlusion=found.occlusion.detach().cpu().double().numpy(),
        disagrees=found.disagrees.cpu().numpy(),
        agreement=found.agreement,
    )


def by_group(
    function: Callable[[Tensor], Tensor], x: Tensor, x0: Tensor, groups: Sequence[tuple[int, int]]
) -> Attribution:
    """An attribution to groups of columns that stand for one thing, such as the numbers of an embedded word.

    What is attributed is a weight of each step and group, 1 as it is and 0 for x0: gradient times input is then the
    sum over the group's columns, and occlusion sets all of them to x0 at once.

    Args:
        function: (N, T, I) to (N,).
        x: (T, I).
        x0: (I,).
        groups: (first, past the last) column of each.
    """
    sizes = torch.tensor([last - first for first, last in groups])
    member = torch.repeat_interleave(torch.arange(len(groups)), sizes)

    def weighted(weights: Tensor) -> Tensor:
        return function(x0 + weights[..., member] * (x - x0))

    return attribute(weighted, torch.ones(len(x), len(groups), dtype=x.dtype), torch.zeros(len(groups), dtype=x.dtype))


def training_of(history: Sequence[tuple[float, float | None]], best: int) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Training curves, or None where nothing was kept."""
    if not history:
        return None
    losses = np.array([loss for loss, _ in history], dtype=float)
    scores = np.array([np.nan if score is None else score for _, score in history], dtype=float)
    return losses, scores, best


def scored(estimator: Any, data: Any) -> dict[str, Any]:
    """What `evaluate` finds on the data, without its being kept: `metrics_` stays what was measured before."""
    kept = estimator.metrics_
    try:
        return estimator.evaluate(data)
    finally:
        estimator.metrics_ = kept


def what_it_remembers(layers: Sequence[LayerMaps]) -> str:
    """How long the units remember, in a sentence."""
    longest = max(float(np.nan_to_num(layer.memory, posinf=1e9).max()) for layer in layers)
    short = float(np.median(layers[-1].memory))
    return f"Its units remember for {short:.1f} steps at the median, the longest for {min(longest, 99999):,.0f}."


def what_it_reads(influence: Influence) -> str | None:
    """The column with the largest influence, in a sentence; None for a single column or no influence."""
    size = np.abs(influence.occlusion).sum(0)
    if len(size) < 2 or not size.sum() > 0:
        return None
    return f"What it reads most is {influence.columns[int(np.argmax(size))]!r}."


def scores_said(estimator: Any, data: Any, what: str, compared: Callable[[dict[str, Any]], str]) -> list[str]:
    """The scores measured at training, and those on the data, each in a sentence.

    Args:
        estimator: a fitted one.
        data: to measure on, with labels and a `source`; None where there are no labels.
        what: the key of the metrics that counts what was measured.
        compared: metrics in words.
    """
    said, held = [], estimator.metrics_
    now = {} if data is None else scored(estimator, data)
    if "cellgate" in held and held != now:
        said.append(f"On the {held[what]:,} {what} measured at training: {compared(held)}")
    if data is not None:
        named = not data.source.startswith("the ")  # arrays and the like have no name of their own
        same = named and estimator.source_ == data.source
        seen = " (data of this name were trained on, which may flatter it)" if same else ""
        said.append(f"On these {now[what]:,} {what}{seen}: {compared(now)}")
    return said


def require_examples(count: int, what: str, source: str) -> None:
    """Refuse data in which there is nothing to look at."""
    if count == 0:
        raise InputError(f"{source}: expected at least one {what} to explain, got none; give data that have some")


def sequence_name(name: str) -> str:
    """A sequence as it is called in a heading: one with a bare number is called a sequence."""
    return f"sequence {name}" if name.isdigit() else name


def better(ours: float, base: float, score: str, baseline: str, higher: bool = False) -> str:
    """Which of the two is better and by how much, without varnish."""
    if f"{ours:.3f}" == f"{base:.3f}":
        return f"It is no better and no worse than the {baseline}: {score} {ours:.3f} of both."
    wins = ours > base if higher else ours < base
    if f"{ours:.3f}" == f"{base:.3f}":
        return f"It is level with the {baseline}: {score} {ours:.3f} for both."
    if not wins:
        return f"It does NOT beat the {baseline}: {score} {ours:.3f} against {base:.3f}."
    if higher or not base:
        return f"{score} {ours:.3f}, that of the {baseline} {base:.3f}."
    share = 1 - ours / base
    below = f"{share:.0%}" if share >= 0.005 else "less than 1%"
    return f"{score} {ours:.3f}, {below} below the {baseline}'s {base:.3f}."
