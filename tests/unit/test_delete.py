"""Deleting a run: only by its owner, only when it is complete, and what is left tells nothing of its content."""

from datetime import timedelta

import pytest

from shared.domain.status import Kind
from shared.errors import RunDeleted, RunNotFound, RunOpen
from shared.ports import RunFilter
from tests.unit.world import DEMO, OTHER, World


async def test_a_deleted_run_keeps_its_times_and_status_and_nothing_else(world: World) -> None:
    run = await world.submit(input_text="canary")
    with pytest.raises(RunOpen):
        await world.services.delete(DEMO, run.id)
    await world.run_for(30)
    before = await world.get(run)
    deleted = await world.services.delete(DEMO, run.id)
    after = await world.get(run)
    with pytest.raises(RunDeleted):
        await world.services.read.get_finished(DEMO, run.id)
    assert deleted == after and after.deleted_at == world.clock.now() and after.due_at is None
    assert after.input == {} and after.result is None and "canary" not in repr(after)
    assert (after.status, after.created_at, after.usage) == (before.status, before.created_at, before.usage)


async def test_deleting_twice_changes_nothing(world: World) -> None:
    run = await world.submit()
    await world.services.cancel(DEMO, run.id)
    first = await world.services.delete(DEMO, run.id)
    world.clock.forward(60)
    writes = dict(world.store.writes)
    assert await world.services.delete(DEMO, run.id) == first and dict(world.store.writes) == writes


async def test_only_its_owner_can_delete_a_run(world: World) -> None:
    run = await world.submit()
    await world.services.cancel(DEMO, run.id)
    with pytest.raises(RunNotFound):
        await world.services.delete(OTHER, run.id)
    assert (await world.get(run)).deleted_at is None


async def test_a_deleted_run_can_still_be_run_again_with_its_languages(world: World) -> None:
    run = await world.submit()
    await world.run_for(30)
    await world.services.delete(DEMO, run.id)
    again = await world.submit(prior_run_uuid=run.id)
    assert (again.root_run_id, again.target_lang) == (run.id, run.target_lang)


async def test_expired_runs_are_neither_listed_nor_kept(world: World) -> None:
    old = await world.submit_job()
    await world.run_for(30)
    world.clock.forward(timedelta(days=31).total_seconds())
    new = await world.submit_job()
    wanted = RunFilter(user_id="demo", kinds=(Kind.JOB,))
    page = await world.services.read.page(wanted, limit=10, offset=0, after=None)
    assert [run.id for run in page.runs] == [new.id]
    swept = await world.services.sweep()
    assert swept.forgotten == 1
    with pytest.raises(RunNotFound):
        await world.get(old)


async def test_a_worker_that_shows_the_end_of_a_run_during_its_delete_leaves_no_entry(world: World) -> None:
    run = await world.submit()
    await world.run_for(30)
    world.cache.after_delete = lambda: world.services.advance(run.id)
    await world.services.delete(DEMO, run.id)
    assert await world.cache.get(f"llm_job:{run.id}") is None
    assert (await world.get(run)).due_at is None


async def test_the_sweeper_deletes_the_cache_entry_that_a_delete_could_not(world: World) -> None:
    run = await world.submit()
    await world.run_for(30)
    world.cache.is_down = True
    await world.services.delete(DEMO, run.id)
    assert (await world.get(run)).due_at is not None
    world.cache.is_down = False
    await world.run_for(300, sweeping=True)
    assert await world.cache.get(f"llm_job:{run.id}") is None
    assert (await world.get(run)).due_at is None
