"""Faults of the parts around a run, in one process and on a clock of the test's own: each run ends once, and well."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.domain import submission
from shared.domain.frozen import replace
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import LlmUnavailable, RunNotFound, SchedulerUnavailable
from shared.usecases.submit import IdempotencyKey
from shared.wiring.assembly import UseCases
from tests.unit.world import DEMO, OTHER, TestClock, World

KEY = IdempotencyKey(key_hash="k", body_hash="b")
WANTED = submission.user_run({"input_text": "hello"})


class Killed(BaseException):
    """Stands for the end of the process: nothing after it happens."""


class DiesAt:
    """Passes calls on to an adapter until the process dies, before or after the first call of `method`."""

    def __init__(self, adapter: Any, method: str, moment: str) -> None:
        self._adapter, self._method, self._moment = adapter, method, moment

    def __getattr__(self, name: str) -> Any:
        return self._die if name == self._method else getattr(self._adapter, name)

    async def _die(self, *arguments: Any, **options: Any) -> None:
        if self._moment == "after":
            await getattr(self._adapter, self._method)(*arguments, **options)
        raise Killed


async def count(world: World, table: str) -> int:
    rows = await world.sqlite.database.read(
        lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    )
    return int(rows[0])


async def statuses(world: World, *runs: Run) -> Counter[Status]:
    return Counter([(await world.get(run)).status for run in runs])


@pytest.mark.parametrize(
    ("part", "method", "moment"),
    [("store", "create", "before"), ("store", "create", "after"), ("queue", "publish", "before")]
    + [("queue", "publish", "after")],
)
async def test_a_submit_that_dies_at_any_moment_is_one_run_with_its_retry(
    world: World, part: str, method: str, moment: str
) -> None:
    submit = world.services.submit
    adapters: dict[str, Any] = {part: DiesAt(getattr(submit, part), method, moment)}
    dying = replace(submit, **adapters)
    with pytest.raises(Killed):
        await dying(DEMO, WANTED, key=KEY)
    stored = await count(world, "runs")
    run, is_replayed = await submit(DEMO, WANTED, key=KEY)
    assert (stored, is_replayed) == ((0, False) if (method, moment) == ("create", "before") else (1, True))
    await world.run_for(240, sweeping=True)
    assert await count(world, "runs") == 1 and (await world.get(run)).status is Status.COMPLETED
    assert world.llm.submits == {f"{run.id}-1": 1}


async def test_an_llm_that_refuses_one_organization_delays_no_other_and_slows_no_queue(world: World) -> None:
    async def refuse_acme(run: Run) -> None:
        if run.organization_id == "acme" and world.clock.now() < limited_until:
            raise LlmUnavailable(code="llm_rate_limited", retry_after=timedelta(seconds=20))

    limited_until = world.clock.now() + timedelta(seconds=60)
    world.llm.during_start = refuse_acme
    limited = [await world.submit() for _ in range(10)]
    others = [(await world.services.submit(OTHER, WANTED))[0] for _ in range(10)]
    await world.run_for(10)
    assert await statuses(world, *others) == {Status.COMPLETED: 10}
    assert {(await world.get(run)).waiting_for for run in limited} == {"llm_rate_limited"}
    assert max(Counter(world.llm.submits).values()) == 1, "Retry-After says 20 s"
    await world.run_for(120)
    assert await statuses(world, *limited) == {Status.COMPLETED: 10}
    assert {status for _, status in world.answers} == {204}


async def test_a_queue_that_is_paused_for_five_minutes_loses_no_run(world: World) -> None:
    runs = [await world.submit() for _ in range(5)]
    await world.deliver()
    world.paused_queues.update(QUEUES.values())
    await world.run_for(300, sweeping=True)
    assert await statuses(world, *runs) == {Status.PROCESSING: 5}
    world.paused_queues.clear()
    await world.run_for(30, sweeping=True)
    assert await statuses(world, *runs) == {Status.COMPLETED: 5}
    assert set(world.llm.submits.values()) == {1}


class MissingQueue:
    """A scheduler whose queue does not exist until the time is over."""

    def __init__(self, scheduler: Any, clock: TestClock, until: datetime) -> None:
        self._scheduler, self._clock, self._until = scheduler, clock, until
        self.refused = 0

    async def schedule(self, *arguments: Any, **options: Any) -> None:
        if self._clock.now() < self._until:
            self.refused += 1
            raise SchedulerUnavailable
        await self._scheduler.schedule(*arguments, **options)


async def test_a_queue_that_does_not_exist_for_two_minutes_loses_no_run(world: World) -> None:
    missing = MissingQueue(world.sqlite.scheduler, world.clock, world.clock.now() + timedelta(minutes=2))
    world.services = UseCases(world.settings, world.backend(scheduler=missing))
    runs = [await world.submit() for _ in range(5)]
    await world.run_for(420, sweeping=True)
    assert await statuses(world, *runs) == {Status.COMPLETED: 5} and missing.refused > 0
    assert set(world.llm.submits.values()) == {1}


async def test_a_store_that_comes_back_as_it_was_seconds_ago_ends_every_run_that_it_has(world: World) -> None:
    unsent = await world.submit()
    sent = await world.submit()
    await world.services.advance(sent.id)
    await in_database(world, "CREATE TABLE export AS SELECT * FROM runs")
    lost = await world.submit()
    await world.deliver()
    await in_database(world, "DELETE FROM runs", "INSERT INTO runs SELECT * FROM export")
    await world.run_for(240, sweeping=True)
    assert await statuses(world, unsent, sent) == {Status.COMPLETED: 2}
    with pytest.raises(RunNotFound):
        await world.get(lost)
    assert len(world.llm.jobs) == 3, "a run that is sent again carries its key, and gets the job that it had"


async def in_database(world: World, *statements: str) -> None:
    for statement in statements:
        await world.sqlite.database.write(lambda connection, text=statement: connection.execute(text))  # type: ignore[misc]


class SkewedClock:
    """A clock that is wrong by `skew`."""

    def __init__(self, clock: TestClock, skew: timedelta) -> None:
        self._clock, self._skew = clock, skew

    def now(self) -> datetime:
        return self._clock.now() + self._skew

    async def sleep(self, duration: timedelta) -> None:
        await self._clock.sleep(duration)


class StoreThatTellsTheTime:
    """Says with each run how far the reader's clock is from the store's, as Firestore does."""

    def __init__(self, store: Any, offset: timedelta) -> None:
        self._store, self._offset = store, offset

    async def get(self, run_id: str, **options: Any) -> Run:
        run: Run = await self._store.get(run_id, **options)
        return replace(run, clock_offset=self._offset)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def with_skewed_clock(world: World, skew: timedelta) -> UseCases:
    store, clock = StoreThatTellsTheTime(world.store, -skew), SkewedClock(world.clock, skew)
    return UseCases(world.settings, world.backend(store=store, clock=clock))


@pytest.mark.parametrize("minutes", [5, -5])
async def test_a_worker_whose_clock_is_wrong_takes_nobodys_run(world: World, minutes: int) -> None:
    run = await world.submit()
    skewed = with_skewed_clock(world, timedelta(minutes=minutes))

    async def delivered_again_meanwhile(_: Run) -> None:
        world.llm.during_start = None
        await skewed.advance(run.id)

    world.llm.during_start = delivered_again_meanwhile
    await world.services.advance(run.id)
    assert world.llm.submits == {f"{run.id}-1": 1} and (await world.get(run)).fence == 1


@pytest.mark.parametrize("minutes", [5, -5])
async def test_a_worker_whose_clock_is_wrong_follows_a_dead_worker_after_its_lease(world: World, minutes: int) -> None:
    run = await world.submit()
    await world.store.save((await world.get(run)).claimed(world.clock.now(), lease=timedelta(seconds=15)))
    skewed = with_skewed_clock(world, timedelta(minutes=minutes))
    await skewed.advance(run.id)
    assert world.llm.submits == {}
    world.clock.forward(16)
    await skewed.advance(run.id)
    assert world.llm.submits == {f"{run.id}-1": 1}


@pytest.fixture
async def backlog(world: World) -> AsyncIterator[list[Run]]:
    """Runs whose messages are lost, and which are overdue."""
    runs = [await world.submit() for _ in range(60)]
    await world.lose_everything_under_way()
    world.clock.forward(90)
    yield runs


async def test_two_sweepers_at_once_repair_each_run_once(world: World, backlog: list[Run]) -> None:
    writes = Counter(world.store.writes)
    await asyncio.gather(world.services.sweep(), world.services.sweep())
    assert await count(world, "messages") <= 2 * len(backlog)
    assert set((Counter(world.store.writes) - writes).values()) == {1}
    await world.run_for(30)
    assert await statuses(world, *backlog) == {Status.COMPLETED: len(backlog)}
    assert set(world.llm.submits.values()) == {1}


class NotedMeanwhile:
    """A store in which the sweeper notes that it has sent the run, just before the first save of a worker."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._is_noted = False

    async def save(self, run: Run) -> Run:
        if not self._is_noted:
            self._is_noted = True
            await self._world.services.sweep()
        return await self._world.store.save(run)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.store, name)


async def test_a_worker_whose_claim_meets_the_sweepers_note_claims_again(world: World, backlog: list[Run]) -> None:
    advance = replace(world.services.advance, store=NotedMeanwhile(world))
    await advance(backlog[0].id)
    assert world.llm.submits == {f"{backlog[0].id}-1": 1}


async def test_a_sweeper_that_is_called_ten_times_as_often_does_no_more(world: World, backlog: list[Run]) -> None:
    sweep: Callable[[], Awaitable[Any]] = world.services.sweep
    for _ in range(10):
        await sweep()
        world.clock.forward(6)
    assert await count(world, "messages") == len(backlog)
