"""`cellgate explain`: a trained model opened, as one page to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cellgate import estimators
from cellgate.cli.console import say, say_json
from cellgate.cli.files import require_new
from cellgate.errors import InputError


def command(
    model: Annotated[Path, typer.Argument(help="The folder that `cellgate train --out` wrote.")],
    data: Annotated[
        str | None,
        typer.Argument(
            help="Data with the same columns as in training, labels too if there are any; of a language model a "
            "text file. A forecaster may go without: it then looks at the history of its training."
        ),
    ] = None,
    future_data: Annotated[
        str | None,
        typer.Option(help="Forecasters: future-known columns of the steps to come, if the data lack them."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page to write, one HTML file.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="A folder for its pictures as SVG, and PNG with the extra 'figures'.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")] = False,
) -> None:
    """Open a trained model: what it looked at, what it remembers, whether it can be trusted.

    One self-contained page: input, prediction and every gate on one axis, memory of the units, influence of each step
    and column, like states elsewhere, and the errors beside the baseline's. A forecaster with future-known columns that
    are not known for the steps to come is opened a horizon before its end.

    [bold]cellgate explain model --out report.html[/bold]
    """
    require_new(out, "--out", force)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise InputError(f"--figures {figures}: expected a folder, got a file; give another name")
    estimator = estimators.load(model)
    if data is None and not isinstance(estimator, estimators.Forecaster):
        raise InputError(
            f"expected data to explain {type(estimator).__name__} with, got none; "
            f"give them after the folder: cellgate explain {model} DATA"
        )
    if isinstance(estimator, estimators.Forecaster):
        explanation = estimator.explain(data, future=future_data)
    else:
        if future_data is not None:
            raise InputError(f"--future-data: expected a forecaster, got a {type(estimator).__name__}; leave it out")
        explanation = estimator.explain(data)
    note = explanation.opened
    explanation.save(out)
    written = explanation.save_figures(figures) if figures is not None else []
    size = out.stat().st_size
    if as_json:
        report = explanation.report
        say_json(
            {
                "model": str(model),
                "out": str(out),
                "bytes": size,
                "figures": written,
                "findings": list(report.findings),
                "backend": report.backend,
                "distance": report.distance,
                **({"note": note} if note else {}),
            }
        )
        return
    if note:
        say(f"  {note}")
    for finding in explanation.report.findings:
        say(f"  {finding}")
    say(f"wrote {out} ({size / 1e6:.1f} MB): open it in a browser")
    if written:
        from cellgate.report.figures import can_render

        hint = "" if can_render() else " (for PNG as well: pip install 'cellgate[figures]')"
        say(f"wrote {figures}: {len(written)} pictures{hint}")
