"""Hypothesis profiles: CI repeats the same examples every time; `HYPOTHESIS_PROFILE=explore` looks for new ones."""

import os

from hypothesis import HealthCheck, settings

# No deadline: on a shared machine one slow example says nothing. The fixtures of tests/conftest.py hold no state of
# a test, so that examples may share them.
common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
settings.register_profile("ci", derandomize=True, database=None, **common)
settings.register_profile("explore", max_examples=20_000, print_blob=True, **common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def examples(in_ci: int) -> int:
    """Return how many examples a test runs: ``in_ci`` of them, or what another profile says."""
    return in_ci if os.environ.get("HYPOTHESIS_PROFILE", "ci") == "ci" else settings().max_examples
