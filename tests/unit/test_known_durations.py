"""What the system learns of durations, what it costs, and that no run waits for it or fails by it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import force_setattr

from shared.domain.best_plan import FIRST_PLAN
from shared.domain.durations import Durations, one_duration
from shared.domain.run import Run
from shared.domain.status import Service, Status
from shared.errors import LlmRefused, LlmUnavailable, StoreUnavailable
from shared.usecases.known_durations import KnownDurations, kind_key
from tests.contract.runs import a_run
from tests.unit.world import World

KEY = "standard deployment europe"


class CountingDurations:
    """Passes calls on to the store of the world, counts them, and may refuse or hang."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.reads = self.writes = 0
        self.before: Callable[[], Awaitable[None]] | None = None

    async def known(self, key: str) -> Durations:
        self.reads += 1
        if self.before is not None:
            await self.before()
        known: Durations = await self._store.known(key)
        return known

    async def add(self, key: str, durations: Durations) -> None:
        self.writes += 1
        if self.before is not None:
            await self.before()
        await self._store.add(key, durations)


def counted(world: World) -> CountingDurations:
    """Puts a counting store before the world's own."""
    store = CountingDurations(world.sqlite.durations)
    force_setattr(world.services.advance, "durations", KnownDurations(store=store, clock=world.clock))
    return store


async def completed(world: World, *, seconds: float = 300) -> Run:
    run = await world.submit()
    await world.run_for(seconds)
    done = await world.get(run)
    assert done.status is Status.COMPLETED
    return done


async def test_the_first_run_has_the_first_plan_and_later_ones_are_looked_at_when_jobs_end(world: World) -> None:
    world.llm.takes = timedelta(seconds=70)
    first = await completed(world)
    assert first.plan == FIRST_PLAN and first.checks == 8
    for _ in range(20):
        await completed(world)
    last = await completed(world)
    assert last.checks <= 4 and last.processing_time is not None
    assert last.processing_time < timedelta(seconds=74)


async def test_another_process_plans_with_what_this_one_has_learned(world: World) -> None:
    world.llm.takes = timedelta(seconds=70)
    for _ in range(3):
        await completed(world)
    other = KnownDurations(store=world.sqlite.durations, clock=world.clock)
    plan = await other.plan(a_run(model=None, deployment="europe"))
    assert plan != FIRST_PLAN and sum(offset < 40 for offset in plan) <= 1


async def test_a_plan_stands_on_the_run_so_that_what_is_learned_later_moves_no_check(world: World) -> None:
    world.llm.takes = timedelta(seconds=70)
    run = await world.submit()
    await world.deliver()
    sent = await world.get(run)
    for _ in range(30):
        await world.sqlite.durations.add(KEY, one_duration(9, 10, known=Durations()))
    world.clock.forward(61)
    assert (await world.get(run)).plan == sent.plan == FIRST_PLAN


async def test_many_runs_cost_far_less_than_a_write_each(world: World) -> None:
    store = counted(world)
    for _ in range(100):
        await world.submit()
        await world.run_for(3)
    await world.run_for(60)
    assert store.writes <= 50 + 40
    assert store.reads <= 8, "one a minute"
    before = store.writes
    for _ in range(40):
        await completed(world, seconds=60)
    assert 1 <= store.writes - before <= 12, "one in eight"


async def test_a_burst_writes_what_it_has_gathered_once_in_a_while(world: World) -> None:
    store = counted(world)
    for _ in range(40):
        await world.submit()
    await world.run_for(30)
    assert store.writes <= 2
    await world.run_for(60)
    await completed(world)
    assert (await world.sqlite.durations.known(KEY)).jobs == pytest.approx(41, abs=0.5)


async def refuse() -> None:
    raise StoreUnavailable


async def hang() -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("trouble", [refuse, hang])
async def test_no_run_fails_or_waits_long_when_durations_cannot_be_read_or_written(
    world: World, trouble: Callable[[], Awaitable[None]]
) -> None:
    store = counted(world)
    store.before = trouble
    began = asyncio.get_running_loop().time()
    runs = [await world.submit() for _ in range(5)]
    await world.run_for(20)
    assert asyncio.get_running_loop().time() - began < 4
    for run in runs:
        done = await world.get(run)
        assert done.status is Status.COMPLETED and done.plan == FIRST_PLAN
    assert (store.reads, store.writes) == (1, 1)


async def test_a_job_that_fails_is_an_end_too_and_an_answer_that_never_came_is_none(world: World) -> None:
    world.llm.check_troubles = [LlmRefused(code="llm_failed")]
    await world.submit()
    await world.run_for(30)
    assert (await world.sqlite.durations.known(KEY)).jobs == 1
    world.llm.check_troubles = [LlmRefused(code="llm_credentials")]
    await world.submit()
    await world.run_for(30)
    assert (await world.sqlite.durations.known(KEY)).jobs == 1


async def test_a_job_whose_checks_met_trouble_teaches_nothing(world: World) -> None:
    world.llm.check_troubles = [LlmUnavailable(), LlmUnavailable()]
    await completed(world)
    assert (await world.sqlite.durations.known(KEY)).jobs == 0


async def test_a_synchronous_call_has_no_plan_and_teaches_nothing(world: World) -> None:
    store = counted(world)
    run = await world.submit_job(model_id="demo-chat-model")
    await world.run_for(5)
    assert (await world.get(run)).plan == () and (store.reads, store.writes) == (0, 0)


def test_runs_of_one_model_or_deployment_and_service_are_of_one_kind() -> None:
    keys = {kind_key(a_run(deployment=name, service=service)) for name in ("europe", "tokyo") for service in Service}
    assert len(keys) == 4


async def test_jobs_that_become_faster_are_found_sooner_after_a_while(world: World) -> None:
    world.llm.takes = timedelta(seconds=120)
    for _ in range(15):
        await completed(world)
    world.llm.takes = timedelta(seconds=20)
    lags = []
    for _ in range(25):
        done = await completed(world)
        assert done.processing_time is not None
        lags.append(done.processing_time.total_seconds() - 20)
    assert lags[0] > 10 > 5 > lags[-1]
