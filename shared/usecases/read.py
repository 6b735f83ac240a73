"""Show runs to the one they belong to; to anybody else they do not exist."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.directory import Profile
from shared.domain.run import SHARDS, Run, Status
from shared.errors import RunFailed, RunNotFinished, RunNotFound
from shared.ports import Clock, Position, RunFilter, RunStore

OVERDUE_AFTER = timedelta(minutes=2)
MOST_OVERDUE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    runs: Sequence[Run]
    total: int
    following: Position | None
    """Where the next page starts; None on the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRuns:
    store: RunStore
    clock: Clock

    async def get(self, caller: Profile, run_id: str) -> Run:
        """Raises RunNotFound, also for another user's run and for one past its retention."""
        run = await self.store.get(run_id)
        if run.user_id != caller.user_id or self.clock.now() >= run.expires_at:
            raise RunNotFound
        return run

    async def get_finished(self, caller: Profile, run_id: str) -> Run:
        """A run that has a result. Raises RunNotFound, RunNotFinished, RunFailed."""
        run = await self.get(caller, run_id)
        if run.status is Status.CANCELLED:
            raise RunFailed("The run was cancelled and has no result.", code="run_cancelled")
        if run.error is not None:
            raise RunFailed(run.error.message)
        if run.result is None:
            raise RunNotFinished
        return run

    async def input_of(self, run: Run) -> Mapping[str, Any]:
        return await self.store.load_input(run)

    async def page(self, wanted: RunFilter, *, limit: int, offset: int, after: Position | None) -> Page:
        runs = await self.store.list_runs(wanted, limit=limit + 1, offset=offset, after=after)
        shown = runs[:limit]
        more = len(runs) > limit
        last = Position(created_at=shown[-1].created_at, run_id=shown[-1].id) if more else None
        return Page(runs=shown, total=await self.store.count_runs(wanted), following=last)

    async def overdue(self) -> Sequence[Run]:
        """Runs that the sweeper should long have seen to; the most urgent first."""
        before: datetime = self.clock.now() - OVERDUE_AFTER
        found: list[Run] = []
        for shard in range(SHARDS):
            found += await self.store.due_runs(shard, before=before, limit=MOST_OVERDUE)
        return sorted(found, key=lambda run: (run.due_at or before, run.id))[:MOST_OVERDUE]
