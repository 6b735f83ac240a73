"""How many examples of a property are tried: those that a test wants, or a few with `make test FAST=1`."""

import pytest
from hypothesis import HealthCheck, settings

QUICK = 20


def pytest_configure(config: pytest.Config) -> None:
    """Chooses how many examples Hypothesis makes up, before the files with tests are imported."""
    settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("fast", settings.get_profile("shared machine"), max_examples=QUICK)
    settings.load_profile("fast" if config.getoption("--fast") else "shared machine")


def examples(wanted: int) -> int:
    return min(wanted, QUICK) if settings.get_current_profile_name() == "fast" else wanted
