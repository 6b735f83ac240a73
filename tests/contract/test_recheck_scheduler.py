"""Tests the RecheckScheduler port: Google's Cloud Tasks client with our emulator, and SQLite with the broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import jwt
import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, NotFound
from google.cloud.tasks_v2 import CloudTasksAsyncClient, HttpRequest, Queue, RateLimits, Task
from msgspec.structs import asdict

from infra.local.broker import NO_FAULTS, Broker, Faults
from infra.local.emulators.ports import reserved_port
from infra.local.emulators.tasks import TasksEmulator
from shared.adapters.clock import SystemClock
from shared.adapters.gcp.bounds import bounded
from shared.adapters.gcp.clients import ClientsByLoop, GoogleEndpoints
from shared.adapters.gcp.recheck_scheduler import CloudTasksRecheckScheduler
from shared.adapters.gcp.task_targets import TaskTarget
from shared.adapters.sqlite.backend import SqliteBackend
from shared.adapters.sqlite.delivery import Task as SqliteTask
from shared.domain.recheck_plan import Recheck
from shared.domain.status import Lane
from shared.errors import SchedulerUnavailable
from shared.ports import RecheckScheduler
from tests.grpc_proxy import Forward, GrpcProxy, Refused, Requests, lose_answers

LOCATION = "projects/p/locations/l"
QUEUES = {Lane.SHORT: f"{LOCATION}/queues/rechecks", Lane.LONG: f"{LOCATION}/queues/rechecks-long"}
QUEUE = QUEUES[Lane.SHORT]
ACCOUNT = "invoker@p.iam.gserviceaccount.com"


class Receiver:
    """An HTTP server that records requests as (time, headers, body).

    It answers with the statuses of `answers` in order, and after them with 204.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[float, dict[str, str], Any]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(
                    (time.time(), {name.lower(): value for name, value in self.headers.items()}, json.loads(body))
                )
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Logs nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        Thread(target=self.server.serve_forever, daemon=True).start()

    async def wait_for(self, count: int, *, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} deliveries"
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@asynccontextmanager
async def emulator(folder: Path, *, faults: Faults = NO_FAULTS) -> AsyncIterator[str]:
    with reserved_port() as port:
        host = f"127.0.0.1:{port}"
        serving = asyncio.create_task(TasksEmulator(folder, faults=faults).serve(host))
        async with grpc.aio.insecure_channel(host) as channel:
            await channel.channel_ready()
        await create_queues(host)
        yield host
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


async def create_queues(host: str) -> None:
    async with clients_of(host) as clients:
        for name in QUEUES.values():
            with suppress(AlreadyExists):
                await clients().tasks.create_queue(parent=LOCATION, queue=Queue(name=name), **bounded())


@asynccontextmanager
async def clients_of(host: str) -> AsyncIterator[ClientsByLoop]:
    clients = ClientsByLoop(GoogleEndpoints(project="p", tasks_emulator=host))
    yield clients
    await clients().close()


@asynccontextmanager
async def cloud_scheduler(host: str, url: str) -> AsyncIterator[CloudTasksRecheckScheduler]:
    target = TaskTarget(queues=QUEUES, url=url, audience="https://recheck.example", service_account=ACCOUNT)
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
        receiver.requests.append((time.time(), {}, json.loads(task.body)))
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


