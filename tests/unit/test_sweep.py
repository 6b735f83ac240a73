"""The sweeper and the burial: whatever is lost, every run ends."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from shared.domain.frozen import replace
from shared.domain.recheck_plan import Recheck
from shared.domain.run import SHARDS, Run
from shared.domain.status import Lane, Status
from shared.errors import LlmUnavailable, QueueUnavailable, RunNotFound
from shared.ports import RunPage
from shared.usecases.sweep import PAGE
from shared.usecases.sweep_webhooks import SweepWebhooks
from tests.unit.world import DEMO, FOREVER, CountingStore, World


async def test_a_run_whose_message_was_lost_is_published_again(world: World) -> None:
    run = await world.submit()
    await world.lose_everything_under_way()
    await world.run_for(180, sweeping=True)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_a_run_that_could_not_be_published_is_accepted_all_the_same(world: World) -> None:
    publish = world.sqlite.queue.publish

    async def down(run_id: str, *, lane: Lane = Lane.SHORT) -> None:
        raise QueueUnavailable

    world.sqlite.queue.publish = down  # type: ignore[method-assign]
    run = await world.submit()
    world.sqlite.queue.publish = publish  # type: ignore[method-assign]
    await world.run_for(180, sweeping=True)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_while_the_queue_is_down_the_sweeper_uses_the_scheduler(world: World) -> None:

    async def down(run_id: str, *, lane: Lane = Lane.SHORT) -> None:
        raise QueueUnavailable

    world.sqlite.queue.publish = down  # type: ignore[method-assign]
    run = await world.submit()
    await world.run_for(180, sweeping=True)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_lost_timers_are_made_again_by_the_patrol_without_a_write(world: World) -> None:
    world.llm.takes = timedelta(seconds=30)
    runs = [await world.submit() for _ in range(20)]
    await world.deliver()
    await world.lose_everything_under_way()
    await world.run_for(600, sweeping=True)
    assert {(await world.get(run)).status for run in runs} == {Status.COMPLETED}
    assert max(world.store.writes.values()) <= 4


async def test_the_patrol_asks_for_no_check_that_is_there_already() -> None:
    async with World() as world:
        world.llm.takes = FOREVER
        await world.submit()
        await world.run_for(1000)
        without = world.llm.checks
    async with World() as world:
        world.llm.takes = FOREVER
        await world.submit()
        await world.run_for(1000, sweeping=True)
        assert world.llm.checks == without


async def test_everything_lost_again_and_again_still_lets_every_run_end(world: World) -> None:
    world.llm.takes = timedelta(seconds=20)
    world.llm.troubles = [LlmUnavailable() for _ in range(5)]
    runs = [await world.submit() for _ in range(10)]
    for _ in range(8):
        await world.run_for(50, sweeping=True)
        await world.lose_everything_under_way()
    await world.run_for(1200, sweeping=True)
    assert {(await world.get(run)).status for run in runs} == {Status.COMPLETED}
    assert set(world.llm.submits) == {f"{run.id}-1" for run in runs}


async def test_a_run_past_its_deadline_is_expired(world: World) -> None:
    world.llm.takes = FOREVER
    run = await world.submit()
    await world.deliver()
    await world.lose_everything_under_way()
    world.clock.forward(3600)
    await world.run_for(120, sweeping=True)
    done = await world.get(run)
    assert done.error is not None and done.error.code == "deadline_exceeded"


async def test_a_run_that_no_worker_takes_is_published_at_growing_intervals_of_up_to_five_minutes(world: World) -> None:
    run = await world.submit()
    await world.lose_everything_under_way()
    published: list[float] = []

    async def publish(run_id: str, *, lane: Lane) -> None:
        published.append((world.clock.now() - run.created_at).total_seconds() / 60)

    world.sqlite.queue.publish = publish  # type: ignore[method-assign]
    for _ in range(30):
        world.clock.forward(60)
        await world.services.sweep()
    assert published == [1, 2, 4, 8, 13, 18, 23, 28]
    waiting = await world.get(run)
    assert (waiting.status, waiting.waiting_for) == (Status.PENDING, "worker")


async def test_a_run_whose_worker_died_is_started_again_by_the_sweeper(world: World) -> None:
    run = await world.submit()
    await world.store.save((await world.get(run)).claimed(world.clock.now(), lease=timedelta(seconds=90)))
    await world.lose_everything_under_way()
    world.clock.forward(120)
    await world.services.sweep()
    assert (await world.get(run)).waiting_for == "worker"
    await world.run_for(30)
    assert (await world.get(run)).status is Status.COMPLETED
    assert world.llm.submits == {f"{run.id}-1": 1}


async def test_a_pass_that_has_no_time_left_leaves_the_rest_to_the_next_one(world: World) -> None:
    runs = [await world.submit() for _ in range(40)]
    await world.lose_everything_under_way()
    world.clock.forward(120)
    publish = world.sqlite.queue.publish

    async def slowly(run_id: str, *, lane: Lane) -> None:
        world.clock.forward(3)
        await publish(run_id, lane=lane)

    world.sqlite.queue.publish = slowly  # type: ignore[method-assign]
    assert 0 < (await world.services.sweep()).repaired < len(runs)
    await world.services.sweep()
    assert {(await world.get(run)).waiting_for for run in runs} == {"worker"}


class Queries(CountingStore):
    """Notes which shards are asked for, of open runs that are due."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.asked: list[list[int]] = []

    async def due_runs(self, shards: Sequence[int], **more: Any) -> RunPage:
        if more["before"] is not None and not more["terminal"]:
            self.asked.append(list(shards))
        return await super().due_runs(shards, **more)


