"""Reads runs for their owner. For any other user they do not exist."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from msgspec import Struct

from shared.domain.directory import Profile
from shared.domain.run import SHARDS, Run
from shared.domain.status import Status
from shared.error_codes import ErrorCode
from shared.errors import RunDeleted, RunFailed, RunNotFinished, RunNotFound, StoreUnavailable
from shared.ports import Clock, RunFilter, RunPosition, RunStore

OVERDUE_AFTER = timedelta(minutes=2)
MAX_OVERDUE = 100
MAX_COUNTED = 10_000
"""A list counts no further, so that its time and its price do not grow with the number of runs."""


class Page(Struct, frozen=True, kw_only=True):
    runs: Sequence[Run]
    total: int
    total_is_at_least: bool
    """True when there may be more than `total`: the count ended there."""
    next_cursor: RunPosition | None
    """The start of the next page; None on the last page."""


class Overdue(Struct, frozen=True, kw_only=True):
    runs: Sequence[Run]
    """Open runs first, then the longest overdue first."""
    unreadable: Sequence[str]
    """The ids of overdue documents that this release cannot read."""


class ReadRuns(Struct, frozen=True, kw_only=True):
    store: RunStore
    clock: Clock

    async def get(self, caller: Profile, run_id: str) -> Run:
        """Returns the caller's run. Raises RunNotFound, also for another user's run and for an expired one."""
        run = await self.store.get(run_id)
        if run.user_id != caller.user_id or self._is_expired(run):
            raise RunNotFound
        return run

    async def get_finished(self, caller: Profile, run_id: str) -> Run:
        """Returns a run that has a result. Raises RunNotFound, RunNotFinished, RunFailed, RunDeleted."""
        run = await self.get(caller, run_id)
        if run.deleted_at is not None:
            raise RunDeleted
        if run.status is Status.CANCELLED:
            raise RunFailed("The run was cancelled and has no result.", code=ErrorCode.RUN_CANCELLED)
        if run.error is not None:
            raise RunFailed(run.error.message)
        if run.result is None:
            raise RunNotFinished
        return run

    def _is_expired(self, run: Run) -> bool:
        """Firestore's TTL deletes an expired run within about a day; until then it is hidden here."""
        return self.clock.now() >= run.expires_at

    async def input_of(self, run: Run) -> Mapping[str, Any]:
        """Returns the run's input, also when it is kept in parts."""
        return await self.store.load_input(run)

    async def with_result(self, run: Run) -> Run:
        """Returns the run with a large result that was left out; as it is when that cannot be read or was deleted."""
        if not run.lacks_result:
            return run
        try:
            return await self.store.get(run.id)
        except (RunNotFound, StoreUnavailable):
            return run

    async def page(self, wanted: RunFilter, *, limit: int, offset: int, after: RunPosition | None) -> Page:
        """Returns one page, newest runs first, and the total of all pages up to MAX_COUNTED."""
        found = await self.store.list_runs(wanted, limit=limit + 1, offset=offset, after=after)
        on_page = {position.run_id for position in found.positions[:limit]}
        shown = [run for run in found.runs if run.id in on_page and not self._is_expired(run)]
        last = found.positions[limit - 1] if len(found.positions) > limit else None
        total = await self.store.count_runs(wanted, at_most=MAX_COUNTED)
        return Page(runs=shown, total=total, total_is_at_least=total == MAX_COUNTED, next_cursor=last)

    async def overdue(self, tenant_id: str | None = None) -> Overdue:
        """Returns what is due for more than two minutes, of all runs or of those of one tenant.

        The sweeper repairs a due run within a minute, so any run here shows that the sweeper does not work. It cannot
        repair a document that it cannot read, which stands here until an operator does. Nobody can tell
        whose document that is, so its id stands here for all.
        """
        before: datetime = self.clock.now() - OVERDUE_AFTER
        found: list[Run] = []
        unreadable: list[str] = []
        for shard, terminal in product(range(SHARDS), (False, True)):
            page = await self.store.due_runs([shard], terminal=terminal, before=before, limit=MAX_OVERDUE)
            found += [run for run in page.runs if tenant_id in (None, run.tenant_id)]
            unreadable += page.unreadable
        runs = sorted(found, key=lambda run: (run.is_terminal, run.due_at or before, run.id))
        return Overdue(runs=runs[:MAX_OVERDUE], unreadable=unreadable[:MAX_OVERDUE])
