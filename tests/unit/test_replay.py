"""Replaying dead letters: open runs go to a worker again, once, and what is done with is removed."""

import json
from datetime import timedelta

from shared.domain.run import Run
from shared.usecases.replay import Replay
from tests.unit.world import World


async def keep(world: World, message_id: str, data: str) -> None:
    await world.services.bury(run_id=None, message_id=message_id, source="process-run", data=data, attributes={})


async def lost_run(world: World) -> Run:
    """A run whose message became a dead letter."""
    run = await world.submit()
    await world.lose_everything_under_way()
    await keep(world, "1", json.dumps({"run_id": run.id}))
    return run


async def replayed(world: World) -> list[str]:
    replay = world.services.replay
    return [await replay(letter) async for letter in replay.letters()]


async def test_looking_changes_nothing(world: World) -> None:
    run = await lost_run(world)
    replay = world.services.replay
    assert [await replay.look_at(letter) async for letter in replay.letters()] == [Replay.SEND]
    await world.run_for(30)
    assert (await world.get(run)).status == "pending" and await world.dead_letters() == ["1"]


async def test_an_open_run_is_sent_again_and_completes_once(world: World) -> None:
    run = await lost_run(world)
    assert await replayed(world) == [Replay.SEND]
    assert await replayed(world) == []
    await world.run_for(60)
    assert (await world.get(run)).status == "completed"


async def test_a_replay_that_broke_off_after_it_had_published_does_no_harm(world: World) -> None:
    run = await lost_run(world)
    await replayed(world)
    await keep(world, "1", json.dumps({"run_id": run.id}))
    await replayed(world)
    await world.run_for(60)
    ended = await world.get(run)
    assert ended.status == "completed" and len(ended.attempts) == 1


async def test_a_run_of_a_long_call_goes_to_its_own_queue(world: World) -> None:
    run = await world.submit_job(model_id="demo-chat-model")
    await world.lose_everything_under_way()
    await keep(world, "1", run.id)
    await replayed(world)
    now = (world.clock.now() + timedelta(seconds=1)).timestamp()
    leased = await world.sqlite.deliveries.exchange([], topics={"llm-runs-long": 5}, queues={}, now=now, lease=1)
    [message] = leased.messages["llm-runs-long"]
    assert run.id in message.data


async def test_letters_of_runs_that_have_ended_or_are_gone_are_removed_and_others_stay(world: World) -> None:
    run = await world.submit()
    await world.run_for(60)
    await keep(world, "1", run.id)
    await keep(world, "2", "00000000-0000-4000-8000-00000000abcd")
    await keep(world, "3", "rubbish")
    assert await replayed(world) == [Replay.ENDED, Replay.GONE, Replay.UNNAMED]
    assert await world.dead_letters() == ["3"]


async def test_more_letters_than_a_page_are_all_replayed(world: World) -> None:
    for number in range(205):
        await keep(world, f"{number:03}", "00000000-0000-4000-8000-00000000abcd")
    assert len(await replayed(world)) == 205 and await world.dead_letters() == []
