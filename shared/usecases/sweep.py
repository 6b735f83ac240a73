"""Repairs what lost messages and lost tasks leave behind, so that every accepted run ends.

A pass has three rounds:

1. *Overdue* runs, whose `due_at` has passed, are published or scheduled again; a worker then starts, checks or
   expires them.
2. The *patrol* schedules the next planned re-check of open runs whose provider job is at work. The task's name tells
   whether it exists already, so a healthy run costs one read and no write. Each pass patrols one shard.
3. Terminal runs that the result cache did not take are written to it, until the time of the pass is over or the cache
   fails again.

The sweeper never calls the LLM, so a slow LLM cannot slow it.
"""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from shared import log
from shared.domain.progress import until_next_check
from shared.domain.recheck_plan import checks_planned_until
from shared.domain.run import SHARDS, Run
from shared.domain.status import Status
from shared.errors import CacheUnavailable, QueueUnavailable, SchedulerUnavailable, ServiceError, StaleRun
from shared.ports import Clock, Recheck, RecheckScheduler, RunPosition, RunQueue, RunStore
from shared.usecases.advance import recheck_of
from shared.usecases.save_final_run import SaveFinalRun

PAGE = 100
MAX_PAGES = 20
MAX_CACHED = 500
MAX_FORGOTTEN = 500


@dataclass(slots=True, kw_only=True)
class Swept:
    """Counts the runs of one pass."""

    published: int = 0
    patrolled: int = 0
    cached: int = 0
    failed: int = 0
    forgotten: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRuns:
    store: RunStore
    queue: RunQueue
    scheduler: RecheckScheduler
    save_final: SaveFinalRun
    clock: Clock
    interval: timedelta
    """The time between two calls; it decides which shard is patrolled."""
    max_cached: int = MAX_CACHED
    """Maximum results that one pass writes to the cache."""

    async def __call__(self) -> Swept:
        """Does one pass. One run's error does not stop the pass."""
        now, swept = self.clock.now(), Swept()
        for shard in range(SHARDS):
            async for run in self._due_runs(shard, before=now):
                await self._count(self._repair(run, now), swept, "published")
        patrolled = int(now.timestamp() / self.interval.total_seconds()) % SHARDS
        async for run in self._due_runs(patrolled, before=None):
            if run.provider_job_id is not None and now < run.deadline_at:
                await self._count(self._patrol(run, now), swept, "patrolled")
        await self._refresh_cache(patrolled, now, swept)
        swept.forgotten = await self.store.forget_expired(now, limit=MAX_FORGOTTEN)
        if swept != Swept():
            log.info("swept", **asdict(swept))
        return swept

    async def _refresh_cache(self, first_shard: int, now: datetime, swept: Swept) -> None:
        """Starts with another shard in each pass, so that every shard is reached even when time is short."""
        give_up_at, remaining = self.clock.now() + self.interval / 2, self.max_cached
        for number in range(SHARDS):
            async for run in self._due_runs((first_shard + number) % SHARDS, before=now, terminal=True):
                error = await self._count(self._write_cache(run), swept, "cached")
                remaining -= 1
                if isinstance(error, CacheUnavailable) or remaining == 0 or self.clock.now() > give_up_at:
                    return

    async def _due_runs(self, shard: int, *, before: datetime | None, terminal: bool = False) -> AsyncIterator[Run]:
        last: RunPosition | None = None
        for _ in range(MAX_PAGES):
            page = await self.store.due_runs(shard, terminal=terminal, before=before, after=last, limit=PAGE)
            for run in page.runs:
                yield run
            if len(page.positions) < PAGE:
                return
            last = page.positions[-1]

    async def _count(self, repair: Awaitable[None], swept: Swept, counter: str) -> ServiceError | None:
        """Awaits one run's repair and counts it. Returns the error of a failed repair; the next pass repeats it."""
        try:
            await repair
            setattr(swept, counter, getattr(swept, counter) + 1)
        except StaleRun:
            log.info("run changed meanwhile")
        except ServiceError as error:
            swept.failed += 1
            log.warning("run not repaired", code=error.code)
            return error
        return None

    async def _repair(self, run: Run, now: datetime) -> None:
        """Publishes or schedules the run, at growing intervals, so that a backlog does not grow by its own repair."""
        if run.status is Status.PENDING and now < run.deadline_at:
            await self.store.save(run.postponed(min(now + (now - run.created_at), run.deadline_at)))
            await self._publish(run, now)
        else:
            await self._schedule_once(run, now)

    async def _write_cache(self, run: Run) -> None:
        """Writes the cache; the run's next attempt is later each time while the cache is down."""
        run_with_result = await self.store.get(run.id)
        if run_with_result.due_at is not None and (await self.save_final(run_with_result)).due_at is not None:
            raise CacheUnavailable

    async def _publish(self, run: Run, now: datetime) -> None:
        try:
            await self.queue.publish(run.id, lane=run.lane)
        except QueueUnavailable:
            await self._schedule_once(run, now)

    async def _schedule_once(self, run: Run, now: datetime) -> None:
        """Schedules a task whose name changes each time the run's delay has doubled."""
        assert run.due_at is not None
        doublings = int((now - run.due_at) / self.interval + 1).bit_length()
        sequence = f"sweep-{round(run.due_at.timestamp() * 1000)}-{doublings}"
        recheck = Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence, checks=run.checks)
        try:
            await self.scheduler.schedule(recheck, at=now, lane=run.lane)
        except SchedulerUnavailable:
            await self.queue.publish(run.id, lane=run.lane)

    async def _patrol(self, run: Run, now: datetime) -> None:
        assert run.sent_at is not None
        at = now + until_next_check(run, now)
        recheck = recheck_of(run, at, checks=checks_planned_until(now - run.sent_at))
        await self.scheduler.schedule(recheck, at=at, lane=run.lane)
