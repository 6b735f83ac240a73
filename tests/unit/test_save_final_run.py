"""The result cache beside the runs: it shows what is stored, and its trouble is nobody else's."""

import asyncio
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from shared import log
from shared.domain import views
from shared.domain.directory import ModelRef
from shared.domain.frozen import replace
from shared.domain.progress import MAX_WORKER_ERRORS
from shared.domain.result import Result, Usage
from shared.domain.run import Run
from shared.domain.status import Status, Wait
from shared.errors import LlmRefused, StaleRun, StoreUnavailable
from shared.settings import Settings
from shared.usecases import save_final_run
from tests.unit.world import DEMO, FOREVER, World

DAY = timedelta(days=1)


async def cached(world: World, run: Run) -> Any:
    text = await world.cache.get(f"llm_job:{run.id}")
    return None if text is None else json.loads(text)


async def stored(world: World, run: Run) -> Any:
    return json.loads(views.status_content(await world.get(run)))


async def test_a_large_result_that_the_cache_missed_is_shown_whole_by_the_sweeper(world: World) -> None:
    run = await world.submit()
    done = (await world.get(run)).completed(
        world.clock.now(), result=Result(text="x" * 500_000), usage=Usage(), checks=1
    )
    world.cache.is_down = True
    await world.save_final(done)
    world.cache.is_down = False
    await world.run_for(300, sweeping=True)
    assert (await world.get(run)).due_at is None
    assert (await cached(world, run))["result_data"]["result"] == "x" * 500_000


async def test_each_end_of_a_run_is_in_the_cache_as_the_status_route_shows_it(world: World) -> None:
    completed, failed = await world.submit(), await world.submit_job(model_id="demo-chat-model")
    await world.services.advance(completed.id)
    world.llm.troubles = [LlmRefused()]
    await world.services.advance(failed.id)
    world.llm.takes = FOREVER
    late, cancelled, broken = [await world.submit() for _ in range(3)]
    await world.services.cancel(DEMO, cancelled.id)
    for _ in range(MAX_WORKER_ERRORS):
        await world.services.advance.count_worker_error(broken.id)
    for run in (failed, cancelled, broken):
        assert await cached(world, run) == await stored(world, run), "at once"
    await world.run_for(3700)
    statuses = {}
    for run in (completed, failed, late, cancelled, broken):
        statuses[run.id] = (await cached(world, run))["status"]
        assert await cached(world, run) == await stored(world, run)
        assert (await world.get(run)).due_at is None
    assert list(statuses.values()) == ["completed", "failed", "failed", "cancelled", "failed"]


