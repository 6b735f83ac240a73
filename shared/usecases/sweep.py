"""Repairs what lost messages and lost tasks leave behind, so that every accepted run ends.

A pass has four rounds. The second follows the first; the others run beside them, so that a slow one holds up no other:

1. *Overdue* runs, whose `due_at` has passed, are published or scheduled again; a worker then starts, checks or
   expires them. Each gets a later `due_at`, so the next pass begins with the runs that this pass did not reach.
2. The *patrol* schedules the next planned re-check of open runs whose provider job is at work. The task's name tells
   whether it exists already, so a healthy run costs one read and no write. Each pass patrols one shard.
3. Terminal runs that the result cache did not take are written to it, until the time of the round is over or the cache
   fails again.
4. Deliveries of webhooks that are overdue are scheduled again (see sweep_webhooks.py).

A round reads all shards with one query, and each for itself only when there is more than a page. The runs of one page
are repaired side by side. The sweeper never calls the LLM, so a slow LLM cannot slow it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct, field
from msgspec.structs import asdict

from shared import log, tracing
from shared.domain.progress import plan_of, recheck_of, until_next_check
from shared.domain.recheck_plan import Recheck
from shared.domain.run import SHARDS, Run
from shared.domain.status import Status, Wait
from shared.errors import CacheUnavailable, QueueUnavailable, SchedulerUnavailable, ServiceError, StaleRun
from shared.ports import Clock, RecheckScheduler, RunQueue, RunStore
from shared.usecases.read import OVERDUE_AFTER
from shared.usecases.save_final_run import SaveFinalRun
from shared.usecases.sweep_webhooks import SweepWebhooks

PAGE = 100
"""Maximum runs that are repaired at the same time."""
MAX_CACHED = 500
MAX_FORGOTTEN = 500
MAX_REPAIR_PAUSE = timedelta(minutes=5)
"""A run that no worker takes is sent again at intervals that grow up to this one."""


Repair = Callable[[Run, datetime], Awaitable[bool]]
"""A function of (run, time of the pass) that returns whether there was something to repair."""


class Swept(Struct, kw_only=True):
    """Counts the runs of one pass."""

    repaired: int = 0
    patrolled: int = 0
    cached: int = 0
    failed: int = 0
    forgotten: int = 0
    webhooks: int = 0
    """Deliveries that were scheduled again."""
    overdue: int = 0
    """Runs that earlier passes should have continued."""


class Pass(Struct, frozen=True, kw_only=True):
    """One pass of the sweeper: when it began, and what it has done so far."""

    now: datetime
    swept: Swept = field(default_factory=Swept)
    unexpected: list[Exception] = field(default_factory=list)
    """Errors that no code foresees; they are raised after the pass."""


class SweepRuns(Struct, frozen=True, kw_only=True):
    store: RunStore
    queue: RunQueue
    scheduler: RecheckScheduler
    save_final: SaveFinalRun
    clock: Clock
    webhooks: SweepWebhooks
    interval: timedelta
    """The time between two calls; each of the first two rounds takes at most so long."""
    max_cached: int = MAX_CACHED
    """Maximum results that one pass writes to the cache."""

    async def __call__(self) -> Swept:
        """Does one pass. The error of one run does not stop the pass.

        Raises ExceptionGroup after the pass when the repair of a run met an error that is no ServiceError.
        """
        this = Pass(now=self.clock.now())
        patrolled = int(this.now.timestamp() / self.interval.total_seconds()) % SHARDS
        shards = [(patrolled + number) % SHARDS for number in range(SHARDS)]
        rounds = (self._sweep_open_runs(this, shards), self._refresh_cache(this, shards), self._sweep_webhooks(this))
        for error in await asyncio.gather(*rounds, return_exceptions=True):
            if error is not None:
                raise error
        this.swept.forgotten = await self.store.forget_expired(this.now, limit=MAX_FORGOTTEN)
        if this.swept != Swept():
            log.info("swept", **asdict(this.swept))
        if this.unexpected:
            raise ExceptionGroup("runs not repaired", this.unexpected)
        return this.swept

    async def _sweep_open_runs(self, this: Pass, shards: Sequence[int]) -> None:
        """Repairs what is overdue, and patrols the first of the shards."""
        await self._side_by_side(this, shards, before=this.now, counter="repaired", repair=self._repair)
        await self._side_by_side(this, shards[:1], before=None, counter="patrolled", repair=self._patrol)

    async def _side_by_side(
        self,
        this: Pass,
        shards: Sequence[int],
        *,
        before: datetime | None,
        counter: str,
        repair: Repair,
    ) -> None:
        """Repairs the due runs page by page until the time of the round is over."""
        give_up_at = self.clock.now() + self.interval
        async for page in self._pages(shards, before=before):
            if before is not None:
                this.swept.overdue += sum(_is_overdue(run, before) for run in page)
            await self._repair_page(this, page, counter=counter, repair=repair)
            if self.clock.now() > give_up_at:
                log.warning("sweep stopped early: too many runs")
                return

    async def _repair_page(self, this: Pass, page: Sequence[Run], *, counter: str, repair: Repair) -> None:
        """Repairs the runs side by side. An unexpected error stops no other repair; the pass raises it at its end."""
        repairs = [self._repair_one(this, run, counter=counter, repair=repair) for run in page]
        ends = await asyncio.gather(*repairs, return_exceptions=True)
        this.unexpected.extend(end for end in ends if isinstance(end, Exception))

    async def _repair_one(self, this: Pass, run: Run, *, counter: str, repair: Repair) -> None:
        """Repairs one run in its trace, and counts it. Raises only errors that no code foresees."""
        await self._count(_traced(repair, run, this.now + run.clock_offset), this.swept, counter)

    async def _refresh_cache(self, this: Pass, shards: Sequence[int]) -> None:
        """Writes one run after the other, so that a cache that is down costs one try."""
        give_up_at, remaining = self.clock.now() + self.interval / 2, self.max_cached
        async for page in self._pages(shards, before=this.now, terminal=True):
            for run in page:
                error = await self._count(self._write_cache(run), this.swept, "cached")
                remaining -= 1
                if isinstance(error, CacheUnavailable) or remaining == 0 or self.clock.now() > give_up_at:
                    return

    async def _sweep_webhooks(self, this: Pass) -> None:
        """Lets a failure end only this round; the next pass repeats it."""
        try:
            this.swept.webhooks = await self.webhooks()
        except ServiceError as error:
            this.swept.failed += 1
            log.warning("webhooks not swept", code=error.code)

    async def _pages(
        self, shards: Sequence[int], *, before: datetime | None, terminal: bool = False
    ) -> AsyncIterator[Sequence[Run]]:
        """Yields the due runs of one shard after the other, page by page; one query is enough when a page has all."""
        due = partial(self.store.due_runs, terminal=terminal, before=before, limit=PAGE)
        page = await due(shards)
        if len(page.positions) < PAGE:
            for shard in shards:
                yield [run for run in page.runs if run.shard == shard]
            return
        for shard in shards:
            page = await due([shard])
            yield page.runs
            while len(page.positions) == PAGE:
                page = await due([shard], after=page.positions[-1])
                yield page.runs

    async def _count(self, repair: Awaitable[bool], swept: Swept, counter: str) -> ServiceError | None:
        """Awaits one run's repair and counts it. Returns the error of a failed repair; a later pass repeats it."""
        try:
            if await repair:
                setattr(swept, counter, getattr(swept, counter) + 1)
        except StaleRun:
            log.info("run changed meanwhile")
        except ServiceError as error:
            swept.failed += 1
            log.warning("run not repaired", code=error.code)
            return error
        return None

    async def _repair(self, run: Run, now: datetime) -> bool:
        """Sends the run to any worker, and makes it due again later when no worker takes it.

        The pause is the time since the run changed last, so a backlog does not grow by its own repair. The run is sent
        before it is saved: when sending fails, the next pass repeats it. A run that is not due yet on the store's clock
        stays as it is, since a worker may have it.
        """
        assert run.due_at is not None
        if now < run.due_at:
            return False
        is_late = now >= run.deadline_at
        if run.status is Status.PENDING and not is_late:
            await self._publish(run, now)
        else:
            await self._schedule(run, now)
        idle = now - (run.deadline_at if is_late else run.updated_at)
        due_at = now + min(max(idle, self.interval), MAX_REPAIR_PAUSE)
        reason = Wait.ROOM if run.waiting_for == Wait.ROOM else Wait.WORKER
        await self.store.save(run.waiting(reason, due_at=due_at if is_late else min(due_at, run.deadline_at)))
        return True

    async def _write_cache(self, run: Run) -> bool:
        """Writes the cache; the run's next attempt is later each time while the cache is down."""
        run_with_result = await self.store.get(run.id)
        if run_with_result.due_at is not None and (await self.save_final(run_with_result)).due_at is not None:
            raise CacheUnavailable
        return True

    async def _publish(self, run: Run, now: datetime) -> None:
        try:
            await self.queue.publish(run.id, lane=run.lane)
        except QueueUnavailable:
            await self._schedule(run, now)

    async def _schedule(self, run: Run, now: datetime) -> None:
        """Schedules a task at once; sweepers that overlap ask for the same one."""
        assert run.due_at is not None
        sequence = (
            f"sweep-{round(run.due_at.timestamp() * 1000)}-{int(now.timestamp() / self.interval.total_seconds())}"
        )
        recheck = Recheck(run_id=run.id, attempt=run.attempt, sequence=sequence, checks=run.checks)
        try:
            await self.scheduler.schedule(recheck, at=now, lane=run.lane)
        except SchedulerUnavailable:
            await self.queue.publish(run.id, lane=run.lane)

    async def _patrol(self, run: Run, now: datetime) -> bool:
        if run.sent_at is None or run.provider_job_id is None or now >= run.deadline_at:
            return False
        at = now + until_next_check(run, now)
        recheck = recheck_of(run, at, checks=plan_of(run).checks_until(now - run.sent_at))
        await self.scheduler.schedule(recheck, at=at, lane=run.lane)
        return True


async def _traced(repair: Repair, run: Run, now: datetime) -> bool:
    """Repairs in the run's own trace, so that what it sends goes on there."""
    with tracing.continued(run.traceparent, "repair run"):
        return await repair(run, now)


def _is_overdue(run: Run, now: datetime) -> bool:
    return run.due_at is not None and run.due_at < now - OVERDUE_AFTER
