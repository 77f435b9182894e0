"""The grid as it is run for this repository, and what is made of its results: BENCHMARKS.md and the chart."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
GRID_JSON = RESULTS / "grid.json"
VARIANTS_JSON = RESULTS / "variants_speed.json"
PARTIAL_JSON = RESULTS / "grid.partial.json"
BESIDE_JSON = "grid_*.json"  # in RESULTS: runs of other machines, named by the instruction set of their kernels
BENCHMARKS_MD = REPOSITORY / "BENCHMARKS.md"
VARIANTS_MD = REPOSITORY / "docs" / "variants.md"
CHART_SVG = REPOSITORY / "benchmarks" / "chart.svg"
