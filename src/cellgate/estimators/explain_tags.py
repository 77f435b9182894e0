"""A SequenceTagger explained: how sure it is of each step, what it confuses, what a tag owes to the words around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cellgate.data.sequences import SequenceSet
from cellgate.data.words import counted
from cellgate.estimators.classes import class_codes
from cellgate.estimators.explain_answers import confusions, log_odds
from cellgate.estimators.explaining import (
    better,
    by_group,
    gates_in,
    influence_of,
    layer_maps,
    network_of,
    scores_said,
    sequence_name,
    small_states,
    training_of,
    what_it_reads,
    what_it_remembers,
)
from cellgate.report.model import Example, Fact, Influence, Panel, Report, Strip, TableRows, Words
from cellgate.tasks.tag import TaggedSequences, tag_shares
from cellgate.trace import trace
from cellgate.training import best_epoch

if TYPE_CHECKING:
    from cellgate.estimators.tagger import SequenceTagger

__all__ = ["explain_tags"]

_SEQUENCES = 60  # whose states can be searched
_TAGS = 6  # drawn as rows
_LISTED = 15
_AROUND = 3  # words on either side
_LONGEST = 60  # words of a sequence whose words can be written below one another's pictures


def explain_tags(tagger: SequenceTagger, sequences: SequenceSet) -> Report:
    """Gather everything that the report on a SequenceTagger shows.

    Args:
        tagger: a fitted one.
        sequences: those to look at, with a label a step or without any.
    """
    model = tagger.model_
    data = tagger._prepare(sequences, None)
    seen = _Seen(tagger, sequences, data)
    there = np.flatnonzero(sequences.lengths > 0)
    chosen = seen.choose(there)
    searched = [*chosen, *(k for k in there.tolist() if k not in chosen)][:_SEQUENCES]

    examples, states = [], []
    backend, distance = "", 0.0
    for k in searched:
        x, _, _ = data.inputs(model, torch.tensor([k]))
        x = x[0].detach()
        with trace(model) as tape, torch.no_grad():
            model.lstm(x[None])
        call = tape["lstm"].only()
        backend, distance = call.backend, max(distance, call.distance)
        states.append(gates_in(call, 0, len(x)))
        if k in chosen:
            examples.append(
                Example(
                    name=sequence_name(sequences.ids[k]),
                    note=seen.note(k),
                    labels=seen.labels(k),
                    lines=(),
                    strips=seen.strips(k),
                    now=None,
                    layers=layer_maps(call, 0, 0),
                    influence=_influence(tagger, data, seen, k, x),
                    tokens=seen.words is not None,
                )
            )
    first = examples[0]
    said = [*seen.findings(), what_it_reads(first.influence), what_it_remembers(first.layers)]
    record = tagger.record_
    notes = []
    if len(searched) < len(there):
        notes.append(f"like states are searched in {len(searched)} of the {len(there):,} sequences")
    names = tagger._input_names()
    reads = f"a word as {tagger.embedding_size} numbers, and {len(names)} more" if tagger.tokens_ else f"{len(names)}"
    return Report(
        title=f"Tagging of {sequences.source}",
        findings=tuple(finding for finding in said if finding),
        facts=(
            *(Fact(label, text) for label, text in sequences.summary() if label != "note"),
            Fact("predicts", f"one of {len(seen.names)} tags for every step"),
            Fact(
                "trained",
                f"{counted(record.epochs, 'epoch')} in {record.seconds:.1f} s, {best_epoch(record)}",
            ),
        ),
        network=network_of(model, f"{reads} columns of every step", "readout of every step", "a tag for every step"),
        examples=tuple(examples),
        states=small_states(
            f"h of layer {model.lstm.num_layers}",
            states,
            [sequences.ids[k] for k in searched],
            [seen.labels(k) for k in searched],
            [seen.sure[seen.span(k)] for k in searched],
            [(k, 0) for k in range(len(chosen))],
        ),
        panels=seen.panels(chosen),
        training=training_of(record.history, record.best_epoch),
        backend=backend,
        distance=distance,
        notes=tuple(notes),
    )


def _influence(tagger: SequenceTagger, data: TaggedSequences, seen: _Seen, k: int, x: Tensor) -> Influence:
    """What the least sure tag of a sequence owes to each word and column; an embedded word counts as one."""
    model = tagger.model_
    names = tagger._input_names()
    embedded = x.shape[1] - len(names)
    average = data.values.mean(0)
    if embedded and data.tokens is not None and model.embedding is not None:
        average = torch.cat([model.embedding(data.tokens).detach().mean(0), average])
    groups = [(0, embedded)] if embedded else []
    groups += [(j, j + 1) for j in range(embedded, x.shape[1])]
    step = int(seen.sure[seen.span(k)].argmin())
    code = int(seen.given[seen.span(k)][step])
    found = by_group(lambda batch: log_odds(model(batch)[:, step], code), x, average, groups)
    where = f"{seen.labels(k)[step]!r}" if seen.words is not None else f"step {step}"
    columns = (*(("word",) if embedded else ()), *names)
    return influence_of(found, f"the tag {seen.names[code]!r} at {where}", "log-odds", columns, 0)


class _Seen:
    """What the tagger says of the sequences, and how that is put."""

    def __init__(self, tagger: SequenceTagger, sequences: SequenceSet, data: TaggedSequences) -> None:
        self.tagger, self.sequences = tagger, sequences
        self.names = [str(name) for name in tagger.classes_.tolist()]
        self.words = None if sequences.token is None else sequences.texts[sequences.token]
        self.shares = tag_shares(tagger.model_, data)
        self.given, self.sure = self.shares.argmax(1), self.shares.max(1)
        self.actual = None if sequences.labels is None else class_codes(tagger.classes_, np.asarray(sequences.labels))
        self.tagged = np.asarray(sequences.labels)

    def span(self, k: int) -> slice:
        first = int(self.sequences.offsets[k])
        return slice(first, first + int(self.sequences.lengths[k]))

    def labels(self, k: int) -> tuple[str, ...]:
        if self.words is None:
            return tuple(map(str, range(int(self.sequences.lengths[k]))))
        return tuple(self.words[self.span(k)].tolist())

    def choose(self, there: np.ndarray) -> list[int]:
        """The one with the least sure step, a typical one, and the one with the surest mistake; short ones if any."""
        short = there[self.sequences.lengths[there] <= _LONGEST]
        there = short if len(short) else there
        least = np.array([self.sure[self.span(k)].min() for k in there])
        order = there[np.argsort(least, kind="stable")]
        long = [int(k) for k in order if self.sequences.lengths[k] >= np.median(self.sequences.lengths[there])]
        chosen = [int(order[0]), long[len(long) // 2]]
        if self.actual is not None:
            missed = [np.where(self.actual == self.given, 0, self.sure)[self.span(k)].max() for k in there]
            if max(missed) > 0:
                chosen.append(int(there[int(np.argmax(missed))]))
        return list(dict.fromkeys(chosen))

    def note(self, k: int) -> str:
        span = self.span(k)
        if self.actual is None:
            return f"least sure step {self.sure[span].min():.0%}"
        wrong = int((self.actual[span] != self.given[span]).sum())
        return f"{wrong} of {self.sequences.lengths[k]} steps wrong, least sure step {self.sure[span].min():.0%}"

    def strips(self, k: int) -> tuple[Strip, ...]:
        """The probabilities of the foremost tags, the confidence, and where it is wrong, in red."""
        span = self.span(k)
        shares = self.shares[span]
        foremost = sorted(np.argsort(-shares.max(0), kind="stable")[:_TAGS].tolist())
        found = [Strip(f"p({self.names[c]})", 0, shares[:, c], 0, 1) for c in foremost]
        found.append(Strip("confidence", 0, self.sure[span], 0, 1))
        if self.actual is not None:
            wrong = (self.actual[span] != self.given[span]).astype(float)
            found.append(Strip("wrong", 0, wrong, -1, 1, signed=True))
        return tuple(found)

    def findings(self) -> list[str]:
        labelled = None if self.actual is None else self.sequences
        said = scores_said(self.tagger, labelled, "sequences", self._compared)
        if self.actual is not None:
            sure = self.sure >= 0.9
            if sure.any():
                right = (self.actual == self.given)[sure].mean()
                said.append(f"Where it is at least 90 % sure ({sure.mean():.0%} of the steps), {right:.1%} are right.")
        return said

    def _compared(self, metrics: dict[str, Any]) -> str:
        ours, base = metrics["cellgate"], metrics[self.tagger.BASELINE]
        return better(ours["accuracy"], base["accuracy"], "accuracy", f"{self.tagger.BASELINE} baseline", higher=True)

    def panels(self, chosen: list[int]) -> tuple[Panel, ...]:
        found = []
        if self.words is not None:
            found.append(
                Panel(
                    "doubt",
                    "Where it doubts",
                    "The sequences looked at above, each word the redder the less sure the network is of its tag.",
                    "that a word that is not red is tagged right: the probabilities were not calibrated.",
                    tuple(
                        Words(
                            sequence_name(self.sequences.ids[k]),
                            tuple(f"{word} " for word in self.labels(k)),
                            1 - self.sure[self.span(k)],
                            0.0,
                            max(0.5, float(1 - self.sure.min())),
                        )
                        for k in chosen
                    ),
                )
            )
        if self.actual is not None:
            found.append(confusions(self.names, self.actual, self.given, "steps"))
        found.append(self._least_sure())
        return tuple(panel for panel in found if panel is not None)

    def _least_sure(self) -> Panel:
        begins = self.sequences.offsets
        rows = []
        for step in np.argsort(self.sure, kind="stable")[:_LISTED].tolist():
            k = int(np.searchsorted(begins, step, side="right")) - 1
            place, labels = step - int(begins[k]), self.labels(k)
            if self.words is None:
                what = (f"step {labels[place]}",)
            else:
                before, after = labels[max(0, place - _AROUND) : place], labels[place + 1 : place + 1 + _AROUND]
                what = (" ".join(before), labels[place], " ".join(after))
            was = () if self.actual is None else (str(self.tagged[step]),)
            rows.append((self.sequences.ids[k], *what, *was, self.names[self.given[step]], f"{self.sure[step]:.3f}"))
        head = ("sequence", *(("step",) if self.words is None else ("before", "word", "after")))
        head = (*head, *(() if self.actual is None else ("is",)), "tagged", "probability")
        return Panel(
            "unsure",
            "The least sure steps",
            "The steps whose most probable tag has the smallest probability.",
            "that the others are right: a network can be sure and wrong.",
            (TableRows(head, tuple(rows), (len(head) - 1,)),),
        )
