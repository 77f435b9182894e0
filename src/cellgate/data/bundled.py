"""Data that comes with the package, reachable by name wherever a path is taken."""

from pathlib import Path

# name -> file. Monthly totals of international airline passengers in thousands, 1949 to 1960:
# G. E. P. Box and G. M. Jenkins, Time Series Analysis: Forecasting and Control (1970), series G.
_BUNDLED = {"airline": "airline.csv"}


def bundled_names() -> tuple[str, ...]:
    """The names that stand for a file."""
    return tuple(_BUNDLED)


def bundled_path(name: str) -> Path:
    """The file a bundled name stands for."""
    return Path(__file__).with_name(_BUNDLED[name])
