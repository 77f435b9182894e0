"""``cellgate.SequenceModel``: an LSTM and one linear readout, the smallest model that predicts from a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from cellgate.errors import InputError

from .call import output_sizes
from .lstm import LSTM
from .variant import Variant

__all__ = ["Readout", "SequenceModel"]

Readout = Literal["last", "all", "mean"]


class SequenceModel(nn.Module):
    """An LSTM, and a linear readout of its last step, of all its steps, or of their mean.

    An LSTM layer has no fully connected part: what it returns are its hidden states. Predicting from them takes a
    linear layer behind it, and this module is the two together::

        prediction = readout(lstm(input))         state_dict: lstm.weight_ih_l0, ..., readout.weight, readout.bias

    ``model.lstm`` is a :class:`cellgate.LSTM` with the parameter names of ``torch.nn.LSTM``, ``model.readout`` a
    ``torch.nn.Linear``. They are drawn in this order, so the same seed gives the weights of the two written by hand,
    and the same on every device.

    Args:
        input_size: I, features of a step.
        hidden_size: H, units of every layer; or a list, one size a layer.
        num_layers: L; the list's length where sizes are a list.
        output_size: O, numbers in a prediction.
        readout: What the linear layer reads.

            * ``"last"``: the state at each sequence's own last step, one prediction a sequence. The backward direction
              of a bidirectional net ends at the first step, so its share is taken there: it is always ``h_n`` of the
              last layer, forward and backward concatenated. ``output[:, -1]`` would give a backward state that has
              read a single step, and in a padded batch the zeros of the padding.
            * ``"all"``: every step, one prediction a step.
            * ``"mean"``: the mean over each sequence's own steps, one prediction a sequence.
        bias: Whether the LSTM's cells have bias vectors. The readout always has one.
        batch_first: Input, and predictions with ``"all"``, are (B, T, ...). The default is True, unlike the layer's:
            data loaders and tables give sequences first. Never applies to ``hx`` and the returned state.
        dropout: Probability of dropout after every LSTM layer but the last, in training.
        bidirectional: Read in both directions; the readout then sees both states.
        proj_size: P, size of the projected hidden state, 0 for none; or a list, one a layer.
        device: ``"auto"``: CUDA where there is one, else the CPU (a default device of PyTorch's other than the CPU goes
            first). Or any device; None for PyTorch's default. Inputs are not moved: use ``input.to(model.device)``.
        dtype: Of the parameters.
        **variant: Further keywords of :class:`cellgate.LSTM`, such as ``cell``, ``zoneout`` or ``forget_bias``.

    Raises:
        TypeError: A size is not an int, or a flag not a bool.
        ValueError: A size or probability is out of range, or the readout has another name.

    Example:
        >>> import torch, cellgate
        >>> model = cellgate.SequenceModel(input_size=20, hidden_size=100, num_layers=2, output_size=1, device="cpu")
        >>> model(torch.zeros(8, 3, 20)).shape
        torch.Size([8, 1])
        >>> model(torch.zeros(8, 3, 20), lengths=[3, 1, 2, 3, 3, 0, 1, 2]).shape
        torch.Size([8, 1])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        output_size: int,
        readout: Readout = "last",
        *,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int | Sequence[int] = 0,
        device: Any = "auto",
        dtype: torch.dtype | None = None,
        **variant: Any,
    ) -> None:
        super().__init__()
        if readout not in get_args(Readout):
            raise ValueError(f"readout: expected one of {', '.join(map(repr, get_args(Readout)))}, got {readout!r}")
        if not isinstance(output_size, int) or isinstance(output_size, bool):
            raise TypeError(f"output_size: expected an int, got {type(output_size).__name__} {output_size!r}")
        if output_size <= 0:
            raise ValueError(f"output_size: expected more than 0, got {output_size}")
        device = _resolve(device)
        # Drawn on the CPU and moved, as the usual `Model().to(device)` does: a seed means the same weights everywhere.
        start = device if device.type == "meta" else torch.device("cpu")
        self.lstm = LSTM(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device=start,
            dtype=dtype,
            **variant,
        )
        if variant.get("connection") is not None and readout == "last":
            raise InputError(
                'connection: expected None with readout="last", which reads h_n, the last layer\'s own state: '
                'use "mean" or "all", which read the output'
            )
        width = output_sizes(self.lstm)[-1] * (2 if bidirectional else 1)
        self.readout = nn.Linear(width, output_size, device=start, dtype=dtype)
        self.readout_mode: Readout = readout
        self.to(device)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Any, Any] | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        reset: Tensor | None = None,
        return_state: bool = False,
    ) -> Any:
        """Predict.

        Args:
            input: (B, T, I), (T, B, I) with ``batch_first=False``, unbatched (T, I), a ``PackedSequence``, or, batch
                first, a jagged nested tensor.
            hx: (h_0, c_0) as :class:`cellgate.LSTM` takes it; zeros if left out.
            lengths: The length of each sequence of a padded batch, B integers from 0 to T.
            reset: Bools in the layout of the input, true where an episode begins.
            return_state: Return the LSTM's ``(h_n, c_n)`` too, to be passed as ``hx`` when the sequence goes on.

        Returns:
            The prediction, or ``prediction, (h_n, c_n)``. A prediction is (B, O) for ``"last"`` and ``"mean"``, (O,)
            unbatched. For ``"all"`` it has the input's layout with O features, zero past the end of a sequence, and is
            packed or jagged where the input is. A sequence of length 0 has no step to read: ``"last"`` reads its
            initial state and ``"mean"`` zeros, so without ``hx`` both predict the readout's bias.

        Raises:
            InputError: As :meth:`cellgate.LSTM.forward` raises.
        """
        output, state = self.lstm(input, hx, lengths=lengths, reset=reset)
        if self.readout_mode == "last":
            prediction = self.readout(self._last(state[0]))
        elif self.readout_mode == "mean":
            prediction = self.readout(self._mean(output, lengths))
        elif isinstance(output, PackedSequence):
            prediction = output._replace(data=self.readout(output.data))
        else:
            prediction = self.readout(output)
            if lengths is not None:
                prediction = torch.where(self._steps_inside(output, lengths), prediction, 0.0)
        return (prediction, state) if return_state else prediction

    @property
    def device(self) -> torch.device:
        """Where the weights are, and inputs must be."""
        return self.readout.weight.device

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain data, without device and dtype: ``SequenceModel(**config)``."""
        lstm = self.lstm
        more = {}
        if lstm.variant is not None:
            given = asdict(lstm.variant)
            more = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items() if v != getattr(Variant(), k)}
        return {
            "input_size": lstm.input_size,
            "hidden_size": list(lstm.hidden_size) if isinstance(lstm.hidden_size, tuple) else lstm.hidden_size,
            "num_layers": lstm.num_layers,
            "output_size": self.readout.out_features,
            "readout": self.readout_mode,
            "bias": lstm.bias,
            "batch_first": lstm.batch_first,
            "dropout": lstm.dropout,
            "bidirectional": lstm.bidirectional,
            "proj_size": list(lstm.proj_size) if isinstance(lstm.proj_size, tuple) else lstm.proj_size,
            **more,
        }

    def extra_repr(self) -> str:
        """Return what the readout reads; the two modules print themselves."""
        return f"readout={self.readout_mode!r}"

    def _last(self, h_n: Any) -> Tensor:
        """Return the last layer's final h, (B, D*P) or (D*P,): each direction's own last step, whatever the lengths."""
        directions = 2 if self.lstm.bidirectional else 1
        last_layer = h_n[-1] if isinstance(h_n, tuple) else h_n[-directions:]
        return torch.cat(last_layer.unbind(0), dim=-1)

    def _mean(self, output: Tensor | PackedSequence, lengths: Any) -> Tensor:
        """Return the mean of each sequence's own outputs, zeros for length 0."""
        if isinstance(output, PackedSequence):
            output, lengths = pad_packed_sequence(output, batch_first=self.lstm.batch_first)
        elif output.is_nested:
            lengths = output.offsets().diff()  # pyright: ignore[reportAttributeAccessIssue]
            output = output.to_padded_tensor(0.0)
        time = 1 if output.dim() == 3 and self.lstm.batch_first else 0
        total = output.sum(time)  # padding is zero in the output of the layer
        if lengths is None:
            return total / max(output.shape[time], 1)
        count = torch.as_tensor(lengths, device=output.device).clamp(min=1)
        return total / (count.unsqueeze(-1) if output.dim() == 3 else count.reshape(1)).to(total.dtype)

    def _steps_inside(self, output: Tensor, lengths: Any) -> Tensor:
        """Return the mask, (B, T, 1), (T, B, 1) or (T, 1), of steps before the end of their sequence."""
        count = torch.as_tensor(lengths, device=output.device)
        if output.dim() == 2:
            return (torch.arange(output.shape[0], device=output.device) < count.reshape(1)).unsqueeze(-1)
        if self.lstm.batch_first:
            inside = torch.arange(output.shape[1], device=output.device) < count.unsqueeze(1)
        else:
            inside = torch.arange(output.shape[0], device=output.device).unsqueeze(1) < count
        return inside.unsqueeze(-1)


def _resolve(device: Any) -> torch.device:
    """Return the device asked for: "auto" is PyTorch's default unless that is the CPU, then CUDA if there is one."""
    if isinstance(device, str) and device == "auto":
        default = torch.get_default_device()
        return torch.device("cuda") if default.type == "cpu" and torch.cuda.is_available() else default
    return torch.get_default_device() if device is None else torch.device(device)
