"""SequenceTagger: from sequences with a label on every step to the labels of others."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from cellgate.data.features import FeatureEncoding
from cellgate.data.panel import as_names
from cellgate.data.sequences import SequenceRoles, SequenceSet, with_labels
from cellgate.data.tagged import from_words
from cellgate.data.text import UNKNOWN
from cellgate.errors import InputError
from cellgate.estimators.classes import all_classes, class_codes, restored_classes
from cellgate.estimators.explain_tags import explain_tags
from cellgate.estimators.protocol import check_columns_named, expect, is_count, is_whole
from cellgate.estimators.sequence_estimator import SequenceEstimator
from cellgate.estimators.unlike import labels_missing
from cellgate.report.model import Report
from cellgate.tasks.network import SequenceNetwork
from cellgate.tasks.sequence_batches import EncodedSequences
from cellgate.tasks.tag import (
    BASELINE,
    TaggedSequences,
    TagObjective,
    count_tags,
    frequent_tags,
    tag_scores,
    tag_shares,
)
from cellgate.training import Draws, Progress

_SHAPES = ("capital", "all capitals", "digit", "no letter")


class SequenceTagger(SequenceEstimator):
    """Gives every step of a sequence a tag: words of sentences, states of a machine.

    Tokens (words) are embedded by a vocabulary, with four numbers beside them that say how they are written; numeric
    features of each step are scaled. Sequences may differ in length.

    Arguments are taken as they are and checked when `fit` uses them; None means found from the data.

    Args:
        id: of a long table, the column that tells sequences apart.
        time: the column to sort the steps of a sequence by.
        target: the column of tags; of a CoNLL file its number, the last by default.
        group: the column of what sequences belong to, a person or a machine: those of one group are all learnt from, or
            all held back to stop by (of a CoNLL file its number; `fit` takes them as `groups`, too).
        token: the column of words; of a CoNLL file its number, "1" by default.
        features: other columns to read; of a table all by default, of a CoNLL file none.
        gaps: of a long table with times, whether the time since the step before is read as well, its logarithm: for
            events that come at any time.
        vocabulary_size: the most different words; rarer ones are unknown.
        embedding_size: numbers that stand for a word.
        hidden_size: units of the LSTM in each direction; 64 or 128 by the amount of data.
        num_layers: layers of the LSTM.
        bidirectional: read from both ends.
        dropout: of the embedding, between layers and before the readout.
        learning_rate: the highest of the schedule.
        batch_size: sequences in a step.
        max_epochs: the most passes over the data.
        max_seconds: the most training time.
        patience: epochs without improvement before it stops.
        validation: the share of the sequences kept for stopping at the right time; where that is under twenty, five
            models with a fifth held back each find how long to train, and a last one learns from all; 0 for neither.
        seed: of weights, shuffling, dropout and of what is held back; equal seeds give equal runs.

    Attributes:
        classes_: (C,) the tags, ascending.
        tokens_: the vocabulary, the unknown first; empty where no words are read.
        tag_counts_: (V, C) how often each token had each tag in training.
        model_: the trained network.
        encoding_: how features other than words become its input.
        record_: how the training went.
        metrics_: what `evaluate` found last.

    Example:
        >>> import cellgate
        >>> X, y = [["the", "dog", "barks"], ["a", "cat", "sleeps"]] * 20, [["DET", "NOUN", "VERB"]] * 40
        >>> tagger = cellgate.SequenceTagger(hidden_size=8, max_epochs=10).fit(X, y)
        >>> tagger.predict([["the", "cat", "barks"]])[0].tolist()
        ['DET', 'NOUN', 'VERB']
    """

    KIND = "classifier"
    BASELINE = BASELINE
    wide = False
    steps = None
    readout = "last"  # of the base class's checks; a tagger reads all steps

    def __init__(
        self,
        *,
        id: str | None = None,
        time: str | None = None,
        target: str | None = None,
        group: str | None = None,
        token: str | None = None,
        features: str | Sequence[str] = (),
        gaps: bool = False,
        vocabulary_size: int = 30_000,
        embedding_size: int = 64,
        hidden_size: int | None = None,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.3,
        learning_rate: float = 5e-3,
        batch_size: int = 32,
        max_epochs: int | None = None,
        max_seconds: float | None = None,
        patience: int | None = None,
        validation: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.id = id
        self.time = time
        self.target = target
        self.group = group
        self.token = token
        self.features = features
        self.gaps = gaps
        self.vocabulary_size = vocabulary_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.patience = patience
        self.validation = validation
        self.seed = seed

    # ------------------------------------------------------------ reading

    def _check(self) -> None:
        super()._check()
        expect("vocabulary_size", self.vocabulary_size, "a whole number of 2 or more", lambda v: is_whole(v) and v >= 2)
        expect("embedding_size", self.embedding_size, "a whole number of 1 or more", is_count)

    def _roles(self) -> SequenceRoles:
        check_columns_named(self, "id", "time", "target", "group", "token")
        columns = self.id, self.time, self.target, as_names(self.features)
        return SequenceRoles(*columns, token=self.token or "", group=self.group, gaps=bool(self.gaps))

    def _labelled(self, X: Any, y: Any) -> SequenceSet:
        sequences = self.read(X, y)
        if sequences.labels is None:
            raise InputError(
                f"{sequences.source}: expected a tag for each step, found none; name its column with target "
                "(--target), or give y"
            )
        return self._per_step(sequences)

    @staticmethod
    def _per_step(sequences: SequenceSet) -> SequenceSet:
        """Labels that are the same throughout every sequence are tags all the same."""
        if sequences.per_step:
            return sequences
        from dataclasses import replace

        return replace(sequences, labels=np.repeat(np.asarray(sequences.labels), sequences.lengths), per_step=True)

    def _prepare(self, sequences: SequenceSet, rows: np.ndarray | None) -> TaggedSequences:
        """Resident data; with `rows`, the vocabulary and the scaling are found on them."""
        if rows is not None:
            part = sequences.pick(rows)
            self.tokens_, self._counts = self._vocabulary(part)
            self.encoding_ = FeatureEncoding.fit(_without_token(part))
        tokens = self._token_codes(sequences)
        numbers = self.encoding_.encode(_without_token(sequences))
        if tokens is not None:
            words = sequences.texts[str(sequences.token)].tolist()
            numbers = np.concatenate([numbers, _shapes(words)], axis=1)
        return TaggedSequences(
            torch.from_numpy(numbers), None if tokens is None else torch.from_numpy(tokens), sequences.lengths
        )

    def _vocabulary(self, part: SequenceSet) -> tuple[tuple[str, ...], Counter[str]]:
        if part.token is None:
            return (), Counter()
        counts = Counter(part.texts[part.token].tolist())
        kept = [word for word, _ in counts.most_common(self.vocabulary_size - 1) if word != UNKNOWN]
        return (UNKNOWN, *kept), counts

    def _token_codes(self, sequences: SequenceSet) -> np.ndarray | None:
        """(N,) int64; a word that is unknown as it is written is looked up in lower case."""
        if not self.tokens_:
            return None
        if sequences.token is None:
            raise InputError(
                f"{sequences.source}: expected words, as in training, got none; name the column with token"
            )
        index = {word: k for k, word in enumerate(self.tokens_)}
        words = sequences.texts[sequences.token].tolist()
        return np.fromiter((index.get(w, index.get(w.lower(), 0)) for w in words), dtype=np.int64, count=len(words))

    def read_again(self, X: Any, y: Any = None) -> SequenceSet:
        """Read data like those of the training; also sentences that are all without a word."""
        empty = isinstance(X, list | tuple) and len(X) > 0 and all(isinstance(one, list) and not one for one in X)
        if empty and getattr(self, "tokens_", ()):  # nothing in them tells that they are sentences
            made = from_words(X, self.roles_)
            return made if y is None else with_labels(made, y)
        return super().read_again(X, y)

    # ------------------------------------------------------------ what a label is

    def _targets(self, labels: np.ndarray, fresh: bool) -> np.ndarray:
        if labels.dtype.kind == "f" and (labels != np.round(labels)).any():
            raise InputError(f"expected tags, got numbers such as {labels[0]:g}; use words or whole numbers")
        if fresh:
            self.classes_ = all_classes(labels, "tag", "tags")
        codes = class_codes(self.classes_, labels)
        if (codes < 0).any():
            raise InputError(
                f"expected tags among {self.classes_.tolist()}, got {labels[codes < 0].tolist()[0]!r}; use fit"
            )
        return codes

    def _outputs(self) -> int:
        return len(self.classes_)

    def _objective(self, data: Any, targets: np.ndarray, train: np.ndarray, validation: np.ndarray) -> TagObjective:
        inside = np.zeros(len(data.lengths), dtype=bool)
        inside[train] = True
        learnt = np.repeat(inside, data.lengths.numpy())
        once, tokens = None, None
        if data.tokens is not None:
            tokens = data.tokens.numpy()[learnt]
            counts = np.bincount(tokens, minlength=len(self.tokens_))
            once = torch.from_numpy(counts == 1)[data.tokens]
        self.tag_counts_ = count_tags(tokens, targets[learnt], len(self.tokens_), len(self.classes_))
        return TagObjective(data, targets, train, validation, once, len(self.classes_))

    def _build(self, sequences: SequenceSet) -> SequenceNetwork:
        hidden = self.hidden_size or (64 if int(sequences.lengths.sum()) < 20_000 else 128)
        with Draws(self.seed).turn():
            return SequenceNetwork(
                len(self._input_names()),
                self._outputs(),
                hidden,
                self.num_layers,
                "all",
                self.bidirectional,
                self.dropout,
                vocabulary=len(self.tokens_),
                embedding_size=self.embedding_size if self.tokens_ else 0,
                embedding_dropout=self.dropout,
                memory=int(np.quantile(sequences.lengths, 0.9)),
            )

    def _input_names(self) -> tuple[str, ...]:
        return (*self.encoding_.names, *(_SHAPES if self.tokens_ else ()))

    def _answer_config(self) -> dict[str, Any]:
        counted = self.tag_counts_.nonzero()
        return {
            "classes": self.classes_.tolist(),
            "kind": self.classes_.dtype.kind,
            "tokens": list(self.tokens_),
            "frequent": frequent_tags(self.tag_counts_).tolist(),  # all that 0.1.0 reads of the counts
            "tag_counts": [part.tolist() for part in (*counted, self.tag_counts_[counted])],
        }

    def _restore_answers(self, config: dict[str, Any]) -> None:
        self.classes_ = restored_classes(config["classes"], config["kind"])
        self.tokens_ = tuple(config["tokens"])
        self.tag_counts_ = np.zeros((max(1, len(self.tokens_)), len(self.classes_)), dtype=np.int64)
        if "tag_counts" in config:
            tokens, tags, counts = config["tag_counts"]
        else:  # of 0.1.0
            tokens, tags, counts = range(len(self.tag_counts_)), config["frequent"], 1
        self.tag_counts_[tokens, tags] = counts

    # ------------------------------------------------------------ learn more

    def partial_fit(
        self, X: Any, y: Any = None, *, groups: Any = None, watch: Callable[[Progress], None] | None = None
    ) -> SequenceTagger:
        """Train on from the weights there are, with the vocabulary and the tags of the first call.

        Raises:
            InputError: as `fit` raises, and for a tag that the first call did not have.
        """
        if not hasattr(self, "model_"):
            return self.fit(X, y, groups=groups, watch=watch)
        self._check()
        sequences = self._more(X, y, groups)
        targets, before = self._targets(np.asarray(sequences.labels), False), self.tag_counts_
        self._learn(sequences, targets, copy.deepcopy(self.model_), watch, None, 10.0)
        self.tag_counts_ = self.tag_counts_ + before  # the baseline knows what the model has learnt from
        return self

    # ------------------------------------------------------------ predict

    def encode(self, X: Any) -> EncodedSequences:
        """Sequences just as the LSTM reads them, words embedded: ``model_(encoded.x, lengths=encoded.lengths)``."""
        sequences = self.read_again(X)
        data = self._prepare(sequences, None)
        with torch.no_grad():
            x, _, lengths = data.inputs(self.model_, torch.arange(len(sequences)))
        embedded = x.shape[-1] - len(self._input_names())
        names = (*(f"embedding {k}" for k in range(embedded)), *self._input_names())
        words = None
        if sequences.token is not None:
            ends = np.cumsum(sequences.lengths)[:-1]
            words = tuple(tuple(part.tolist()) for part in np.split(sequences.texts[sequences.token], ends))
        return EncodedSequences(x, lengths, names, sequences.ids, words)

    def _shares(self, X: Any) -> tuple[SequenceSet, np.ndarray]:
        sequences = self.read_again(X)
        return sequences, tag_shares(self.model_, self._prepare(sequences, None))

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """For each sequence (T, C), the probability of each tag of classes_ at every step."""
        sequences, shares = self._shares(X)
        return np.split(shares, np.cumsum(sequences.lengths)[:-1])

    def predict(self, X: Any) -> list[np.ndarray]:
        """For each sequence (T,), the most probable tag of every step."""
        return [self.classes_[shares.argmax(1)] for shares in self.predict_proba(X)]

    def table(self, X: Any) -> dict[str, np.ndarray]:
        """A row a step: unique_id, step, ds, token, prediction, and p, its probability.

        ds is the step's time as a table has it, token its word; either is there where the data have it.
        """
        sequences, shares = self._shares(X)
        times = {} if sequences.times is None else {"ds": sequences.times}
        words = {} if sequences.token is None else {"token": sequences.texts[sequences.token]}
        return {
            "unique_id": np.repeat(np.array(sequences.ids, dtype=object), sequences.lengths),
            "step": np.concatenate([np.arange(n) for n in sequences.lengths.tolist()]),
            **times,
            **words,
            "prediction": self.classes_[shares.argmax(1)],
            "p": shares.max(1),
        }

    def score(self, X: Any, y: Any = None) -> float:
        """The share of the steps that are tagged right."""
        return self._evaluate(X, y)["cellgate"]["accuracy"]

    def evaluate(self, X: Any, y: Any = None) -> dict[str, Any]:
        """Scores beside those of each word's most frequent tag; kept in `metrics_`.

        Returns:
            {"sequences": n, "steps": ..., "cellgate": {"accuracy": ..., "F1": ..., perhaps "span F1": ...},
            "most frequent tag": {...}}.
        """
        self.metrics_ = self._evaluate(X, y)
        return self.metrics_

    def _explained(self, sequences: SequenceSet) -> Report:
        return explain_tags(self, sequences if sequences.labels is None else self._per_step(sequences))

    def require_labels(self, sequences: SequenceSet, column: str | None) -> None:
        """Refuse sequences whose tags cannot be compared with; `column` is that of the training's tags."""
        if sequences.labels is None:
            raise labels_missing(sequences, "a tag for each step", column)
        if not sequences.lengths.any():
            raise InputError(f"{sequences.source}: expected steps to score, got sequences without any; give others")

    def _evaluate(self, X: Any, y: Any) -> dict[str, Any]:
        sequences = self.read_again(X, y)
        self.require_labels(sequences, self.roles_.target)
        sequences = self._per_step(sequences)
        data = self._prepare(sequences, None)
        labels = np.asarray(sequences.labels)
        actual, given = class_codes(self.classes_, labels), tag_shares(self.model_, data).argmax(1)
        tokens = np.zeros(len(actual), dtype=np.int64) if data.tokens is None else data.tokens.numpy()
        rivals = {"cellgate": given, BASELINE: frequent_tags(self.tag_counts_)[tokens]}
        tags = dict(enumerate(map(str, self.classes_.tolist())))
        tags |= {code: str(labels[actual == code][0]) for code in np.unique(actual).tolist() if code < 0}
        return {
            "sequences": len(sequences),
            "steps": len(actual),
            **{name: tag_scores(actual, codes, tags, sequences.lengths) for name, codes in rivals.items()},
        }


def _without_token(sequences: SequenceSet) -> SequenceSet:
    from dataclasses import replace

    return replace(sequences, texts={k: v for k, v in sequences.texts.items() if k != sequences.token}, token=None)


def _shapes(words: Sequence[str]) -> np.ndarray:
    """(N, 4) how words are written."""
    rows = [
        (w[:1].isupper(), w.isupper() and len(w) > 1, any(c.isdigit() for c in w), not any(c.isalpha() for c in w))
        for w in words
    ]
    return np.array(rows, dtype=np.float32).reshape(-1, len(_SHAPES))
