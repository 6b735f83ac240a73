"""One process delivers for a file, and the next one takes over when it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from infra.local.broker import Broker
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.delivery import SqliteDeliveries, Task


async def test_a_broker_delivers_only_once_no_other_holds_the_lock(tmp_path: Path) -> None:
    database, lock = Database(":memory:"), tmp_path / "broker.lock"
    takeovers: asyncio.Queue[str] = asyncio.Queue()
    first = asyncio.create_task(broker(database).serve(lock, on_takeover=putting("first", takeovers)))
    assert await takeovers.get() == "first"
    second = asyncio.create_task(broker(database).serve(lock, on_takeover=putting("second", takeovers)))
    await asyncio.sleep(0.5)
    assert takeovers.empty()
    await end(first)
    assert await asyncio.wait_for(takeovers.get(), timeout=60) == "second"
    await end(second)
    database.close()


def broker(database: Database) -> Broker:
    async def deliver(_: Task) -> int:
        return 204

    return Broker(SqliteDeliveries(database), deliver_task=deliver)


def putting(name: str, takeovers: "asyncio.Queue[str]") -> Callable[[], Awaitable[None]]:
    return lambda: takeovers.put(name)


async def end(serving: "asyncio.Task[None]") -> None:
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
