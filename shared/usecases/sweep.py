"""Repair what lost messages and lost tasks leave behind, so that every accepted run ends.

Three rounds. *Overdue* runs (their `due_at` has passed) are told of again, to the queue or the scheduler, and are then
started, checked or expired. The *patrol* asks, for open runs whose provider job is at work, for the re-check that the
plan holds next: its name tells whether it is there already, so a healthy run costs one read and no write. Each pass
patrols one shard; all of them in turn. Last come complete runs that the result cache did not take when they ended: as
many as there is time for, until it fails again. The sweeper never calls the LLM, so a slow LLM cannot slow it.
"""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from shared import log
from shared.domain.progress import until_next_check
from shared.domain.recheck_plan import checks_planned_until
from shared.domain.run import SHARDS, Run, Status
from shared.errors import CacheUnavailable, QueueUnavailable, SchedulerUnavailable, ServiceError, StaleRun
from shared.ports import Clock, Recheck, RecheckScheduler, RunQueue, RunStore
from shared.usecases.advance import recheck_of
from shared.usecases.save_final_run import SaveFinalRun

PAGE = 100
MAX_PAGES = 20
MAX_CACHED = 500
MAX_FORGOTTEN = 500


@dataclass(slots=True, kw_only=True)
class Swept:
    """What one pass did, in runs."""

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
    """How often it is called; decides whose turn the patrol is."""
    max_cached: int = MAX_CACHED
    """Results that a pass puts into the cache."""

    async def __call__(self) -> Swept:
        now, swept = self.clock.now(), Swept()
        for shard in range(SHARDS):
            async for run in self._due_runs(shard, before=now):
                await self._count(self._repair(run, now), swept, "published")
        turn = int(now.timestamp() / self.interval.total_seconds()) % SHARDS
        async for run in self._due_runs(turn, before=None):
            if run.provider_job_id is not None and now < run.deadline_at:
                await self._count(self._patrol(run, now), swept, "patrolled")
        await self._refresh_cache(turn, now, swept)
        swept.forgotten = await self.store.forget_expired(now, limit=MAX_FORGOTTEN)
        if swept != Swept():
            log.info("swept", **asdict(swept))
        return swept

    async def _refresh_cache(self, first_shard: int, now: datetime, swept: Swept) -> None:
        """What is not reached now comes first in another pass; a run that fails is put off and lets others through."""
        ends, left = self.clock.now() + self.interval / 2, self.max_cached
        for number in range(SHARDS):
            async for run in self._due_runs((first_shard + number) % SHARDS, before=now, terminal=True):
                trouble = await self._count(self._write_cache(run), swept, "cached")
                left -= 1
                if isinstance(trouble, CacheUnavailable) or left == 0 or self.clock.now() > ends:
                    return

    async def _due_runs(self, shard: int, *, before: datetime | None, terminal: bool = False) -> AsyncIterator[Run]:
        last: Run | None = None
        for _ in range(MAX_PAGES):
            runs = await self.store.due_runs(shard, terminal=terminal, before=before, after=last, limit=PAGE)
            for run in runs:
                yield run
            if len(runs) < PAGE:
                return
            last = runs[-1]

    async def _count(self, repair: Awaitable[None], swept: Swept, counter: str) -> ServiceError | None:
        """One run's trouble, which is returned, must not keep the others from their repair; it is found again."""
        try:
            await repair
            setattr(swept, counter, getattr(swept, counter) + 1)
        except StaleRun:
            log.info("run seen to by somebody else")
        except ServiceError as error:
            swept.failed += 1
            log.warning("run not repaired", code=error.code)
            return error
        return None

    async def _repair(self, run: Run, now: datetime) -> None:
        """Less and less often for the same run, so that a backlog is not fed with ever more messages."""
        if run.status is Status.PENDING and now < run.deadline_at:
            await self.store.save(run.postponed(min(now + (now - run.created_at), run.deadline_at)))
            await self._publish(run, now)
        else:
            await self._schedule_once(run, now)

    async def _write_cache(self, run: Run) -> None:
        """Looked at less and less often too, while the cache is down."""
        run_with_result = await self.store.get(run.id)
        if run_with_result.due_at is not None and (await self.save_final(run_with_result)).due_at is not None:
            raise CacheUnavailable

    async def _publish(self, run: Run, now: datetime) -> None:
        try:
            await self.queue.publish(run.id)
        except QueueUnavailable:
            await self._schedule_once(run, now)

    async def _schedule_once(self, run: Run, now: datetime) -> None:
        """A task whose name changes each time the run's delay has doubled."""
        assert run.due_at is not None
        doublings = int((now - run.due_at) / self.interval + 1).bit_length()
        sequence = f"sweep-{round(run.due_at.timestamp() * 1000)}-{doublings}"
        recheck = Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence, checks=run.checks)
        try:
            await self.scheduler.schedule(recheck, at=now)
        except SchedulerUnavailable:
            await self.queue.publish(run.id)

    async def _patrol(self, run: Run, now: datetime) -> None:
        assert run.sent_at is not None
        at = now + until_next_check(run, now)
        await self.scheduler.schedule(recheck_of(run, at, checks=checks_planned_until(now - run.sent_at)), at=at)
