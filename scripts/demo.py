"""`make demo`: from the bundled airline passengers to a forecast of the next two years, measured on the last one.

The folder given gets what `cellgate train` and `cellgate predict` write: the model, forecast.csv, forecast.svg.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cellgate.cli.console import say
from cellgate.cli.forecast_files import write_forecast_files
from cellgate.cli.forecast_words import verdict
from cellgate.data import read_panel
from cellgate.estimators import Forecaster

HELD, AHEAD = 12, 24


def main(out: Path) -> None:
    began = time.perf_counter()
    panel = read_panel("airline")
    head, rest = panel.split(HELD)
    say(f"airline passengers, {len(panel.values[0])} months; the last {HELD} are held out and then compared with")
    forecaster = Forecaster(AHEAD).fit(head)
    metrics = forecaster.evaluate(rest)
    held = forecaster.forecast()
    for name in ("cellgate", "seasonal naive"):
        say(f"  {name:<15} MASE {metrics[name]['MASE']:.3f}   sMAPE {metrics[name]['sMAPE']:.2f} %")
    say(f"  {verdict(metrics)}")
    forecaster.update(panel)
    out.mkdir(parents=True, exist_ok=True)
    files = write_forecast_files(out, panel, forecaster.forecast(), held, rest, metrics)
    forecaster.save(out)
    written = ", ".join(str(out / name) for name in files)
    say(f"the next {AHEAD} months: {written}, in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out"))
