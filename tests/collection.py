"""Lets the processes of a test run read the files with tests quickly: all workers read all of them."""

import gc
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import BaseFileLock, FileLock

from tests.workers import is_worker

FOR_TESTS = ("tests.authority", "tests.examples", "tests.google", "tests.redis_server", "tests.sqlite")
"""Plugins that only a process which runs tests loads: they take a second to import."""
pytest.register_assert_rewrite(*FOR_TESTS)
COLLECTED_WITH = pytest.StashKey[set[str]]()
"""The modules that this process had imported when it had read all files with tests."""
COMPILING = pytest.StashKey[BaseFileLock]()
"""Whoever holds it compiles the files for all workers."""


def pytest_configure(config: pytest.Config) -> None:
    if is_worker(config) and config.workerinput["is_first_run"]:  # type: ignore[attr-defined]
        _wait_until_another_has_compiled(config)
    for name in FOR_TESTS if is_worker(config) or config.getoption("dist", "no") == "no" else ():
        config.pluginmanager.register(import_module(name), name)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a new worker whether another is to compile for it."""
    node.workerinput["is_first_run"] = is_first_run()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Keeps the garbage collector from looking at all that was imported, again and again, as main.py does."""
    gc.disable()
    try:
        return (yield)
    finally:
        session.config.stash[COLLECTED_WITH] = set(sys.modules)
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        gc.enable()
        if COMPILING in session.config.stash:
            _all_are_compiled(session.config).touch()
            session.config.stash[COMPILING].release()


@cache
def is_first_run() -> bool:
    """Returns whether Python has yet to compile the tests, or the packages that they import, and keeps what it did."""
    hypothesis = find_spec("hypothesis")
    assert hypothesis is not None and hypothesis.origin is not None
    compiled = (Path(__file__).parent / "unit/__pycache__", Path(hypothesis.origin).parent / "__pycache__")
    return not sys.dont_write_bytecode and not all(folder.exists() for folder in compiled)


def _wait_until_another_has_compiled(config: pytest.Config) -> None:
    """Lets one worker import all files first: to compile them takes 11 s, and all workers would do so side by side."""
    lock = FileLock(_all_are_compiled(config).with_suffix(".lock"))
    lock.acquire()
    if _all_are_compiled(config).exists():
        lock.release()
    else:
        config.stash[COMPILING] = lock


def _all_are_compiled(config: pytest.Config) -> Path:
    return Path(config.workerinput["shared_folder"]) / "compiled"  # type: ignore[attr-defined]
