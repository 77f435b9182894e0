"""One peer on one data set, in the peers' own environment: python peer_worker.py PEER DATA SECONDS, JSON on stdout.

It runs without cellgate, so it reads the files and computes MASE, sMAPE and OWA itself, by the same definitions.
"""

import csv
import importlib.metadata
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 1
NAIVE2 = {"sMAPE": 18.383, "MASE": 2.395}


def load(data):
    """Names, training values, values to predict, season, horizon, first stamp, frequency."""
    if data == "airline":
        path = Path(__file__).resolve().parents[2] / "src" / "cellgate" / "data" / "airline.csv"
        values = pd.read_csv(path).iloc[:, -1].to_numpy(dtype=np.float32)
        return ["airline"], [values[:-24]], [values[-24:]], 12, 24, "1949-01-01", "MS"
    folder = Path(os.environ["CELLGATE_DATA"])

    def rows(name):
        with open(folder / name, newline="") as file:
            reader = csv.reader(file)
            next(reader)
            return {row[0]: np.array([float(cell) for cell in row[1:] if cell], dtype=np.float32) for row in reader}

    train, test = rows("M4-Hourly-train.csv"), rows("M4-Hourly-test.csv")
    return list(train), list(train.values()), [test[name] for name in train], 24, 48, "2024-01-01", "h"


def neuralforecast(names, train, season, horizon, first, freq, seconds):
    from neuralforecast import NeuralForecast
    from neuralforecast.models import LSTM

    frames = [
        pd.DataFrame({"unique_id": name, "ds": pd.date_range(first, periods=len(values), freq=freq), "y": values})
        for name, values in zip(names, train, strict=True)
    ]
    model = LSTM(
        h=horizon,
        input_size=min(5 * horizon, len(train[0]) - horizon),
        scaler_type="standard",
        random_seed=SEED,
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=False,
        max_time={"seconds": seconds},
    )
    forecaster = NeuralForecast([model], freq=freq)
    forecaster.fit(pd.concat(frames))
    made = forecaster.predict().reset_index()
    return {name: part["LSTM"].to_numpy() for name, part in made.groupby("unique_id")}


def darts(names, train, season, horizon, first, freq, seconds):
    from darts import TimeSeries
    from darts.dataprocessing.transformers import Scaler
    from darts.models import BlockRNNModel
    from sklearn.preprocessing import StandardScaler

    series = [
        TimeSeries.from_times_and_values(pd.date_range(first, periods=len(values), freq=freq), values)
        for values in train
    ]
    scaler = Scaler(StandardScaler())
    scaled = scaler.fit_transform(series)
    model = BlockRNNModel(
        input_chunk_length=min(5 * horizon, len(train[0]) - horizon - 1),
        output_chunk_length=horizon,
        model="LSTM",
        random_state=SEED,
        pl_trainer_kwargs={
            "max_time": {"seconds": seconds},
            "enable_progress_bar": False,
            "logger": False,
            "accelerator": "cpu",
        },
    )
    model.fit(scaled)
    made = scaler.inverse_transform(model.predict(horizon, series=scaled))
    return {name: one.values()[:, 0] for name, one in zip(names, made, strict=True)}


def main():
    peer, data, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    warnings.simplefilter("ignore")
    names, train, test, season, horizon, first, freq = load(data)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # what they leave on disk
        os.chdir(folder)
        made = {"neuralforecast": neuralforecast, "darts": darts}[peer](
            names, train, season, horizon, first, freq, seconds
        )
        os.chdir("/")
    took = time.perf_counter() - began
    scaled, percent = [], []
    for name, history, actual in zip(names, train, test, strict=True):
        history, error = history.astype(np.float64), np.abs(actual - made[name])
        scaled.append(error.mean() / np.abs(history[season:] - history[:-season]).mean())
        percent.append(200 * np.mean(error / (np.abs(actual) + np.abs(made[name]))))
    scores = {"MASE": float(np.mean(scaled)), "sMAPE": float(np.mean(percent))}
    if data == "m4-hourly":
        scores["OWA"] = float(np.mean([scores[name] / value for name, value in NAIVE2.items()]))
    import torch

    versions = {name: importlib.metadata.version(name) for name in (peer, "torch")}
    facts = {"seconds": round(took, 1), "threads": torch.get_num_threads(), "cores": len(os.sched_getaffinity(0))}
    print(json.dumps({**scores, **facts, "versions": versions, "seed": SEED, "seconds_allowed": seconds}))


if __name__ == "__main__":
    main()
