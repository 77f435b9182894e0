"""A LanguageModel explained: what surprises it in a text, and which cells tell most about it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from cellgate.data.errors import DataError
from cellgate.data.text import Text
from cellgate.data.words import counted
from cellgate.estimators.explain_answers import log_odds
from cellgate.estimators.explaining import (
    better,
    by_group,
    gates_in,
    influence_of,
    layer_maps,
    network_of,
    scores_said,
    small_states,
    training_of,
    what_it_remembers,
)
from cellgate.report.model import Example, Fact, Line, Panel, Report, TableRows, Words
from cellgate.trace import Call, trace

if TYPE_CHECKING:
    from cellgate.estimators.language_model import LanguageModel

__all__ = ["explain_text"]

_CLOSE = {"characters": 80, "words": 60}  # tokens of an example that can be read below its pictures
_FAR = 400  # and of one for the overview
_SEARCHED = 4_000  # tokens whose states can be searched
_MEASURED = 200_000  # characters
_LISTED = 15
_BEFORE = 24  # tokens shown before a surprising one
_EACH = 2  # cells by either rule


def explain_text(model: LanguageModel, text: Text) -> Report:
    """Gather everything that the report on a LanguageModel shows.

    Args:
        model: a fitted one.
        text: the text to look at.
    """
    tokens = model.vocabulary_.encode(text.text[: _SEARCHED * (1 if model.units == "characters" else 20)])[:_SEARCHED]
    if len(tokens) < 2:
        raise DataError(f"{text.source}: expected a text of two {model.units} or more, got {len(tokens)}")
    network, unit = model.model_, model.units.removesuffix("s")
    pieces = [model.vocabulary_.tokens[token] for token in tokens.tolist()]
    with torch.no_grad():
        x = network.embed(torch.from_numpy(tokens)[None], None)
    with trace(network) as tape, torch.no_grad():
        scores = network(x)[0].double()
    call = tape["lstm"].only()
    backend, distance = call.backend, call.distance
    bits = _bits(scores, tokens)

    examples = []
    lengths = sorted({min(_CLOSE[model.units], len(tokens)), min(_FAR, len(tokens))})
    for count in lengths:
        with trace(network) as tape, torch.no_grad():
            network.lstm(x[:, :count])
        part = tape["lstm"].only()
        distance = max(distance, part.distance)
        close = count == lengths[0]
        influence = None
        if close:
            code = int(scores[count - 1].argmax())
            found = by_group(
                lambda batch, code=code: log_odds(network(batch)[:, -1], code),
                x[0, :count],
                x[0].mean(0),
                [(0, x.shape[-1])],
            )
            name = f"that {_visible(model.vocabulary_.tokens[code])!r} follows"
            influence = influence_of(found, name, "log-odds", (unit,), 0)
        examples.append(
            Example(
                name=f"the first {count} {model.units}",
                note=f"{bits[1:count].mean():.2f} bits each",
                labels=tuple(map(_visible, pieces[:count])),
                lines=(
                    Line("surprisal in bits", "model", 1, bits[1:count]),
                    Line("the bigram's", "baseline", 1, model.bigrams_.each(tokens[:count])[1] / math.log(2)),
                ),
                strips=(),
                now=None,
                layers=layer_maps(part, 0, 0),
                influence=influence,
                tokens=True,
            )
        )
    count = lengths[-1]
    record = model.record_
    vocabulary = len(model.vocabulary_)
    notes = []
    if len(text.text) > _MEASURED:
        notes.append(f"scores are those of the first {_MEASURED:,} characters")
    if len(text.text) > len("".join(pieces)):
        notes.append(f"like states and surprises are searched in the first {len(tokens):,} {model.units}")
    return Report(
        title=f"Language model on {text.source}",
        findings=(*_findings(model, text), what_it_remembers(examples[-1].layers)),
        facts=(
            Fact("data", f"{text.source}: {len(text.text):,} characters"),
            Fact("predicts", f"the next {unit}, one of {vocabulary:,}"),
            Fact("trained", f"on {model.trained_tokens_:,} {model.units}, {counted(record.epochs, 'epoch')} in "
                 f"{record.seconds:.1f} s, best was {record.best_epoch}"),
        ),
        network=network_of(
            network, f"a {unit} as {x.shape[-1]} numbers", "readout of every step", f"a score for each {unit}"
        ),
        examples=tuple(examples),
        states=small_states(
            f"h of layer {network.lstm.num_layers}",
            [gates_in(call, 0, len(tokens))],
            [text.source],
            [tuple(map(_visible, pieces))],
            [np.nan_to_num(bits)],
            [(0, 0)] * len(examples),
        ),
        panels=(
            _surprising(pieces[:count], bits[:count], unit),
            _telling(call, pieces[:count], bits[:count], unit),
            _surprises(pieces, bits, scores, model),
        ),
        training=training_of(record.history, record.best_epoch),
        backend=backend,
        distance=distance,
        notes=tuple(notes),
    )  # fmt: skip


def _bits(scores: torch.Tensor, tokens: np.ndarray) -> np.ndarray:
    """(N,) surprisal -log2 p of each token given those before it; NaN for the first."""
    logs = scores[:-1].log_softmax(-1).gather(1, torch.from_numpy(tokens[1:])[:, None])[:, 0]
    return np.concatenate([[np.nan], -logs.numpy() / math.log(2)])


def _visible(token: str) -> str:
    """A token with its white space to be seen."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


