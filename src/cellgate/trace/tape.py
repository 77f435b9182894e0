"""What a trace holds: a tape has a track for each LSTM of the model, a track has its calls, a call its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cellgate.backends.problem import any_wrapped
from cellgate.errors import InputError

from .layer import GATES, Direction, Layer

if TYPE_CHECKING:
    from .picture import Svg

__all__ = ["Call", "Tape", "Track"]


class Call:
    """One call of one LSTM.

    Attributes:
        name: Of the module.
        number: Which of its calls in the block, from 0.
        layers: The recorded layers.
        backend: Which backend computed the gates.
        distance: Largest absolute difference between the output that the model got and the one that belongs to these
            gates: 0.0 where both come from the same kernel, a few roundings where a faster one served the model.
    """

    def __init__(
        self, name: str, number: int, layers: tuple[Layer, ...], backend: str, distance: Tensor | float
    ) -> None:
        self.name = name
        self.number = number
        self.layers = layers
        self.backend = backend
        self._distance = distance

    @property
    def distance(self) -> float:  # noqa: D102 - described with the class
        return float(self._distance)

    @property
    def lengths(self) -> Tensor | None:
        """(B,) int64 on the CPU in the caller's order, or None where all sequences are of length T."""
        return self.layers[0].lengths

    def layer(self, index: int) -> Layer:
        """Return the layer of this number, from 0.

        Raises:
            IndexError: There is no such layer, or it was not recorded.
        """
        for layer in self.layers:
            if layer.index == index:
                return layer
        raise IndexError(f"layer: expected one of {[layer.index for layer in self.layers]}, got {index}")

    def figure(self, sequence: int = 0, *, theme: str = "auto", **options: Any) -> Svg:
        """Return a picture of one sequence in all layers and directions, the text of an SVG file."""
        from .picture import draw

        rows = [[d.heat_maps(sequence, **options) for d in layer.directions] for layer in self.layers]
        return draw(rows, theme=theme)

    def __repr__(self) -> str:
        """Return name, number and what is in it."""
        return f"Call({self.name!r}, number={self.number}, layers={[layer.index for layer in self.layers]})"


class Track(Sequence[Call]):
    """The calls of one LSTM, in their order. With a single call, that call's attributes are at hand here too.

    Attributes:
        name: Of the module, as in ``model.named_modules()``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._calls: list[Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    def __getitem__(self, index: Any) -> Any:
        return self._calls[index]

    def only(self) -> Call:
        """Return the call, where there was one.

        Raises:
            InputError: There was none, or there were several.
        """
        if len(self) == 1:
            return self._calls[0]
        fix = f"choose one, tape[{self.name!r}][k], or tape[{self.name!r}].joined()" if len(self) else "run the model"
        raise InputError(f"{self.name!r}: expected one call in the block, got {len(self)}: {fix}")

    def layer(self, index: int) -> Layer:
        """Return a layer of the only call.

        Raises:
            InputError: Not exactly one call.
            IndexError: There is no such layer, or it was not recorded.
        """
        return self.only().layer(index)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the only call."""
        return self.only().layers

    @property
    def lengths(self) -> Tensor | None:
        """The lengths of the only call, None where all sequences are of length T."""
        return self.only().lengths

    def figure(self, sequence: int = 0, *, theme: str = "auto", **options: Any) -> Svg:
        """Return a picture of the only call; see :meth:`Call.figure`."""
        return self.only().figure(sequence, theme=theme, **options)

    def joined(self) -> Call:
        """Return all calls as one, end to end in time: for a model that calls its LSTM step by step.

        Raises:
            InputError: There was no call; the calls differ in their sequences; they are ragged; or there is a backward
                direction, which does not go on from call to call.
        """
        if not self._calls:
            self.only()
        first = self._calls[0]
        for call in self._calls:
            for layer, like in zip(call.layers, first.layers, strict=True):
                if layer.lengths is not None or layer.backward is not None:
                    what = "ragged sequences" if layer.lengths is not None else "a backward direction"
                    raise InputError(f"{self.name!r}: expected calls that go on from one another, got {what}")
                if (layer.sequences, layer.batched) != (like.sequences, like.batched):
                    raise InputError(
                        f"{self.name!r}: expected calls of {like.sequences} sequences, got one of {layer.sequences}"
                    )
        layers = []
        for layers_k in zip(*(call.layers for call in self._calls), strict=True):
            like = layers_k[0]
            dim = 1 if like.batched and like.batch_first else 0
            parts = {n: torch.cat([getattr(layer, n) for layer in layers_k], dim) for n in like.kept}
            reset = None
            if any(layer.reset is not None for layer in layers_k):
                # Where a call had no resets, no episode began.
                resets = [torch.zeros_like(y.mask) if y.reset is None else y.reset for y in layers_k]
                reset = torch.cat(resets, dim)
            rest = {"lengths": None, "reset": reset, "batch_first": like.batch_first, "batched": like.batched}
            layers.append(Layer(like.index, None, parts, title=like.title, **rest))
        distance = max(call.distance for call in self._calls)
        return Call(self.name, 0, tuple(layers), first.backend, distance)

    def __repr__(self) -> str:
        """Return the name and the number of calls."""
        return f"Track({self.name!r}, {len(self)} calls)"


