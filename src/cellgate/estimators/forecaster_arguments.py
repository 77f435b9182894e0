"""The arguments of a Forecaster, kept as they are given and checked when they are used."""

from __future__ import annotations

from collections.abc import Sequence

from cellgate.errors import InputError
from cellgate.estimators.protocol import Parameters, check_columns_named, check_seconds, check_seed, expect, is_count
from cellgate.tasks.forecast_task import HIGHEST_LEVEL, ForecastTask
from cellgate.tasks.intervals import level_bounds

_COUNTS = ("horizon", "num_layers", "batch_size")
_COUNTS_OR_NONE = ("season", "long_season", "hidden_size", "context", "max_epochs", "patience", "validation")


class ForecasterArguments(Parameters):
    """The constructor of Forecaster, which says what each argument means."""

    def __init__(
        self,
        horizon: int = 12,
        *,
        season: int | None = None,
        freq: str | None = None,
        time: str | None = None,
        target: str | None = None,
        id: str | None = None,
        wide: bool = False,
        time_format: str | None = None,
        past: str | Sequence[str] = (),
        future: str | Sequence[str] = (),
        static: str | Sequence[str] = (),
        long_season: int | None = None,
        levels: Sequence[float] = (90,),
        hidden_size: int | None = None,
        num_layers: int = 1,
        context: int | None = None,
        dropout: float = 0.1,
        learning_rate: float = 5e-3,
        batch_size: int = 32,
        max_epochs: int | None = None,
        max_seconds: float | None = None,
        patience: int | None = None,
        validation: int | None = None,
        seed: int = 0,
    ) -> None:
        self.horizon = horizon
        self.season = season
        self.freq = freq
        self.time = time
        self.target = target
        self.id = id
        self.wide = wide
        self.time_format = time_format
        self.past = past
        self.future = future
        self.static = static
        self.long_season = long_season
        self.levels = levels
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.context = context
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.max_seconds = max_seconds
        self.patience = patience
        self.validation = validation
        self.seed = seed

    # Python names the function in the message for an argument that there is not.
    __init__.__qualname__ = "Forecaster.__init__"

    def _check_table_arguments(self) -> None:
        """Refuse what cannot be said about a table; the rest of it is checked when the table is read.

        Raises:
            InputError: naming the argument.
        """
        check_columns_named(self, "time", "target", "id")
        for name, example in (("freq", "'h', '15min' or 'MS'"), ("time_format", "'%d.%m.%Y'")):
            expect(
                name,
                getattr(self, name),
                f"a text such as {example}, or None",
                lambda v: v is None or isinstance(v, str),
            )

    def _check(self) -> None:
        """Refuse arguments that nothing can be trained with.

        Raises:
            InputError: naming the argument.
        """
        for name in _COUNTS:
            expect(name, getattr(self, name), "a whole number of 1 or more", is_count)
        for name in _COUNTS_OR_NONE:
            value = getattr(self, name)
            if value is not None:
                expect(name, value, "a whole number of 1 or more, or None", is_count)
        expect(
            "levels",
            self.levels,
            f"percentages from 1 to {HIGHEST_LEVEL}, such as 90",
            lambda v: hasattr(v, "__len__") and all(1 <= x <= HIGHEST_LEVEL for x in v),
        )
        expect("dropout", self.dropout, "a share from 0 to below 1", lambda v: 0 <= v < 1)
        expect("learning_rate", self.learning_rate, "a number above 0", lambda v: v > 0)
        check_seconds(self.max_seconds)
        check_seed(self.seed)

    def _check_against(self, task: ForecastTask, sizes: dict[str, int] | None = None) -> None:
        """Refuse arguments that were changed since the training and would need another.

        Args:
            task: of the training.
            sizes: "hidden_size" and "num_layers" of the trained network, where it is to be trained on; its levels have
                to be the same then, and not only some of them.

        Raises:
            InputError: naming the argument.
        """
        again = "call fit again to change it"
        if self.horizon != task.horizon:
            raise InputError(
                f"horizon: expected {task.horizon}, as in the training, got {self.horizon!r}; {again}, or ask "
                "forecast(steps=...) for fewer steps"
            )
        asked = {bound for level in self.levels for bound in level_bounds(level)}
        trained = set(task.quantiles) - {0.5}
        if not asked <= trained or (sizes and asked != trained):
            known = ", ".join(f"{100 - 200 * bound:g}" for bound in sorted(trained) if bound < 0.5) or "none"
            raise InputError(f"levels: expected those of the training, {known}, got {list(self.levels)}; {again}")
        for name, size in (sizes or {}).items():
            if getattr(self, name) not in (None, size):
                raise InputError(f"{name}: expected {size}, as in the training, got {getattr(self, name)!r}; {again}")