async def test_a_round_that_finds_less_than_a_page_asks_once_and_begins_with_another_shard_each_time(
    world: World,
) -> None:
    runs = [await world.submit() for _ in range(40)]
    await world.lose_everything_under_way()
    world.clock.forward(120)
    first = int(world.clock.now().timestamp() / world.services.sweep.interval.total_seconds()) % SHARDS
    store, published = Queries(world.store), note_published(world)
    assert (await replace(world.services.sweep, store=store)()).repaired == len(runs)
    assert store.asked == [[(first + number) % SHARDS for number in range(SHARDS)]]
    shards = {run.id: (run.shard - first) % SHARDS for run in runs}
    assert [shards[run_id] for run_id in published] == sorted(shards.values())


async def test_a_backlog_is_repaired_shard_by_shard_and_each_run_once(world: World) -> None:
    runs = [await world.submit() for _ in range(PAGE)]
    await world.lose_everything_under_way()
    world.clock.forward(120)
    store, published = Queries(world.store), note_published(world)
    assert (await replace(world.services.sweep, store=store)()).repaired == len(runs)
    assert sorted(published) == sorted(run.id for run in runs)
    assert [[shard] for shard in store.asked[0]] == store.asked[1:]


def note_published(world: World) -> list[str]:
    """Publishes nothing, and returns a list to which the ids of the runs are added that would have been published."""
    published: list[str] = []

    async def publish(run_id: str, *, lane: Lane) -> None:
        published.append(run_id)

    world.sqlite.queue.publish = publish  # type: ignore[method-assign]
    return published


async def test_an_error_that_no_code_foresees_stops_the_repair_of_no_other_run(world: World) -> None:
    runs = [await world.submit() for _ in range(9)]
    await world.lose_everything_under_way()
    world.clock.forward(120)
    publish = world.sqlite.queue.publish

    async def broken(run_id: str, *, lane: Lane) -> None:
        if run_id == runs[0].id:
            raise ZeroDivisionError
        await publish(run_id, lane=lane)

    world.sqlite.queue.publish = broken  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup):
        await world.services.sweep()
    await world.run_for(10)
    assert [(await world.get(run)).status for run in runs] == [Status.PENDING] + [Status.COMPLETED] * 8


