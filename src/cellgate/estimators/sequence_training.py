"""How a sequence estimator is fitted: what is held back to stop by, how many models are trained, which one is kept.

Many sequences: one model; a part of the sequences is held back, and the weights that did best on it are kept.

Few sequences: so small a part would say little about when to stop, and giving it up would cost too much. So several
models are trained in step, each with another part held back (training/folds.py). Their answers for what each has not
seen tell how many epochs to train and how sure of itself a model then may be: what share of its
answer to keep, the rest being the baseline's. One more model is trained on all sequences for as many epochs, and that
one is kept, the share worked into its readout. Epochs and share are found together, because an answer that is right but
too sure asks for a smaller share, not for less training.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.data.sequences import SequenceSet
from cellgate.estimators.protocol import Parameters
from cellgate.tasks.network import SequenceNetwork
from cellgate.training import Checkpoint, FoldedObjective, Progress, TrainingRecord, TrainingSettings, train
from cellgate.training.loop import Objective

_UPDATES = 2000  # steps of training that are aimed at, whatever the amount of data
# Arguments that are found where they are not said: they show in the data, the settings and the network.
_FOUND = (
    *("id", "time", "target", "group", "features", "gaps", "token", "wide", "steps"),
    *("hidden_size", "max_epochs", "patience", "max_seconds"),
)
_SHARES = torch.linspace(1.0, 0.05, 20)  # never nothing: it would leave no answer of its own to look into
_AVERAGE = 0.95  # of the weights: after a few steps they still jump about, and the epoch is to be told for good


def training_settings(params: dict[str, Any], examples: int) -> TrainingSettings:
    """Epochs by the steps in an epoch: a few sequences need many passes.

    Args:
        params: the estimator's arguments.
        examples: sequences that are learnt from.
    """
    steps = math.ceil(examples / params["batch_size"])
    epochs = params["max_epochs"] or min(200, max(20, math.ceil(_UPDATES / steps)))
    return TrainingSettings(
        max_epochs=epochs,
        max_seconds=params["max_seconds"],
        batch_size=params["batch_size"],
        learning_rate=params["learning_rate"],
        patience=params["patience"] or max(10, epochs // 2),  # a long lag shows in the loss late
        warmup=min(50, max(1, epochs * steps // 10)),
        seed=int(params["seed"]),
    )


def fingerprint(
    estimator: Parameters,
    sequences: SequenceSet,
    start: SequenceNetwork | None,
    settings: TrainingSettings,
    model: SequenceNetwork,
) -> str:
    """Of everything that a training's result depends on, but for when it is stopped.

    Whether a size or a column was found or said makes no difference.
    """
    kept = {name: value for name, value in estimator.get_params().items() if name not in _FOUND}
    what = type(estimator).__name__, sequences.token, sorted(kept.items())
    digest = hashlib.sha256(repr((what, replace(settings, max_seconds=None), model.config())).encode())
    digest.update(np.ascontiguousarray(sequences.numbers).tobytes())
    digest.update(repr((sequences.lengths.tolist(), np.asarray(sequences.labels).tolist())).encode())
    if sequences.groups is not None:
        digest.update(repr(sequences.groups.tolist()).encode())
    for values in sequences.texts.values():
        digest.update(repr(values.tolist()).encode())
    if start is not None:
        for value in start.state_dict().values():
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


class HeldObjective(Objective, Protocol):
    """An objective that can tell what is answered for the rows to stop by."""

    @property
    def prior(self) -> Tensor:
        """(outputs,) the answer of the baseline, as the network would give it."""
        ...

    def held(self, model: Any) -> tuple[Tensor, Tensor]:
        """(n, outputs) answers for what is held back, and what is right."""
        ...

    def criterion(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of answers."""
        ...