class Tape(Mapping[str, Track]):
    """What the LSTMs of a model did: ``tape["encoder.lstm"].layer(0).f``; what :func:`cellgate.trace` gives.

    A mapping from module names to :class:`Track`. A module known under several names is one track, found under each of
    them and counted once. Used in a ``with`` statement; a second block with the same tape goes on recording.

    Attributes:
        gates: What is kept of each layer.
        differentiable: Whether the tensors belong to the autograd graph.
    """

    def __init__(
        self,
        tracks: dict[str, Track],
        aliases: dict[str, str],
        gates: tuple[str, ...],
        layers: tuple[int, ...] | None,
        differentiable: bool,
        block: Callable[[Tape], Any],
    ) -> None:
        self._tracks = tracks
        self._aliases = aliases
        self.gates = gates
        self._layers = layers
        self.differentiable = differentiable
        self._block = block
        self._opened: Any = None

    def __enter__(self) -> Tape:
        if self._opened is not None:
            raise InputError("trace: expected a tape that is not recording, got one inside its own block")
        self._opened = self._block(self)
        self._opened.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        opened, self._opened = self._opened, None
        opened.__exit__(*exception)

    def __getstate__(self) -> dict[str, Any]:
        """Return what to copy or pickle: what was recorded, without the block that may be open."""
        return {**vars(self), "_opened": None}

    def __getitem__(self, name: str) -> Track:
        found = self._tracks.get(self._aliases.get(name, name))
        if found is None:
            raise KeyError(f"{name!r}: expected one of {', '.join(map(repr, self._aliases))}")
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._tracks)

    def __len__(self) -> int:
        return len(self._tracks)

    def clear(self) -> None:
        """Forget all calls, to free their memory or to go on with a clean tape."""
        for track in self._tracks.values():
            track._calls.clear()

    def figure(self, sequence: int = 0, *, theme: str = "auto", **options: Any) -> Svg:
        """Return a picture of one sequence: every layer and direction of each module's call, the text of an SVG file.

        Args:
            sequence: Which sequence of the batch.
            theme: "auto" follows the reader's light or dark setting; "light" or "dark" is fixed.
            options: ``order``, ``labels`` and ``signal`` of :meth:`Direction.heat_maps`.

        Raises:
            InputError: Nothing was recorded, or a module was called more than once: draw a call of it instead.
        """
        from .picture import draw

        rows = [
            [d.heat_maps(sequence, **options) for d in layer.directions]
            for track in self._tracks.values()
            if len(track)
            for layer in track.layers
        ]
        if not rows:
            raise InputError("figure: expected a recorded call, got none: run the model inside the block")
        return draw(rows, theme=theme)

    def save(self, path: str | Path, sequence: int = 0, **options: Any) -> Path:
        """Write :meth:`figure` to a file whose name ends in ".svg", and return its path.

        Raises:
            ValueError: The name has another ending.
        """
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise ValueError(f"path: expected a name ending in .svg, the one format there is, got {path.name!r}")
        path.write_text(self.figure(sequence, **options), encoding="utf-8")
        return path

    def summary(self) -> str:
        """Return a table: for each layer its sizes, how saturated its gates are, how long it remembers, how c grows."""
        from .summary import summary

        return summary(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        """Return the names and numbers of calls."""
        return f"Tape({', '.join(f'{name!r}: {len(track)} calls' for name, track in self._tracks.items())})"

    def _keep(
        self,
        name: str,
        directions: list[list[dict[str, Tensor]]],
        rest: dict[str, Any],
        backend: str,
        distance: Tensor | float,
        given: Any,
    ) -> None:
        """Add a call: of each layer and direction the gates, in the caller's layout.

        What shares memory with something that was ``given`` to the model is copied, since that may be written to
        (``relu_``). So is what lies in a larger block, where the rest of the block is not kept.
        """
        others = {part.untyped_storage().data_ptr() for part in _tensors(given) if not any_wrapped((part,))}
        some = self._layers is not None or len(set(self.gates)) < len(GATES)

        def own(part: Tensor) -> Tensor:
            if any_wrapped((part,)):
                return part
            storage = part.untyped_storage()
            alone = some and not part.requires_grad and storage.nbytes() > part.nbytes
            return part.clone() if alone or storage.data_ptr() in others else part

        layers = []
        for index, parts in enumerate(directions):
            if self._layers is not None and index not in self._layers:
                continue
            kept = [{n: own(part[n]) for n in GATES if n in self.gates} for part in parts]
            title = f"{name} layer {index}"
            backward = None
            if len(kept) == 2:
                backward = Direction(kept[1], title=f"{title} backward", **rest)
                title = f"{title} forward"
            layers.append(Layer(index, backward, kept[0], title=title, **rest))
        track = self._tracks[name]
        if layers:
            track._calls.append(Call(name, len(track), tuple(layers), backend, distance))


def _tensors(given: Any) -> Iterator[Tensor]:
    """Yield the tensors of ``output, (h_n, c_n)`` and of gates, whatever form they have."""
    if isinstance(given, Tensor):
        yield given.values() if given.is_nested else given
    elif isinstance(given, tuple | list | dict):  # a PackedSequence too
        for part in given.values() if isinstance(given, dict) else given:
            yield from _tensors(part)