async def ended_without_the_cache(world: World, count: int) -> list[Run]:
    """Runs that wait for the cache, all of them overdue."""
    world.cache.is_down = True
    ended = [await world.submit() for _ in range(count)]
    for run in ended:
        await world.services.cancel(DEMO, run.id)
    world.clock.forward(300)
    return ended


async def test_runs_that_wait_for_the_cache_do_not_hold_up_open_ones(world: World) -> None:
    ended = await ended_without_the_cache(world, 20)
    waiting, running = await world.submit(), await world.submit()
    await world.services.advance(running.id)
    await world.lose_everything_under_way()
    world.clock.forward(300)
    repaired: list[str] = []
    publish, schedule = world.sqlite.queue.publish, world.sqlite.scheduler.schedule

    async def published(run_id: str, *, lane: Lane = Lane.SHORT) -> None:
        repaired.append(f"{run_id} before {world.cache.calls - len(ended)} tries")
        await publish(run_id, lane=lane)

    async def scheduled(recheck: Recheck, *, at: datetime, lane: Lane = Lane.SHORT) -> None:
        repaired.append(f"{recheck.run_id} before {world.cache.calls - len(ended)} tries")
        await schedule(recheck, at=at, lane=lane)

    world.sqlite.queue.publish = published  # type: ignore[method-assign]
    world.sqlite.scheduler.schedule = scheduled  # type: ignore[method-assign]
    for _ in range(SHARDS):
        await world.services.sweep()
        world.clock.forward(60)
    assert repaired[0] == f"{waiting.id} before 0 tries"
    assert any(line.startswith(running.id) for line in repaired)


async def test_a_cache_that_is_down_costs_one_try_and_one_write_a_pass_and_nothing_is_forgotten(world: World) -> None:
    ended = await ended_without_the_cache(world, 20)
    writes, tries = world.store.writes.total(), world.cache.calls
    for _ in range(5):
        await world.services.sweep()
        world.clock.forward(60)
    assert (world.store.writes.total() - writes, world.cache.calls - tries) == (5, 5)
    world.cache.is_down = False
    await world.run_for(3600, sweeping=True)
    for run in ended:
        assert await world.cache.get(f"llm_job:{run.id}") is not None
        assert (await world.get(run)).due_at is None


async def test_no_shard_waits_for_ever_while_others_have_more_results_than_a_pass_takes(world: World) -> None:
    ended = await ended_without_the_cache(world, 24)
    world.cache.is_down = False
    sweep = replace(world.services.sweep, max_cached=1)
    for _ in range(SHARDS):
        tries = world.cache.calls
        await sweep()
        assert world.cache.calls - tries <= 1
        world.clock.forward(60)
    reached = {run.shard for run in ended if (await world.get(run)).due_at is None}
    assert reached == {run.shard for run in ended}


async def test_a_slow_cache_takes_half_of_the_time_between_two_passes_at_most(world: World) -> None:
    await ended_without_the_cache(world, 10)
    world.cache.is_down = False

    async def slowly() -> None:
        world.clock.forward(10)

    world.cache.during_put = slowly
    tries = world.cache.calls
    await world.services.sweep()
    assert world.cache.calls - tries == 4


async def test_a_cache_that_does_not_answer_holds_up_no_webhooks(world: World) -> None:
    await ended_without_the_cache(world, 1)
    world.cache.is_down = False
    webhooks, are_swept = world.services.sweep.webhooks, asyncio.Event()

    async def until_webhooks_are_swept() -> None:
        async with asyncio.timeout(5):
            await are_swept.wait()

    async def sweep_webhooks() -> int:
        are_swept.set()
        return await webhooks()

    world.cache.during_put = until_webhooks_are_swept
    await replace(world.services.sweep, webhooks=cast(SweepWebhooks, sweep_webhooks))()
    assert are_swept.is_set()


