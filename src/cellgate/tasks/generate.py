"""Language modelling: what comes next in a text, and writing on.

The text is cut into B streams that are read side by side, T tokens at a time; each read goes on from the state in which
the one before it ended, cut from the graph (truncated backpropagation through time, Williams and Peng 1990). The
network answers with a score for every token of the vocabulary; the loss is the cross-entropy with the next token.

The baselines know how often each token occurs (unigram), or how often each follows each (bigram).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.tasks.network import SequenceNetwork

UNIGRAM, BIGRAM = "unigram", "bigram"
_MOST_STEPS = 500  # of training between two looks at the validation part
_WARM = 256  # tokens read before the first that counts, where a stream begins in mid-text
_STREAM = 4096  # the least tokens of a stream that is scored
_SCORES = 20_000_000  # numbers that the readout gives at once, where nothing is learnt


class GenerateObjective:
    """Cross-entropy of the next token, in nats.

    An example is T tokens of a stream. Examples are taken in order: first the first T tokens of every stream, then the
    next, and so on. Every epoch begins at another place, with a state of zeros.

    Args:
        tokens: (N,) int64, the text to learn from.
        validation: (M,) int64, the text to stop by; may be empty.
        streams: B.
        steps: T.
    """

    in_order = True

    def __init__(self, tokens: np.ndarray, validation: np.ndarray, streams: int, steps: int) -> None:
        self.tokens, self.validation = torch.from_numpy(tokens), torch.from_numpy(validation)
        # A short text is read in fewer streams and shorter stretches, so that a pass over it has several steps.
        self.streams, self.steps = streams, steps
        while self.streams * self.steps > len(tokens) / 16 and (self.streams > 4 or self.steps > 32):
            if self.streams > 4:
                self.streams = max(4, self.streams // 2)
            if self.steps > 32:
                self.steps = max(32, self.steps // 2)
        self.length = (len(tokens) - 1) // self.streams
        self.rounds = max(1, min(_MOST_STEPS, (self.length - 1) // self.steps))
        self._starts = torch.arange(self.streams) * self.length
        self._state: tuple[Tensor, Tensor] | None = None
        self._inside = torch.arange(self.steps + 1)

    @property
    def examples(self) -> int:
        """How many stretches an epoch goes through; a batch must hold one of every stream."""
        return self.rounds * self.streams

    def loss(self, model: SequenceNetwork, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean over the next stretch of every stream."""
        turn = int(rows[0]) // self.streams
        if turn == 0:
            slack = self.length - self.rounds * self.steps
            self._first = torch.randint(0, max(1, slack), (1,), generator=generator)
            self._state = None
        chunk = self.tokens[(self._starts + self._first + turn * self.steps)[:, None] + self._inside]
        loss, (h_n, c_n) = model.mean_loss(model.embed(chunk[:, :-1], None), self._state, chunk[:, 1:])
        self._state = h_n.detach(), c_n.detach()
        return loss

    @torch.no_grad()
    def validate(self, model: SequenceNetwork) -> float | None:
        """Nats a token of the validation part; None where there is none."""
        return nats_per_token(model, self.validation) if len(self.validation) > 1 else None


