"""One step at a time: an LSTM that carries its state from call to call.

A stream is for inference on data as it arrives. It owns the state and, for batches and large layers, a packed copy of
the weights, so a step costs the arithmetic and a few microseconds. ``nn.LSTM`` spends many times that on preparing its
weights at every call.
"""

from __future__ import annotations

import numbers
import os
import threading
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from cellgate.backends import Problem, cpu, requested_backend
from cellgate.backends.cpu_tensors import check_backed
from cellgate.backends.cpu_variant_steps import VariantSteps
from cellgate.backends.half import HALVES
from cellgate.backends.problem import any_wrapped
from cellgate.equations import LSTMWeights
from cellgate.errors import DtypeError, InputError, ShapeError

from . import stream_state
from .call import hidden_sizes, memory_sizes, output_sizes, proj_sizes, run, weights_of
from .checks import check_weights
from .initial import initial_state
from .stream_state import as_tensor
from .variant import variant_of

__all__ = ["Stream", "step"]

# What the native core reads without a call into Python.
_PLAIN = {Tensor, nn.Parameter}
_DTYPES = {torch.float32, torch.float64}

# Up to so many rows, and so many bytes in all, the engine reads weights where they are as fast as packed ones. More
# bytes come from a far cache, which gives one long stretch faster than many short ones.
_UNPACKED_ROWS, _UNPACKED_BYTES = 2, 4_000_000


def step(module: Any, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    """Compute one step: x (B, I) or (I,) and (h, c) to h of the last layer and the new (h, c); differentiable."""
    if not isinstance(x, Tensor):
        raise DtypeError(f"x_t: expected a tensor, got {type(x).__name__}: wrap it in torch.as_tensor")
    if x.dim() not in (1, 2):
        raise ShapeError(f"x_t: expected (B, I) or (I,), got {tuple(x.shape)}: step takes one time step, without a T")
    time = 1 if module.batch_first and x.dim() == 2 else 0
    output, state = module._run_lstm(x.unsqueeze(time), state)
    return output.squeeze(time), state


_streams: weakref.WeakSet[Stream] = weakref.WeakSet()


def _renew_locks() -> None:
    """Give every stream a lock that is free: in the child of a fork the thread that held it is not there to let go."""
    for stream in list(_streams):
        # A step computes into the other set of states, which then becomes the present one: no step is half done.
        stream._lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_locks)


