"""How the local broker slows down: a failure holds up a whole subscription or queue, and no other."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.broker import (
    ACK_DEADLINE_SECONDS,
    BUSY_SECONDS,
    LATE_SECONDS,
    MAX_STARTED_PER_ROUND,
    MAX_STARTED_WHEN_BUSY,
    RECHECKS_PER_START,
    Broker,
)
from infra.local.pacing import FIRST_WINDOW, MIN_PAUSE_SECONDS, DispatchRate
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import Leased, Message, Task
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from shared.errors import StoreUnavailable
from tests.unit.world import TestClock

NOW = 1_800_000_000.0


class Platform:
    """A broker and functions that answer with `status`; `delivered` has the run ids in order.

    The functions answer 500 for runs in `failing`, and run `slow` when `slow_may_answer` is set.
    """

    def __init__(self, *, max_burst: int = 2) -> None:
        self.clock = TestClock()
        self.sqlite = SqliteBackend(":memory:", self.clock)
        self.status = 204
        self.delivered: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.slow_may_answer = asyncio.Event()
        self.failing: set[str] = set()
        rate = DispatchRate(max_rate=10, max_burst=max_burst, max_in_flight=50)
        self.broker = Broker(
            self.sqlite.deliveries,
            deliver_task=self._task,
            deliver_message=self._message,
            rate_of=lambda queue: rate,
            now=lambda: self.clock.now().timestamp(),
        )

    async def _message(self, topic: str, message: Message) -> int:
        return await self._answer(json.loads(message.data)["run_id"])

    async def _task(self, task: Task) -> int:
        return await self._answer(json.loads(task.body)["run_id"])

    async def _answer(self, run_id: str) -> int:
        self.delivered.append(run_id)
        await self.may_answer.wait()
        if run_id == "slow":
            await self.slow_may_answer.wait()
        return 500 if run_id in self.failing else self.status

    async def publish(self, *run_ids: str, lane: Lane = Lane.SHORT) -> None:
        for run_id in run_ids:
            await self.sqlite.queue.publish(run_id, lane=lane)

    async def schedule(self, *run_ids: str, lane: Lane = Lane.SHORT) -> None:
        for run_id in run_ids:
            recheck = Recheck(run_id=run_id, attempt=1, sequence="1")
            await self.sqlite.scheduler.schedule(recheck, at=self.clock.now(), lane=lane)

    async def deliver(self, *, status: int = 204) -> list[str]:
        """Delivers what may be delivered now; returns its run ids."""
        self.status, self.delivered = status, []
        await self.broker.deliver_due()
        await self.broker.wait_for_deliveries()
        return self.delivered

    async def next_due(self) -> float:
        """Returns the seconds until the next delivery, when none may start now."""
        assert await self.broker.deliver_due() == 0
        due = self.broker.next_due()
        assert due is not None
        return due - self.clock.now().timestamp()


@pytest.fixture
async def platform() -> AsyncIterator[Platform]:
    platform = Platform()
    yield platform
    platform.sqlite.close()


@pytest.fixture
async def fast_platform() -> AsyncIterator[Platform]:
    """Its queues dispatch a batch at once."""
    platform = Platform(max_burst=50)
    yield platform
    platform.sqlite.close()


async def test_a_task_that_fails_in_a_batch_comes_again_and_the_others_do_not(fast_platform: Platform) -> None:
    names = [str(number) for number in range(10)]
    await fast_platform.schedule(*names)
    fast_platform.failing = {"3"}
    assert sorted(await fast_platform.deliver()) == names
    fast_platform.clock.forward(1)
    assert await fast_platform.deliver() == ["3"]
    fast_platform.failing = set()
    fast_platform.clock.forward(2)
    assert await fast_platform.deliver() == ["3"]
    fast_platform.clock.forward(2 * ACK_DEADLINE_SECONDS)
    assert await fast_platform.deliver() == []


async def test_a_slow_task_of_a_batch_holds_up_no_other_and_repeats_none(fast_platform: Platform) -> None:
    await fast_platform.schedule("1", "slow", "2")
    assert await fast_platform.broker.deliver_due() == 3
    await asyncio.sleep(0)
    await fast_platform.schedule("3", "4")
    assert await fast_platform.broker.deliver_due() == 2  # this stores the ends of the first ones
    await asyncio.sleep(0)
    assert await fast_platform.broker.deliver_due() == 0
    assert sorted(fast_platform.delivered) == ["1", "2", "3", "4", "slow"]
    fast_platform.clock.forward(ACK_DEADLINE_SECONDS - 1)
    fast_platform.slow_may_answer.set()
    await fast_platform.broker.wait_for_deliveries()
    fast_platform.clock.forward(ACK_DEADLINE_SECONDS)
    assert await fast_platform.deliver() == []


async def test_ends_that_the_store_did_not_take_are_stored_with_the_next_round(fast_platform: Platform) -> None:
    await fast_platform.schedule("1")
    assert await fast_platform.broker.deliver_due() == 1
    await asyncio.sleep(0)
    await fast_platform.sqlite.database.write(lambda c: c.execute("ALTER TABLE tasks RENAME TO away"))
    with pytest.raises(StoreUnavailable):
        await fast_platform.broker.deliver_due()
    await fast_platform.sqlite.database.write(lambda c: c.execute("ALTER TABLE away RENAME TO tasks"))
    assert await fast_platform.broker.deliver_due() == 0
    fast_platform.clock.forward(2 * ACK_DEADLINE_SECONDS)
    assert await fast_platform.deliver() == []


async def test_a_refused_push_holds_up_its_subscription_and_no_other(platform: Platform) -> None:
    await platform.publish("refused")
    assert await platform.deliver(status=429) == ["refused"]
    await platform.publish("healthy")
    await platform.publish("other lane", lane=Lane.LONG)
    assert await platform.deliver() == ["other lane"]
    assert await platform.next_due() == pytest.approx(MIN_PAUSE_SECONDS, abs=1e-3)
    platform.clock.forward(MIN_PAUSE_SECONDS)
    assert await platform.deliver() == ["healthy"]
    platform.clock.forward(1)
    assert await platform.deliver() == ["refused"]


async def test_a_backlog_is_pushed_in_windows_that_grow(platform: Platform) -> None:
    await platform.publish(*map(str, range(40)))
    assert [len(await platform.deliver()) for _ in range(4)] == [5, 10, 16, 9]


async def test_open_pushes_that_fill_the_window_hold_up_the_others(platform: Platform) -> None:
    await platform.publish(*map(str, range(6)))
    platform.may_answer.clear()
    assert await platform.broker.deliver_due() == 5
    await asyncio.sleep(0)
    assert await platform.broker.deliver_due() == 0 and platform.broker.next_due() is None
    platform.may_answer.set()
    await platform.broker.wait_for_deliveries()
    assert await platform.broker.deliver_due() == 1
    await platform.broker.wait_for_deliveries()


async def test_a_queue_dispatches_at_its_rate(platform: Platform) -> None:
    await platform.schedule("a", "b", "c")
    assert len(await platform.deliver()) == 2
    assert await platform.next_due() == pytest.approx(0.1, abs=1e-3)
    platform.clock.forward(0.1)
    assert len(await platform.deliver()) == 1


@pytest.mark.parametrize(("status", "seconds"), [(429, 0.2), (503, 0.2), (500, 1 / 9)])
async def test_a_task_that_fails_slows_its_queue_and_no_other(platform: Platform, status: int, seconds: float) -> None:
    await platform.schedule("failing")
    await platform.deliver(status=status)
    await platform.schedule("healthy")
    await platform.schedule("other lane", lane=Lane.LONG)
    assert await platform.deliver() == ["other lane"]
    assert await platform.next_due() == pytest.approx(seconds, abs=1e-3)
    platform.clock.time += timedelta(seconds=seconds + 1e-3)
    assert await platform.deliver() == ["healthy"]


async def test_a_paused_subscription_without_messages_is_not_due(platform: Platform) -> None:
    await platform.publish("refused")
    await platform.deliver(status=500)
    await platform.sqlite.database.write(lambda connection: connection.execute("DELETE FROM messages"))
    assert await platform.broker.deliver_due() == 0 and platform.broker.next_due() is None


class Rounds:
    """Stands for the deliveries of an empty database; `asked` has how many messages and tasks each round may start."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.next_due: dict[str, float] = {}
        self.tasks: dict[str, list[Task]] = {}

    async def exchange(
        self, ended: object, *, topics: Mapping[str, int], queues: Mapping[str, int], now: float, lease: float
    ) -> Leased:
        self.asked.append((max(topics.values()), max(queues.values())))
        return Leased(messages={}, tasks=self.tasks, next_due=dict.fromkeys(topics, now) | self.next_due)

    async def release_leases(self, *, now: float) -> None:
        """There are none."""

    async def delete_expired_names(self, *, now: float) -> None:
        """There are none."""


