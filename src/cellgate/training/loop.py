"""Minimise an objective: batches by index, AdamW with a schedule, clipping, early stopping, best weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cellgate.errors import CellgateError
from cellgate.training.adamw import AdamW
from cellgate.training.average import RunningMean
from cellgate.training.checkpoint import Checkpoint
from cellgate.training.randomness import Draws

_WARMUP = 0.05  # of the time, at most


class TrainingError(CellgateError, RuntimeError):
    """The training cannot go on; the message says why and what to change."""

    exit_code = 3


class Objective(Protocol):
    """What a task gives the loop.

    One with a true attribute `in_order` has its examples taken from first to last, not shuffled: where a batch goes on
    from the state in which the one before it ended.
    """

    @property
    def examples(self) -> int:
        """How many examples an epoch goes through."""
        ...

    def loss(self, model: Any, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The mean loss of the examples `rows`, a scalar to differentiate."""
        ...

    def validate(self, model: Any) -> float | None:
        """The score to stop by, lower is better; None for no such score, and then the last weights are kept."""
        ...


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes:
        max_epochs: the most passes over the examples.
        max_seconds: the most time, or None.
        batch_size: examples in a step.
        learning_rate: the highest rate, reached after `warmup` steps and then lowered along a cosine.
        weight_decay: AdamW's.
        clip: the largest norm of the gradient.
        patience: epochs without a better validation score before it stops.
        warmup: steps of rising rate.
        seed: of shuffling and dropout.
        schedule_epochs: how many epochs the cosine is laid out for; max_epochs by default.
        average: share of the past in a running mean of the weights, such as 0.99; that mean is then what is validated
            and kept. 0 for the weights themselves.
    """

    max_epochs: int = 300
    max_seconds: float | None = None
    batch_size: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    patience: int = 60
    warmup: int = 10
    seed: int = 0
    schedule_epochs: int | None = None
    average: float = 0.0

    def __post_init__(self) -> None:
        """Numbers of numpy, as a search over parameters gives them, become Python's, which PyTorch asks for."""
        for name in ("max_epochs", "batch_size", "patience", "seed"):
            object.__setattr__(self, name, int(getattr(self, name)))


@dataclass(frozen=True)
class Progress:
    """What a watcher is told after every epoch."""

    epoch: int
    max_epochs: int
    loss: float
    validation: float | None
    best: float
    best_epoch: int
    seconds: float
    examples_per_second: float


@dataclass
class TrainingRecord:
    """What happened.

    Attributes:
        epochs: how many were run.
        best_epoch: the one whose weights were kept.
        best_score: its validation score.
        seconds: how long it took.
        models: how many were trained in step to find the best epoch; 1 where the model itself was watched.
        share: how much of the network's answer is kept where the rest is the baseline's; 1 where all is its own.
        stopped_by: "patience", "max_epochs", "max_seconds" or "Ctrl-C".
        history: (training loss, validation score or None) of every epoch.
    """

    epochs: int = 0
    best_epoch: int = 0
    best_score: float = math.inf
    seconds: float = 0.0
    models: int = 1
    share: float = 1.0
    stopped_by: str = "max_epochs"
    history: list[tuple[float, float | None]] = field(default_factory=list)

    @classmethod
    def from_json(cls, values: dict[str, Any], history: list[list[float | None]]) -> TrainingRecord:
        """From plain values, as a model folder holds them; JSON knows no infinity."""
        best = math.inf if values.get("best_score") is None else values["best_score"]
        return cls(**{**values, "best_score": best, "history": [tuple(pair) for pair in history]})


