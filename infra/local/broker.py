"""Delivers what waits in queue and timers, over and over until it is acknowledged: the engine of the local host, and of
the Cloud Tasks emulator.

One process delivers for a file: whoever holds its lock. The lock goes with its holder, however that ends, and the next
one delivers at once what the holder had in hand.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import AsyncFileLock

from shared import log
from shared.adapters.sqlite.delivery import DEAD_LETTERS, Message, SqliteDeliveries, Task
from shared.adapters.sqlite.run_queue import TOPIC
from shared.errors import StoreUnavailable

ACK_DEADLINE_SECONDS = 600.0
MAX_CONCURRENT = 256
MAX_PER_TURN = 16
TURN_SECONDS = 0.01
MAX_DELIVERIES = 8
MAX_TASK_DELIVERIES = 100
MAX_BACKOFF_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.2

DeliverMessage = Callable[[str, Message], Awaitable[int]]
"""(topic, message) to the status of the answer."""
DeliverTask = Callable[[Task], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """For tests: every n-th task is lost or comes twice; 0 means none."""

    drop_every: int = 0
    duplicate_every: int = 0


NO_FAULTS = Faults()


class Broker:
    """Everything is delivered at least once: not acknowledged means again, later and later, then the dead letters."""

    def __init__(
        self,
        deliveries: SqliteDeliveries,
        *,
        deliver_task: DeliverTask,
        deliver_message: DeliverMessage | None = None,
        faults: Faults = NO_FAULTS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._deliveries = deliveries
        self._deliver_task_to = deliver_task
        self._deliver_message_to = deliver_message
        self._topics: Sequence[str] = (TOPIC, DEAD_LETTERS) if deliver_message else ()
        self._faults = faults
        self._now = now
        self._work = asyncio.Event()
        self._tasks_seen = 0
        self._acknowledged: list[Message | Task] = []
        self._under_way: dict[str, set[asyncio.Task[None]]] = {kind: set() for kind in (*self._topics, "tasks")}

    def wake(self) -> None:
        """There is something new to deliver."""
        self._work.set()

    async def serve(self, lock: Path, *, on_takeover: Callable[[], Awaitable[object]] | None = None) -> None:
        """Delivers until cancelled, once no other process does; `on_takeover` is called when that is so."""
        # The operating system frees the lock of a process that is killed; a soft lock would stay.
        held = AsyncFileLock(lock, poll_interval=LOOK_EVERY_SECONDS, run_in_executor=False, fallback_to_soft=False)
        async with held:
            await self._deliveries.release_all(now=self._now())
            if on_takeover is not None:
                await on_takeover()
            while True:
                with suppress(StoreUnavailable):
                    await self.deliver_due()
                    await self._deliveries.forget_names(now=self._now())
                await asyncio.sleep(TURN_SECONDS)
                await self._wait()

    async def deliver_due(self) -> int:
        """Starts the delivery of what is due, as far as there is room; how many that was."""
        await self._acknowledge()
        started = 0
        for topic in self._topics:
            messages = await self._deliveries.lease_messages(
                topic, now=self._now(), lease=ACK_DEADLINE_SECONDS, limit=self._room(topic)
            )
            for message in messages:
                self._begin(topic, self._deliver_message(topic, message))
            started += len(messages)
        tasks = await self._deliveries.lease_tasks(
            now=self._now(), lease=ACK_DEADLINE_SECONDS, limit=self._room("tasks")
        )
        for task in tasks:
            self._begin("tasks", self._deliver_task(task))
        return started + len(tasks)

    async def drained(self) -> None:
        """Waits for the deliveries that are under way."""
        while under_way := [task for tasks in self._under_way.values() for task in tasks]:
            await asyncio.gather(*under_way)
        await self._acknowledge()

    def _room(self, kind: str) -> int:
        """A few a turn, so that accepting new runs keeps its share of the machine."""
        return min(MAX_CONCURRENT - len(self._under_way[kind]), MAX_PER_TURN)

    async def _acknowledge(self) -> None:
        """All together, a moment after their answers: a kill in between delivers them again, which does no harm."""
        if self._acknowledged:
            done, self._acknowledged = self._acknowledged, []
            await self._deliveries.done(done)

    async def _wait(self) -> None:
        """Until there is work in this process, or something comes due, or it is time to see what others published."""
        due = None
        with suppress(StoreUnavailable):
            due = await self._deliveries.next_due(self._topics)
        pause = LOOK_EVERY_SECONDS if due is None else min(max(due - self._now(), 0.001), LOOK_EVERY_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._work.wait(), pause)
        self._work.clear()

    def _begin(self, kind: str, delivery: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(delivery)
        self._under_way[kind].add(task)
        task.add_done_callback(lambda done: self._end(kind, done))

    def _end(self, kind: str, done: asyncio.Task[None]) -> None:
        full = len(self._under_way[kind]) >= MAX_CONCURRENT
        self._under_way[kind].discard(done)
        if full:
            self.wake()
        if not done.cancelled() and done.exception() is not None:
            log.warning("delivery not recorded; it comes again", kind=kind)

    async def _deliver_message(self, topic: str, message: Message) -> None:
        assert self._deliver_message_to is not None
        status = await self._deliver_message_to(topic, message)
        if 200 <= status < 300:
            self._acknowledged.append(message)
        elif topic == TOPIC and message.deliveries >= MAX_DELIVERIES:
            log.warning("message given up", message_id=message.id)
            await self._deliveries.message_dead(message, now=self._now(), attributes=_dead_letter_attributes(message))
            self.wake()
        else:
            await self._deliveries.message_again(message, at=self._now() + backoff(message.deliveries))

    async def _deliver_task(self, task: Task) -> None:
        self._tasks_seen += 1
        if _is_turn(self._tasks_seen, self._faults.drop_every):
            self._acknowledged.append(task)
            return
        twice = _is_turn(self._tasks_seen, self._faults.duplicate_every)
        answers = await asyncio.gather(*[self._deliver_task_to(task) for _ in range(2 if twice else 1)])
        if any(200 <= status < 300 for status in answers) or task.deliveries >= MAX_TASK_DELIVERIES:
            self._acknowledged.append(task)
        else:
            await self._deliveries.task_again(task, at=self._now() + backoff(task.deliveries))


def backoff(deliveries: int) -> float:
    """1, 2, 4, … 60 seconds."""
    return min(2.0 ** (deliveries - 1), MAX_BACKOFF_SECONDS)


def _is_turn(count: int, every: int) -> bool:
    return every > 0 and count % every == 0


def _dead_letter_attributes(message: Message) -> dict[str, str]:
    """https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work"""
    return {
        "CloudPubSubDeadLetterSourceDeliveryCount": str(message.deliveries),
        "CloudPubSubDeadLetterSourceSubscription": "process-run",
    }
