"""Tagging: a label for every step.

The network reads the sequence from both ends, and a linear layer turns the two hidden states of each step into a score
a tag (Huang, Xu and Yu 2015, "Bidirectional LSTM-CRF models for sequence tagging", without the CRF). The loss is the
cross-entropy over all steps; the baseline gives each word the tag it most often had in training, and any other word,
or every step where there are no words, the tag that is most frequent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.tasks.classify import log_shares, macro_f1
from cellgate.tasks.network import SequenceNetwork
from cellgate.tasks.sequence_batches import ResidentSequences

BASELINE = "most frequent tag"
_IGNORED = -100
_PART = re.compile("[BIESLU]-")  # of a span: begin, inside, end or last, single or unit


class TaggedSequences(ResidentSequences):
    """Sequences of tokens and numbers.

    Args:
        numbers: (N, F) float32.
        tokens: (N,) int64, or None.
        lengths: (S,).
    """

    def __init__(self, numbers: Tensor, tokens: Tensor | None, lengths: np.ndarray) -> None:
        super().__init__(numbers, lengths)
        self.tokens = tokens if tokens is None or len(tokens) else tokens.new_zeros(1)

    def inputs(self, model: SequenceNetwork, rows: Tensor, rare: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, I) what the LSTM reads, (B, T) the index of each step, (B,) lengths; tokens marked `rare` unknown."""
        index, _ = self.steps(rows)
        tokens = None
        if self.tokens is not None:
            tokens = self.tokens[index]
            if rare is not None:
                tokens = torch.where(rare[index], 0, tokens)
        return model.embed(tokens, self.values[index]), index, self.lengths[rows]


