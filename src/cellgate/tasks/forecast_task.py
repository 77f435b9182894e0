"""What is asked of a forecast: all that is needed, beside the weights, to ask the network for one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

HIGHEST_LEVEL = 99.99  # percent: no data tell of intervals beyond, and of names and quantiles so many digits are kept


@dataclass(frozen=True)
class ForecastTask:
    """All that is needed, beside the weights, to ask the network for a forecast.

    Attributes:
        horizon: steps ahead.
        season: steps in a cycle; 1 for none.
        quantiles: the probabilities answered for, ascending, with 0.5 among them.
        log: whether the network sees log y.
        context: how many steps a training window has; a forecast reads up to twice as many.
        cycles: of the calendar (data.calendar.calendar_cycles), those that the history went through twice: in a longer
            one a position would only tell how old a step is.
        long_season: steps in a second, longer cycle; 1 for none.
        simple: whether the readout is given simple forecasts to lean on; a few hundred steps are too few to weigh them.
        origins: how many steps of a window are asked for an answer in one training step.
        dropout: of the hidden state before the readout, in training.
    """

    horizon: int
    season: int
    quantiles: tuple[float, ...]
    log: bool
    context: int
    long_season: int = 1
    cycles: tuple[str, ...] = ()
    simple: bool = True
    origins: int = 64
    dropout: float = 0.1

    @property
    def seasons(self) -> tuple[int, ...]:
        """The season, and the longer one where there is one."""
        return (self.season, self.long_season) if self.long_season > 1 else (self.season,)

    def to_json(self) -> dict[str, Any]:
        """As plain values for a config file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ForecastTask:
        """From what to_json gave."""
        return cls(**{**values, "quantiles": tuple(values["quantiles"]), "cycles": tuple(values["cycles"])})
