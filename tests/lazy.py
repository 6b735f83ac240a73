"""Loads packages that take seconds to import only in the worker whose tests use them: each worker imports all files."""

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec
from types import ModuleType


def lazily_loaded(name: str) -> ModuleType:
    """Returns the module of this name, which is executed when somebody first reads one of its attributes."""
    spec = find_spec(name)
    assert spec is not None and spec.loader is not None, f"{name} is missing"
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
