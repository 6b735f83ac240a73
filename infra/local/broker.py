"""Delivers due messages and tasks until they are acknowledged, for the local host and for the Cloud Tasks emulator.

Each topic has a push window and each task queue a dispatch rate: failures slow a whole subscription or queue down, as
they do in Google's services.

One process at a time delivers for a database file: the process that holds the lock file. The operating system releases
the lock when the process ends, however it ends. The next process then delivers the leased rows again at once.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import AsyncFileLock

from infra.local.pacing import DispatchRate, Pace, PushWindow
from shared import log
from shared.adapters.sqlite.delivery import DEAD_LETTERS, Message, SqliteDeliveries, Task
from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.adapters.sqlite.run_queue import TOPICS
from shared.adapters.sqlite.webhook_scheduler import WEBHOOKS_QUEUE
from shared.errors import StoreUnavailable

ACK_DEADLINE_SECONDS = 600.0
MAX_CONCURRENT = 256
"""Deliveries at once, for each topic and for tasks."""
MAX_STARTED_PER_ROUND = 16
ROUND_PAUSE_SECONDS = 0.01
MAX_DELIVERIES = 20
"""After this many failed deliveries a message becomes a dead letter."""
MAX_TASK_DELIVERIES = 100
"""After this many failed deliveries a task is dropped."""
MAX_BACKOFF_SECONDS = 30.0
POLL_INTERVAL_SECONDS = 0.2
EMBEDDED_QUEUE = DispatchRate(max_rate=2000, max_burst=500, max_in_flight=MAX_CONCURRENT)
"""A rate that one process does not reach, so that only failures slow a queue of the embedded back end."""

DeliverMessage = Callable[[str, Message], Awaitable[int]]
"""A function of (topic, message) that returns the HTTP status of the answer."""
DeliverTask = Callable[[Task], Awaitable[int]]
"""A function of the task that returns the HTTP status of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults for tests: every n-th task is lost or delivered twice; 0 means none."""

    drop_every: int = 0
    duplicate_every: int = 0


NO_FAULTS = Faults()
ALL_QUEUES = (*QUEUES.values(), WEBHOOKS_QUEUE)


class Broker:
    """Delivers at least once. After an answer other than 2xx it delivers again, with growing pauses."""

    def __init__(
        self,
        deliveries: SqliteDeliveries,
        *,
        deliver_task: DeliverTask,
        deliver_message: DeliverMessage | None = None,
        queues: Callable[[], Collection[str]] = lambda: ALL_QUEUES,
        rate_of: Callable[[str], DispatchRate] = lambda queue: EMBEDDED_QUEUE,
        faults: Faults = NO_FAULTS,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Without `deliver_message`, only tasks are delivered.

        `queues` returns the names of the task queues that are served now, `rate_of` the first dispatch rate of a queue,
        and `now` epoch seconds.
        """
        self._deliveries = deliveries
        self._send_task = deliver_task
        self._send_message = deliver_message
        self._topics: Sequence[str] = (*TOPICS.values(), DEAD_LETTERS) if deliver_message else ()
        self._queues = queues
        self._rate_of = rate_of
        self._faults = faults
        self._now = now
        self._woken = asyncio.Event()
        self._task_count = 0
        self._acknowledged: list[Message | Task] = []
        """Delivered rows whose acknowledgement is not stored yet."""
        self._in_flight: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        """By topic and by queue."""
        self._paces: dict[str, Pace] = {topic: PushWindow(max_size=MAX_CONCURRENT) for topic in self._topics}
        """By topic and by queue."""
        self._without_room: set[str] = set()
        """Topics and queues that could start no more in the last round."""

    def wake(self) -> None:
        """Makes `serve` look for due rows now."""
        self._woken.set()

    async def serve(self, lock: Path, *, on_takeover: Callable[[], Awaitable[object]] | None = None) -> None:
        """Waits until it holds the lock file, calls `on_takeover`, then delivers until it is cancelled."""
        # The operating system releases the lock of a killed process; a soft lock file would stay.
        file_lock = AsyncFileLock(
            lock, poll_interval=POLL_INTERVAL_SECONDS, run_in_executor=False, fallback_to_soft=False
        )
        async with file_lock:
            await self._deliveries.release_leases(now=self._now())
            if on_takeover is not None:
                await on_takeover()
            while True:
                with suppress(StoreUnavailable):
                    await self.deliver_due()
                    await self._deliveries.delete_expired_names(now=self._now())
                await asyncio.sleep(ROUND_PAUSE_SECONDS)
                await self._wait_for_work()

    async def deliver_due(self) -> int:
        """Starts deliveries of due rows within the limits, and returns how many it has started."""
        await self._store_acknowledgements()
        started = 0
        for topic in self._topics:
            if (limit := self._room(topic)) > 0:
                messages = await self._deliveries.lease_messages(
                    topic, now=self._now(), lease=ACK_DEADLINE_SECONDS, limit=limit
                )
                for message in messages:
                    self._start(topic, self._deliver_message(topic, message))
                started += self._count_started(topic, len(messages))
        for queue in list(self._queues()):
            if (limit := self._room(queue)) > 0:
                tasks = await self._deliveries.lease_tasks(
                    queue, now=self._now(), lease=ACK_DEADLINE_SECONDS, limit=limit
                )
                for task in tasks:
                    self._start(queue, self._deliver_task(queue, task))
                started += self._count_started(queue, len(tasks))
        return started

    async def next_due(self) -> float | None:
        """Returns when the next delivery may start; None when none is due, or each waits for one that is in flight."""
        now = self._now()
        served = {*self._topics, *self._queues()}
        with_room = {kind for kind in served if self._room(kind) > 0}
        found = [await self._next_due(with_room)] if with_room else []
        for kind in served - with_room:
            if (opens_at := self._pace(kind).opens_at(now)) > now and (due := await self._next_due({kind})) is not None:
                found.append(max(due, opens_at))
        return min((due for due in found if due is not None), default=None)

    async def _next_due(self, kinds: Collection[str]) -> float | None:
        topics = [kind for kind in kinds if kind in self._topics]
        return await self._deliveries.next_due(topics, [kind for kind in kinds if kind not in self._topics])

    async def wait_for_deliveries(self) -> None:
        """Waits until no delivery is in flight, and stores the acknowledgements."""
        while in_flight := [task for tasks in self._in_flight.values() for task in tasks]:
            await asyncio.gather(*in_flight)
        await self._store_acknowledgements()

    def _pace(self, kind: str) -> Pace:
        if kind not in self._paces:
            self._paces[kind] = self._rate_of(kind)
        return self._paces[kind]

    def _room(self, kind: str) -> int:
        """Returns how many deliveries may start now: few in each round, so that new requests get their CPU time."""
        in_flight = len(self._in_flight[kind])
        room = min(self._pace(kind).room(in_flight=in_flight, now=self._now()), MAX_CONCURRENT - in_flight)
        if room == 0:
            self._without_room.add(kind)
        else:
            self._without_room.discard(kind)
        return min(room, MAX_STARTED_PER_ROUND)

    def _count_started(self, kind: str, count: int) -> int:
        self._paces[kind] = self._pace(kind).after_start(count, now=self._now())
        return count

    async def _store_acknowledgements(self) -> None:
        """Stores the acknowledgements of a round together. After a crash these rows are delivered again."""
        if self._acknowledged:
            acknowledged, self._acknowledged = self._acknowledged, []
            await self._deliveries.acknowledge(acknowledged)

    async def _wait_for_work(self) -> None:
        """Waits until `wake` is called or a row is due, at most POLL_INTERVAL_SECONDS: other processes add rows too."""
        due = None
        with suppress(StoreUnavailable):
            due = await self.next_due()
        pause = POLL_INTERVAL_SECONDS if due is None else min(max(due - self._now(), 0.001), POLL_INTERVAL_SECONDS)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), pause)
        self._woken.clear()

    def _start(self, kind: str, delivery: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(delivery)
        self._in_flight[kind].add(task)
        task.add_done_callback(lambda done: self._on_end(kind, done))

    def _on_end(self, kind: str, delivery: asyncio.Task[None]) -> None:
        self._in_flight[kind].discard(delivery)
        if kind in self._without_room:
            self.wake()
        if not delivery.cancelled() and delivery.exception() is not None:
            log.warning("delivery not recorded; it comes again", kind=kind)

    async def _deliver_message(self, topic: str, message: Message) -> None:
        assert self._send_message is not None
        started_at = self._now()
        status = await self._send_message(topic, message)
        self._adapt_pace(topic, status, started_at=started_at)
        if 200 <= status < 300:
            self._acknowledged.append(message)
        elif topic != DEAD_LETTERS and message.deliveries >= MAX_DELIVERIES:
            log.warning("message given up", message_id=message.id)
            attributes = _dead_letter_attributes(message)
            await self._deliveries.move_to_dead_letters(message, now=self._now(), attributes=attributes)
            self.wake()
        else:
            await self._deliveries.retry_message(message, at=self._now() + backoff(message.deliveries))

    async def _deliver_task(self, queue: str, task: Task) -> None:
        self._task_count += 1
        if _is_multiple(self._task_count, self._faults.drop_every):
            self._acknowledged.append(task)
            return
        times = 2 if _is_multiple(self._task_count, self._faults.duplicate_every) else 1
        started_at = self._now()
        statuses = await asyncio.gather(*[self._send_task(task) for _ in range(times)])
        for status in statuses:
            self._adapt_pace(queue, status, started_at=started_at)
        if any(200 <= status < 300 for status in statuses) or task.deliveries >= MAX_TASK_DELIVERIES:
            self._acknowledged.append(task)
        else:
            await self._deliveries.retry_task(task, at=self._now() + backoff(task.deliveries))

    def _adapt_pace(self, kind: str, status: int, *, started_at: float) -> None:
        pace = self._pace(kind)
        if 200 <= status < 300:
            self._paces[kind] = pace.after_success()
        else:
            self._paces[kind] = pace.after_failure(status, started_at=started_at, now=self._now())


def backoff(deliveries: int) -> float:
    """Returns the seconds to wait after this many deliveries: 1, 2, 4, … at most MAX_BACKOFF_SECONDS."""
    return min(2.0 ** (deliveries - 1), MAX_BACKOFF_SECONDS)


def _is_multiple(count: int, factor: int) -> bool:
    """Returns False for a factor of 0."""
    return factor > 0 and count % factor == 0


def _dead_letter_attributes(message: Message) -> dict[str, str]:
    """Returns the attributes that Pub/Sub adds to a dead letter.

    https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work
    """
    return {
        "CloudPubSubDeadLetterSourceDeliveryCount": str(message.deliveries),
        "CloudPubSubDeadLetterSourceSubscription": "process-run",
    }
