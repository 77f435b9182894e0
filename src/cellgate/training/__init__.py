"""The training loop: ours and small, because a step of an LSTM on small data takes about a millisecond."""

from cellgate.training.loop import Progress, TrainingError, TrainingRecord, TrainingSettings, train

__all__ = ["Progress", "TrainingError", "TrainingRecord", "TrainingSettings", "train"]
