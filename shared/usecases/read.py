"""Show runs to the one they belong to; to anybody else they do not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any

from shared.domain.directory import Profile
from shared.domain.run import SHARDS, Run, Status
from shared.errors import RunDeleted, RunFailed, RunNotFinished, RunNotFound
from shared.ports import Clock, ListCursor, RunFilter, RunStore

OVERDUE_AFTER = timedelta(minutes=2)
MAX_OVERDUE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    runs: Sequence[Run]
    total: int
    following: ListCursor | None
    """Where the next page starts; None on the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRuns:
    store: RunStore
    clock: Clock

    async def get(self, caller: Profile, run_id: str) -> Run:
        """Raises RunNotFound, also for another user's run and for one past its retention."""
        run = await self.store.get(run_id)
        if run.user_id != caller.user_id or self._is_past(run):
            raise RunNotFound
        return run

    async def get_finished(self, caller: Profile, run_id: str) -> Run:
        """A run that has a result. Raises RunNotFound, RunNotFinished, RunFailed, RunDeleted."""
        run = await self.get(caller, run_id)
        if run.deleted_at is not None:
            raise RunDeleted
        if run.status is Status.CANCELLED:
            raise RunFailed("The run was cancelled and has no result.", code="run_cancelled")
        if run.error is not None:
            raise RunFailed(run.error.message)
        if run.result is None:
            raise RunNotFinished
        return run

    def _is_past(self, run: Run) -> bool:
        """Stores forget what has expired within a day or so; nobody is shown it in between."""
        return self.clock.now() >= run.expires_at

    async def input_of(self, run: Run) -> Mapping[str, Any]:
        return await self.store.load_input(run)

    async def page(self, wanted: RunFilter, *, limit: int, offset: int, after: ListCursor | None) -> Page:
        runs = await self.store.list_runs(wanted, limit=limit + 1, offset=offset, after=after)
        shown = [run for run in runs[:limit] if not self._is_past(run)]
        more = len(runs) > limit
        last = ListCursor(created_at=runs[limit - 1].created_at, run_id=runs[limit - 1].id) if more else None
        return Page(runs=shown, total=await self.store.count_runs(wanted), following=last)

    async def overdue(self) -> Sequence[Run]:
        """Runs that the sweeper should long have seen to; the most urgent first, open ones before complete ones."""
        before: datetime = self.clock.now() - OVERDUE_AFTER
        found: list[Run] = []
        for shard, terminal in product(range(SHARDS), (False, True)):
            found += await self.store.due_runs(shard, terminal=terminal, before=before, limit=MAX_OVERDUE)
        return sorted(found, key=lambda run: (run.is_terminal, run.due_at or before, run.id))[:MAX_OVERDUE]
