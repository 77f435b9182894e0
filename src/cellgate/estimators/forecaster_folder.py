"""A Forecaster as the files of a model folder, and back."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cellgate.data import Frequency, Panel, Roles
from cellgate.data.numbers import has_decimal_comma
from cellgate.data.time_formats import with_noted_clock
from cellgate.estimators.card import forecaster_card
from cellgate.estimators.folder import save_folder
from cellgate.tasks.covariates import CovariateCoding
from cellgate.tasks.forecast_network import ForecastNetwork
from cellgate.tasks.forecast_task import ForecastTask
from cellgate.tasks.start import Mix, mix_from_json, mix_to_json, naive_mix
from cellgate.training import TrainingRecord

if TYPE_CHECKING:
    from cellgate.estimators.forecaster import Forecaster


def save_forecaster(forecaster: Forecaster, path: str | Path) -> None:
    """Write the folder."""
    panel = forecaster.panel_
    config = {
        "estimator": forecaster.plain_params(),
        "model": forecaster.model_.config(),
        "task": forecaster.task_.to_json(),
        "training": {key: value for key, value in asdict(forecaster.record_).items() if key != "history"},
    }
    preprocess = {
        "source": panel.source,
        "shrinkage": forecaster.shrinkage_.tolist(),
        "widening": forecaster.widening_.tolist(),
        "covariates": forecaster.coding_.to_json(),
        "frequency": panel.frequency.to_json(),
        "season": panel.season,
        "roles": asdict(panel.roles),
        "notes": list(panel.notes),
        "integer_ids": panel.integer_ids,
        "columns": list(panel.columns),
        "decimal_comma": panel.decimal_comma,
        "categories": {name: list(values) for name, values in panel.categories.items()},
        "names": {kind: list(getattr(panel, f"{kind}_names")) for kind in ("past", "future", "static")},
        "series": [
            {
                "id": name,
                "start": _plain(start),
                "steps": len(values),
                "steps_ahead": len(panel.future[k]) - len(values) if panel.future else 0,
                "scale": forecaster.scales_.get(name),
                "lag": forecaster.lags_.get(name),
                "mix": mix_to_json(forecaster.mixes_[name]) if name in forecaster.mixes_ else None,
                "trained_until": _plain(forecaster.trained_[name]) if name in forecaster.trained_ else None,
            }
            for k, (name, start, values) in enumerate(zip(panel.ids, panel.starts, panel.values, strict=True))
        ],
    }
    history: dict[str, Tensor] = {"values": torch.from_numpy(np.concatenate(panel.values))}
    for kind in ("past", "future"):
        if getattr(panel, kind):
            history[kind] = torch.from_numpy(np.concatenate(getattr(panel, kind)))
    if panel.static is not None:
        history["static"] = torch.from_numpy(panel.static)
    files = {
        "model.safetensors": forecaster.model_.state_dict(),
        "preprocess.json": preprocess,
        "history.safetensors": history,
        "metrics.json": {**forecaster.metrics_, "history": [list(pair) for pair in forecaster.record_.history]},
        "README.md": forecaster_card(config, preprocess, forecaster.metrics_),
    }
    save_folder(path, "Forecaster", config, files)


def restore_forecaster(forecaster: Forecaster, config: dict[str, Any], files: dict[str, Any]) -> Forecaster:
    """Give a new Forecaster what the files of a folder hold; what `load` calls, and says of wrong parts."""
    params = {name: tuple(v) if isinstance(v, list) else v for name, v in config["estimator"].items()}
    forecaster.set_params(**params)
    preprocess, metrics = files["preprocess.json"], dict(files["metrics.json"])
    series = preprocess["series"]
    forecaster.panel_ = _panel(preprocess, files["history.safetensors"])
    forecaster.scales_ = {entry["id"]: entry["scale"] for entry in series if entry["scale"] is not None}
    forecaster.lags_ = {entry["id"]: entry["lag"] for entry in series if entry["lag"] is not None}
    forecaster.mixes_ = {entry["id"]: _mix(entry) for entry in series if entry["lag"] is not None}
    forecaster.trained_ = {
        entry["id"]: _stamp(entry["trained_until"]) for entry in series if entry["trained_until"] is not None
    }
    forecaster.coding_ = CovariateCoding.from_json(preprocess["covariates"])
    forecaster.widening_ = np.array(preprocess["widening"])
    # A folder of an earlier version has none: its answers are taken as they are.
    forecaster.shrinkage_ = np.array(preprocess.get("shrinkage", np.ones(len(forecaster.widening_))))
    forecaster.task_ = ForecastTask.from_json(config["task"])
    forecaster.record_ = TrainingRecord(
        **config["training"], history=[(loss, score) for loss, score in metrics.pop("history")]
    )
    forecaster.metrics_ = _with_nan(metrics)
    forecaster.model_ = ForecastNetwork(**config["model"])
    forecaster.model_.load_state_dict(files["model.safetensors"])
    forecaster.model_.eval()
    return forecaster


def _panel(preprocess: dict[str, Any], history: dict[str, Tensor]) -> Panel:
    series, names = preprocess["series"], preprocess["names"]
    steps = np.array([entry["steps"] for entry in series])
    ahead = np.array([entry["steps_ahead"] for entry in series])

    def parts(name: str, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(history[name].numpy(), np.cumsum(lengths)[:-1])) if name in history else ()

    return Panel(
        source=preprocess["source"],
        ids=tuple(entry["id"] for entry in series),
        values=parts("values", steps),
        starts=tuple(_stamp(entry["start"]) for entry in series),
        frequency=Frequency(**preprocess["frequency"]),
        season=preprocess["season"],
        roles=_roles(preprocess),
        notes=tuple(preprocess["notes"]),
        past=parts("past", steps),
        future=parts("future", steps + ahead),
        static=history["static"].numpy() if "static" in history else None,
        past_names=tuple(names["past"]),
        future_names=tuple(names["future"]),
        static_names=tuple(names["static"]),
        categories={name: tuple(values) for name, values in preprocess["categories"].items()},
        integer_ids=preprocess.get("integer_ids", False),  # a folder of an earlier version does not say
        columns=tuple(preprocess.get("columns", ())),  # a folder of an earlier version has none
        decimal_comma=preprocess.get("decimal_comma", has_decimal_comma(preprocess["notes"])),  # nor this one
    )


def _roles(preprocess: dict[str, Any]) -> Roles:
    """The columns and how their times are written; a folder of an earlier version may tell the clock in a note only."""
    roles = Roles(**preprocess["roles"])
    return replace(roles, time_format=roles.time_format and with_noted_clock(roles.time_format, preprocess["notes"]))


def _mix(entry: dict[str, Any]) -> Mix:
    """The weights of simple forecasts; a folder of an earlier version corrects the naive one, and a share carried."""
    if entry.get("mix") is None:
        return naive_mix(entry.get("carry") or 0.0)
    return mix_from_json(entry["mix"])


def _with_nan(metrics: Any) -> Any:
    """Scores as they were measured: JSON has null for those that there are none of, such as the MASE of a constant."""
    if isinstance(metrics, dict):
        return {name: _with_nan(score) for name, score in metrics.items()}
    return float("nan") if metrics is None else metrics


def _plain(stamp: Any) -> str | int:
    return str(stamp) if isinstance(stamp, np.datetime64) else int(stamp)


def _stamp(value: str | int) -> Any:
    return value if isinstance(value, int) else np.datetime64(value, "us")
