"""Tells a channel's news from what a watcher of it was given before."""

from collections.abc import Iterable
from typing import Any

from shared.domain.run import Run
from shared.errors import StoreUnavailable

MAX_REMEMBERED = 1000
MAX_WAITING = 1000


class PendingChanges:
    """A queue of runs to give; the same state of a run enters once, and a newer one takes an older one's place."""

    def __init__(self) -> None:
        self._waiting: dict[str, Run] = {}
        self._given: dict[str, Any] = {}
        """{run id: its revision}, the one given last at the end."""

    def add(self, runs: Iterable[Run]) -> bool:
        """Whether any of them is new. Raises StoreUnavailable when nobody takes: whoever it is for comes again."""
        is_new = False
        for run in runs:
            waiting = self._waiting.get(run.id)
            known = waiting.revision if waiting else self._given.get(run.id)
            if known is None or known < run.revision:
                self._waiting[run.id] = run
                is_new = True
        if len(self._waiting) > MAX_WAITING:
            raise StoreUnavailable("Updates come faster than they are read; connect again.")
        return is_new

    def take(self) -> Run | None:
        if not self._waiting:
            return None
        run = self._waiting.pop(next(iter(self._waiting)))
        self._given.pop(run.id, None)
        self._given[run.id] = run.revision
        if len(self._given) > MAX_REMEMBERED:
            del self._given[next(iter(self._given))]
        return run

    def put_back(self, run: Run) -> None:
        """It was taken and could not be given."""
        self._waiting = {run.id: run, **self._waiting}
