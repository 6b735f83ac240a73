"""Tells a channel's news from what a watcher of it was given before."""

from collections import deque
from collections.abc import Iterable

from shared.domain.run import Run

MOST_REMEMBERED = 1000


class ChannelNews:
    """A queue of runs to give; the same state of a run enters once."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._newest: dict[str, Run] = {}

    def add(self, runs: Iterable[Run]) -> bool:
        """Whether there is anything new."""
        for run in runs:
            known = self._newest.pop(run.id, None)
            if known is not None and known.revision >= run.revision:
                self._newest[run.id] = known
                continue
            self._newest[run.id] = run
            if run.id not in self._waiting:
                self._waiting.append(run.id)
        self._forget()
        return bool(self._waiting)

    def take(self) -> Run | None:
        return self._newest[self._waiting.popleft()] if self._waiting else None

    def put_back(self, run: Run) -> None:
        """It was taken and could not be given."""
        if run.id in self._newest and run.id not in self._waiting:
            self._waiting.appendleft(run.id)

    def _forget(self) -> None:
        """The longest unchanged first, but nothing that waits."""
        for run_id in list(self._newest)[: max(len(self._newest) - MOST_REMEMBERED, 0)]:
            if run_id not in self._waiting:
                del self._newest[run_id]