def _findings(model: LanguageModel, text: Text) -> list[str]:
    score = "bits per character" if model.units == "characters" else "perplexity"

    def compared(metrics: dict) -> str:
        ours, base = metrics["cellgate"][score], metrics[model.BASELINE][score]
        return better(ours, base, score, f"{model.BASELINE} baseline")

    return scores_said(model, Text(text.source, text.text[:_MEASURED]), model.units, compared)


def _surprising(pieces: list[str], bits: np.ndarray, unit: str) -> Panel:
    known = bits[np.isfinite(bits)]
    return Panel(
        "surprisal",
        "What surprises it",
        f"The text, each {unit} the redder the more surprising it was: −log₂ of the probability that it was given, "
        f"from 0 to {known.max():.1f} bits, {known.mean():.2f} at the mean.",
        f"that a {unit} without colour was understood; a habit of the text suffices.",
        (
            Words(
                f"the first {len(pieces)}",
                tuple(pieces),
                np.nan_to_num(bits),
                0.0,
                max(1.0, float(np.quantile(known, 0.98))),
            ),
        ),
    )


def telling_cells(cells: np.ndarray, bits: np.ndarray) -> tuple[list[int], list[int], np.ndarray]:
    """The cells that tell most.

    Args:
        cells: (T, H) c after each token.
        bits: (T,) surprisal of that token, NaN for the first.

    Returns:
        The units whose c is most correlated with the surprisal (the largest |r|), those whose c varies most, and (H,)
        the correlations.
    """
    c, s = cells[1:] - cells[1:].mean(0), bits[1:] - bits[1:].mean()
    size = np.sqrt((c**2).sum(0) * (s**2).sum())
    r = np.divide((c * s[:, None]).sum(0), size, out=np.zeros(c.shape[1]), where=size > 1e-12)
    surprised = np.argsort(-np.abs(r), kind="stable")[:_EACH].tolist()
    varied = [k for k in np.argsort(-cells.var(0), kind="stable").tolist() if k not in surprised][:_EACH]
    return surprised, varied, r


def _telling(call: Call, pieces: list[str], bits: np.ndarray, unit: str) -> Panel:
    cells = call.layers[-1].directions[0].time_major("c")[: len(pieces), 0].double().cpu().numpy()
    surprised, varied, r = telling_cells(cells, bits)
    content = []
    for k in [*surprised, *varied]:
        why = f"correlation with surprisal {r[k]:+.2f}" if k in surprised else f"variance {cells[:, k].var():.2f}"
        reach = float(np.abs(cells[:, k]).max()) or 1.0
        content.append(Words(f"cell {k}: {why}", tuple(pieces), cells[:, k], -reach, reach, signed=True))
    return Panel(
        "cells",
        "The text, coloured by the most telling cells",
        f"The memory c of single cells of the last layer after each {unit}, red above and blue below zero: first the "
        f"{len(surprised)} whose c is most correlated with the surprisal of the {unit} just read, then the "
        f"{len(varied)} whose c varies most.",
        "that a cell stands for what its colours seem to follow: it was picked among many, by its number and not by a "
        "meaning.",
        tuple(content),
    )


def _surprises(pieces: list[str], bits: np.ndarray, scores: torch.Tensor, model: LanguageModel) -> Panel:
    rows = []
    for k in np.argsort(-np.nan_to_num(bits, nan=-1), kind="stable")[: min(_LISTED, len(bits) - 1)].tolist():
        expected = int(scores[k - 1].argmax())
        share = float(scores[k - 1].softmax(-1)[expected])
        before = _visible("".join(pieces[max(0, k - _BEFORE) : k]))
        rows.append(
            (
                before,
                _visible(pieces[k]),
                f"{bits[k]:.1f}",
                _visible(model.vocabulary_.tokens[expected]),
                f"{share:.2f}",
            )
        )
    return Panel(
        "surprises",
        "The largest surprises",
        "Where the text went on as the network least thought, and what it thought instead.",
        "that these are errors of the network: a new subject or a name cannot be foreseen.",
        (TableRows(("after", "came", "bits", "expected", "with probability"), tuple(rows), (2, 4)),),
    )
