"""One step at a time: an LSTM that carries its state from call to call.

A stream is for inference on data as it arrives. It owns the state and, for batches and large layers, a packed copy of
the weights, so a step costs the arithmetic and a few microseconds. ``nn.LSTM`` spends many times that on preparing its
weights at every call.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cellgate.backends import Problem, cpu, requested_backend
from cellgate.backends.cpu_variant_steps import VariantSteps
from cellgate.errors import DtypeError, InputError, ShapeError

from .call import hidden_sizes, memory_sizes, output_sizes, proj_sizes, run, weights_of
from .checks import check_weights
from .initial import initial_state
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
    if x.dim() not in (1, 2):
        raise ShapeError(f"x_t: expected (B, I) or (I,), got {tuple(x.shape)}: step takes one time step, without a T")
    time = 1 if module.batch_first and x.dim() == 2 else 0
    output, state = run(module, x.unsqueeze(time), state)
    return output.squeeze(time), state


class Stream:
    """A batch of sequences in progress; made by ``lstm.stream()``.

    Gradients are not recorded; for a differentiable step there is ``lstm.step``. The stream follows the module's
    weights: optimiser steps, ``load_state_dict`` and replaced parameters are seen by themselves. Writes through
    ``.data``, of which PyTorch keeps no record, need :meth:`refresh` if the batch has more than two rows, the weights
    take more than 4 MB, or the cell is not ``nn.LSTM``'s.

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
        if batch is not None and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
            raise InputError(f"batch: expected a positive integer or None, got {batch!r}")
        self._module = module
        self._batch = batch
        self._rows = batch or 1
        self._sizes = (output_sizes(module), memory_sizes(module))
        self._variant = getattr(module, "variant", None)
        self._weights: list[Tensor] = []
        self._versions: list[tuple[Any, ...]] = []
        self._packed: Any = None
        self._stack: Any = None
        self._any_cell: VariantSteps | None = None  # of a cell other than nn.LSTM's
        self._step: Any = None
        self._turn = 0
        self._at: tuple[tuple[int, ...], ...] = ()
        self.refresh()
        self.reset(hx)

    # ---- weights ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take the module's weights as they are now."""
        module = self._module
        tensors = [getattr(module, name) for names in module._all_weights for name in names]
        first = tensors[0]
        self._dtype, self._device = first.dtype, first.device
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
            cell=variant.description,
            connection=variant.connection,
        )
        self._weights, self._packed, self._stack, self._step = tensors, None, None, None
        self._any_cell = None
        self._versions = [_version(w) for w in tensors]
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
        if requested_backend() not in ("auto", cpu.NAME) or cpu.reason_against(problem) is not None:
            return
        if first.dtype not in cpu.SCALARS:
            return  # half precision is widened on the way through the module
        if not all(w.is_contiguous() and w.dtype == first.dtype and w.is_cpu for w in tensors):
            return
        if not variant.plain_in_evaluation:
            if variant.connection != "highway":
                ways = [layer[0] for layer in weights]
                self._any_cell = VariantSteps(cpu.native(), problem, ways, variant.zoneout)
            return
        self._stack = cpu.stack_of(problem)
        self._addresses = tuple(w.data_ptr() for w in tensors)
        if self._rows > _UNPACKED_ROWS or sum(w.nbytes for w in tensors) > _UNPACKED_BYTES:
            self._packed = cpu.native().PackedStack(self._stack, self._addresses)
        self._set_step()

    def _set_step(self) -> None:
        """Prepare the native core's way of taking a step, where there is one."""
        self._step = None
        tensors = cpu.tensors()
        if tensors is None or self._stack is None or not self._at or self._dtype not in _DTYPES:
            return
        if not set(map(type, self._weights)) <= _PLAIN:
            return
        names = tuple(name for names in self._module._all_weights for name in names)
        out = self._sizes[0][-1]
        steps = cpu.native().Steps(
            tensors,
            self._stack,
            self._packed,
            self._module.__dict__,
            names,
            tuple(self._weights),
            tuple(version for _, version, *_ in self._versions),
            self._at,
            torch.empty(out if self._batch is None else (self._rows, out), dtype=self._dtype),
            self._batch is not None,
            self._rows,
        )
        self._step = steps.step

    def _follow(self) -> None:
        """Take the weights again if one was written or replaced."""
        parameters = self._module._parameters
        k = 0
        for names in self._module._all_weights:
            for name in names:
                w = parameters.get(name)
                if w is None:
                    w = getattr(self._module, name)
                if w is not self._weights[k] or _version(w) != self._versions[k]:
                    return self.refresh()
                k += 1
        return None

    # ---- state -----------------------------------------------------------------------------------------------------

    def reset(self, hx: Any = None, rows: Any = None) -> None:
        """Begin anew.

        Args:
            hx: (h_0, c_0) as for the module, copied; zeros if left out.
            rows: Which sequences begin anew, as an index or a mask of the batch; all if left out.

        Raises:
            InputError: Both ``hx`` and ``rows`` are given.
            ShapeError: ``hx`` has the wrong shape.
        """
        if rows is not None:
            if hx is not None:
                raise InputError("rows: expected None beside hx, got both: set single rows with rows, or all with hx")
            for part in (*self._h, *self._c):
                part[:, rows] = 0
            return
        made = [[self._zeros(size) for size in sizes] for sizes in self._sizes]
        if hx is None and self._variant is not None and self._variant.learned_state:
            hx = tuple(initial_state(self._module, self._rows))
        if hx is not None:
            for name, parts, given in zip(("hx[0]", "hx[1]"), made, self._given(hx), strict=True):
                for layer, (part, source) in enumerate(zip(parts, given, strict=True)):
                    source = source.unsqueeze(1) if self._batch is None and source.dim() == 2 else source
                    if source.shape != part.shape:
                        expected = tuple(part.shape) if self._batch else (1, part.shape[2])
                        raise ShapeError(
                            f"{name}, layer {layer}: expected {expected}, got {tuple(source.shape)}: "
                            "give h_n and c_n of the module, or of Stream.state"
                        )
                    part.copy_(source.detach())
        self._h, self._c = made[0], made[1]
        # The step reads one set of states and writes the other.
        self._next = tuple([torch.empty_like(part) for part in parts] for parts in made)
        self._set_addresses()

    def _zeros(self, size: int) -> Tensor:
        return torch.zeros(1, self._rows, size, dtype=self._dtype, device=self._device)

    def _given(self, hx: Any) -> list[Any]:
        if not isinstance(hx, tuple | list) or len(hx) != 2:
            raise InputError(f"hx: expected a pair (h_0, c_0), got {type(hx).__name__}: pass a tuple of two")
        layers = len(self._sizes[0])
        parts = [state.split(1) if isinstance(state, Tensor) else state for state in hx]
        for name, part in zip(("hx[0]", "hx[1]"), parts, strict=True):
            if len(part) != layers:
                raise ShapeError(f"{name}: expected {layers} layers, got {len(part)}: give one state for every layer")
        return parts

    @property
    def state(self) -> tuple[Any, Any]:
        """(h, c) after the last step, copies, in the form of the module's ``hx``; set it to go on from elsewhere."""
        return self._state_of(self._h), self._state_of(self._c)

    @state.setter
    def state(self, hx: Any) -> None:
        self.reset(hx)

    def _state_of(self, parts: list[Tensor]) -> Any:
        parts = [part.squeeze(1) if self._batch is None else part for part in parts]
        if all(len(set(sizes)) == 1 for sizes in (hidden_sizes(self._module), proj_sizes(self._module))):
            return torch.cat(parts)
        return tuple(part.clone() for part in parts)

    def _set_addresses(self) -> None:
        self._at = tuple(tuple(p.data_ptr() for p in parts) for parts in (self._h, self._c, *self._next))
        self._turn = 0  # which pair holds the present state
        self._set_step()

    def _swap(self) -> None:
        (self._h, self._c), self._next = self._next, (self._h, self._c)
        self._turn ^= 1

    def fork(self) -> Stream:
        """Return a stream that goes on from here by itself; the packed weights are shared."""
        other = copy.copy(self)
        other._h, other._c = ([part.clone() for part in parts] for parts in (self._h, self._c))
        other._next = tuple([torch.empty_like(part) for part in parts] for parts in (self._h, self._c))
        other._set_addresses()
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
        if self._step is not None:
            y = self._step(x, self._turn)
            if y is not None:
                self._swap()
                return y
        x, plain = _tensor(x)
        if plain and self._step is not None:
            y = self._step(x, self._turn)
            if y is not None:
                self._swap()
                return y.numpy()
        expected = (self._module.input_size,) if self._batch is None else (self._rows, self._module.input_size)
        if x.shape != expected:
            raise ShapeError(f"x: expected {expected}, got {tuple(x.shape)}: push takes one step, push_many several")
        y = self._run(x, 1, 0)
        return y.numpy() if plain else y

    def push_many(self, x: Any) -> Any:
        """Take several steps: x (T, B, I), or (T, I) without batch, to h of the last layer at each of them."""
        x, plain = _tensor(x)
        inner = (self._module.input_size,) if self._batch is None else (self._rows, self._module.input_size)
        if x.shape[1:] != inner or x.dim() != len(inner) + 1:
            raise ShapeError(f"x: expected (T, {', '.join(map(str, inner))}), got {tuple(x.shape)}: time comes first")
        y = self._run(x, x.shape[0], 1)
        return y.numpy() if plain else y

    def _run(self, x: Tensor, steps: int, leading: int) -> Tensor:
        self._follow()
        if x.dtype != self._dtype or x.device != self._device:
            raise DtypeError(
                f"x: expected {self._dtype} on {self._device}, like the weights, got {x.dtype} on {x.device}: "
                "convert it with x.to()"
            )
        if self._any_cell is not None and steps > 0:
            at = self._at[2:] + self._at[:2] if self._turn else self._at
            y = self._any_cell.run(x.contiguous(), steps, at, torch.get_num_threads())
            self._swap()
            return y.view(*x.shape[:-1], self._sizes[0][-1])
        if self._stack is None:
            return self._run_module(x, steps, leading)
        if not x.is_contiguous():
            x = x.contiguous()
        out, rows, size = self._sizes[0][-1], self._rows, self._module.input_size
        y = torch.empty((*x.shape[:-1], out), dtype=self._dtype)
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
        self._swap()
        return y

    def _run_module(self, x: Tensor, steps: int, leading: int) -> Tensor:
        """Run the module itself, wherever the native engine cannot."""
        if steps == 0:
            return x.new_empty((*x.shape[:-1], self._sizes[0][-1]))
        module, rows = self._module, self._rows
        data = x.reshape(steps, rows, module.input_size)
        with torch.no_grad():
            hx = self._state_of(self._h), self._state_of(self._c)
            if self._batch is None:
                hx = tuple(s.unsqueeze(1) if isinstance(s, Tensor) else tuple(p.unsqueeze(1) for p in s) for s in hx)
            training = module.training
            try:
                nn.Module.train(module, False)
                output, state = run(module, data.transpose(0, 1) if module.batch_first else data, hx)
            finally:
                nn.Module.train(module, training)
        output = output.transpose(0, 1) if module.batch_first else output
        for parts, new in zip((self._h, self._c), state, strict=True):
            for part, source in zip(parts, new.split(1) if isinstance(new, Tensor) else new, strict=True):
                part.copy_(source)
        return output.reshape(*x.shape[:-1], self._sizes[0][-1])


def _version(w: Tensor) -> tuple[Any, ...]:
    """Return what shows that a weight was replaced or, with None for no record, written to."""
    return w.data_ptr(), None if w.is_inference() else w._version, w.shape, w.stride()


def _tensor(x: Any) -> tuple[Tensor, bool]:
    if isinstance(x, Tensor):
        return x.detach() if x.requires_grad else x, False
    if isinstance(x, np.ndarray):
        return torch.from_numpy(x if x.flags.writeable else x.copy()), True
    raise DtypeError(f"x: expected a tensor or a numpy array, got {type(x).__name__}: wrap it in torch.as_tensor")