async def test_an_open_run_is_not_in_the_cache(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    assert await cached(world, run) is None


async def test_an_entry_goes_one_day_after_the_end_of_its_run(world: World) -> None:
    run = await world.submit()
    await world.run_for(10)
    ended = (await world.get(run)).completed_at
    assert ended is not None
    world.clock.time = ended + DAY / 2
    await world.services.advance(run.id)
    world.clock.time = ended + DAY - timedelta(milliseconds=1)
    await world.services.advance(run.id)
    assert await cached(world, run) is not None
    world.clock.time = ended + DAY
    assert await cached(world, run) is None


async def test_with_a_cache_that_works_a_run_costs_no_more_writes_and_one_call(world: World) -> None:
    run = await world.submit()
    await world.run_for(300, sweeping=True)
    assert (world.store.writes[run.id], world.cache.calls) == (4, 1)


async def test_with_the_cache_down_runs_end_in_as_many_writes_and_the_sweeper_shows_them_later(world: World) -> None:
    world.cache.is_down = True
    run, cancelled = await world.submit(), await world.submit()
    await world.services.cancel(DEMO, cancelled.id)
    await world.run_for(30)
    assert (await world.get(run)).status is Status.COMPLETED
    assert world.store.writes[run.id] == 4
    await world.run_for(600, sweeping=True)
    world.cache.is_down = False
    assert await cached(world, run) is None
    await world.run_for(1200, sweeping=True)
    for ended in (run, cancelled):
        assert await cached(world, ended) == await stored(world, ended)
        assert (await world.get(ended)).due_at is None


@pytest.mark.slow
async def test_the_sweeper_tries_less_and_less_often_and_not_for_ever() -> None:
    async with World(settings=Settings(sweep_interval=timedelta(minutes=10))) as world:
        world.cache.is_down = True
        run = await world.submit()
        await world.run_for(2 * 86400, sweeping=True)
        done = await world.get(run)
        tries = world.cache.calls
        await world.run_for(86400, sweeping=True)
        assert world.cache.calls == tries
    assert done.due_at is None and done.status is Status.COMPLETED
    assert 5 < tries <= 13 and world.store.writes[run.id] <= 4 + tries


async def test_a_complete_run_that_waits_for_the_cache_is_told_to_nobody(world: World) -> None:
    world.cache.is_down = True
    world.llm.takes = timedelta(seconds=1)
    run = await world.submit()
    await world.run_for(30)
    asked, answers = world.llm.checks, len(world.answers)
    await world.run_for(3600, sweeping=True)
    assert await world.services.recover() == 0
    await world.run_for(60)
    assert (world.llm.checks, len(world.answers)) == (asked, answers)
    assert (await world.services.read.overdue()).runs == []
    assert (await world.get(run)).due_at is not None


async def test_operators_see_open_runs_before_complete_ones(world: World) -> None:
    world.cache.is_down = True
    cancelled = await world.submit()
    await world.services.cancel(DEMO, cancelled.id)
    world.clock.forward(100)
    waiting = await world.submit()
    world.clock.forward(300)
    assert [run.id for run in (await world.services.read.overdue()).runs] == [waiting.id, cancelled.id]


async def test_a_cancel_that_wins_while_a_result_is_being_saved_is_what_the_cache_shows(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.clock.forward(30)

    async def cancelled_meanwhile() -> None:
        world.cache.during_put = None
        await world.services.cancel(DEMO, run.id)

    world.cache.during_put = cancelled_meanwhile
    await world.run_for(60)
    assert (await cached(world, run))["status"] == "cancelled"
    assert await cached(world, run) == await stored(world, run)


async def test_a_loser_that_cannot_correct_the_cache_leaves_it_to_the_sweeper(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    mine = (await world.get(run)).cancelled(world.clock.now())
    world.clock.forward(30)
    await world.services.advance(run.id)
    await world.lose_everything_under_way()

    async def goes_down() -> None:
        world.cache.is_down = True

    world.cache.during_put = goes_down
    with pytest.raises(StaleRun):
        await world.save_final(mine)
    assert (await cached(world, run))["status"] == "cancelled", "or there is nothing to correct"
    world.cache.during_put, world.cache.is_down = None, False
    await world.run_for(120, sweeping=True)
    assert await cached(world, run) == await stored(world, run)
    assert (await world.get(run)).due_at is None


async def test_a_cancel_that_lost_and_could_not_correct_the_cache_corrects_it_when_it_is_repeated(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.clock.forward(30)

    async def ended_by_a_worker() -> None:
        world.cache.during_put = None
        await world.services.advance(run.id)
        world.store.fail_reads(1)

    world.cache.during_put = ended_by_a_worker
    with pytest.raises(StoreUnavailable):
        await world.services.cancel(DEMO, run.id)
    assert (await cached(world, run))["status"] == "cancelled", "or there is nothing to correct"
    ended, cancelled = await world.services.cancel(DEMO, run.id)
    assert (ended.status, cancelled) == (Status.COMPLETED, False)
    assert await cached(world, run) == await stored(world, run)


async def test_a_run_that_changes_while_it_is_shown_is_shown_again(world: World) -> None:
    run = await world.submit()
    await world.run_for(10)
    done = await world.get(run)

    async def changed_meanwhile() -> None:
        world.cache.during_put = None
        await world.store.save(replace(done, result=Result(text="another")))
        await world.save_final.reconcile_cache(run.id)

    world.cache.during_put = changed_meanwhile
    await world.save_final.reconcile_cache(run.id)
    assert (await cached(world, run))["result_data"]["result"] == "another"


async def test_an_end_that_lost_against_a_run_that_goes_on_is_not_shown(world: World) -> None:
    run = await world.submit()
    mine = (await world.get(run)).cancelled(world.clock.now())
    await world.services.advance(run.id)
    with pytest.raises(StaleRun):
        await world.save_final(mine)
    assert await cached(world, run) is None


async def test_an_end_is_shown_although_a_loser_takes_its_entry_away_before_the_store_has_it(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.clock.forward(30)

    async def noted_by_the_sweeper() -> None:
        world.cache.during_put = None
        await world.store.save((await world.get(run)).waiting(Wait.WORKER, due_at=world.clock.now()))

    async def entry_taken_away() -> None:
        world.store.after_get = ended_by_another

    async def ended_by_another() -> None:
        await world.store.save((await world.get(run)).cancelled(world.clock.now()).postponed(None))

    world.cache.during_put, world.cache.after_delete = noted_by_the_sweeper, entry_taken_away
    await world.services.advance(run.id)
    assert (await world.get(run)).status is Status.CANCELLED, "or nobody came between"
    assert await cached(world, run) == await stored(world, run)


async def test_the_cache_shows_the_stored_end_when_many_end_a_run_at_once() -> None:
    for _ in range(20):
        async with World() as world:
            run = await world.submit()
            await world.deliver()
            world.clock.forward(30)

            async def a_moment() -> None:
                await asyncio.sleep(0)

            world.cache.during_put = a_moment
            ends = [world.services.advance(run.id) for _ in range(3)]
            await asyncio.gather(*ends, *[world.services.cancel(DEMO, run.id) for _ in range(3)])
            assert await cached(world, run) == await stored(world, run)


async def test_a_cache_entry_of_a_worker_that_died_is_corrected_when_its_message_comes_again(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    await world.services.cancel(DEMO, run.id)
    await world.cache.put(f"llm_job:{run.id}", '{"status": "completed"}', keep_for=DAY)
    await world.services.advance(run.id)
    assert await cached(world, run) == await stored(world, run)


async def test_a_result_too_large_for_the_cache_is_left_out_with_a_line_in_the_log(world: World) -> None:
    run = await world.submit()
    await world.deliver()
    world.llm.says = "x" * (save_final_run.MAX_BYTES + 1)
    log.configure(stream=(written := io.StringIO()))
    await world.run_for(30)
    log.configure()
    done = await world.get(run)
    assert await cached(world, run) is None
    assert done.status is Status.COMPLETED and done.due_at is None
    assert "too large" in written.getvalue()


async def test_text_that_has_no_bytes_keeps_no_run_from_ending(world: World) -> None:
    run = await world.submit_job()
    named = replace(run, model=ModelRef(id="m", name="\ud800", provider="p"))
    await world.save_final(replace(named.cancelled(world.clock.now()), revision=(await world.get(run)).revision))
    assert (await cached(world, run))["model"]["name"] == "?"


async def test_a_deleted_run_is_gone_from_the_cache_too(world: World) -> None:
    run = await world.submit_job(input_data={"full_input": "x" * 20_000})
    await world.run_for(10)
    assert await cached(world, run) is not None
    await world.services.delete(DEMO, run.id)
    parts = await world.sqlite.database.read(lambda database: database.execute("SELECT * FROM run_parts").fetchall())
    assert await cached(world, run) is None and parts == []
    await world.services.advance(run.id)
    assert await cached(world, run) is None, "a message that comes again shows nothing"


async def test_a_run_that_is_deleted_while_the_cache_is_down_is_gone_when_it_is_back(world: World) -> None:
    run = await world.submit()
    await world.run_for(10)
    world.cache.is_down = True
    assert (await world.services.delete(DEMO, run.id)).deleted_at is not None
    assert await cached(world, run) is not None, "or there is nothing to take away"
    world.cache.is_down = False
    await world.run_for(120, sweeping=True)
    assert await cached(world, run) is None
    assert (await world.get(run)).due_at is None


async def test_a_run_that_is_deleted_while_it_is_shown_is_not_shown(world: World) -> None:
    world.cache.is_down = True
    run = await world.submit()
    await world.run_for(30)
    world.cache.is_down = False

    async def deleted_meanwhile() -> None:
        world.cache.during_put = None
        await world.services.delete(DEMO, run.id)

    world.cache.during_put = deleted_meanwhile
    await world.run_for(120, sweeping=True)
    assert (await world.get(run)).deleted_at is not None
    assert await cached(world, run) is None
