"""The grid as it is run for this repository, and what is made of its results: BENCHMARKS.md and the chart."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
GRID_JSON = RESULTS / "grid.json"
VARIANTS_JSON = RESULTS / "variants_speed.json"
PARTIAL_JSON = RESULTS / "grid.partial.json"
BENCHMARKS_MD = REPOSITORY / "BENCHMARKS.md"
VARIANTS_MD = REPOSITORY / "docs" / "variants.md"
CHART_SVG = REPOSITORY / "benchmarks" / "chart.svg"


def beside_json(isa: str) -> Path:
    """The run of another machine than that of the record, named by the instruction set of its kernels; "*" for all."""
    return RESULTS / f"grid_{isa}.json"
