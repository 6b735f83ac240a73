"""What every scheduler promises, through the real Cloud Tasks client against our emulator, and on SQLite."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import jwt
import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud.tasks_v2 import CloudTasksAsyncClient, HttpRequest, Queue, Task

from infra.local.broker import NO_FAULTS, Broker, Faults
from infra.local.emulators import free_host
from infra.local.tasks_emulator import TasksEmulator
from shared.adapters.clock import SystemClock
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.recheck_scheduler import CloudTasksRecheckScheduler, TaskTarget
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import Task as SqliteTask
from shared.errors import SchedulerUnavailable
from shared.ports import Recheck, RecheckScheduler

QUEUE = "projects/p/locations/l/queues/rechecks"
ACCOUNT = "invoker@p.iam.gserviceaccount.com"


class Receiver:
    """Where tasks are delivered: `seen` is (time, headers, body); `answers` are given first, then 204."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, dict[str, str], Any]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.seen.append(
                    (time.time(), {name.lower(): value for name, value in self.headers.items()}, json.loads(body))
                )
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        Thread(target=self.server.serve_forever, daemon=True).start()

    async def until(self, count: int, *, seconds: float = 8.0) -> None:
        ends = time.monotonic() + seconds
        while len(self.seen) < count:
            assert time.monotonic() < ends, f"{len(self.seen)} deliveries"
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@asynccontextmanager
async def emulator(folder: Path, *, faults: Faults = NO_FAULTS) -> AsyncIterator[str]:
    host = free_host()
    serving = asyncio.create_task(TasksEmulator(folder, faults=faults).serve(host))
    async with grpc.aio.insecure_channel(host) as channel:
        await channel.channel_ready()
    yield host
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


@asynccontextmanager
async def clients_of(host: str) -> AsyncIterator[ClientsByLoop]:
    clients = ClientsByLoop(GoogleEndpoints(project="p", tasks_emulator=host))
    yield clients
    await clients().close()


@asynccontextmanager
async def cloud_scheduler(host: str, url: str) -> AsyncIterator[CloudTasksRecheckScheduler]:
    target = TaskTarget(queue=QUEUE, url=url, audience="https://recheck.example", service_account=ACCOUNT)
    async with clients_of(host) as clients:
        yield CloudTasksRecheckScheduler(clients, target)


@pytest.fixture
def receiver() -> Any:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(params=["sqlite", "cloud-tasks"])
async def scheduler(
    request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver
) -> AsyncIterator[RecheckScheduler]:
    if request.param == "cloud-tasks":
        async with emulator(tmp_path) as host, cloud_scheduler(host, receiver.url) as scheduler:
            yield scheduler
        return
    sqlite = SqliteBackend(tmp_path / "runs.db", SystemClock())

    async def deliver(task: SqliteTask) -> int:
        receiver.seen.append((time.time(), {}, json.loads(task.body)))
        return receiver.answers.pop(0) if receiver.answers else 204

    broker = Broker(sqlite.deliveries, deliver_task=deliver)
    sqlite.on_work = broker.wake
    serving = asyncio.create_task(broker.serve(tmp_path / "lock"))
    yield sqlite.scheduler
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    sqlite.close()


def recheck(sequence: str = "10", run_id: str = "r") -> Recheck:
    return Recheck(run_id=run_id, attempt=1, sequence=sequence, checks=3)