async def test_while_the_event_loop_is_busy_few_new_runs_start_and_others_go_on(tmp_path: Path) -> None:
    rounds: Any = Rounds()

    async def answer(*_: object) -> int:
        return 204

    async def keep_busy() -> None:
        while True:
            time.sleep(4 * BUSY_SECONDS)
            await asyncio.sleep(0)

    broker = Broker(rounds, deliver_task=answer, deliver_message=answer)
    async with asyncio.timeout(60):
        working = [asyncio.create_task(broker.serve(tmp_path / "lock"))]
        while not rounds.asked:
            await asyncio.sleep(0)
        assert rounds.asked[0] == (FIRST_WINDOW, MAX_STARTED_PER_ROUND)
        working.append(asyncio.create_task(keep_busy()))
        while rounds.asked[-1] != (MAX_STARTED_WHEN_BUSY, MAX_STARTED_PER_ROUND):
            await asyncio.sleep(0)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


@pytest.mark.parametrize(
    ("queue", "late_by", "count", "most"),
    [
        ("rechecks", 1, 2 * RECHECKS_PER_START, 2),
        ("rechecks", 1, 1, 1),
        ("rechecks", -1, 2 * RECHECKS_PER_START, FIRST_WINDOW),
        ("webhooks", 1, 2 * RECHECKS_PER_START, FIRST_WINDOW),
    ],
)
async def test_while_rechecks_are_late_few_new_runs_start(queue: str, late_by: float, count: int, most: int) -> None:
    rounds: Any = Rounds()
    rounds.next_due = {queue: NOW - LATE_SECONDS - late_by}
    rounds.tasks = {queue: [Task(name="t", queue=queue, body="{}", deliveries=1)] * count}

    async def answer(*_: object) -> int:
        return 204

    broker = Broker(rounds, deliver_task=answer, deliver_message=answer, now=lambda: NOW)
    await broker.deliver_due()
    await broker.deliver_due()
    assert rounds.asked == [(FIRST_WINDOW, MAX_STARTED_PER_ROUND), (most, MAX_STARTED_PER_ROUND)]


async def test_a_late_recheck_that_its_queue_holds_back_delays_no_new_run() -> None:
    rounds: Any = Rounds()
    rounds.next_due = {"rechecks": NOW - 60}

    async def answer(*_: object) -> int:
        return 204

    stopped = DispatchRate(max_rate=1, max_burst=1, max_in_flight=0)
    broker = Broker(rounds, deliver_task=answer, deliver_message=answer, rate_of=lambda queue: stopped, now=lambda: NOW)
    await broker.deliver_due()
    await broker.deliver_due()
    assert rounds.asked[1] == (FIRST_WINDOW, 0)
