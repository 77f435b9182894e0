"""A SequenceClassifier or SequenceRegressor explained: its answer as the sequence goes on, and where it is unsure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cellgate.data.sequences import SequenceSet
from cellgate.data.words import counted
from cellgate.estimators.explaining import (
    affordable,
    gates_in,
    influence_of,
    layer_maps,
    network_of,
    sequence_name,
    small_states,
    training_of,
    what_it_reads,
    what_it_remembers,
)
from cellgate.report.model import Example, Fact, Report, Strip
from cellgate.tasks.network import SequenceNetwork
from cellgate.trace import attribute, trace
from cellgate.training import best_epoch

if TYPE_CHECKING:
    from cellgate.estimators.explain_answers import Answers

__all__ = ["course_of", "explain_sequences"]

_SEQUENCES = 60  # whose states can be searched
_STRIPS = 8  # inputs drawn
_ENDS = 240  # at which a sequence that is read from both ends is cut
_AT_ONCE = 50_000  # steps


def explain_sequences(estimator: Any, sequences: SequenceSet, answers: Answers) -> Report:
    """Gather everything that the report on an estimator of whole sequences shows.

    Args:
        estimator: a fitted SequenceClassifier or SequenceRegressor.
        sequences: those to look at, with or without labels.
        answers: what it says of them, and how that is put.
    """
    model = estimator.model_
    data = estimator._resident(sequences)
    there = np.flatnonzero(sequences.lengths > 0)
    chosen = answers.choose(there)
    searched = [*chosen, *(k for k in there.tolist() if k not in chosen)][:_SEQUENCES]
    names = estimator.encoding_.names
    neutral = data.values.mean(0)

    notes = []
    if len(searched) < len(there):
        notes.append(f"like states are searched in {len(searched)} of the {len(there):,} sequences")
    examples, states, signal = [], [], []
    backend, distance, most_read = "", 0.0, 0
    for k in searched:
        x = data.batch(torch.tensor([k]))[0][0]
        with trace(model) as tape, torch.no_grad():
            model.lstm(x[None])
        call = tape["lstm"].only()
        backend, distance = call.backend, max(distance, call.distance)
        states.append(gates_in(call, 0, len(x)))
        if k in chosen:
            pick, output, unit, show = answers.asked(k)
            cells = affordable(model, len(x), 512)
            found = attribute(lambda batch, pick=pick: pick(model(batch)), x, neutral, cells=cells)
            order = torch.argsort(-found.columns("occlusion"), stable=True).tolist()
            most_read = order[0] if not examples else most_read
            course, cut = course_of(model, x)
            if cut:
                notes.append(f"the answer so far is computed at {cut} ends of a long sequence and joined by lines")
            lines, note = answers.course(k, course)
            examples.append(
                Example(
                    name=sequence_name(sequences.ids[k]),
                    note=note,
                    labels=tuple(map(str, range(len(x)))),
                    lines=lines,
                    strips=_inputs(x.numpy(), names, order[:_STRIPS]),
                    now=None,
                    layers=layer_maps(call, 0, 0),
                    influence=influence_of(found, output, unit, names, 0, show),
                )
            )
        signal.append(x[:, most_read].double().numpy())
    if len(names) > _STRIPS:
        notes.append(f"of the {len(names)} inputs the {_STRIPS} with the largest influence are drawn as rows")
    first = examples[0]
    assert first.influence is not None
    said = [*answers.findings(), what_it_reads(first.influence), what_it_remembers(first.layers)]
    record = estimator.record_
    return Report(
        title=answers.title,
        findings=tuple(finding for finding in said if finding),
        facts=(
            *(Fact(label, text) for label, text in sequences.summary() if label != "note"),
            Fact("predicts", answers.output),
            Fact(
                "trained",
                f"{counted(record.epochs, 'epoch')} in {record.seconds:.1f} s, {best_epoch(record)}",
            ),
        ),
        network=network_of(
            model, f"{len(names)} columns of every step", f"readout of the {_READ[model.readout_mode]}", answers.output
        ),
        examples=tuple(examples),
        states=small_states(
            f"h of layer {model.lstm.num_layers}",
            states,
            [sequences.ids[k] for k in searched],
            [[str(step) for step in range(len(one))] for one in states],
            signal,
            [(k, 0) for k in range(len(chosen))],
        ),
        panels=answers.panels(),
        training=training_of(record.history, record.best_epoch),
        backend=backend,
        distance=distance,
        notes=tuple(dict.fromkeys(notes)),
    )


_READ = {"last": "last states", "mean": "mean state"}


@torch.no_grad()
def course_of(model: SequenceNetwork, x: Tensor) -> tuple[np.ndarray, int]:
    """What the network would answer if the sequence ended at each step.

    Args:
        model: in eval mode.
        x: (T, I) what it reads.

    Returns:
        (T, O) answers, and at how many ends they were computed where that is not all of them, else 0. In a network that
        reads from both ends every shorter sequence is read anew; there the answers between are interpolated.
    """
    steps = len(x)
    if not model.lstm.bidirectional:
        hidden = model.lstm(x[None])[0][0]
        if model.readout_mode == "mean":
            hidden = hidden.cumsum(0) / torch.arange(1, steps + 1)[:, None]
        return model.readout(hidden).double().numpy(), 0
    ends = np.unique(np.linspace(1, steps, min(steps, affordable(model, steps // 2, _ENDS))).round().astype(np.int64))
    found, first = [], 0
    while first < len(ends):
        last = first + 1
        while last < len(ends) and (last + 1 - first) * int(ends[last]) <= _AT_ONCE:
            last += 1
        part = torch.from_numpy(ends[first:last])
        batch = x[None, : int(part[-1])].repeat(len(part), 1, 1)
        found.append(model(batch, lengths=part).double().numpy())
        first = last
    answers = np.concatenate(found)
    every = np.arange(1, steps + 1)
    filled = np.stack([np.interp(every, ends, answers[:, k]) for k in range(answers.shape[1])], axis=1)
    return filled, 0 if len(ends) == steps else len(ends)


def _inputs(x: np.ndarray, names: tuple[str, ...], columns: list[int]) -> tuple[Strip, ...]:
    """The inputs as rows of colours, in standard deviations from their mean where they are scaled."""
    found = []
    for k in sorted(columns):
        reach = float(np.abs(x[:, k]).max(initial=0)) or 1.0
        found.append(Strip(names[k], 0, x[:, k].astype(float), -reach, reach, signed=True))
    return tuple(found)