def soon(seconds: float = 0.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_re_check_comes_at_its_time_with_what_it_carries(
    scheduler: RecheckScheduler, receiver: Receiver
) -> None:
    at = soon(0.5)
    await scheduler.schedule(recheck(), at=at)
    await receiver.until(1)
    came, _, body = receiver.seen[0]
    assert at.timestamp() - 0.01 <= came < at.timestamp() + 2
    assert body == asdict(recheck())


async def test_the_same_re_check_comes_once_however_often_and_when_it_is_asked_for(
    scheduler: RecheckScheduler, receiver: Receiver
) -> None:
    at = soon(0.2)
    await asyncio.gather(*[scheduler.schedule(recheck(), at=at) for _ in range(5)])
    await receiver.until(1)
    await scheduler.schedule(recheck(), at=soon())
    await scheduler.schedule(recheck("11"), at=soon())
    await receiver.until(2)
    await asyncio.sleep(0.3)
    assert [body["sequence"] for _, _, body in receiver.seen] == ["10", "11"]


async def test_what_is_not_answered_well_comes_again_later(scheduler: RecheckScheduler, receiver: Receiver) -> None:
    receiver.answers = [500, 503]
    await scheduler.schedule(recheck(), at=soon())
    await receiver.until(3)
    times = [came for came, _, _ in receiver.seen]
    assert times[1] - times[0] >= 0.9 and times[2] - times[1] >= 1.9


async def test_nobody_listening_is_said_in_time() -> None:
    began = time.monotonic()
    async with cloud_scheduler("127.0.0.1:1", "http://127.0.0.1:1") as scheduler:
        with pytest.raises(SchedulerUnavailable):
            await scheduler.schedule(recheck(), at=soon())
    assert time.monotonic() - began < 8


async def test_the_emulator_sends_the_headers_and_the_token_of_cloud_tasks(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host, cloud_scheduler(host, receiver.url) as scheduler:
        receiver.answers = [500]
        await scheduler.schedule(recheck(), at=soon())
        await receiver.until(2)
    _, headers, _ = receiver.seen[1]
    assert headers["x-cloudtasks-queuename"] == "rechecks" and headers["x-cloudtasks-taskretrycount"] == "1"
    assert headers["x-cloudtasks-taskname"].endswith("-r-1-10") and headers["content-type"] == "application/json"
    claims = jwt.decode(headers["authorization"].split()[1], options={"verify_signature": False})
    assert (claims["aud"], claims["email"]) == ("https://recheck.example", ACCOUNT)


async def test_the_emulator_keeps_its_tasks_over_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host, cloud_scheduler(host, receiver.url) as scheduler:
        await scheduler.schedule(recheck(), at=soon(1))
    async with emulator(tmp_path):
        await receiver.until(1)


async def test_the_emulator_answers_for_queues_and_tasks_as_google_does(tmp_path: Path) -> None:
    async with emulator(tmp_path) as host, clients_of(host) as clients:
        client: CloudTasksAsyncClient = clients().tasks
        parent = "projects/p/locations/l"
        with pytest.raises(NotFound):
            await client.get_queue(name=QUEUE)
        await client.create_queue(parent=parent, queue=Queue(name=QUEUE))
        assert (await client.get_queue(name=QUEUE)).name == QUEUE
        request = HttpRequest(url="http://127.0.0.1:1/")
        later = Task(name=f"{QUEUE}/tasks/t", http_request=request, schedule_time=soon(3600))
        await client.create_task(parent=QUEUE, task=later)
        assert (await client.get_task(name=later.name)).http_request.url == request.url
        assert [task.name async for task in await client.list_tasks(parent=QUEUE)] == [later.name]
        await client.delete_task(name=later.name)
        with pytest.raises(NotFound):
            await client.get_task(name=later.name)
        for wrong in (Task(), Task(http_request=request, schedule_time=soon(31 * 86400))):
            with pytest.raises(InvalidArgument):
                await client.create_task(parent=QUEUE, task=wrong)
        assert "/tasks/" in (await client.create_task(parent=QUEUE, task=Task(http_request=request))).name
        await client.purge_queue(name=QUEUE)
        assert [task async for task in await client.list_tasks(parent=QUEUE)] == []


async def test_the_emulator_loses_and_repeats_to_order(tmp_path: Path, receiver: Receiver) -> None:
    faults = Faults(drop_every=3, duplicate_every=2)
    async with emulator(tmp_path, faults=faults) as host, cloud_scheduler(host, receiver.url) as scheduler:
        for number in range(6):
            await scheduler.schedule(recheck(str(number)), at=soon())
        await receiver.until(6)
        await asyncio.sleep(0.3)
    assert len(receiver.seen) == 6, "six tasks, two of them lost, two of the others twice"
