"""Tests the deliveries of the embedded queue and scheduler: leases, retries, dead letters and reserved names."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.adapters.sqlite.delivery import DEAD_LETTERS
from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.adapters.sqlite.run_queue import TOPICS
from shared.adapters.storage.task_name import task_name
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane

RECHECK = Recheck(run_id="r", attempt=1, sequence="10")

TOPIC, QUEUE = TOPICS[Lane.SHORT], QUEUES[Lane.SHORT]


async def test_a_leased_message_is_due_again_only_after_its_lease(sqlite: Any) -> None:
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    now = time.time() + 1
    [message] = await sqlite.deliveries.lease_messages(TOPIC, now=now, lease=10, limit=9)
    assert message.data == '{"run_id": "r"}' and message.deliveries == 1
    assert await sqlite.deliveries.lease_messages(TOPIC, now=now + 9, lease=10, limit=9) == []
    [again] = await sqlite.deliveries.lease_messages(TOPIC, now=now + 10, lease=10, limit=9)
    assert again.id == message.id and again.deliveries == 2
    await sqlite.deliveries.acknowledge([again])
    assert await sqlite.deliveries.next_due((TOPIC,), (QUEUE,)) is None


async def test_a_message_moved_to_the_dead_letters_is_due_only_there(sqlite: Any) -> None:
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    now = time.time() + 1
    [message] = await sqlite.deliveries.lease_messages(TOPIC, now=now, lease=10, limit=9)
    await sqlite.deliveries.move_to_dead_letters(message, now=now, attributes={"reason": "too many deliveries"})
    assert await sqlite.deliveries.lease_messages(TOPIC, now=now + 100, lease=10, limit=9) == []
    [dead] = await sqlite.deliveries.lease_messages(DEAD_LETTERS, now=now, lease=10, limit=9)
    assert dead.data == message.data and dead.attributes == {"reason": "too many deliveries"}


async def test_a_task_is_due_at_its_time_and_its_name_stays_reserved_for_a_day(sqlite: Any) -> None:
    at = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(3):
        await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    due = at.timestamp()
    assert await sqlite.deliveries.lease_tasks(QUEUE, now=due - 1, lease=10, limit=9) == []
    [task] = await sqlite.deliveries.lease_tasks(QUEUE, now=due, lease=10, limit=9)
    assert task.name == task_name(RECHECK)
    await sqlite.deliveries.acknowledge([task])
    await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    await sqlite.deliveries.delete_expired_names(now=due + 23 * 3600)
    await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    assert await sqlite.deliveries.next_due((TOPIC,), (QUEUE,)) is None
    await sqlite.deliveries.delete_expired_names(now=due + 25 * 3600)
    await sqlite.scheduler.schedule(RECHECK, at=at, lane=Lane.SHORT)
    assert await sqlite.deliveries.next_due((TOPIC,), (QUEUE,)) == due


async def test_released_leases_are_due_at_once_and_other_tasks_keep_their_time(sqlite: Any) -> None:
    now = time.time() + 1
    await sqlite.queue.publish("r", lane=Lane.SHORT)
    await sqlite.scheduler.schedule(RECHECK, at=datetime.fromtimestamp(now + 500, UTC), lane=Lane.SHORT)
    await sqlite.deliveries.lease_messages(TOPIC, now=now, lease=600, limit=9)
    await sqlite.deliveries.release_leases(now=now)
    assert await sqlite.deliveries.next_due((TOPIC,), (QUEUE,)) == now
    assert await sqlite.deliveries.lease_tasks(QUEUE, now=now, lease=10, limit=9) == []
