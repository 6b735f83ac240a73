"""Changes the text of a module while it is imported, so that a mutant lives in one process and in no file."""

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from tests.simulation.mutants.catalogue import Edit


class MutantError(Exception):
    """The text that a mutant replaces does not occur exactly once: the mutant must follow the change of the code."""


class _EditingLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> CodeType:
        """Compiles the changed text, and neither reads nor writes a cache of compiled code."""
        text = self.get_data(self.path).decode()
        for edit in self._edits:
            if text.count(edit.old) != 1:
                raise MutantError(f"{self.path} has {text.count(edit.old)} times, not once: {edit.old!r}")
            text = text.replace(edit.old, edit.new)
        code: CodeType = compile(text, self.path, "exec", dont_inherit=True)
        return code


class _EditingFinder(MetaPathFinder):
    def __init__(self, edits: Mapping[str, list[Edit]]) -> None:
        self._edits = edits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        edits = self._edits.pop(fullname, None) if isinstance(self._edits, dict) else None
        spec = PathFinder.find_spec(fullname, path, target) if edits else None
        if spec is None or edits is None:
            return None
        assert spec.origin is not None
        spec.loader = _EditingLoader(fullname, spec.origin, edits)
        return spec


def install(edits: Sequence[Edit]) -> None:
    """Changes the modules when they are imported. Raises MutantError when one of them has been imported before."""
    by_module: dict[str, list[Edit]] = {}
    for edit in edits:
        by_module.setdefault(edit.module, []).append(edit)
    for module in by_module:
        if module in sys.modules:
            raise MutantError(f"{module} is imported already")
    sys.meta_path.insert(0, _EditingFinder(by_module))