class TagObjective:
    """Cross-entropy over steps.

    Args:
        data: all sequences.
        targets: (N,) the code of each step's tag.
        train: rows to learn from.
        validation: rows to stop by; may be empty.
        once: (N,) bool, tokens seen once in training: every other time they are read as unknown, so that unknown ones
            have an embedding that means something; or None.
        tags: how many tags there are.
    """

    def __init__(
        self,
        data: TaggedSequences,
        targets: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        once: Tensor | None,
        tags: int,
    ) -> None:
        self.data, self.once, self.tags = data, once, tags
        self.targets = torch.from_numpy(np.ascontiguousarray(targets))
        self.train, self.validation = torch.from_numpy(train), torch.from_numpy(validation)

    @property
    def examples(self) -> int:
        """How many sequences are learnt from."""
        return len(self.train)

    def loss(self, model: Any, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean cross-entropy of a batch's steps, in nats."""
        rare = None
        if self.once is not None:
            rare = self.once & (torch.rand(self.once.shape, generator=generator) < 0.5)
        total, count = self._loss(model, self.train[rows], rare)
        return total / count

    def _loss(self, model: SequenceNetwork, rows: Tensor, rare: Tensor | None) -> tuple[Tensor, int]:
        x, index, lengths = self.data.inputs(model, rows, rare)
        inside = torch.arange(x.shape[1]) < lengths[:, None]
        targets = torch.where(inside, self.targets[index], _IGNORED)
        scores = model(x, lengths=lengths).flatten(0, 1)
        loss = nn.functional.cross_entropy(scores, targets.flatten(), ignore_index=_IGNORED, reduction="sum")
        return loss, int(lengths.sum().clamp(min=1))

    @torch.no_grad()
    def validate(self, model: Any) -> float | None:
        """The mean cross-entropy of what is held back; None where nothing is."""
        if not len(self.validation):
            return None
        parts = [self._loss(model, rows, None) for rows in self.data.chunks(self.validation)]
        return sum(float(loss) for loss, _ in parts) / sum(count for _, count in parts)

    @property
    def prior(self) -> Tensor:
        """(C,) the logarithm of each tag's share of the steps that are learnt from."""
        learnt = torch.zeros(len(self.data.lengths), dtype=torch.bool)
        learnt[self.train] = True
        return log_shares(self.targets[learnt.repeat_interleave(self.data.lengths)], self.tags)

    @torch.no_grad()
    def held(self, model: Any) -> tuple[Tensor, Tensor]:
        """(n, C) scores of the steps that are held back, and the (n,) tags that are right."""
        answers, right = [], []
        for rows in self.data.chunks(self.validation):
            x, index, lengths = self.data.inputs(model, rows)
            inside = torch.arange(x.shape[1]) < lengths[:, None]
            answers.append(model(x, lengths=lengths)[inside])
            right.append(self.targets[index[inside]])
        return torch.cat(answers), torch.cat(right)

    def criterion(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy, in nats."""
        return nn.functional.cross_entropy(answers, targets)


@torch.no_grad()
def tag_shares(model: SequenceNetwork, data: TaggedSequences) -> np.ndarray:
    """(N, C) the probability of each tag, the steps of all sequences end to end."""
    result = torch.zeros(int(data.lengths.sum()), model.readout.out_features)
    for rows in data.chunks(torch.arange(len(data.lengths))):
        x, index, lengths = data.inputs(model, rows)
        inside = torch.arange(x.shape[1]) < lengths[:, None]
        result[index[inside]] = model(x, lengths=lengths).softmax(-1)[inside]
    return result.double().numpy()


# ---------------------------------------------------------------- baseline and scores


def count_tags(tokens: np.ndarray | None, targets: np.ndarray, vocabulary: int, tags: int) -> np.ndarray:
    """(V, C) how often each token had each tag; all in one row where there are no tokens."""
    rows = np.zeros_like(targets) if tokens is None else tokens
    size = max(1, vocabulary)
    return np.bincount(rows * tags + targets, minlength=size * tags).reshape(size, tags)


def frequent_tags(counts: np.ndarray) -> np.ndarray:
    """(V,) the tag each token most often had; the most frequent of all for token 0 and for one not seen."""
    overall = int(counts.sum(0).argmax())
    best = counts.shape[1] - 1 - counts[:, ::-1].argmax(1)  # of equals the last
    best[counts.sum(1) == 0] = overall
    best[0] = overall
    return best


def tag_scores(actual: np.ndarray, given: np.ndarray, tags: Mapping[int, str], lengths: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1 over steps, and F1 over spans where tags are those of spans.

    Args:
        actual: (N,) codes; one below 0 for each tag that training did not have, which counts as wrong.
        given: (N,) codes.
        tags: what each code stands for.
        lengths: (S,) steps of each sequence.
    """
    result = {"accuracy": float((actual == given).mean()), "F1": macro_f1(actual, given)}
    if is_spans([tag for code, tag in tags.items() if code >= 0]):
        right, found, there = 0, 0, 0
        for begin, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
            one = set(spans([tags[k] for k in actual[begin : begin + length].tolist()]))
            two = set(spans([tags[k] for k in given[begin : begin + length].tolist()]))
            right, found, there = right + len(one & two), found + len(two), there + len(one)
        result["span F1"] = 2 * right / max(1, found + there)
    return result


def is_spans(tags: Sequence[str]) -> bool:
    """Whether tags are those of spans: O, and others that begin with B- or I- (or E-, S-, L-, U-), some with these."""
    others = [tag for tag in tags if tag != "O"]
    return all(_PART.match(tag) for tag in others) and any(tag[0] in "BI" for tag in others)


def spans(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(first, past the last, kind) of each span, as CoNLL-2000's conlleval counts: a span begins at B-x, or at an I-x
    that does not continue one of x. Of BIOES and BILOU it ends with E-x or L-x; S-x or U-x is one by itself.
    """  # noqa: D205
    start, kind = 0, ""
    for k, tag in enumerate([*tags, "O"]):
        part = tag[0] if _PART.match(tag) else "O"
        goes_on = bool(kind) and part in "IEL" and tag[2:] == kind
        if kind and not goes_on:
            yield start, k, kind
            kind = ""
        if part != "O" and not goes_on:
            start, kind = k, tag[2:]
        if kind and part in "ESLU":
            yield start, k + 1, kind
            kind = ""
