"""Exports the functions by the names under which they are deployed; wrong settings make the import fail."""

import gc
from importlib import import_module
from typing import Any

from shared import wiring

__all__ = ["bury_run", "deliver_webhook", "process_run", "read_runs", "recheck_run", "submit_run", "sweep_runs"]  # noqa: F822

wiring.settings()


def __getattr__(name: str) -> Any:
    """Imports the function that is asked for: a process serves one, and waits at its start for nothing of the others.

    https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = getattr(import_module(f"functions.{name}"), name)
    # What is imported lives as long as the process, so the garbage collector need not look at it again and again.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return function


def __dir__() -> list[str]:
    return __all__
