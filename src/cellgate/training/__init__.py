"""The training loop: ours and small, because a step of an LSTM on small data takes about a millisecond."""

from cellgate.training.checkpoint import Checkpoint, CheckpointError
from cellgate.training.folds import FoldedObjective
from cellgate.training.loop import Progress, TrainingError, TrainingRecord, TrainingSettings, train
from cellgate.training.randomness import Draws
from cellgate.training.threads import threads_for
from cellgate.training.words import best_epoch, kept_weights

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Draws",
    "FoldedObjective",
    "Progress",
    "TrainingError",
    "TrainingRecord",
    "TrainingSettings",
    "best_epoch",
    "kept_weights",
    "threads_for",
    "train",
]
