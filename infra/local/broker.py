"""Delivers due messages and tasks until they are acknowledged, for the local host and for the Cloud Tasks emulator.

Each topic has a push window and each task queue a dispatch rate: failures slow a whole subscription or queue down, as
they do in Google's services.

One process at a time delivers for a database file: the process that holds the lock file. The operating system releases
the lock when the process ends, however it ends. The next process then delivers the leased rows again at once.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import AsyncFileLock

from infra.local.pacing import DispatchRate, Pace, PushWindow, backoff
from infra.local.requests_of_google import dead_letter_attributes
from shared import log
from shared.adapters.sqlite.delivery import DEAD_LETTERS, Ended, Leased, Message, SqliteDeliveries, Task
from shared.adapters.sqlite.recheck_scheduler import QUEUES
from shared.adapters.sqlite.run_queue import TOPICS
from shared.adapters.sqlite.webhook_scheduler import WEBHOOKS_QUEUE
from shared.errors import StoreUnavailable

ACK_DEADLINE_SECONDS = 600.0
MAX_CONCURRENT = 256
"""Deliveries at once, for each topic and for tasks."""
MAX_STARTED_PER_ROUND = 16
MAX_STARTED_WHEN_BUSY = 1
"""Of each topic, while the event loop is busy: requests come first, then runs that have begun, then new runs."""
BUSY_SECONDS = 0.005
"""An event loop that wakes the broker so much later than it should is busy."""
RECHECKS_PER_START = 4
"""Of each topic, while re-checks are late, a round starts one run for so many re-checks of the round before, or one:
runs that have begun end in time before new ones begin, and still do not keep new ones waiting for ever."""
LATE_SECONDS = 0.005
BACKLOG_PAUSE_SECONDS = 0.01
ROUND_PAUSE_SECONDS = 0.025
"""The pause after a round that left no due rows: the rows of this time share a commit and wake each thread once."""
MAX_DELIVERIES = 20
"""After this many failed deliveries a message becomes a dead letter."""
MAX_TASK_DELIVERIES = 100
"""After this many failed deliveries a task is dropped."""
POLL_INTERVAL_SECONDS = 0.2
FORGET_EVERY_SECONDS = 5.0
"""How often names that are no longer reserved are deleted."""
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
        self._ended: list[Ended] = []
        """Deliveries whose end is not stored yet."""
        self._next_due: dict[str, float] = {}
        """When the next row of each topic and queue is due, as of the last round."""
        self._has_backlog = False
        """Has the last round left rows that are due, because it started as many as it may?"""
        self._is_loop_busy = False
        self._is_late = False
        """Has a re-check waited longer than LATE_SECONDS at the start of this round?"""
        self._recheck_count = 0
        """Re-checks that the last round has started."""
        self._in_flight: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        """By topic and by queue."""
        self._paces: dict[str, Pace] = {topic: PushWindow(max_size=MAX_CONCURRENT) for topic in self._topics}
        """By topic and by queue."""
        self._without_room: set[str] = set()
        """Topics and queues that could start no more in the last round."""

    def wake(self, due_at: float | None = None) -> None:
        """Makes `serve` look for due rows now, unless `due_at` is so late that it looks before anyway."""
        if due_at is None or due_at < self._now() + POLL_INTERVAL_SECONDS:
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
            forget_at = self._now()
            while True:
                with suppress(StoreUnavailable):
                    await self.deliver_due()
                    if self._now() >= forget_at:
                        await self._deliveries.delete_expired_names(now=self._now())
                        forget_at = self._now() + FORGET_EVERY_SECONDS
                await self._pause()
                await self._wait_for_work()

    async def deliver_due(self) -> int:
        """Starts deliveries of due rows within the limits, and returns how many it has started.

        One commit stores how earlier deliveries have ended, and leases the rows of all topics and queues.
        """
        self._is_late = self._has_late_recheck()
        topics = {topic: self._room(topic) for topic in self._topics}
        leased = await self._exchange(topics, {queue: self._room(queue) for queue in self._queues()})
        self._next_due = dict(leased.next_due)
        counts = {kind: len(rows) for kind, rows in (*leased.messages.items(), *leased.tasks.items())}
        self._has_backlog = any(count >= self._most(kind) for kind, count in counts.items())
        self._recheck_count = sum(counts.get(queue, 0) for queue in QUEUES.values())
        for topic, messages in leased.messages.items():
            for message in messages:
                self._start(topic, self._deliver_message(topic, message))
        for queue, tasks in leased.tasks.items():
            for task in tasks:
                self._start(queue, self._deliver_task(queue, task))
        for kind, count in counts.items():
            self._paces[kind] = self._pace(kind).after_start(count, now=self._now())
        return sum(counts.values())

    def next_due(self) -> float | None:
        """Returns when the next delivery may start, as of the last `deliver_due`.

        Returns None when none is due, or each waits for one that is in flight.
        """
        now, found = self._now(), []
        for kind, due in self._next_due.items():
            if self._room(kind) > 0:
                found.append(due)
            elif (opens_at := self._pace(kind).opens_at(now)) > now:
                found.append(max(due, opens_at))
        return min(found, default=None)

    async def wait_for_deliveries(self) -> None:
        """Waits until no delivery is in flight, and stores the acknowledgements."""
        while in_flight := [task for tasks in self._in_flight.values() for task in tasks]:
            await asyncio.gather(*in_flight)
        await self._exchange({}, {})

    async def _exchange(self, topics: Mapping[str, int], queues: Mapping[str, int]) -> Leased:
        """Keeps the ends of deliveries for the next time when the store does not take them."""
        ended, self._ended = self._ended, []
        try:
            return await self._deliveries.exchange(
                ended, topics=topics, queues=queues, now=self._now(), lease=ACK_DEADLINE_SECONDS
            )
        except StoreUnavailable:
            self._ended[:0] = ended
            raise

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
        return min(room, self._most(kind))

    def _has_late_recheck(self) -> bool:
        """Returns whether a re-check is late that may start now; one that its queue holds back is not waited for."""
        latest = self._now() - LATE_SECONDS
        return any(self._next_due.get(queue, latest) < latest and self._room(queue) > 0 for queue in QUEUES.values())

    def _most(self, kind: str) -> int:
        """Returns how many deliveries one round may start."""
        if kind not in self._topics:
            return MAX_STARTED_PER_ROUND
        if self._is_late:
            return max(self._recheck_count // RECHECKS_PER_START, 1)
        return MAX_STARTED_WHEN_BUSY if self._is_loop_busy else MAX_STARTED_PER_ROUND

    async def _pause(self) -> None:
        pause = BACKLOG_PAUSE_SECONDS if self._has_backlog else ROUND_PAUSE_SECONDS
        clock = asyncio.get_running_loop().time
        ends = clock() + pause
        await asyncio.sleep(pause)
        self._is_loop_busy = clock() - ends > BUSY_SECONDS

    async def _wait_for_work(self) -> None:
        """Waits until `wake` is called or a row is due, at most POLL_INTERVAL_SECONDS: other processes add rows too."""
        due = self.next_due()
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
            self._ended.append(Ended(row=message))
        elif topic != DEAD_LETTERS and message.deliveries >= MAX_DELIVERIES:
            log.warning("message given up", message_id=message.id)
            attributes = dead_letter_attributes(message)
            await self._deliveries.move_to_dead_letters(message, now=self._now(), attributes=attributes)
            self.wake()
        else:
            self._ended.append(Ended(row=message, again_at=self._now() + backoff(message.deliveries)))

    async def _deliver_task(self, queue: str, task: Task) -> None:
        self._task_count += 1
        if _is_multiple(self._task_count, self._faults.drop_every):
            self._ended.append(Ended(row=task))
            return
        started_at = self._now()
        statuses: Sequence[int]
        if _is_multiple(self._task_count, self._faults.duplicate_every):
            statuses = await asyncio.gather(self._send_task(task), self._send_task(task))
        else:
            statuses = [await self._send_task(task)]
        for status in statuses:
            self._adapt_pace(queue, status, started_at=started_at)
        if any(200 <= status < 300 for status in statuses) or task.deliveries >= MAX_TASK_DELIVERIES:
            self._ended.append(Ended(row=task))
        else:
            self._ended.append(Ended(row=task, again_at=self._now() + backoff(task.deliveries)))

    def _adapt_pace(self, kind: str, status: int, *, started_at: float) -> None:
        pace = self._pace(kind)
        if 200 <= status < 300:
            self._paces[kind] = pace.after_success()
        else:
            self._paces[kind] = pace.after_failure(status, started_at=started_at, now=self._now())


def _is_multiple(count: int, factor: int) -> bool:
    """Returns False for a factor of 0."""
    return factor > 0 and count % factor == 0