class Stream:
    """A batch of sequences in progress; made by ``lstm.stream()``.

    Gradients are not recorded; for a differentiable step there is ``lstm.step``. The stream follows the module's
    weights and their dtype: every call sees optimiser steps, ``load_state_dict`` and other writes that autograd
    records, and parameters that were replaced or moved (``.data =``, ``.to()``). Inside ``cellgate.use_backend`` it
    runs on the backend that is asked for.

    With more than two rows, more than 4 MB of weights, or a cell that is not ``nn.LSTM``'s, a stream computes with a
    packed copy of its weight matrices. Writes of which PyTorch keeps no record (fused optimisers, in-place writes
    through ``.data`` or a numpy view, another process) are then seen by 64 numbers of each matrix, spread over it: a
    write to most of a matrix, or to all rows of a gate, changes some of them; one to a few numbers, rows or columns may
    change none. After such a small write call :meth:`refresh`. Biases, and all weights of other streams, are read where
    they are at every step.

    A stream of a module in half precision carries its state in float32, as a call of the module does from step to step,
    and holds its weights in float32, biases too; the copy follows the weights as a packed one does.

    Several threads may use one stream; they take turns, and the child of a process that forks goes on from the last
    whole step. ``copy.deepcopy`` and ``pickle`` copy the module with it; :meth:`fork` shares it.

    Args:
        module: An LSTM, with the attributes of ``torch.nn.LSTM``, of one direction.
        batch: B, sequences side by side; None for one sequence without a batch dimension.
        hx: (h_0, c_0) as for the module; zeros if left out.

    Raises:
        InputError: The module reads backward too, or ``batch`` is not a positive integer.
        ShapeError: ``hx`` has the wrong shape.
    """

    def __init__(self, module: Any, batch: int | None = None, hx: Any = None) -> None:
        if module.bidirectional:
            raise InputError(
                "stream: expected an LSTM of one direction, got bidirectional=True: its backward direction begins at "
                "the last step, which a stream has not seen. Call the module on a whole sequence"
            )
        if batch is not None and (not isinstance(batch, numbers.Integral) or isinstance(batch, bool) or batch < 1):
            raise InputError(f"batch: expected a positive integer or None, got {batch!r}")
        self._module = module
        self._batch = None if batch is None else int(batch)
        self._rows = self._batch or 1
        self._sizes = (output_sizes(module), memory_sizes(module))
        self._lock = threading.RLock()  # held by every public call
        _streams.add(self)
        self._weights: list[Tensor] = []
        self._versions: list[tuple[Any, ...]] = []
        self._memory: list[Tensor] = []  # keeps what the addresses point to, whatever becomes of the parameters
        self._addresses: tuple[int, ...] = ()
        self._packed: Any = None
        self._fingerprint: Any = None  # of the packed weights
        self._stack: Any = None
        self._any_cell: VariantSteps | None = None  # of a cell other than nn.LSTM's
        self._step: Any = None
        self._requested = ""  # the backend that was asked for when weights were taken
        self._turn = 0  # which set of states is the present one
        self._sent: Any = None  # the state as last pickled
        first = getattr(module, module._all_weights[0][0])
        self._states = stream_state.two_sets(self._sizes, self._rows, stream_state.kept_as(first.dtype), first.device)
        self._refresh()
        self._begin(hx)

    def __repr__(self) -> str:
        """What it streams through, and how many sequences; not where it lies in memory."""
        rows = "one sequence" if self._batch is None else f"batch={self._batch}"
        return f"<Stream of {self._module!r}, {rows}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes a stream of a copy of the module that goes on from here."""
        # Kept until the next time: multiprocessing begins a process after it has pickled, and hands it tensors by file
        # descriptors that end with the tensors.
        with self._lock:
            self._follow()
            self._sent = self._state()
        return type(self), (self._module, self._batch, self._sent)

    # ---- weights ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take the module's weights as they are now."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        module = self._module
        tensors = [getattr(module, name) for names in module._all_weights for name in names]
        versions = [_version(w) for w in tensors]
        first = tensors[0]
        variant = variant_of(module)
        problem = Problem(
            1,
            self._rows,
            module.input_size,
            hidden_sizes(module),
            proj_sizes(module),
            1,
            module.bias,
            first.dtype,
            first.device.type,
            wrapped=any_wrapped(tensors),
            cell=variant.description,
            connection=variant.connection,
        )
        weights = weights_of(module)
        check_weights(
            module._all_weights,
            weights,
            module.input_size,
            hidden_sizes(module),
            proj_sizes(module),
            module.bias,
            cell=variant.description,
            single_bias=variant.single_bias,
        )
        self._step = self._packed = self._fingerprint = self._stack = self._any_cell = None
        self._weights, self._versions, self._memory = tensors, versions, []
        self._dtype, self._device = first.dtype, first.device
        self._convert_states()
        self._requested = requested_backend()
        if self._requested not in ("auto", cpu.NAME) or cpu.reason_against(problem) is not None:
            return
        if not all(w.is_contiguous() and w.dtype == first.dtype and w.is_cpu and not w.is_neg() for w in tensors):
            return
        check_backed(zip((name for names in module._all_weights for name in names), tensors, strict=True))
        halved = first.dtype in HALVES
        fingerprint = self._taken(tensors, halved)  # before packing: what is written meanwhile shows
        self._memory = [w.detach().float() if halved else w.detach() for w in tensors]
        self._addresses = tuple(w.data_ptr() for w in self._memory)
        if not variant.plain_in_evaluation:
            if variant.connection != "highway":
                self._fingerprint = fingerprint
                ways = [layer[0] for layer in weights]
                if halved:
                    ways = [LSTMWeights._make(None if w is None else w.detach().float() for w in way) for way in ways]
                self._any_cell = VariantSteps(cpu.native(), problem, ways, variant.zoneout)
            return
        self._stack = cpu.stack_of(problem)
        pack = self._rows > _UNPACKED_ROWS or sum(w.nbytes for w in self._memory) > _UNPACKED_BYTES
        if pack or halved:
            self._fingerprint = fingerprint
        if pack:
            self._packed = cpu.native().PackedStack(self._stack, self._addresses)
        self._set_step()

    def _taken(self, tensors: list[Tensor], halved: bool) -> Any:
        """Take a fingerprint of the weights of which there will be a copy: the matrices, and all in half precision."""
        copied = [w for w in tensors if halved or w.dim() == 2]
        # Two numbers of half precision are one of the fingerprint's.
        counts = tuple(w.numel() // 2 if halved else w.numel() for w in copied)
        return cpu.native().Fingerprint(tuple(w.data_ptr() for w in copied), counts, self._dtype == torch.float64)

    def _convert_states(self) -> None:
        """Make the states go with the weights, whose dtype or device may be another than before."""
        present, dtype = self._states[self._turn], stream_state.kept_as(self._dtype)
        if (present[0][0].dtype, present[0][0].device) != (dtype, self._device):
            self._states = stream_state.two_sets(self._sizes, self._rows, dtype, self._device)
            stream_state.copied(present, self._states[self._turn])
        self._at = tuple(tuple(p.data_ptr() for p in parts) for pair in self._states for parts in pair)

    def _set_step(self) -> None:
        """Prepare the native core's way of taking a step, where there is one."""
        self._step = None
        tensors = cpu.tensors()
        if tensors is None or self._stack is None or self._dtype not in _DTYPES:
            return
        if not set(map(type, self._weights)) <= _PLAIN:
            return
        names = tuple(name for names in self._module._all_weights for name in names)
        out = self._sizes[0][-1]
        steps = cpu.native().Steps(
            tensors,
            self._stack,
            self._packed,
            self._fingerprint,
            self._module.__dict__,
            names,
            tuple(self._weights),
            tuple(version for _, version, *_ in self._versions),
            self._addresses,
            (*self._states[0], *self._states[1]),
            torch.empty(out if self._batch is None else (self._rows, out), dtype=self._dtype, device=self._device),
            self._batch is not None,
            self._rows,
        )
        self._step = steps.step

    def _follow(self) -> None:
        """Take the weights again if one was written or replaced, or another backend is asked for by now."""
        if requested_backend() != self._requested:
            return self._refresh()
        parameters = self._module._parameters
        k = 0
        for names in self._module._all_weights:
            for name in names:
                w = parameters.get(name)
                if w is None:
                    w = getattr(self._module, name)
                if w is not self._weights[k] or _version(w) != self._versions[k]:
                    return self._refresh()
                k += 1
        if self._fingerprint is not None and not self._fingerprint.unchanged():
            self._refresh()
        return None

    # ---- state -----------------------------------------------------------------------------------------------------

    def reset(self, hx: Any = None, rows: Any = None) -> None:
        """Begin anew.

        Args:
            hx: (h_0, c_0) as for the module, copied; zeros, or the module's learned state, if left out.
            rows: Which sequences begin anew, as an index or a mask of the batch; all if left out.

        Raises:
            InputError: Both ``hx`` and ``rows`` are given, or there are no such rows.
            ShapeError: ``hx`` has the wrong shape.
        """
        if rows is not None and hx is not None:
            raise InputError("rows: expected None beside hx, got both: set single rows with rows, or all with hx")
        with self._lock:
            self._follow()
            self._begin(hx, rows)

    def _begin(self, hx: Any, rows: Any = None) -> None:
        present = self._states[self._turn]
        if hx is not None:
            return stream_state.copied(stream_state.checked(hx, present, self._batch is not None), present)
        learned = initial_state(self._module, self._rows) if variant_of(self._module).learned_state else None
        return stream_state.begin(present, rows, learned)

    @property
    def state(self) -> tuple[Any, Any]:
        """(h, c) after the last step, copies, in the form of the module's ``hx``; set it to go on from elsewhere."""
        with self._lock:
            self._follow()
            return stream_state.rounded(self._state(), self._dtype)

    @state.setter
    def state(self, hx: Any) -> None:
        self.reset(hx)

    def _state(self) -> tuple[Any, Any]:
        h, c = self._states[self._turn]
        return self._state_of(h), self._state_of(c)

    def _state_of(self, parts: tuple[Tensor, ...]) -> Any:
        if self._batch is None:
            parts = tuple(part.squeeze(1) for part in parts)
        if all(len(set(sizes)) == 1 for sizes in (hidden_sizes(self._module), proj_sizes(self._module))):
            return torch.cat(parts)
        return tuple(part.clone() for part in parts)

    def fork(self) -> Stream:
        """Return a stream that goes on from here by itself; the module and the packed weights are shared."""
        with self._lock:
            self._follow()
            other = object.__new__(type(self))
            vars(other).update(vars(self))
            other._lock = threading.RLock()
            _streams.add(other)
            other._states = stream_state.two_sets(
                self._sizes, self._rows, stream_state.kept_as(self._dtype), self._device
            )
            stream_state.copied(self._states[self._turn], other._states[other._turn])
            other._convert_states()
            other._set_step()
            return other

    # ---- steps -----------------------------------------------------------------------------------------------------

    def push(self, x: Any) -> Any:
        """Take one step.

        Args:
            x: Input of the step, (B, I), or (I,) for a stream without batch; a tensor or a numpy array of the weights'
                dtype.

        Returns:
            h of the last layer, (B, P) or (P,), a tensor for a tensor and an array for an array; the caller's own.

        Raises:
            ShapeError: x has the wrong shape.
            DtypeError: x is neither a tensor nor an array, or has another dtype.
        """
        with self._lock:
            if self._step is not None and requested_backend() == self._requested:
                y = self._step(x, self._turn)
                if y is not None:
                    self._turn ^= 1
                    return y
            return self._push(x)

    def _push(self, x: Any) -> Any:
        x, plain = as_tensor(x)
        if plain and self._step is not None and requested_backend() == self._requested:
            y = self._step(x, self._turn)
            if y is not None:
                self._turn ^= 1
                return y.numpy()
        expected = (self._module.input_size,) if self._batch is None else (self._rows, self._module.input_size)
        if x.shape != expected:
            raise ShapeError(f"x: expected {expected}, got {tuple(x.shape)}: push takes one step, push_many several")
        y = self._run(x, 1, 0)
        return y.numpy() if plain else y

    def push_many(self, x: Any) -> Any:
        """Take several steps: x (T, B, I), or (T, I) without batch, to h of the last layer at each of them."""
        x, plain = as_tensor(x)
        inner = (self._module.input_size,) if self._batch is None else (self._rows, self._module.input_size)
        if x.shape[1:] != inner or x.dim() != len(inner) + 1:
            raise ShapeError(f"x: expected (T, {', '.join(map(str, inner))}), got {tuple(x.shape)}: time comes first")
        with self._lock:
            y = self._run(x, x.shape[0], 1)
        return y.numpy() if plain else y

    def _run(self, x: Tensor, steps: int, leading: int) -> Tensor:
        self._follow()
        if x.dtype != self._dtype or x.device != self._device:
            raise DtypeError(
                f"x: expected {self._dtype} on {self._device}, like the weights, got {x.dtype} on {x.device}: "
                "convert it with x.to()"
            )
        if any_wrapped((x,)):
            return self._run_module(x, steps, leading)
        if not x.is_meta:
            check_backed((("x", x),))
        if self._any_cell is not None and steps > 0:
            at = self._at[2:] + self._at[:2] if self._turn else self._at
            y = self._any_cell.run(stream_state.widened(x).contiguous(), steps, at, torch.get_num_threads())
            self._turn ^= 1
            return y.view(*x.shape[:-1], self._sizes[0][-1]).to(x.dtype)
        if self._stack is None:
            return self._run_module(x, steps, leading)
        dtype, x = x.dtype, stream_state.widened(x)
        if not x.is_contiguous():
            x = x.contiguous()
        out, rows, size = self._sizes[0][-1], self._rows, self._module.input_size
        y = x.new_empty((*x.shape[:-1], out))
        self._stack.forward(
            steps,
            rows,
            x.data_ptr(),
            rows * size,
            size,
            y.data_ptr(),
            rows * out,
            out,
            self._addresses,
            *(self._at[2:] + self._at[:2] if self._turn else self._at),
            torch.get_num_threads(),
            packed=self._packed,
        )
        self._turn ^= 1
        return y.to(dtype)

    def _run_module(self, x: Tensor, steps: int, leading: int) -> Tensor:
        """Run the module itself, wherever the native engine cannot."""
        if steps == 0:
            return x.new_empty((*x.shape[:-1], self._sizes[0][-1]))
        module, rows = self._module, self._rows
        data = x.reshape(steps, rows, module.input_size)
        with torch.no_grad():
            hx = stream_state.rounded(self._state(), self._dtype)
            if self._batch is None:
                hx = tuple(s.unsqueeze(1) if isinstance(s, Tensor) else tuple(p.unsqueeze(1) for p in s) for s in hx)
            training = module.training
            try:
                nn.Module.train(module, False)
                output, state = run(module, data.transpose(0, 1) if module.batch_first else data, hx)
            finally:
                nn.Module.train(module, training)
        output = output.transpose(0, 1) if module.batch_first else output
        parts = [new.split(1) if isinstance(new, Tensor) else new for new in state]
        stream_state.copied(parts, self._states[self._turn])
        return output.reshape(*x.shape[:-1], self._sizes[0][-1])


def _version(w: Tensor) -> tuple[Any, ...]:
    """Return what shows that a weight was replaced or, with None for no record, written to."""
    return w.data_ptr(), None if w.is_inference() else w._version, w.shape, w.stride()
