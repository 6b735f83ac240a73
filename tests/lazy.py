"""Loads packages that take seconds to import only in the worker whose tests use them: each worker imports all files."""

from importlib import import_module
from typing import Any


class LazyModule:
    """A module that is imported when a test first reads one of its attributes.

    pytest asks every global name of a test file for its class and for some private attributes, which makes the modules
    of importlib's LazyLoader load.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)


def lazily_loaded(name: str) -> Any:
    """Returns what stands for the module of this name; type checkers are to see the module itself."""
    return LazyModule(name)