async def test_operators_see_runs_that_nobody_swept(world: World) -> None:
    run = await world.submit()
    await world.lose_everything_under_way()
    world.clock.forward(179)
    assert (await world.services.read.overdue()).runs == []
    world.clock.forward(2)
    assert [found.id for found in (await world.services.read.overdue()).runs] == [run.id]
    await world.run_for(120, sweeping=True)
    assert (await world.services.read.overdue()).runs == []


async def test_a_pass_counts_the_runs_that_earlier_passes_should_have_continued(world: World) -> None:
    await world.submit()
    await world.lose_everything_under_way()
    world.clock.forward(61)
    assert (await world.services.sweep()).overdue == 0
    await world.lose_everything_under_way()
    world.clock.forward(600)
    assert (await world.services.sweep()).overdue == 1


async def test_a_dead_letter_is_kept_once_and_is_no_verdict_on_its_run(world: World) -> None:
    run = await world.submit()
    for _ in range(2):
        await world.bury(run, "7")
    assert await world.get(run) == run
    assert await world.dead_letters() == ["7"]


async def test_a_dead_letter_does_not_end_a_run_whose_job_is_at_work(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    await world.bury(run)
    await world.run_for(30)
    assert (await world.get(run)).status is Status.COMPLETED


async def test_a_dead_letter_of_no_run_is_kept(world: World) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    await world.services.bury(run_id=unknown, message_id="8", source="process-run", data="{}", attributes={})
    try:
        await world.services.read.get(DEMO, unknown)
    except RunNotFound:
        return
    raise AssertionError("the run should not exist")


async def test_the_sweeper_goes_on_behind_documents_that_it_cannot_read(world: World) -> None:
    runs = [await world.submit() for _ in range(3)]
    await world.lose_everything_under_way()
    await world.sqlite.database.write(
        lambda connection: connection.execute(
            "UPDATE runs SET document = json_set(document, '$.kind', 'of_a_later_release') WHERE id = ?", (runs[0].id,)
        )
    )
    await world.run_for(180, sweeping=True)
    for run in runs[1:]:
        assert (await world.get(run)).status is Status.COMPLETED
    assert (await world.services.read.overdue()).unreadable == [runs[0].id]


@pytest.mark.parametrize(("model_id", "topic"), [("demo-model", "llm-runs"), ("demo-chat-model", "llm-runs-long")])
async def test_a_run_that_is_published_again_keeps_its_lane(world: World, model_id: str, topic: str) -> None:
    await world.submit_job(model_id=model_id)
    await world.lose_everything_under_way()
    world.clock.forward(120)
    await world.services.sweep()
    topics = await world.sqlite.database.read(
        lambda connection: connection.execute("SELECT topic FROM messages").fetchall()
    )
    assert topics == [(topic,)]


async def test_a_sweeper_whose_clock_is_ahead_frees_no_run_within_its_lease(world: World) -> None:
    run = await world.submit()
    await world.lose_everything_under_way()
    claimed = (await world.get(run)).claimed(world.clock.now(), lease=timedelta(seconds=30))
    await world.store.save(claimed)
    world.store.clock_offset = timedelta(seconds=-10)
    world.clock.forward(35)
    await world.services.sweep()
    assert (await world.get(run)).waiting_for is None
    world.clock.forward(10)
    await world.services.sweep()
    assert (await world.get(run)).waiting_for == "worker"


async def test_a_pass_with_queue_and_scheduler_down_counts_its_failures_and_raises_nothing(world: World) -> None:
    async def down(*_: object, **__: object) -> None:
        raise QueueUnavailable

    await world.submit()
    await world.lose_everything_under_way()
    world.clock.forward(100)
    world.sqlite.queue.publish = world.sqlite.scheduler.schedule = down  # type: ignore[method-assign]
    swept = await world.services.sweep()
    assert (swept.failed, swept.repaired) == (1, 0)