class SharedFolds(FoldedObjective[HeldObjective]):
    """Folds whose score is that of all answers for what was held back, at the share of them that is best.

    Args:
        objectives: one a fold.
    """

    def validate(self, model: nn.ModuleList) -> float:
        """The loss at the best share."""
        return self.share(model)[1]

    @torch.no_grad()
    def share(self, model: nn.ModuleList) -> tuple[float, float]:
        """The share of an answer to keep, the rest being the baseline's, and the loss with it."""
        priors, apart, targets = [], [], []
        for part, fold in zip(model, self.objectives, strict=True):
            answers, right = fold.held(part)
            priors.append(fold.prior.expand_as(answers))
            apart.append(answers - fold.prior)
            targets.append(right)
        prior, rest, right = torch.cat(priors), torch.cat(apart), torch.cat(targets)
        losses = torch.stack([self.objectives[0].criterion(prior + share * rest, right) for share in _SHARES])
        best = int(losses.argmin())
        return float(_SHARES[best]), float(losses[best])


@torch.no_grad()
def keep_share(readout: nn.Linear, prior: Tensor, share: float) -> None:
    """Work it into a readout that `share` of its answer is kept, the rest being `prior`."""
    readout.weight.mul_(share)
    readout.bias.mul_(share).add_((1 - share) * prior)


def fit_in_folds(
    made: Callable[[np.ndarray, np.ndarray], tuple[SequenceNetwork, HeldObjective]],
    parts: list[tuple[np.ndarray, np.ndarray]],
    settings: TrainingSettings,
    watch: Callable[[Progress], None] | None,
    saved: Callable[[str], Checkpoint | None],
) -> tuple[SequenceNetwork, TrainingRecord]:
    """Find out how long to train, then train one model on all sequences for as long.

    Where Ctrl-C stops either stage, the first model of the search is kept, with its best weights: one that was stopped
    at its best is better than a half-trained one.

    Args:
        made: a network to train and its objective, of rows to learn from and rows to stop by; called last for the
            network that is kept, as it also sets what the estimator remembers of its data.
        parts: what `held_back.folds` gave.
        settings: of a training on all sequences.
        watch: told after every epoch.
        saved: where to save a stage, "search" or "final".

    Returns:
        The network, and the record of the search.
    """
    rows, none = np.union1d(*parts[0]), np.array([], dtype=np.int64)
    # As many steps an epoch in both stages, or an epoch of one would teach more than one of the other.
    steps = math.ceil(len(rows) / settings.batch_size)
    settings = replace(settings, average=_AVERAGE)
    share = max(1, len(parts) - 1) / max(2, len(parts))  # of the time; the rest is for the last
    limit = settings.max_seconds and settings.max_seconds * share
    built = [made(*part) for part in parts]
    objective = SharedFolds([part for _, part in built])
    search = replace(
        settings,
        batch_size=math.ceil(objective.examples / steps),
        clip=settings.clip * math.sqrt(len(parts)),  # the norm is taken over all models
        max_seconds=limit,
    )
    told = None if watch is None else lambda progress: watch(replace(progress, loss=progress.loss / len(parts)))
    models = nn.ModuleList([model for model, _ in built])
    record = train(models, objective, search, told, saved("search"))
    record.share = objective.share(models)[0]

    def first() -> SequenceNetwork:
        model, part = made(*parts[0])
        model.load_state_dict(built[0][0].state_dict())
        keep_share(model.readout, part.prior, record.share)
        return model.eval()

    record.history = [(loss / len(parts), score) for loss, score in record.history]
    if record.stopped_by == "Ctrl-C":
        return first(), record
    model, kept = made(rows, none)
    whole = settings.max_epochs if not limit else math.ceil(record.epochs * limit / max(record.seconds, 1e-9))
    final = replace(
        settings,
        batch_size=math.ceil(len(rows) / steps),
        max_epochs=record.best_epoch,
        schedule_epochs=min(settings.max_epochs, whole),
        max_seconds=None,
    )
    try:
        last = train(model, kept, final, watch, saved("final"))
    except KeyboardInterrupt:
        last = TrainingRecord(stopped_by="Ctrl-C")
    record.seconds += last.seconds
    if last.stopped_by == "Ctrl-C":
        record.stopped_by = "Ctrl-C"
        return first(), record
    record.models = len(parts)
    keep_share(model.readout, kept.prior, record.share)
    return model, record
