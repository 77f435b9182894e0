"""JAX: a jitted ``lax.scan`` with the input product hoisted out of it, as its users write an LSTM for speed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cellgate.bench.case import Case

from .contender import Absent, Contender, streamed_inputs

__all__ = ["NAME", "build"]

NAME = "JAX scan"


def build(case: Case, mode: str, threads: int) -> Contender:
    """Forward, value and gradient, or one jitted step. The worker process has limited JAX's threads before this."""
    try:
        import jax  # pyright: ignore[reportMissingImports] - an extra
        import jax.numpy as jnp  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise Absent("jax is not installed: pip install cellgate[bench]") from None
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)  # so that float64 exists; every array here has a dtype of its own
    weights = {name: _to_jax(value) for name, value in case.weights.items()}
    lengths = None if case.lengths is None else _to_jax(case.lengths)
    reset = None if case.reset is None else _to_jax(case.reset)
    shape = case.shape

    def step(w: Any, name: str, carry: Any, product: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(product + h @ w[f"weight_hh_{name}"].T, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        if shape.P:
            h = h @ w[f"weight_hr_{name}"].T
        return h, c

    def product_of(w: Any, name: str, x: Any) -> Any:
        product = x @ w[f"weight_ih_{name}"].T
        return product + (w[f"bias_ih_{name}"] + w[f"bias_hh_{name}"]) if shape.bias else product

    def zeros(batch: int, dtype: Any) -> Any:
        return jnp.zeros((batch, shape.P or shape.H), dtype), jnp.zeros((batch, shape.H), dtype)

    def direction(w: Any, name: str, x: Any) -> Any:
        backwards = name.endswith("_reverse")

        def body(carry: Any, at: Any) -> Any:
            product, t = at
            if reset is not None:
                edge = jnp.minimum(t + 1, shape.T - 1) if backwards else t
                cut = reset[edge] & (t + 1 < shape.T) if backwards else reset[edge]
                carry = tuple(jnp.where(cut[:, None], 0, part) for part in carry)
            new = step(w, name, carry, product)
            if lengths is None:
                return new, new[0]
            live = (t < lengths)[:, None]
            kept = tuple(jnp.where(live, a, b) for a, b in zip(new, carry, strict=True))
            return kept, jnp.where(live, new[0], 0)

        start = zeros(x.shape[1], x.dtype)
        return jax.lax.scan(body, start, (product_of(w, name, x), jnp.arange(shape.T)), reverse=backwards)[1]

    def forward(w: Any, x: Any) -> Any:
        for layer in range(shape.L):
            outputs = [direction(w, f"l{layer}{suffix}", x) for suffix in ("", "_reverse")[: shape.D]]
            x = jnp.concatenate(outputs, axis=-1) if shape.D == 2 else outputs[0]
        return x

    x = _to_jax(case.x)
    if mode == "inference":
        jitted: Any = jax.jit(forward)

        def run() -> Any:
            return jax.block_until_ready(jitted(weights, x))

        return Contender(NAME, run, lambda: {"output": _to_torch(run())})

    if mode == "training":
        grad = _to_jax(case.grad)

        def loss(w: Any, x: Any) -> Any:
            output = forward(w, x)
            return jnp.sum(output * grad), output

        both: Any = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))

        def train() -> Any:
            return jax.block_until_ready(both(weights, x))

        def read() -> dict[str, Tensor]:
            (dw, dx), output = train()
            return {
                "output": _to_torch(output),
                "dx": _to_torch(dx),
                **{f"d{name}": _to_torch(value) for name, value in dw.items()},
            }

        return Contender(NAME, train, read)

    if shape.D == 2:
        raise Absent("a stream has one direction")

    def stack(w: Any, carries: Any, x_t: Any) -> Any:
        new = []
        for layer, carry in enumerate(carries):
            new.append(step(w, f"l{layer}", carry, product_of(w, f"l{layer}", x_t)))
            x_t = new[-1][0]
        return new

    jitted_step: Any = jax.jit(stack)
    state = {"carries": [zeros(shape.B, x.dtype) for _ in range(shape.L)]}
    first = x[0]

    def push(x_t: Any = first) -> Any:
        state["carries"] = jax.block_until_ready(jitted_step(weights, state["carries"], x_t))
        return state["carries"][-1][0]

    def read_steps() -> dict[str, Tensor]:
        state["carries"] = [zeros(shape.B, x.dtype) for _ in range(shape.L)]
        return {"output": torch.stack([_to_torch(push(_to_jax(x_t))) for x_t in streamed_inputs(case)])}

    return Contender(NAME, push, read_steps)


def _to_jax(tensor: Tensor) -> Any:
    import jax.numpy as jnp  # pyright: ignore[reportMissingImports] - an extra

    if tensor.dtype == torch.bfloat16:
        return jnp.asarray(tensor.float().numpy(), dtype=jnp.bfloat16)
    return jnp.asarray(tensor.numpy())


def _to_torch(array: Any) -> Tensor:
    import numpy as np

    if array.dtype == "bfloat16":
        return torch.from_numpy(np.array(array.astype("float32"))).bfloat16()
    return torch.from_numpy(np.array(array))
