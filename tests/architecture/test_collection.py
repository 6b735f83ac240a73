"""A worker reads all files with tests in seconds, although it runs only some of them."""

import pytest

from tests.collection import COLLECTED_WITH

SLOW_TO_IMPORT = {"anthropic", "openai", "schemathesis"}


def test_files_with_tests_load_no_package_that_takes_seconds_to_import(request: pytest.FixtureRequest) -> None:
    loaded = request.config.stash[COLLECTED_WITH]
    assert not SLOW_TO_IMPORT & loaded, "tests/lazy.py loads it when a test needs it"
