"""Queues changed runs for one watcher of a channel and filters out states that the watcher has already received."""

from collections.abc import Collection, Iterable
from typing import Any

from shared.domain.event import DELTA
from shared.domain.run import Run
from shared.errors import StoreUnavailable

MAX_PENDING = 1000
MAX_PENDING_BYTES = 16 * 1024 * 1024
MAX_REMEMBERED_REVISIONS = 1000


class PendingChanges:
    """A queue that takes each state of a run once. A newer state replaces a queued older state of the same run.

    It remembers the revisions of the last MAX_REMEMBERED_REVISIONS delivered runs.
    """

    __slots__ = ("_delivered", "_pending", "_pending_bytes")

    def __init__(self) -> None:
        self._pending: dict[str, Run] = {}
        self._delivered: dict[str, Any] = {}
        """{run id: delivered revision}; the most recent delivery is the last entry."""
        self._pending_bytes = 0

    def add(self, runs: Iterable[Run]) -> bool:
        """Queues the runs whose revision is new, and returns True when there is at least one.

        Raises StoreUnavailable when more than MAX_PENDING runs or MAX_PENDING_BYTES wait: the watcher reads too slowly
        and must reconnect.
        """
        has_new = False
        for run in runs:
            pending = self._pending.get(run.id)
            known_revision = pending.revision if pending else self._delivered.get(run.id)
            if known_revision is None or known_revision < run.revision:
                self._pending_bytes += size_of(run) - (size_of(pending) if pending else 0)
                self._pending[run.id] = run
                has_new = True
        if len(self._pending) > MAX_PENDING or self._pending_bytes > MAX_PENDING_BYTES:
            raise StoreUnavailable("Updates come faster than they are read; connect again.")
        return has_new

    @property
    def waiting(self) -> Collection[Run]:
        """Returns the runs in the queue."""
        return self._pending.values()

    def pop(self) -> Run | None:
        """Removes and returns the next run; None when the queue is empty."""
        if not self._pending:
            return None
        run = self._pending.pop(next(iter(self._pending)))
        self._pending_bytes -= size_of(run)
        self._delivered.pop(run.id, None)
        self._delivered[run.id] = run.revision
        if len(self._delivered) > MAX_REMEMBERED_REVISIONS:
            del self._delivered[next(iter(self._delivered))]
        return run


def size_of(run: Run) -> int:
    """Returns about how many bytes a run takes: its texts, and 4 KiB for all else."""
    texts = [value for value in run.input.values() if isinstance(value, str)]
    if run.result is not None:
        texts.append(run.result.text)
    texts += [event.detail[DELTA] for event in run.events if DELTA in event.detail]
    return 4096 + sum(len(text) for text in texts)
