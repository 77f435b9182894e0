"""The options of every `cellgate train`, whatever the task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODEL_PANEL, RUN_PANEL = "The model and its training", "The run"

Task = Annotated[
    str,
    typer.Option(
        help="forecast, classify, regress, tag or generate; each has options of its own: cellgate train --task TASK -h."
    ),
]
Out = Annotated[Path, typer.Option(help="The folder to write; nothing is written outside it.")]
HiddenSize = Annotated[
    int | None,
    typer.Option(min=1, help="Units of the LSTM; by the amount of data if not given.", rich_help_panel=MODEL_PANEL),
]
Layers = Annotated[int, typer.Option(min=1, help="Layers of the LSTM.", rich_help_panel=MODEL_PANEL)]
Dropout = Annotated[
    float, typer.Option(min=0, max=0.95, help="Dropout between layers and before the readout.",
                        rich_help_panel=MODEL_PANEL)
]  # fmt: skip
LearningRate = Annotated[float, typer.Option(help="The highest of the schedule.", rich_help_panel=MODEL_PANEL)]
BatchSize = Annotated[int, typer.Option(min=1, help="Examples in a step.", rich_help_panel=MODEL_PANEL)]
MaxEpochs = Annotated[
    int | None,
    typer.Option(min=1, help="The most passes over the data; by its amount if not given.", rich_help_panel=MODEL_PANEL),
]
MaxTime = Annotated[
    float | None, typer.Option(help="The most seconds of training; no limit if not given.", rich_help_panel=MODEL_PANEL)
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Passes without improvement before it stops; by the amount of data if not given.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal runs.", rich_help_panel=MODEL_PANEL)]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a training in --out that was cut short.", rich_help_panel=RUN_PANEL)
]
ResumeSearch = Annotated[
    bool, typer.Option("--resume", help="Go on with a search in --out that was cut short.", rich_help_panel=RUN_PANEL)
]
CheckpointEvery = Annotated[
    float, typer.Option(min=0, help="The least seconds between two saves to resume from.", rich_help_panel=RUN_PANEL)
]
TensorBoard = Annotated[
    bool,
    typer.Option("--tensorboard", help="Write the course of the training to --out/tensorboard.",
                 rich_help_panel=RUN_PANEL),
]  # fmt: skip
Report = Annotated[
    bool,
    typer.Option("--report", help="Write --out/report.html as well, the trained model opened as one page.",
                 rich_help_panel=RUN_PANEL),
]  # fmt: skip
Force = Annotated[
    bool, typer.Option("--force", help="Write into a folder that is not empty.", rich_help_panel=RUN_PANEL)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.", rich_help_panel=RUN_PANEL)]
