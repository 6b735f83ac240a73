"""Tests the deliveries of the embedded queue and scheduler: leases, retries, dead letters and reserved names."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.adapters.sqlite.delivery import DEAD_LETTERS, Ended, Leased, Message, Task
from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.adapters.sqlite.run_queue import TOPICS
from shared.adapters.storage.task_name import task_name
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane

RECHECK = Recheck(run_id="r", attempt=1, sequence="10")

TOPIC, QUEUE = TOPICS[Lane.SHORT], QUEUES[Lane.SHORT]


async def exchange(sqlite: Any, *ended: Message | Task, at: float, again_at: float | None = None) -> Leased:
    """Ends these deliveries, and leases what is due for 10 seconds."""
    leased: Leased = await sqlite.deliveries.exchange(
        [Ended(row=row, again_at=again_at) for row in ended],
        topics={TOPIC: 9, DEAD_LETTERS: 9},
        queues={QUEUE: 9},
        now=at,
        lease=10,
    )
    return leased


async def test_a_leased_message_is_due_again_only_after_its_lease(sqlite: Any) -> None:
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    now = float(int(time.time()) + 1)  # a time of a task has microseconds
    [message] = (await exchange(sqlite, at=now)).messages[TOPIC]
    assert message.data == '{"run_id":"r"}' and message.deliveries == 1
    assert (await exchange(sqlite, at=now + 9)).messages == {}
    [again] = (await exchange(sqlite, at=now + 10)).messages[TOPIC]
    assert again.id == message.id and again.deliveries == 2
    assert (await exchange(sqlite, again, at=now + 100)).next_due == {}


async def test_a_failed_delivery_is_due_again_at_its_time_and_the_others_of_its_commit_are_not(sqlite: Any) -> None:
    now = float(int(time.time()) + 1)  # a time of a task has microseconds
    for run_id in ("a", "b", "c"):
        await sqlite.queue.publish(run_id, lane=Lane.SHORT)
        recheck = Recheck(run_id=run_id, attempt=1, sequence="10")
        await sqlite.scheduler.schedule(recheck, at=datetime.fromtimestamp(now, UTC), lane=Lane.SHORT)
    leased = await exchange(sqlite, at=now)
    first, *others = leased.messages[TOPIC]
    first_task, *other_tasks = leased.tasks[QUEUE]
    await exchange(sqlite, *others, *other_tasks, at=now)
    assert (await exchange(sqlite, first, first_task, at=now, again_at=now + 5)).next_due == {
        TOPIC: now + 5,
        QUEUE: now + 5,
    }
    later = await exchange(sqlite, at=now + 5)
    assert [message.id for message in later.messages[TOPIC]] == [first.id]
    assert [(task.name, task.deliveries) for task in later.tasks[QUEUE]] == [(first_task.name, 2)]


async def test_a_task_that_was_deleted_while_it_was_delivered_does_not_come_again(sqlite: Any) -> None:
    now = float(int(time.time()) + 1)  # a time of a task has microseconds
    await sqlite.scheduler.schedule(RECHECK, at=datetime.fromtimestamp(now, UTC), lane=Lane.SHORT)
    [task] = (await exchange(sqlite, at=now)).tasks[QUEUE]
    await sqlite.database.write(lambda connection: connection.execute("UPDATE tasks SET deliver_at = NULL"))
    assert (await exchange(sqlite, task, at=now, again_at=now)).next_due == {}


async def test_a_message_moved_to_the_dead_letters_is_due_only_there(sqlite: Any) -> None:
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    now = float(int(time.time()) + 1)  # a time of a task has microseconds
    [message] = (await exchange(sqlite, at=now)).messages[TOPIC]
    await sqlite.deliveries.move_to_dead_letters(message, now=now, attributes={"reason": "too many deliveries"})
    leased = await exchange(sqlite, at=now + 100)
    assert list(leased.messages) == [DEAD_LETTERS]
    [dead] = leased.messages[DEAD_LETTERS]
    assert dead.data == message.data and dead.attributes == {"reason": "too many deliveries"}


async def test_a_task_is_due_at_its_time_and_its_name_stays_reserved_for_a_day(sqlite: Any) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(3):
        await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    due = at.timestamp()
    assert (await exchange(sqlite, at=due - 1)).tasks == {}
    [task] = (await exchange(sqlite, at=due)).tasks[QUEUE]
    assert task.name == task_name(RECHECK)
    await exchange(sqlite, task, at=due)
    await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    await sqlite.deliveries.delete_expired_names(now=due + 23 * 3600)
    await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    assert (await exchange(sqlite, at=due - 1)).next_due == {}
    await sqlite.deliveries.delete_expired_names(now=due + 25 * 3600)
    await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    assert (await exchange(sqlite, at=due - 1)).next_due == {QUEUE: due}


async def test_released_leases_are_due_at_once_and_other_tasks_keep_their_time(sqlite: Any) -> None:
    now = float(int(time.time()) + 1)  # a time of a task has microseconds
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    await sqlite.scheduler.schedule(RECHECK, at=datetime.fromtimestamp(now + 500, UTC), lane=Lane.SHORT)
    [message] = (await exchange(sqlite, at=now)).messages[TOPIC]
    await sqlite.deliveries.release_leases(now=now)
    leased = await exchange(sqlite, at=now)
    assert [again.id for again in leased.messages[TOPIC]] == [message.id] and leased.tasks == {}
