"""What a layer may be beyond ``torch.nn.LSTM``: the keywords of ``cellgate.LSTM``, checked and frozen."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from cellgate.backends.cpu_variant import form_of
from cellgate.equations import FORMS, PLAIN, Cell
from cellgate.errors import DtypeError, InputError

__all__ = ["FIELDS", "Variant", "parameter_shapes", "variant_of"]

FIELDS = {
    "weight_ih": "w_ih",
    "weight_hh": "w_hh",
    "bias_ih": "b_ih",
    "bias_hh": "b_hh",
    "weight_hr": "w_hr",
    "weight_peephole": "peephole",
    "weight_gates": "w_gg",
    "norm_ih_weight": "gain_ih",
    "norm_ih_bias": "shift_ih",
    "norm_hh_weight": "gain_hh",
    "norm_hh_bias": "shift_hh",
    "norm_c_weight": "gain_c",
    "norm_c_bias": "shift_c",
}
"""Parameters of a layer by the first part of their names, as fields of ``LSTMWeights``."""


@dataclass(frozen=True)
class Variant:
    """What makes a layer differ from ``torch.nn.LSTM``; the fields are keywords of :class:`cellgate.LSTM`.

    Attributes:
        cell: Form of the cell, a key of ``cellgate.equations.FORMS``, or "peephole" for "lstm" with ``peephole=True``.
        peephole: Gates see the memory cell.
        activation: "tanh" for sigmoid and tanh, "hard" for piecewise linear ones.
        norm: "layer", "rms" or None.
        cell_clip: c is kept within [-cell_clip, cell_clip]; None for no limit.
        zoneout: Probabilities for c and for h.
        recurrent_dropout: Probability for the cell candidate g.
        locked_dropout: Probabilities for the input, between layers and for the recurrent h.
        weight_drop: Probability for the entries of W_hh.
        single_bias: b_ih only.
        forget_bias: Initial bias of the forget gate; None for a random one.
        chrono: Longest dependency in steps, for chrono initialisation; None for none.
        orthogonal: Draw the recurrent weights of each gate as an orthogonal matrix.
        learned_state: h_0 and c_0 are parameters.
        connection: "residual" or "highway" around every layer but the first; None for neither.
    """

    cell: str = "lstm"
    peephole: bool = False
    activation: str = "tanh"
    norm: str | None = None
    cell_clip: float | None = None
    zoneout: tuple[float, float] = (0.0, 0.0)
    recurrent_dropout: float = 0.0
    locked_dropout: tuple[float, float, float] = (0.0, 0.0, 0.0)
    weight_drop: float = 0.0
    single_bias: bool = False
    forget_bias: float | None = None
    chrono: int | None = None
    orthogonal: bool = False
    learned_state: bool = False
    connection: str | None = None

    @property
    def description(self) -> Cell:
        """What its cells compute."""
        return Cell(self.cell, self.peephole, self.norm, self.activation == "hard", self.cell_clip)

    # Read by the native core (bindings_module.cpp), at every call: kept with the object, whose fields never change.

    @cached_property
    def plain_in_evaluation(self) -> bool:
        """Whether calls in evaluation are those of ``torch.nn.LSTM``: what differs is initial values or noise only."""
        stays = self.single_bias or self.learned_state or self.connection is not None or any(self.zoneout)
        return self.description == PLAIN and not stays

    @cached_property
    def plain_in_training(self) -> bool:
        """Whether calls in training are too: without noise."""
        return self.plain_in_evaluation and not self.draws

    @cached_property
    def quick_form(self) -> tuple[Any, ...] | None:
        """What the native core must know of a cell to train it the short way (``quick_variant``), or None: it may not.

        The form as the kernels number it, whether there are peepholes, whether one bias, the clip. A learned state and
        connections between layers are of the full way.
        """
        cell = self.description
        if self.learned_state or self.connection is not None:
            return None
        return (*form_of(cell), int(self.peephole), int(self.single_bias), float(cell.clip or 0.0))

    @property
    def draws(self) -> bool:
        """Whether training draws random numbers."""
        return any((*self.zoneout, self.recurrent_dropout, *self.locked_dropout, self.weight_drop))

    def noise(self, training: bool) -> tuple[str, ...]:
        """Return which masks (fields of ``CellMasks``) a call needs; zoneout needs its own in evaluation too."""
        zone_c, zone_h = self.zoneout
        wanted = {
            "locked": training and self.locked_dropout[2],
            "candidate": training and self.recurrent_dropout,
            "zone_c": zone_c,
            "zone_h": zone_h,
        }
        return tuple(name for name, on in wanted.items() if on)

    def __str__(self) -> str:
        """Return the keywords that are not defaults, as they would be written."""
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ", ".join(shown)

    @classmethod
    def of_keywords(cls, **given: Any) -> Variant | None:
        """Return the checked variant, or None if it is ``torch.nn.LSTM`` itself.

        Raises:
            TypeError: A flag is not a bool.
            ValueError: A name is unknown, a number out of range, or the parts do not go together.
        """
        if given["cell"] == "peephole":
            given |= {"cell": "lstm", "peephole": True}
        for name, known in (
            ("cell", (*FORMS, "peephole")),
            ("activation", ("tanh", "hard")),
            ("norm", (None, "layer", "rms")),
            ("connection", (None, "residual", "highway")),
        ):
            if given[name] not in known:
                raise InputError(f"{name}: expected one of {', '.join(map(repr, known))}, got {given[name]!r}")
        for name in ("peephole", "single_bias", "orthogonal", "learned_state"):
            if not isinstance(given[name], bool):
                raise DtypeError(f"{name}: expected a bool, got {type(given[name]).__name__} {given[name]!r}")
        given["zoneout"] = _probabilities("zoneout", given["zoneout"], ("c", "h"))
        given["locked_dropout"] = _probabilities(
            "locked_dropout", given["locked_dropout"], ("input", "between layers", "recurrent")
        )
        for name in ("recurrent_dropout", "weight_drop"):
            given[name] = _probabilities(name, given[name], ("",))[0]
        clip = given["cell_clip"]
        if clip is not None and not (_is_number(clip) and clip > 0):
            raise InputError(f"cell_clip: expected a number above 0 or None, got {clip!r}")
        bias = given["forget_bias"]
        if bias is not None and not (_is_number(bias) and math.isfinite(bias)):
            raise InputError(f"forget_bias: expected a finite number or None, got {bias!r}")
        chrono = given["chrono"]
        if chrono is not None and not (_is_number(chrono) and 2 < chrono < math.inf):
            raise InputError(f"chrono: expected more than 2, the longest dependency in steps, or None, got {chrono!r}")
        variant = cls(**given)
        return None if variant == cls() else variant

    def check_with(self, bias: bool, dropout: float, sizes: Sequence[tuple[int, int]]) -> None:
        """Refuse what does not go together, with the reason.

        Args:
            bias: Whether the layer has biases.
            dropout: nn.LSTM's dropout between layers.
            sizes: Input and output width of every layer but the first.

        Raises:
            InputError: Two parts contradict each other.
        """
        form = self.description.form
        if form.bare:
            for name, on in (
                ("peephole", self.peephole),
                ("norm", self.norm),
                ("activation", self.activation == "hard"),
                ("cell_clip", self.cell_clip),
                ("zoneout of c", self.zoneout[0]),
            ):
                if on:
                    raise InputError(
                        f"{name}: expected none with cell={self.cell!r}, whose state is kept in a scale of its own: "
                        "leave it out"
                    )
        starts = "forget_bias" if self.forget_bias is not None else "chrono" if self.chrono is not None else ""
        if starts and form.forget == "one":
            raise InputError(f"{starts}: expected None with cell={self.cell!r}, which has no forget gate: leave it out")
        if starts and not bias:
            raise InputError(f"{starts}: expected bias=True, got False: it is an initial value of the bias")
        if self.forget_bias is not None and self.chrono is not None:
            raise InputError("chrono: expected None beside forget_bias, got both: each sets the forget gate's bias")
        if self.single_bias and not bias:
            raise InputError("single_bias: expected bias=True, got False: there is no bias to have once")
        if dropout > 0 and self.locked_dropout[1] > 0:
            raise InputError(
                "dropout: expected 0 beside locked_dropout between layers, got both: locked_dropout draws one mask for "
                "all steps, dropout one for each"
            )
        if self.connection is not None:
            for layer, (read, written) in enumerate(sizes, 1):
                if read != written:
                    raise InputError(
                        f"connection: expected layers of one width, got layer {layer} with {read} inputs and {written} "
                        f"outputs: {self.connection} connections join the two"
                    )


PLAIN_VARIANT = Variant()


def variant_of(module: Any) -> Variant:
    """Return the variant of any LSTM module; that of ``torch.nn.LSTM`` for modules that are not ours."""
    return getattr(module, "variant", None) or PLAIN_VARIANT


def parameter_shapes(
    cell: Cell, input_size: int, hidden: int, proj: int, *, bias: bool, single_bias: bool
) -> dict[str, tuple[int, ...]]:
    """Return the parameters of one layer in one direction by the first part of their names, nn.LSTM's first."""
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (4 * hidden, input_size),
        "weight_hh": (4 * hidden, proj or hidden),
    }
    if bias:
        shapes["bias_ih"] = (4 * hidden,)
    if bias and not single_bias:
        shapes["bias_hh"] = (4 * hidden,)
    if proj:
        shapes["weight_hr"] = (proj, hidden)
    if cell == PLAIN:
        return shapes
    if cell.peephole:
        shapes["weight_peephole"] = (3 * hidden,)
    if cell.memories == 4:
        shapes["weight_gates"] = (3 * hidden, 3 * hidden)
    if cell.norm:
        for place, size in (("ih", 4 * hidden), ("hh", 4 * hidden), ("c", hidden)):
            shapes[f"norm_{place}_weight"] = (size,)
            if cell.norm == "layer":
                shapes[f"norm_{place}_bias"] = (size,)
    return shapes


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _probabilities(name: str, given: Any, places: Sequence[str]) -> tuple[Any, ...]:
    values = (given,) * len(places) if _is_number(given) else given
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != len(places):
        expected = f"a number or {len(places)} of them ({', '.join(places)})" if len(places) > 1 else "a number"
        raise InputError(f"{name}: expected {expected}, got {given!r}")
    for value in values:
        if not _is_number(value) or not 0 <= value < 1:
            raise InputError(f"{name}: expected probabilities from 0 to below 1, got {given!r}")
    return tuple(float(value) for value in values)
