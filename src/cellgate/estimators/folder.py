"""A trained model as a folder of plain files: no pickle, every file checked when it is read.

    config.json        what it is and how it was made, and a SHA-256 of every other file
    model.safetensors  the weights; those of the LSTM under torch.nn.LSTM's names, after "lstm."
    preprocess.json    how a table becomes what the network reads
    history.safetensors the values that a forecast continues
    metrics.json       how it did on data it had not seen, beside the baseline
    README.md          a model card

All files take the place of those of an older model as one (cellgate.data.together): a save that is cut short, by a
kill or by a disk that is full, leaves the whole old model or the whole new one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from cellgate._version import __version__
from cellgate.data.files import json_bytes, text_bytes
from cellgate.data.together import places_of, read_part, write_together
from cellgate.errors import InputError

FORMAT = 2  # 1 had no sum of config.json in it, and forecasters of another shape
CONFIG = "config.json"
# Of the command that trains: its options, in the folder of what it saves until the model is done, then beside it.
OPTIONS = ("checkpoint/train.toml", "train.toml")
_LONGEST = 500
_MOMENT = 0.5  # seconds in which a model that takes the place of another has come with all its files
_AGAIN = 10  # times a folder is read that another process saves to meanwhile


class ModelFolderError(InputError):
    """A folder holds no model, a damaged one, or one of a format that this version does not read."""

    def __init__(self, message: str) -> None:
        # PyTorch's own messages, which some of these end with, go over many lines.
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ...")


def save_folder(path: str | Path, kind: str, config: dict[str, Any], files: Mapping[str, Any]) -> None:
    """Write a model folder.

    Args:
        path: the folder, made if it is not there; other files in it are left alone.
        kind: the estimator's name.
        config: plain values.
        files: name -> dict for .json, dict of tensors for .safetensors, str for .md.

    Raises:
        OSError: if it cannot be written; a model that was there then stands.
    """
    raw = {name: _to_bytes(name, content) for name, content in files.items()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in raw.items()}
    whole = {"format": FORMAT, "kind": kind, "cellgate": __version__, **config, "files": sums}
    raw[CONFIG] = json_bytes({**whole, "sum": sum_of(whole)})
    write_together(Path(path), raw, CONFIG)


def sum_of(config: dict[str, Any]) -> str:
    """SHA-256 of a config as JSON writes it, whatever its layout and order."""
    return hashlib.sha256(json.dumps(json.loads(json_bytes(config)), sort_keys=True).encode()).hexdigest()


def _to_bytes(name: str, content: Any) -> bytes:
    if name.endswith(".safetensors"):
        return save_tensors({key: value.detach().contiguous().cpu() for key, value in content.items()})
    return text_bytes(content) if isinstance(content, str) else json_bytes(content)


def load_folder(path: str | Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Read a model folder and check every file in it.

    Returns:
        The kind, the config, and name -> content as save_folder took it.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: expected a model folder, found none; give the --out of a training")
    for _ in range(_AGAIN):
        places, config = _what_will_count(folder)
        try:
            return _load(folder, places, config)
        except ModelFolderError:
            if (places, config) == _what_counts(folder):
                raise
    raise ModelFolderError(f"{folder}: expected a model, got one that is saved again and again; load it later")


def _what_will_count(folder: Path) -> tuple[tuple[Path, ...], bytes | None]:
    """The same as `_what_counts`, some time later where there are weights and no config.json.

    The folder of a training or a search is so while its new model takes the place of the one before.
    """
    until = time.monotonic() + _MOMENT
    while True:
        places, config = _what_counts(folder)
        if config is not None or not (folder / "model.safetensors").is_file() or time.monotonic() > until:
            return places, config
        time.sleep(0.01)


def _what_counts(folder: Path) -> tuple[tuple[Path, ...], bytes | None]:
    """Where the files of a model lie, and config.json, which says what belongs together; None where there is none."""
    places = places_of(folder, CONFIG)
    try:
        return places, read_part(places, CONFIG)
    except (FileNotFoundError, IsADirectoryError):
        return places, None


def _load(
    folder: Path, places: tuple[Path, ...], raw_config: bytes | None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    if raw_config is None and any((folder / name).is_file() for name in OPTIONS):
        raise ModelFolderError(
            f"{folder}: expected a model folder with a {CONFIG}, got a training that was cut short; "
            f"cellgate train --resume --out {shlex.quote(str(folder))} goes on with it"
        )
    if raw_config is None:
        raise ModelFolderError(
            f"{folder}: expected a model folder with a {CONFIG}, found none in it; "
            "the training may not have finished: train again"
        )
    config = _parse_json(folder / CONFIG, raw_config)
    found = config.get("format")
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        raise ModelFolderError(
            f"{folder}: expected a model of format {FORMAT}, got {found!r} "
            f"(written by cellgate {config.get('cellgate')}); {'update cellgate' if newer else 'train again'}"
        )
    if config.pop("sum", None) != sum_of(config):
        raise ModelFolderError(
            f"{folder / CONFIG}: expected the file that was saved, got another or a damaged one; "
            "restore the folder from a copy, or train again"
        )
    files = {}
    listed = config.pop("files", {})
    if not isinstance(listed, dict):
        raise ModelFolderError(f"{folder / CONFIG}: expected the list of its files, got {listed!r}; train again")
    for name, expected in listed.items():
        if Path(name).name != name:
            raise ModelFolderError(f"{folder / CONFIG}: expected files of the folder, got {name!r}; train again")
        try:
            raw = read_part(places, name)
        except (FileNotFoundError, IsADirectoryError):
            raise ModelFolderError(
                f"{folder / name}: expected this part of the model, found none; train again"
            ) from None
        # README.md is for people, who may add to it.
        if name.endswith(".md"):
            continue
        if hashlib.sha256(raw).hexdigest() != expected:
            raise ModelFolderError(
                f"{folder / name}: expected the file that was saved, got another or a damaged one; "
                "restore the folder from a copy, or train again"
            )
        files[name] = (
            _parse_tensors(folder / name, raw) if name.endswith(".safetensors") else _parse_json(folder / name, raw)
        )
    return str(config.get("kind")), config, files


def _parse_json(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        values = json.loads(raw)
    except ValueError as error:
        raise ModelFolderError(
            f"{path}: expected JSON, got a damaged file ({error}); restore it or train again"
        ) from None
    if not isinstance(values, dict):
        raise ModelFolderError(
            f"{path}: expected a JSON object, got {type(values).__name__}; restore it or train again"
        )
    return values


def _parse_tensors(path: Path, raw: bytes) -> dict[str, Tensor]:
    try:
        return load_tensors(raw)
    except SafetensorError as error:
        raise ModelFolderError(f"{path}: expected safetensors, got a damaged file ({error})") from None
