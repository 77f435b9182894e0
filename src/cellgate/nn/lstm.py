"""``cellgate.LSTM``: the contract of ``torch.nn.LSTM``, and what it never had."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from cellgate.backends import Choice
from cellgate.errors import InputError

from .call import hidden_sizes, memory_sizes, output_sizes, prepare, run, run_recorded
from .checks import check_constructor, check_memory, check_num_layers, sizes_per_layer
from .gates import LayerGates, layer_gates
from .initial import reset_parameters
from .penalty import penalty
from .quick import run_quick_with_gates
from .recorders import refuse_to_be_scripted
from .stream import Stream, step
from .variant import Variant, parameter_shapes, variant_of

__all__ = ["LSTM"]


def _without_weight_lists(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in ("_flat_weights", "_flat_weight_refs")}


class LSTM(nn.RNNBase):
    r"""A stack of LSTM layers: ``torch.nn.LSTM`` in every number, name and shape, with more to see and to ask for.

    The first ten parameters are those of ``torch.nn.LSTM``, in its order, with its defaults and meaning. Parameter
    names, shapes, order and, from the same seed, initial values are the same, and a ``state_dict`` loads in both
    directions.

    It is a subclass of ``torch.nn.RNNBase`` and not of ``torch.nn.LSTM``, because ``torch.compile`` refuses to look
    into subclasses of ``nn.LSTM``. For libraries that ask ``isinstance(m, nn.LSTM)`` see ``cellgate.convert``.

    Args:
        input_size: I, features of a step; may be 0.
        hidden_size: H, units of every layer; or a list, one size a layer, ``[100, 50]`` for two layers.
        num_layers: L. With a list of sizes it is the list's length and may be left out.
        bias: Whether the cells have the bias vectors ``b_ih`` and ``b_hh``.
        batch_first: Input and output are (B, T, ...) instead of (T, B, ...). Never applies to ``hx``, ``h_n``, ``c_n``.
        dropout: Probability of dropout after every layer but the last, in training.
        bidirectional: Add a second LSTM to every layer that reads from the last step to the first; outputs are
            concatenated, forward first.
        proj_size: P, size of the projected hidden state, 0 for none; or a list, one a layer.
        device: Of the parameters.
        dtype: Of the parameters, any floating dtype.
        cell: "lstm"; "peephole", the same with ``peephole=True``; "cifg"; "original", of 1997; "no_input_gate",
            "no_forget_gate", "no_output_gate", "no_input_activation", "no_output_activation",
            "full_gate_recurrence"; or "slstm". ``docs/variants.md`` says what each is for.
        peephole: The gates see the memory cell: a parameter ``weight_peephole_l{k}`` (3H,), of i, f and o.
        activation: "tanh" for sigmoid and tanh, "hard" for piecewise linear functions in their places.
        norm: "layer" or "rms" normalisation of both products and of the cell; None for none.
        cell_clip: c is kept within [-cell_clip, cell_clip].
        zoneout: Probabilities with which a unit of c, and of h, keeps its value; one number for both.
        recurrent_dropout: Probability of dropout of the cell candidate g, a new mask at every step.
        locked_dropout: Probabilities of dropout with one mask for all steps: of the input, between layers, of h in the
            recurrence; one number for all three.
        weight_drop: Probability of dropout of the entries of W_hh, one mask a call.
        single_bias: Have ``bias_ih`` only.
        forget_bias: Initial bias of the forget gate.
        chrono: Longest dependency in steps; initial biases of i and f are drawn for it.
        orthogonal: Initial recurrent weights of each gate are an orthogonal matrix.
        learned_state: The state to begin with is a parameter, ``h0_l{k}`` and ``c0_l{k}``, where ``hx`` is left out;
            episodes that begin by ``reset=`` have zeros.
        connection: "residual" or "highway": every layer but the first adds what it reads to what it writes.
        memory: What training on the CPU keeps of a layer for backward, beside its output, in floats for each of T*B*H:
            ``"fast"`` gates and cell states (5), ``"lean"`` cell states (1), ``"minimal"`` the cell state of every 16th
            step (1/16). What is not kept is computed again in backward, to the same numbers up to rounding; without
            gradients all three are the same. Cells with a larger state keep 3 (sLSTM) or 4 (full gate recurrence, the
            latter in "minimal" too) where others keep 1, and normalisation 8 more in "fast"; masks of noise are kept
            in every mode. ``lstm.memory`` may be changed at any time.

    Raises:
        TypeError: A size is not an int, or ``bias`` or ``batch_first`` is not a bool.
        ValueError: A size or probability is out of range, or a list's length contradicts ``num_layers``,
            or keywords do not go together or have another name.

    Example:
        >>> import torch, cellgate
        >>> lstm = cellgate.LSTM(20, 100, num_layers=2)
        >>> output, (h_n, c_n) = lstm(torch.zeros(3, 1, 20))
        >>> output.shape, h_n.shape, c_n.shape
        (torch.Size([3, 1, 100]), torch.Size([2, 1, 100]), torch.Size([2, 1, 100]))
    """

    hidden_size: int | tuple[int, ...]  # pyright: ignore[reportIncompatibleVariableOverride]
    proj_size: int | tuple[int, ...]  # pyright: ignore[reportIncompatibleVariableOverride]
    memory: str = "fast"  # of modules pickled before there was a choice

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int | Sequence[int] = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        cell: str = "lstm",
        peephole: bool = False,
        activation: str = "tanh",
        norm: str | None = None,
        cell_clip: float | None = None,
        zoneout: float | tuple[float, float] = 0.0,
        recurrent_dropout: float = 0.0,
        locked_dropout: float | tuple[float, float, float] = 0.0,
        weight_drop: float = 0.0,
        single_bias: bool = False,
        forget_bias: float | None = None,
        chrono: int | None = None,
        orthogonal: bool = False,
        learned_state: bool = False,
        connection: str | None = None,
        memory: str = "fast",
    ) -> None:
        # RNNBase.__init__ knows one size for all layers only; its attributes are set here instead.
        nn.Module.__init__(self)
        check_num_layers(num_layers)
        self.memory = check_memory(memory)
        hidden, proj = sizes_per_layer(hidden_size, proj_size, num_layers)
        for h, p in zip(hidden, proj, strict=True):
            check_constructor(input_size, h, p, bias, batch_first, dropout)
        self.mode = "LSTM"
        self.input_size = input_size
        self.hidden_size = hidden[0] if len(set(hidden)) == 1 else hidden
        self.num_layers = len(hidden)
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj[0] if len(set(proj)) == 1 else proj
        self.variant = Variant.of_keywords(
            cell=cell,
            peephole=peephole,
            activation=activation,
            norm=norm,
            cell_clip=cell_clip,
            zoneout=zoneout,
            recurrent_dropout=recurrent_dropout,
            locked_dropout=locked_dropout,
            weight_drop=weight_drop,
            single_bias=single_bias,
            forget_bias=forget_bias,
            chrono=chrono,
            orthogonal=orthogonal,
            learned_state=learned_state,
            connection=connection,
        )
        if dropout > 0 and self.num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers=1",
                stacklevel=2,
            )

        self._flat_weights_names: list[str] = []
        self._all_weights: list[list[str]] = []
        layer_input = input_size
        variant = variant_of(self)
        description = variant.description
        for layer, (h, p) in enumerate(zip(hidden, proj, strict=True)):
            shapes = parameter_shapes(description, layer_input, h, p, bias=bias, single_bias=variant.single_bias)
            for suffix in ("", "_reverse") if bidirectional else ("",):
                names = []
                for kind, shape in shapes.items():
                    names.append(f"{kind}_l{layer}{suffix}")
                    self.register_parameter(names[-1], nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
                self._flat_weights_names += names
                self._all_weights.append(names)
            layer_input = (p or h) * (2 if bidirectional else 1)
        if self.variant is not None:
            self._register_more(device, dtype)
        self.reset_parameters()

    def _register_more(self, device: Any, dtype: torch.dtype | None) -> None:
        """Register what a variant has beside its cells: a learned state, and gates between layers."""
        variant = variant_of(self)
        outs = [(2 if self.bidirectional else 1) * size for size in output_sizes(self)]
        variant.check_with(self.bias, self.dropout, list(pairwise(outs)))
        shapes: dict[str, tuple[int, ...]] = {}
        if variant.learned_state:
            for layer, (out, memory) in enumerate(zip(output_sizes(self), memory_sizes(self), strict=True)):
                for suffix in ("", "_reverse") if self.bidirectional else ("",):
                    shapes |= {f"h0_l{layer}{suffix}": (out,), f"c0_l{layer}{suffix}": (memory,)}
        if variant.connection == "highway":
            for layer, width in enumerate(outs[1:], 1):
                shapes |= {f"weight_highway_l{layer}": (width, width), f"bias_highway_l{layer}": (width,)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-1/sqrt(H), 1/sqrt(H)), H being the layer's own: what nn.LSTM draws.

        What the keywords ask for, such as ``chrono``, is set after that; the sources are in ``initial.py``.
        """
        reset_parameters(self, hidden_sizes(self))

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Any, Any] | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        reset: Tensor | None = None,
    ) -> Any:
        """Run the stack over a batch of sequences.

        Args:
            input: (T, B, I), (B, T, I) with ``batch_first``, unbatched (T, I), a ``PackedSequence``, sorted or not, or,
                with ``batch_first``, a jagged nested tensor, which gives a jagged output.
            hx: (h_0, c_0), each (L*D, B, size), unbatched (L*D, size); zeros if left out. For layers of different sizes
                each is a tuple of L tensors (D, B, size of the layer), the form in which ``h_n`` and ``c_n`` come back.
            lengths: The length of each sequence of a padded batch, B integers from 0 to T, in any order, on any device.
                The result is that of the packed batch: ``output`` is zero past a sequence's end, ``h_n`` and ``c_n``
                are those of its own last step in both directions (its ``hx`` for length 0).
            reset: Bools in the layout of the input, (T, B), or (B, T) with ``batch_first``, or (T,): true where an
                episode begins. The state is zero before that step. A bidirectional net reads each episode on its own:
                its backward direction does not carry state from an episode to the one before.

        Returns:
            ``output, (h_n, c_n)``: output is (T, B, D*P) in the input's layout, or a ``PackedSequence``; h_n is (L*D,
            B, P) and c_n (L*D, B, H), P being H where there is no projection.

        Raises:
            ShapeError: A size or rank is wrong (a ``ValueError`` and a ``RuntimeError``).
            DtypeError: Another dtype than the weights', or lengths or reset of the wrong kind.
            InputError: Wrong device, or a length out of range.
            BackendError: The backend asked for by name cannot run this.
        """
        return run(self, input, hx, lengths, reset)

    def gates(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Any, Any] | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Any, Any, tuple[LayerGates, ...]]:
        """Run the stack as :meth:`forward` does and return the gates of every step too, as differentiable tensors.

        Args:
            input: As in :meth:`forward`, and so are ``hx``, ``lengths`` and ``reset``.
            hx: (h_0, c_0) or None.
            lengths: The length of each sequence, or None.
            reset: Where episodes begin, or None.

        Returns:
            ``output, (h_n, c_n), gates``: the first two as from :meth:`forward`; gates has a :class:`LayerGates` for
            each layer, with i, f, g, o, c of (T, B, H) and h of (T, B, P) in the input's layout, the layer's second
            direction in its attribute ``backward``. The last layer's h may be a view of the output.

        Raises:
            InputError, BackendError: As :meth:`forward`.

        Example:
            >>> import torch, cellgate
            >>> output, (h_n, c_n), gates = cellgate.LSTM(20, 100, num_layers=2).gates(torch.zeros(3, 1, 20))
            >>> gates[1].f.shape
            torch.Size([3, 1, 100])
        """
        if lengths is None and reset is None:
            quick = run_quick_with_gates(self, input, hx)
            if quick is not None:
                return quick
        (output, state), recorded, call = run_recorded(self, input, hx, lengths, reset)
        assert recorded is not None
        return output, state, tuple(layer_gates(self, call, layer) for layer in recorded)

    def penalty(
        self,
        output: Tensor | PackedSequence,
        *,
        activation: float = 2.0,
        temporal: float = 1.0,
        lengths: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """Return the activation (AR) and temporal activation (TAR) regularisation terms of an output, to add to a loss.

        Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, section 4.6, use 2 and
        1, the first on the output after dropout.

        Args:
            output: As :meth:`forward` returned it.
            activation: Weight of the mean square of h.
            temporal: Weight of the mean square of the change of h from step to step.
            lengths: As given to :meth:`forward`; steps past a sequence's end do not count.

        Returns:
            A scalar.

        Raises:
            ShapeError: Not an output of this layer.
        """
        return penalty(self, output, activation, temporal, lengths)

    def step(self, x_t: Tensor, state: tuple[Any, Any] | None = None) -> tuple[Tensor, Any]:
        """Compute one time step.

        Args:
            x_t: (B, I), or (I,) without batch.
            state: (h, c) as ``hx`` of :meth:`forward`; zeros if left out.

        Returns:
            ``h_t, (h, c)``: h of the last layer, (B, P) or (P,), and the state for the next step. Differentiable.

        Raises:
            InputError: As :meth:`forward`, and for a bidirectional net, which has no single next step.
        """
        if self.bidirectional:
            raise InputError(
                "step: expected an LSTM of one direction, got bidirectional=True: its backward direction begins at the "
                "last step. Call the module on a whole sequence"
            )
        return step(self, x_t, state)

    def stream(self, batch: int | None = None, hx: tuple[Any, Any] | None = None) -> Stream:
        """Return a :class:`Stream`, which takes one step at a time and carries the state itself.

        Args:
            batch: B, sequences side by side; None for one sequence without a batch dimension.
            hx: The state to begin with; zeros if left out.

        Raises:
            InputError: The net is bidirectional, or an argument is wrong.

        Example:
            >>> import torch, cellgate
            >>> stream = cellgate.LSTM(20, 100).stream()
            >>> stream.push(torch.zeros(20)).shape
            torch.Size([100])
        """
        return Stream(self, batch, hx)

    def explain_backend(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Any, Any] | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        reset: Tensor | None = None,
    ) -> Choice:
        """Return which backend would run this call, and why not the others; ``print`` it to read it."""
        return prepare(self, input, hx, lengths, reset).choice

    def flatten_parameters(self) -> None:
        """Do nothing: weights need no particular place in memory, so there is nothing to flatten or to warn about."""

    def extra_repr(self) -> str:
        """Return the constructor's arguments that are not defaults, as nn.LSTM prints them."""
        hidden = list(self.hidden_size) if isinstance(self.hidden_size, tuple) else self.hidden_size
        proj = list(self.proj_size) if isinstance(self.proj_size, tuple) else self.proj_size
        parts = [f"{self.input_size}", f"{hidden}"]
        if proj != 0:
            parts.append(f"proj_size={proj}")
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if self.bias is not True:
            parts.append(f"bias={self.bias}")
        if self.batch_first is not False:
            parts.append(f"batch_first={self.batch_first}")
        if self.dropout != 0:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional is not False:
            parts.append(f"bidirectional={self.bidirectional}")
        if variant_of(self) != Variant():
            parts.append(str(self.variant))
        if self.memory != "fast":
            parts.append(f"memory={self.memory!r}")
        return ", ".join(parts)

    # nn.RNNBase keeps a second list of its weights in step with the first by hooks on assignment, .to() and pickling.
    # Here weights are read by name at every call, so the list is computed and the hooks are those of nn.Module.

    @property
    def _flat_weights(self) -> list[Tensor | None]:
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor | None]) -> None:
        # Weight-dropping wrappers assign this list after replacing the attributes it is made of; the attributes count.
        pass

    # What ``step`` runs; a module that is traced has a recording one.
    _run_lstm = run

    # What code derived from nn.LSTM calls: those of RNNBase know one state, not a pair.
    check_forward_args = nn.LSTM.check_forward_args  # pyright: ignore[reportAssignmentType]
    get_expected_cell_size = nn.LSTM.get_expected_cell_size
    permute_hidden = nn.LSTM.permute_hidden  # pyright: ignore[reportAssignmentType]

    __prepare_scriptable__ = refuse_to_be_scripted
    __setattr__ = nn.Module.__setattr__  # pyright: ignore[reportAssignmentType]
    _apply = nn.Module._apply  # pyright: ignore[reportAssignmentType]
    _replicate_for_data_parallel = nn.Module._replicate_for_data_parallel  # pyright: ignore[reportAssignmentType]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle or copy; an nn.LSTM that became one of these leaves its weight lists behind."""
        return _without_weight_lists(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied module, one saved by an nn.LSTM from before proj_size included."""
        state = _without_weight_lists(state)
        nn.Module.__setstate__(self, state)
        if "proj_size" not in state:
            self.proj_size = 0
        if "variant" not in state:
            self.variant = None