@torch.no_grad()
def nats_per_token(model: SequenceNetwork, tokens: Tensor) -> float:
    """The mean cross-entropy of every token but the first, each given all before it.

    A long text is read in streams side by side; each but the first begins some tokens early, which do not count.

    Args:
        model: in eval mode.
        tokens: (N,) int64, N at least 2.
    """
    total = 0.0
    for chunk, state, counted in _streams(len(tokens) - 1, model.readout.out_features):
        x = tokens[chunk.clamp(max=len(tokens) - 1)]
        y = tokens[(chunk + 1).clamp(max=len(tokens) - 1)]
        hx = state[0]
        scores, state[0] = model(model.embed(x, None), hx, return_state=True)
        losses = nn.functional.cross_entropy(scores.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
        total += float((losses.double() * counted).sum())
    return total / (len(tokens) - 1)


def _streams(count: int, outputs: int) -> Iterator[tuple[Tensor, list[Any], Tensor]]:
    """(B, T) positions of `count` in all, a place to keep the state in, and which of them count; in order."""
    streams = max(1, min(32, count // _STREAM))
    width = max(16, min(512, _SCORES // (outputs * streams)))
    length = -(-count // streams)
    begin = torch.arange(streams) * length
    early = (begin - _WARM).clamp(min=0)
    end = (begin + length).clamp(max=count)
    state: list[Any] = [None]
    for first in range(0, int((end - early).max()), width):
        positions = early[:, None] + first + torch.arange(width)
        counted = (positions >= begin[:, None]) & (positions < end[:, None])
        last = int((positions < end[:, None]).any(0).sum())
        yield positions[:, :last], state, counted[:, :last]


# ---------------------------------------------------------------- baselines


def unigram_shares(tokens: np.ndarray, vocabulary: int) -> np.ndarray:
    """(V,) the share of each token in the text, each counted once more so that none is impossible."""
    counts = np.bincount(tokens, minlength=vocabulary) + 1.0
    return counts / counts.sum()


class Bigrams:
    """How often each token follows each, kept for the pairs that occur.

    The share of b after a is smoothed with the unigram: (count(a b) + k share(b)) / (count(a) + k), with k the number
    of different tokens seen after a (Witten and Bell 1991, "The zero-frequency problem", method C).

    Args:
        pairs: (P,) int64 a * V + b, ascending.
        counts: (P,) how often.
        unigram: (V,) the share of each token.
    """

    def __init__(self, pairs: np.ndarray, counts: np.ndarray, unigram: np.ndarray) -> None:
        self.pairs, self.counts, self.unigram = pairs, counts, unigram
        size = len(unigram)
        self._after = np.bincount(pairs // size, weights=counts, minlength=size)
        self._kinds = np.bincount(pairs // size, minlength=size)

    @classmethod
    def fit(cls, tokens: np.ndarray, vocabulary: int) -> Bigrams:
        """Count them in a text."""
        pairs, counts = np.unique(tokens[:-1] * vocabulary + tokens[1:], return_counts=True)
        return cls(pairs, counts, unigram_shares(tokens, vocabulary))

    def joined(self, read: int, tokens: np.ndarray) -> Bigrams:
        """Those of the texts before and of another one together.

        Args:
            read: how many tokens the texts before have.
            tokens: (N,) of the other text.
        """
        size = len(self.unigram)
        more = Bigrams.fit(tokens, size)
        pairs, place = np.unique(np.concatenate([self.pairs, more.pairs]), return_inverse=True)
        counts = np.bincount(place, weights=np.concatenate([self.counts, more.counts])).astype(np.int64)
        once_more = np.rint(self.unigram * (read + size)) + np.bincount(tokens, minlength=size)
        return Bigrams(pairs, counts, once_more / once_more.sum())

    def nats(self, tokens: np.ndarray) -> tuple[float, float]:
        """Nats a token of every token but the first: by the unigram, and by the bigram."""
        own, share = self.each(tokens)
        return float(own.mean()), float(share.mean())

    def each(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N - 1,) nats of each token but the first: by the unigram, and by the bigram."""
        before, after = tokens[:-1], tokens[1:]
        own = self.unigram[after]
        wanted = before * len(self.unigram) + after
        place = np.minimum(np.searchsorted(self.pairs, wanted), len(self.pairs) - 1)
        seen = np.where(self.pairs[place] == wanted, self.counts[place], 0)
        kinds = self._kinds[before]
        share = np.where(kinds > 0, (seen + kinds * own) / np.maximum(self._after[before] + kinds, 1), own)
        return -np.log(own), -np.log(share)


# ---------------------------------------------------------------- writing


def choose_token(
    scores: Tensor, temperature: float, top_k: int | None, top_p: float | None, generator: torch.Generator
) -> int:
    """Draw the next token.

    Args:
        scores: (V,) logits; token 0, the unknown, is never drawn.
        temperature: what the logits are divided by; 0 takes the most probable token.
        top_k: draw among the k most probable only.
        top_p: draw among the fewest tokens whose probabilities add up to this share (nucleus sampling, Holtzman et al.
            2020, "The curious case of neural text degeneration").
        generator: the source of chance.
    """
    scores = scores.double().clone()
    scores[0] = -torch.inf
    if temperature == 0:
        return int(scores.argmax())
    scores = (scores - scores.max()) / temperature  # the largest is 0: no temperature is so low that it overflows
    if top_k is not None and top_k < len(scores):
        scores[scores < scores.topk(top_k).values[-1]] = -torch.inf
    shares = scores.softmax(0)
    if top_p is not None and top_p < 1:
        ordered, order = shares.sort(descending=True)
        # Keep a token while those before it do not reach the share; the first is always kept.
        shares[order[ordered.cumsum(0) - ordered >= top_p]] = 0.0
    return int(torch.multinomial(shares, 1, generator=generator))


@torch.no_grad()
def write_on(
    model: SequenceNetwork,
    prompt: np.ndarray,
    length: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Iterator[int]:
    """Tokens that follow the prompt, one by one as they are drawn, the state carried from each to the next.

    Args:
        model: in eval mode.
        prompt: (N,) int64 tokens to read first, N at least 1.
        length: how many to draw.
        generator: the source of chance.
        temperature: see choose_token.
        top_k: see choose_token.
        top_p: see choose_token.
    """
    x, state = torch.from_numpy(prompt)[None], None
    for _ in range(length):
        output, state = model.lstm(model.embed(x, None), state)
        token = choose_token(model.readout(output[0, -1]), temperature, top_k, top_p, generator)
        yield token
        x = torch.tensor([[token]])
