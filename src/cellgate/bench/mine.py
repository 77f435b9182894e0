"""A user's own weights: which LSTMs a file holds, read without running anything from it."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cellgate.equations import PLAIN
from cellgate.errors import InputError
from cellgate.nn.variant import FIELDS, parameter_shapes

from .shape import Shape

__all__ = ["find_lstms", "load_weights", "shape_of"]

_KINDS = (*FIELDS, "weight_highway", "bias_highway", "h0", "c0")
_KEY = re.compile(rf"(?P<prefix>(?:.*\.)?)(?P<name>(?:{'|'.join(_KINDS)})_l\d+(?:_reverse)?)")

# Modules of torch.nn that may stand in a file saved whole by torch.save(model): unpickling them runs no code of the
# file's, only these classes' own __setstate__.
_KNOWN_MODULES = (
    *(nn.LSTM, nn.Linear, nn.Embedding, nn.Conv1d, nn.LayerNorm, nn.BatchNorm1d),
    *(nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Dropout, nn.Flatten, nn.Identity),
    *(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU),
)


def find_lstms(path: str | Path) -> dict[str, dict[str, Tensor]]:
    """Return the weights of every LSTM in a file, by its name in the model.

    Args:
        path: What ``torch.save`` wrote (a state_dict, a checkpoint that contains one, or a model made of torch.nn's own
            modules), or a .safetensors file. Nothing from the file is executed.

    Raises:
        InputError: The file holds something else, no LSTM, or a variant of one, which would be timed as another cell.
        OSError: It cannot be read.
    """
    path = Path(path)
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in _tensors(_read(path)):
        match = _KEY.fullmatch(key)
        if match:
            found.setdefault(match["prefix"].rstrip("."), {})[match["name"]] = value.detach()
    # A GRU or a plain RNN has parameters of the same names; an LSTM has four gates.
    lstms = {prefix: weights for prefix, weights in found.items() if _is_lstm(weights)}
    for prefix, weights in lstms.items():
        _check_plain(f"{path}: {prefix or 'the LSTM'}", weights)
    if not lstms:
        raise InputError(
            f"{path}: expected the weights of an LSTM (weight_ih_l0, weight_hh_l0, ...), got none: "
            "save torch.save(model.state_dict(), ...) of a model with an nn.LSTM or cellgate.LSTM"
        )
    return lstms


def load_weights(path: str | Path, prefix: str) -> dict[str, Tensor]:
    """Return the weights of the LSTM of this name in the file."""
    lstms = find_lstms(path)
    if prefix not in lstms:
        raise InputError(f"{path}: expected an LSTM named {prefix!r}, got {', '.join(map(repr, lstms))}")
    return lstms[prefix]


def shape_of(weights: Mapping[str, Tensor], steps: int, batch: int) -> Shape:
    """Return the shape of an LSTM of which these are the weights, with T and B.

    Raises:
        InputError: Its layers differ in size, or its dtype cannot be timed.
    """
    layers = 1 + max(int(re.search(r"_l(\d+)", name).group(1)) for name in weights)  # type: ignore[union-attr]
    sizes = {value.shape[0] // 4 for name, value in weights.items() if name.startswith("weight_ih")}
    if len(sizes) > 1:
        raise InputError(f"hidden sizes: expected one for all layers, got {sorted(sizes)}: time the layers one by one")
    first = weights["weight_ih_l0"]
    return Shape(
        T=steps,
        B=batch,
        I=first.shape[1],
        H=first.shape[0] // 4,
        L=layers,
        D=2 if "weight_ih_l0_reverse" in weights else 1,
        P=weights["weight_hr_l0"].shape[0] if "weight_hr_l0" in weights else 0,
        dtype=str(first.dtype).removeprefix("torch."),
        bias="bias_ih_l0" in weights,
    )


def _is_lstm(weights: Mapping[str, Tensor]) -> bool:
    if "weight_ih_l0" not in weights or "weight_hh_l0" not in weights:
        return False
    projection = weights.get("weight_hr_l0")
    if any(w.dim() != 2 for w in (weights["weight_ih_l0"], weights["weight_hh_l0"], projection) if w is not None):
        return False
    rows, columns = weights["weight_hh_l0"].shape
    return rows == 4 * (columns if projection is None else projection.shape[1])


def _check_plain(name: str, weights: Mapping[str, Tensor]) -> None:
    """Check that these are the parameters of a torch.nn.LSTM, no more and no fewer."""
    h, features = weights["weight_hh_l0"].shape[0] // 4, weights["weight_ih_l0"].shape[1]
    p = weights["weight_hr_l0"].shape[0] if "weight_hr_l0" in weights else 0
    numbers = [int(re.search(r"_l(\d+)", key).group(1)) for key in weights]  # type: ignore[union-attr]
    layers = min(1 + max(numbers), len(weights))
    suffixes = ("", "_reverse") if "weight_ih_l0_reverse" in weights else ("",)
    kinds = parameter_shapes(PLAIN, features, h, p, bias="bias_ih_l0" in weights, single_bias=False)
    expected = {f"{kind}_l{layer}{suffix}" for layer in range(layers) for suffix in suffixes for kind in kinds}
    for wrong, there in ((weights.keys() - expected, "more"), (expected - weights.keys(), "fewer")):
        if wrong:
            raise InputError(
                f"{name}: expected the parameters of a torch.nn.LSTM, got {there}: {', '.join(sorted(wrong))}. Only "
                "the plain cell is timed: give a file without this layer, or its sizes with --config"
            )


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path}: expected a safetensors file, got something else ({error})") from None
    try:
        with torch.serialization.safe_globals(list(_KNOWN_MODULES)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(error))
        what = f"an object of class {named.group(1)}" if named else "something else"
        raise InputError(
            f"{path}: expected a state_dict, got {what}: loading that would run code from the file. Save the weights "
            "with torch.save(model.state_dict(), path) and give that file"
        ) from None
    except OSError:
        raise
    except Exception as error:  # a file of another kind is read as if it were a pickle, which may fail in any way
        said = f" ({error})" if isinstance(error, (EOFError, RuntimeError)) else ""
        raise InputError(
            f"{path}: expected what torch.save wrote, got something else{said}: save "
            "torch.save(model.state_dict(), path) and give that file"
        ) from None


def _tensors(content: Any, prefix: str = "") -> list[tuple[str, Tensor]]:
    """All named tensors in a state_dict, in a module, or in a dictionary that has one of them inside."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if isinstance(content, Tensor):
        return [(prefix.rstrip("."), content)]
    if isinstance(content, Mapping):
        return [pair for key, value in content.items() for pair in _tensors(value, f"{prefix}{key}.")]
    return []
