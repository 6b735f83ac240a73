"""How the local broker slows down: a failure holds up a whole subscription or queue, and no other."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from infra.local.broker import Broker
from infra.local.pacing import MIN_PAUSE_SECONDS, DispatchRate
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import Message, Task
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from tests.unit.world import TestClock


class Platform:
    """A broker and functions that answer with `status`; `delivered` has the run ids in order."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.sqlite = SqliteBackend(":memory:", self.clock)
        self.status = 204
        self.delivered: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        rate = DispatchRate(max_rate=10, max_burst=2, max_in_flight=50)
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
        return self.status

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
