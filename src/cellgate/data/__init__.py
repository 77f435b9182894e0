"""Tables, arrays and text, made into regular sequences with every assumption stated."""

from cellgate.data.bundled import bundled_names, bundled_path
from cellgate.data.covariates import with_future
from cellgate.data.errors import DataError
from cellgate.data.frequency import Frequency
from cellgate.data.panel import Panel, Roles
from cellgate.data.shapes import read_panel

__all__ = ["DataError", "Frequency", "Panel", "Roles", "bundled_names", "bundled_path", "read_panel", "with_future"]
