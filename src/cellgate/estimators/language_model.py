"""LanguageModel: from a text to what comes next in it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cellgate.data import DataError
from cellgate.data.text import Text, Units, Vocabulary, one_line_end, read_text, split
from cellgate.errors import InputError
from cellgate.estimators.explain_text import explain_text
from cellgate.estimators.explaining import Explanation, deliver, keep_report, require_place
from cellgate.estimators.plain_torch import each_in_plain_torch
from cellgate.estimators.protocol import Parameters, check_seconds, check_seed, expect, is_count, not_fitted
from cellgate.estimators.text_folder import restored, save_text_model
from cellgate.estimators.text_training import characters_held, fingerprint, network_for, training_settings
from cellgate.tasks.generate import BIGRAM, UNIGRAM, Bigrams, GenerateObjective, nats_per_token, write_on
from cellgate.tasks.network import SequenceNetwork
from cellgate.tasks.sequence_batches import EncodedSequences
from cellgate.training import Checkpoint, Progress, threads_for, train

_FEWEST = 200  # tokens to learn from


class LanguageModel(Parameters):
    """Learns a text, character by character or word by word: says how likely a text is, and writes on.

    Arguments are taken as they are and checked when `fit` uses them; None means found from the data.

    Args:
        units: "characters" or "words".
        vocabulary_size: the most tokens that are told apart; rarer ones, and words that occur once, are unknown.
        hidden_size: units of every layer; 128 to 512 by the length of the text.
        num_layers: layers of the LSTM.
        embedding_size: numbers that stand for a token; 64 for characters, 256 for words.
        dropout: between layers and before the readout, the same at all `steps` of a stream (Gal and Ghahramani 2016, "A
            theoretically grounded application of dropout in recurrent neural networks").
        state_dropout: of the state on its way to the next step, likewise.
        learning_rate: the highest of the schedule.
        batch_size: streams of text that are read side by side.
        steps: tokens of a stream that are differentiated through at once.
        max_epochs: the most passes over the text; by its length, or forty where `max_seconds` ends the training.
        max_seconds: the most training time; the schedule then ends with it.
        patience: epochs without improvement before it stops.
        validation: the share of the text, its end, kept for stopping at the right time; None for a twentieth, but no
            more than 20,000 characters: enough to tell one pass from another, the rest is better learnt.
        seed: of weights, dropout and where reading begins; equal seeds give equal runs.

    Attributes:
        vocabulary_: the tokens.
        model_: the trained network.
        bigrams_: the baselines.
        record_: how the training went.
        metrics_: what `evaluate` found last.

    Example:
        >>> import cellgate
        >>> model = cellgate.LanguageModel(hidden_size=32, max_epochs=15).fit("Mary had a little lamb. " * 60)
        >>> model.generate("Mary had", length=15, temperature=0)
        ' a little lamb.'
    """

    BASELINE = BIGRAM

    def __init__(
        self,
        *,
        units: Units = "characters",
        vocabulary_size: int = 10_000,
        hidden_size: int | None = None,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float = 0.3,
        state_dropout: float = 0.25,
        learning_rate: float = 4e-3,
        batch_size: int = 32,
        steps: int = 64,
        max_epochs: int | None = None,
        max_seconds: float | None = None,
        patience: int | None = None,
        validation: float | None = None,
        seed: int = 0,
    ) -> None:
        self.units: Units = units
        self.vocabulary_size = vocabulary_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.state_dropout = state_dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.steps = steps
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.patience = patience
        self.validation = validation
        self.seed = seed

    # ------------------------------------------------------------ fit

    def read(self, data: Any) -> Text:
        """Read a file, or take a text, as `fit` would."""
        return read_text(data)

    def fit(
        self,
        X: str | Path | Text,
        y: None = None,
        *,
        watch: Callable[[Progress], None] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float = 10.0,
        report: bool | str | Path = False,
    ) -> LanguageModel:
        """Learn a text.

        Args:
            X: a path, or the text itself.
            y: not used.
            watch: told after every epoch.
            checkpoint: a folder for the state of the training; a fit that was cut short goes on from there, with the
                result that it would have had. Remove it when it is no longer needed.
            checkpoint_every: the least seconds between two saves.
            report: an HTML file to write at the end: `explain` of the end of the text, which was held back to stop in
                time, or of all where nothing was; True keeps the explanation as `report_`.

        Raises:
            InputError: for an argument or a text that cannot be used.
            TrainingError: if the loss stops being a number.
        """
        self._check()
        require_place(report)
        text = read_text(X)
        # The end of the text is held back before anything is learnt of it, the vocabulary included.
        held = self._held(text)
        self.vocabulary_ = Vocabulary.fit(text.text[: len(text.text) - held], self.units, self.vocabulary_size)
        tokens, validation = self._tokens(text)
        if len(self.vocabulary_) < 2:
            raise DataError(
                f"{text.source}: expected {self.units} that occur twice or more, got none; give a longer text"
                f"{', or learn characters (--units characters)' if self.units == 'words' else ''}"
            )
        self.bigrams_ = Bigrams.fit(tokens, len(self.vocabulary_))
        self._learn(text, tokens, validation, None, watch, checkpoint, checkpoint_every)
        if report:
            shown = text
            if len(validation) > 1:
                shown = Text(f"{text.source}, the part held back to stop in time", text.text[len(text.text) - held :])
            keep_report(self, Explanation(explain_text(self, shown)), report)
        return self

    def partial_fit(
        self, X: str | Path | Text, y: None = None, *, watch: Callable[[Progress], None] | None = None
    ) -> LanguageModel:
        """Learn another text from the weights there are, with the vocabulary of the first.

        Raises:
            InputError: as `fit` raises.
        """
        if not hasattr(self, "model_"):
            return self.fit(X, watch=watch)
        self._check()
        text = read_text(X)
        tokens, validation = self._tokens(text)
        before = self.trained_tokens_
        self._learn(text, tokens, validation, copy.deepcopy(self.model_), watch, None, 10.0)
        # The baselines know what the model has learnt from.
        self.bigrams_, self.trained_tokens_ = self.bigrams_.joined(before, tokens), before + len(tokens)
        return self

    def _held(self, text: Text) -> int:
        """How many characters at the end of the text are not learnt."""
        return characters_held(self.validation, text)

    def _tokens(self, text: Text) -> tuple[np.ndarray, np.ndarray]:
        """Those to learn from, and those held back."""
        cut = len(text.text) - self._held(text)
        tokens, validation = self.vocabulary_.encode(text.text[:cut]), self.vocabulary_.encode(text.text[cut:])
        if len(tokens) < _FEWEST:
            raise DataError(
                f"{text.source}: expected {_FEWEST} {self.units} or more to learn, got {len(tokens)}; "
                "give a longer text"
            )
        return tokens, validation

    def _learn(
        self,
        text: Text,
        tokens: np.ndarray,
        validation: np.ndarray,
        start: SequenceNetwork | None,
        watch: Callable[[Progress], None] | None,
        checkpoint: str | Path | None,
        checkpoint_every: float,
    ) -> LanguageModel:
        objective = GenerateObjective(tokens, validation, self.batch_size, self.steps)
        model = start or network_for(self.get_params(), self.bigrams_.unigram, len(tokens))
        settings = training_settings(self.get_params(), objective, len(tokens))
        saved = None
        if checkpoint is not None:
            identity = fingerprint(self.get_params(), text, settings, model)
            saved = Checkpoint(Path(checkpoint) / "training.safetensors", identity, checkpoint_every)
        weights = sum(weight.numel() for weight in model.parameters())
        with threads_for(3.0 * weights * objective.streams * objective.steps):
            record = train(model, objective, settings, watch, saved)
        self.model_, self.record_, self.settings_, self.metrics_ = model, record, settings, {}
        self.source_, self.trained_tokens_ = text.source, len(tokens)
        return self

    def _check(self) -> None:
        for name in ("num_layers", "batch_size", "steps"):
            expect(name, getattr(self, name), "a whole number of 1 or more", is_count)
        wanted = "a whole number of 2 or more, as one is the unknown"
        expect("vocabulary_size", self.vocabulary_size, wanted, lambda v: is_count(v) and v > 1)
        for name in ("hidden_size", "embedding_size", "max_epochs", "patience"):
            value = getattr(self, name)
            if value is not None:
                expect(name, value, "a whole number of 1 or more, or None", is_count)
        expect("units", self.units, "'characters' or 'words'", lambda v: v in ("characters", "words"))
        for name in ("dropout", "state_dropout"):
            expect(name, getattr(self, name), "a share from 0 to below 1", lambda v: 0 <= v < 1)
        if self.validation is not None:
            expect("validation", self.validation, "a share from 0 to below 1, or None", lambda v: 0 <= v < 1)
        expect("learning_rate", self.learning_rate, "a number above 0", lambda v: v > 0)
        check_seconds(self.max_seconds)
        check_seed(self.seed)

    def _require_fit(self) -> None:
        if not hasattr(self, "model_"):
            raise not_fitted("LanguageModel")

    # ------------------------------------------------------------ using it

    def stream(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """What follows the prompt, token by token as they are drawn.

        Args:
            prompt: the beginning; what the training did not have is read as unknown.
            length: how many tokens to draw.
            temperature: below 1 for the likely, above 1 for the unlikely; 0 always takes the most probable token.
            top_k: draw among the k most probable tokens only.
            top_p: draw among the fewest tokens that hold this share of the probability.
            seed: of the draw; the same seed draws the same.

        Raises:
            InputError: for an argument out of range.
        """
        self._require_fit()
        expect("length", length, "a whole number of 0 or more", lambda v: v == int(v) and v >= 0)
        expect("temperature", temperature, "a number of 0 or more", lambda v: v >= 0 and math.isfinite(v))
        if top_k is not None:
            expect("top_k", top_k, "a whole number of 1 or more, or None", is_count)
        if top_p is not None:
            expect("top_p", top_p, "a share above 0, 1 at most, or None", lambda v: 0 < v <= 1)
        check_seed(seed)
        if len(self.vocabulary_) < 2:
            raise InputError("expected a vocabulary of one token or more, got none; train on another text")
        begin = self._beginning("prompt", prompt)
        if not len(begin):
            # A text begins as after the end of a line.
            newline = self.vocabulary_.encode("\n")
            begin = newline if newline[0] else np.array([1])
        generator = torch.Generator().manual_seed(int(seed))
        drawn = write_on(self.model_, begin, int(length), generator, float(temperature), top_k, top_p)
        pieces = (self.vocabulary_.tokens[token] for token in each_in_plain_torch(drawn))
        # The prompt has the space of the first word already.
        return _without_space(pieces) if prompt.endswith(" ") and self.units == "words" else pieces

    def _beginning(self, name: str, text: str) -> np.ndarray:
        """The tokens of a text to go on from."""
        expect(name, text, "a str", lambda v: isinstance(v, str))
        return self.vocabulary_.encode(self.vocabulary_.begun(one_line_end(text)))

    def generate(self, prompt: str = "", length: int = 200, **how: Any) -> str:
        """What follows the prompt, as one text; arguments as `stream` takes them."""
        return "".join(self.stream(prompt, length, **how))

    def predict_proba(self, X: str) -> np.ndarray:
        """(V,) the probability of each token of `vocabulary_.tokens` to follow the text X."""
        self._require_fit()
        tokens = self._beginning("X", X)
        if not len(tokens):
            raise InputError("X: expected a text, got an empty one; give the beginning of a text")
        with torch.no_grad():
            output, _ = self.model_.lstm(self.model_.embed(torch.from_numpy(tokens)[None], None))
            return self.model_.readout(output[0, -1]).double().softmax(0).numpy()

    def predict(self, X: str) -> str:
        """The token most likely to follow the text X."""
        shares = self.predict_proba(X)
        return self.vocabulary_.tokens[int(shares[1:].argmax()) + 1]

    def encode(self, X: str | Path | Text) -> EncodedSequences:
        """A text just as the network reads it: ``model_(encoded.x)`` gives the scores of what follows each token."""
        self._require_fit()
        text = read_text(X)
        tokens = self.vocabulary_.encode(text.text)
        with torch.no_grad():
            x = self.model_.embed(torch.from_numpy(tokens)[None], None)
        names = tuple(f"embedding {k}" for k in range(x.shape[-1]))
        steps = (tuple(self.vocabulary_.tokens[token] for token in tokens.tolist()),)
        return EncodedSequences(x, None, names, (text.source,), steps)

    def score(self, X: str | Path | Text, y: None = None) -> float:
        """Minus the nats a token of a text: higher is better."""
        return -self._nats(read_text(X))[0]

    def evaluate(self, X: str | Path | Text, y: None = None) -> dict[str, Any]:
        """Scores on a text beside those of the baselines; kept in `metrics_`.

        Returns:
            {"characters": n, "cellgate": {"nats per character": ..., "bits per character": ...}, "unigram": {...},
            "bigram": {...}}; for words "nats per word" and "perplexity". Where the text has tokens that training did
            not have, "unknown" says how many: all are scored as one and the same token.
        """
        nats, tokens = self._nats(read_text(X))
        unigram, bigram = self.bigrams_.nats(tokens)
        rivals = {"cellgate": nats, UNIGRAM: unigram, BIGRAM: bigram}
        unknown = int((tokens == 0).sum())
        self.metrics_ = {
            self.units: len(tokens),
            **({"unknown": unknown} if unknown else {}),
            **{name: self._scores(value) for name, value in rivals.items()},
        }
        return self.metrics_

    def require_scored(self, text: Text) -> None:
        """Refuse a text too short to be scored, before or after the training."""
        count = sum(1 for _ in split(text.text, self.units))
        if count < 2:
            raise DataError(
                f"{text.source}: expected a text of two {self.units} or more to score, got {count}; give a longer one"
            )

    def _nats(self, text: Text) -> tuple[float, np.ndarray]:
        self._require_fit()
        self.require_scored(text)
        tokens = self.vocabulary_.encode(text.text)
        return nats_per_token(self.model_, torch.from_numpy(tokens)), tokens

    def _scores(self, nats: float) -> dict[str, float]:
        if self.units == "characters":
            return {"nats per character": nats, "bits per character": nats / math.log(2)}
        return {"nats per word": nats, "perplexity": math.exp(nats)}

    # ------------------------------------------------------------ explain

    def explain(
        self, X: str | Path | Text, y: None = None, *, out: str | Path | None = None, figures: str | Path | None = None
    ) -> Explanation:
        """Open the model: what it looked at, what it remembers, what surprises it, as one page.

        Args:
            X: a path, or the text itself; best one that it was not trained on. Its beginning is looked at closely.
            y: not used.
            out: an HTML file to write.
            figures: a folder for the pictures, as SVG and, with the extra "figures", as PNG.

        Returns:
            An Explanation: `html`, `save(path)`, `save_figures(folder)`, and `report`, the numbers behind it.

        Raises:
            DataError: for a text of fewer than two tokens.
        """
        self._require_fit()
        return deliver(explain_text(self, read_text(X)), out, figures)

    # ------------------------------------------------------------ save and load

    def save(self, path: str | Path) -> None:
        """Write the model folder: see cellgate.estimators.folder for what is in it."""
        self._require_fit()
        save_text_model(self, path)

    @classmethod
    def _from_folder(cls, config: dict[str, Any], files: dict[str, Any]) -> LanguageModel:
        return restored(cls, config, files)


def _without_space(pieces: Iterator[str]) -> Iterator[str]:
    """Pieces of a text, the first without the space that it begins with."""
    yield from (piece.removeprefix(" ") for piece in islice(pieces, 1))
    yield from pieces