def train(
    model: nn.Module,
    objective: Objective,
    settings: TrainingSettings,
    watch: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingRecord:
    """Train the model in place; it ends with its best weights, in eval mode.

    The caller's random state is left as it was. Equal seeds, data and threads give equal runs, whatever is trained in
    other threads meanwhile.

    Args:
        model: what to train.
        objective: what to minimise, and what to stop by.
        settings: how.
        watch: told after every epoch.
        checkpoint: where to save the state now and then, and to resume from if it is there.

    Raises:
        CheckpointError: if the checkpoint is damaged or of another training.
        TrainingError: if the loss stops being a number.
    """
    if objective.examples == 0:
        raise TrainingError(
            "expected at least one example to train on, got none; give longer series or a shorter horizon"
        )
    record = TrainingRecord()
    draws, generator = Draws(settings.seed), torch.Generator().manual_seed(settings.seed)
    optimizer = AdamW(_decay_matrices_only(model, settings), lr=settings.learning_rate)
    best = {name: value.detach().clone() for name, value in model.state_dict().items()}
    mean = RunningMean(model, settings.average) if settings.average else None
    if checkpoint is not None:
        with draws.turn():
            checkpoint.load(model, optimizer, generator, best, record, mean.weights if mean else None)
    try:
        _run(model, objective, settings, optimizer, draws, generator, record, best, mean, watch, checkpoint)
    except KeyboardInterrupt:
        if record.best_epoch == 0:
            raise  # nothing has been learnt that could be kept
        record.stopped_by = "Ctrl-C"
    model.load_state_dict(best)
    model.eval()
    return record


def _run(
    model: nn.Module,
    objective: Objective,
    settings: TrainingSettings,
    optimizer: torch.optim.Optimizer,
    draws: Draws,
    generator: torch.Generator,
    record: TrainingRecord,
    best: dict[str, Tensor],
    mean: RunningMean | None,
    watch: Callable[[Progress], None] | None,
    checkpoint: Checkpoint | None,
) -> None:
    started = time.perf_counter() - record.seconds
    batches = math.ceil(objective.examples / settings.batch_size)
    scheduled = settings.schedule_epochs or settings.max_epochs
    parameters = list(model.parameters())

    def used() -> float:
        """The share of the time that is over, 0 where there is no limit."""
        return 0.0 if settings.max_seconds is None else (time.perf_counter() - started) / settings.max_seconds

    while not _is_over(record, settings):
        epoch = record.epochs + 1
        epoch_started = time.perf_counter()
        model.train()
        in_order = getattr(objective, "in_order", False)
        order = (
            torch.arange(objective.examples) if in_order else torch.randperm(objective.examples, generator=generator)
        )
        losses = []
        for k, rows in enumerate(order.split(settings.batch_size)):
            step = (epoch - 1) * batches + k
            _set_rate(optimizer, settings, step, step / max(1, scheduled * batches), used())
            with draws.turn():
                loss = objective.loss(model, rows, generator)
            for parameter in parameters:
                parameter.grad = None  # what the optimiser's own zero_grad does, but in a fraction of its time
            loss.backward()
            norm = _clip([p.grad for p in parameters if p.grad is not None], settings.clip)
            if not math.isfinite(norm):
                raise TrainingError(
                    f"expected a finite loss, got {float(loss.detach())} with gradient norm {norm} "
                    f"in epoch {epoch}; lower --learning-rate, or look for extreme values in the data"
                )
            optimizer.step()
            losses.append(loss.detach())
            if mean is not None:
                mean.add(step)
            if settings.max_seconds is not None and time.perf_counter() - started >= settings.max_seconds:
                break  # an epoch of a long text can take longer than all the time there is
        model.eval()
        with mean.in_place() if mean is not None else nullcontext():
            score = objective.validate(model)
        if score is not None and not math.isfinite(score):
            raise TrainingError(
                f"expected a finite validation score, got {score} in epoch {epoch}; lower --learning-rate, "
                "or look for missing or extreme values in the last part of the data"
            )
        trained = float(torch.stack(losses).mean())
        record.epochs = epoch
        record.history.append((trained, score))
        if score is None or score < record.best_score:
            record.best_score, record.best_epoch = (record.best_score if score is None else score), epoch
            reached = mean.weights if mean is not None else model.state_dict()
            torch._foreach_copy_([best[name] for name in reached], list(reached.values()))  # pyright: ignore[reportPrivateImportUsage]
        now = time.perf_counter()
        record.seconds = now - started
        if watch is not None:
            rate = objective.examples / max(now - epoch_started, 1e-9)
            watch(
                Progress(
                    epoch,
                    settings.max_epochs,
                    trained,
                    score,
                    record.best_score,
                    record.best_epoch,
                    record.seconds,
                    rate,
                )
            )
        if checkpoint is not None and (checkpoint.due() or _is_over(record, settings)):
            with draws.turn():
                checkpoint.save(model, optimizer, generator, best, record, mean.weights if mean else None)


def _is_over(record: TrainingRecord, settings: TrainingSettings) -> bool:
    """Whether to stop before the next epoch, and why, in the record. Asked of the record alone, a resume agrees."""
    if record.epochs and record.epochs - record.best_epoch >= settings.patience:
        record.stopped_by = "patience"
    elif record.epochs and settings.max_seconds is not None and record.seconds >= settings.max_seconds:
        record.stopped_by = "max_seconds"
    elif record.epochs >= settings.max_epochs:
        record.stopped_by = "max_epochs"
    else:
        return False
    return True


def _decay_matrices_only(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Weight decay for matrices; biases are left free."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _clip(gradients: list[Tensor], most: float) -> float:
    """Scale gradients so that their norm is no more than `most`; the norm before, as nn.utils.clip_grad_norm_ has it.

    That function takes longer to sort a few tensors by device and type than to scale them.
    """
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
    if norm > most:
        torch._foreach_mul_(gradients, most / (norm + 1e-6))  # pyright: ignore[reportPrivateImportUsage]
    return norm


def _set_rate(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, step: int, done: float, used: float
) -> None:
    """Rise linearly over the warm-up; follow half a cosine down to a twentieth when all is done.

    Where time is running out sooner than steps, the schedule goes by it, and the warm-up too: it takes no more than a
    twentieth of the time. Of large models few steps fit into that, and a rate that rises until the end learns nothing.
    """
    share = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, max(done, used))))
    share *= min(1.0, max((step + 1) / max(1, settings.warmup), used / _WARMUP))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * share
