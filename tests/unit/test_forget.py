"""Forgetting a user: everything of theirs goes, nothing of others."""

from datetime import timedelta

import pytest

from shared.domain import submission
from shared.domain.directory import Profile
from shared.domain.run import Run
from shared.domain.status import Status
from shared.errors import RunNotFound
from tests.unit.world import World

OTHER = Profile(user_id="other", organization_id="globex", groups=frozenset({"users"}))


@pytest.fixture
async def runs(world: World) -> list[Run]:
    """A completed run, one whose job is at work, and a pending one, all of the user `demo`."""
    completed = await world.submit()
    await world.run_for(60)
    world.llm.takes = timedelta(hours=1)
    working = await world.submit()
    await world.deliver()
    return [completed, working, await world.submit()]


async def test_counting_changes_nothing(world: World, runs: list[Run]) -> None:
    found = await world.services.forget.count("demo")
    assert dict(found.runs) == {"completed": 1, "processing": 1, "pending": 1} and found.profile
    assert {run.id for run in runs} == set(found.run_ids)
    assert [(await world.get(run)).status for run in runs] == [Status.COMPLETED, Status.PROCESSING, Status.PENDING]


async def test_runs_profile_and_cache_entries_are_deleted_and_open_jobs_are_cancelled(
    world: World, runs: list[Run]
) -> None:
    others, _ = await world.services.submit(OTHER, submission.user_run({"input_text": "mine"}))
    forgotten = await world.services.forget("demo")
    assert sum(forgotten.runs.values()) == 3 and forgotten.profile
    for run in runs:
        with pytest.raises(RunNotFound):
            await world.get(run)
        assert await world.cache.get(f"llm_job:{run.id}") is None
    assert world.llm.cancelled == [f"job-{runs[1].id}-1"]
    assert await world.sqlite.directory.profile("demo") is None
    assert (await world.get(others)).user_id == "other"
    assert dict((await world.services.forget("demo")).runs) == {}


async def test_what_a_worker_still_holds_of_a_forgotten_run_brings_nothing_back(world: World) -> None:
    run = await world.submit()

    async def forgotten_meanwhile(_: Run) -> None:
        world.llm.during_start = None
        await world.services.forget("demo")

    world.llm.during_start = forgotten_meanwhile
    await world.run_for(600, sweeping=True)
    with pytest.raises(RunNotFound):
        await world.get(run)


async def test_an_export_has_each_run_with_its_input_and_result(world: World, runs: list[Run]) -> None:
    exported = {run.id: (run, content) async for run, content in world.services.forget.export("demo")}
    assert set(exported) == {run.id for run in runs}
    completed, content = exported[runs[0].id]
    assert content == {"text": "hello"} and completed.result is not None


async def test_more_runs_than_a_page_are_all_deleted(world: World) -> None:
    for _ in range(205):
        await world.submit()
    assert sum((await world.services.forget("demo")).runs.values()) == 205
    assert dict((await world.services.forget.count("demo")).runs) == {}