def in_seconds(seconds: float = 0.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_recheck_is_delivered_at_its_time_with_its_fields(
    scheduler: RecheckScheduler, receiver: Receiver
) -> None:
    at = in_seconds(0.5)
    await scheduler.schedule(recheck(), at=at, lane=Lane.SHORT)
    await receiver.wait_for(1)
    delivered_at, _, body = receiver.requests[0]
    assert at.timestamp() - 0.01 <= delivered_at < at.timestamp() + 2
    assert body == asdict(recheck())


async def test_the_same_recheck_is_delivered_once_however_often_it_is_scheduled(
    scheduler: RecheckScheduler, receiver: Receiver
) -> None:
    at = in_seconds(0.2)
    await asyncio.gather(*[scheduler.schedule(recheck(), at=at, lane=Lane.SHORT) for _ in range(5)])
    await receiver.wait_for(1)
    await scheduler.schedule(recheck(), at=in_seconds(), lane=Lane.SHORT)
    await scheduler.schedule(recheck("11"), at=in_seconds(), lane=Lane.SHORT)
    await receiver.wait_for(2)
    await asyncio.sleep(0.3)
    assert [body["sequence"] for _, _, body in receiver.requests] == ["10", "11"]


@pytest.mark.slow
async def test_a_recheck_that_fails_is_delivered_again_with_growing_pauses(
    scheduler: RecheckScheduler, receiver: Receiver
) -> None:
    receiver.answers = [500, 503]
    await scheduler.schedule(recheck(), at=in_seconds(), lane=Lane.SHORT)
    await receiver.wait_for(3)
    times = [delivered_at for delivered_at, _, _ in receiver.requests]
    assert times[1] - times[0] >= 0.9 and times[2] - times[1] >= 1.9


@pytest.mark.slow
async def test_an_unreachable_scheduler_raises_scheduler_unavailable_within_seconds() -> None:
    started_at = time.monotonic()
    async with cloud_scheduler("127.0.0.1:1", "http://127.0.0.1:1") as scheduler:
        with pytest.raises(SchedulerUnavailable):
            await scheduler.schedule(recheck(), at=in_seconds(), lane=Lane.SHORT)
    assert time.monotonic() - started_at < 8


@pytest.mark.slow
async def test_the_emulator_sends_the_headers_and_the_token_of_cloud_tasks(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host, cloud_scheduler(host, receiver.url) as scheduler:
        receiver.answers = [500]
        await scheduler.schedule(recheck(), at=in_seconds(), lane=Lane.SHORT)
        await receiver.wait_for(2)
    _, headers, _ = receiver.requests[1]
    assert headers["x-cloudtasks-queuename"] == "rechecks" and headers["x-cloudtasks-taskretrycount"] == "1"
    assert headers["x-cloudtasks-taskname"].endswith("-r-1-10") and headers["content-type"] == "application/json"
    claims = jwt.decode(headers["authorization"].split()[1], options={"verify_signature": False})
    assert (claims["aud"], claims["email"]) == ("https://recheck.example", ACCOUNT)


@pytest.mark.slow
async def test_the_emulator_keeps_its_tasks_across_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host, cloud_scheduler(host, receiver.url) as scheduler:
        await scheduler.schedule(recheck(), at=in_seconds(1), lane=Lane.SHORT)
    async with emulator(tmp_path):
        await receiver.wait_for(1)


async def test_the_emulator_answers_for_queues_and_tasks_as_google_does(tmp_path: Path) -> None:
    async with emulator(tmp_path) as host, clients_of(host) as clients:
        client: CloudTasksAsyncClient = clients().tasks
        queue = f"{LOCATION}/queues/another"
        with pytest.raises(NotFound):
            await client.get_queue(name=queue)
        with pytest.raises(NotFound):
            await client.create_task(parent=queue, task=Task(http_request=HttpRequest(url="http://127.0.0.1:1/")))
        await client.create_queue(parent=LOCATION, queue=Queue(name=queue))
        assert (await client.get_queue(name=queue)).name == queue
        request = HttpRequest(url="http://127.0.0.1:1/")
        later = Task(name=f"{queue}/tasks/t", http_request=request, schedule_time=in_seconds(3600))
        await client.create_task(parent=queue, task=later)
        assert (await client.get_task(name=later.name)).http_request.url == request.url
        assert [task.name async for task in await client.list_tasks(parent=queue)] == [later.name]
        await client.delete_task(name=later.name)
        with pytest.raises(NotFound):
            await client.get_task(name=later.name)
        for invalid in (Task(), Task(http_request=request, schedule_time=in_seconds(31 * 86400))):
            with pytest.raises(InvalidArgument):
                await client.create_task(parent=queue, task=invalid)
        assert "/tasks/" in (await client.create_task(parent=queue, task=Task(http_request=request))).name
        await client.purge_queue(name=queue)
        assert [task async for task in await client.list_tasks(parent=queue)] == []


async def test_a_lost_answer_to_a_task_makes_one_task(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host:
        proxy = GrpcProxy(host)
        proxy.hook = lose_answers("CreateTask", times=1)
        async with cloud_scheduler(proxy.host, receiver.url) as scheduler:
            await scheduler.schedule(recheck(), at=in_seconds(), lane=Lane.SHORT)
            await receiver.wait_for(1)
            await asyncio.sleep(0.3)
        proxy.close()
    assert len(receiver.requests) == 1 and proxy.calls["CreateTask"] == 2


async def test_a_queue_that_does_not_exist_makes_the_scheduler_unavailable(tmp_path: Path, receiver: Receiver) -> None:
    def not_found(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        raise Refused(grpc.StatusCode.NOT_FOUND)

    async with emulator(tmp_path) as host:
        proxy = GrpcProxy(host)
        proxy.hook = not_found
        async with cloud_scheduler(proxy.host, receiver.url) as scheduler:
            with pytest.raises(SchedulerUnavailable):
                await scheduler.schedule(recheck(), at=in_seconds(), lane=Lane.SHORT)
        proxy.close()


@pytest.mark.slow
async def test_a_paused_queue_delivers_its_tasks_when_it_is_resumed(tmp_path: Path, receiver: Receiver) -> None:
    async with (
        emulator(tmp_path) as host,
        clients_of(host) as clients,
        cloud_scheduler(host, receiver.url) as scheduler,
    ):
        assert (await clients().tasks.pause_queue(name=QUEUE)).state == Queue.State.PAUSED
        await scheduler.schedule(recheck("short"), at=in_seconds(), lane=Lane.SHORT)
        await scheduler.schedule(recheck("long"), at=in_seconds(), lane=Lane.LONG)
        await receiver.wait_for(1)
        assert (await clients().tasks.resume_queue(name=QUEUE)).state == Queue.State.RUNNING
        await receiver.wait_for(2)
        with pytest.raises(NotFound):
            await clients().tasks.pause_queue(name=f"{LOCATION}/queues/another")
    assert [body["sequence"] for _, _, body in receiver.requests] == ["long", "short"]


@pytest.mark.slow
async def test_a_queue_keeps_to_the_limits_it_was_created_with(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host, clients_of(host) as clients:
        defaults = (await clients().tasks.get_queue(name=QUEUE)).rate_limits
        assert (defaults.max_dispatches_per_second, defaults.max_concurrent_dispatches) == (500, 1000)
        limits = RateLimits(max_dispatches_per_second=4)
        limited = Queue(name=f"{LOCATION}/queues/limited", rate_limits=limits)
        await clients().tasks.create_queue(parent=LOCATION, queue=limited)
        task = Task(http_request=HttpRequest(url=receiver.url, body=b"{}"))
        for _ in range(6):
            await clients().tasks.create_task(parent=limited.name, task=task)
        await receiver.wait_for(6)
    times = [delivered_at for delivered_at, _, _ in receiver.requests]
    assert times[5] - times[0] >= 0.4, "four are the burst, and the others come a quarter of a second apart"


@pytest.mark.slow
async def test_a_task_that_is_refused_with_429_slows_its_queue(tmp_path: Path, receiver: Receiver) -> None:
    async with emulator(tmp_path) as host, clients_of(host) as clients:
        limits = RateLimits(max_dispatches_per_second=2)
        slow = Queue(name=f"{LOCATION}/queues/slow", rate_limits=limits)
        await clients().tasks.create_queue(parent=LOCATION, queue=slow)
        task = Task(http_request=HttpRequest(url=receiver.url, body=b"{}"))
        receiver.answers = [429]
        await clients().tasks.create_task(parent=slow.name, task=task)
        await receiver.wait_for(1)
        await asyncio.sleep(0.1)
        await clients().tasks.create_task(parent=slow.name, task=task)
        await receiver.wait_for(2)
    times = [delivered_at for delivered_at, _, _ in receiver.requests]
    assert times[1] - times[0] >= 0.9, "one dispatch a second is half of the queue's own rate"


@pytest.mark.slow
async def test_the_emulator_drops_and_duplicates_tasks_as_configured(tmp_path: Path, receiver: Receiver) -> None:
    faults = Faults(drop_every=3, duplicate_every=2)
    async with emulator(tmp_path, faults=faults) as host, cloud_scheduler(host, receiver.url) as scheduler:
        for number in range(6):
            await scheduler.schedule(recheck(str(number)), at=in_seconds(), lane=Lane.SHORT)
        await receiver.wait_for(6)
        await asyncio.sleep(0.3)
    assert len(receiver.requests) == 6, "of six tasks, two are dropped and two are delivered twice"
