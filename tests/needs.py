"""What tests need of the machine: a laptop that lacks it skips them and says how to get it; CI fails."""

import os

import pytest


def need(problem: str | None) -> None:
    """`problem` is one sentence that says what is missing and how to install it, or None."""
    if problem is None:
        return
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)
