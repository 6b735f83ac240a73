"""A Cloud Tasks emulator: Google has none. The real client, given its address, does not notice.

    python -m infra.local.emulators.tasks --host 127.0.0.1:9123 --folder .data [--drop-every 3] [--duplicate-every 2]

Named tasks and their tombstones of 24 hours, schedule times, retries, dispatch deadlines, OIDC tokens signed with a key
of its own, X-CloudTasks headers. Queues have limits, can be paused, and slow down while their target fails. Tasks are
rows of the same table, delivered by the same engine, as the timers of the embedded back end; they survive a restart.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

import grpc
from google.cloud.tasks_v2.types import (
    CreateQueueRequest,
    CreateTaskRequest,
    DeleteTaskRequest,
    GetQueueRequest,
    GetTaskRequest,
    HttpMethod,
    ListTasksRequest,
    ListTasksResponse,
    PauseQueueRequest,
    PurgeQueueRequest,
    Queue,
    ResumeQueueRequest,
)
from google.cloud.tasks_v2.types import Task as CloudTask
from google.protobuf.empty_pb2 import Empty

from infra.local.broker import NO_FAULTS, Broker, Faults
from infra.local.command_line import leave, run_until_signal
from infra.local.emulators.queues import Queues
from infra.local.emulators.signer import Signer
from infra.local.requests_of_google import task_headers
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.delivery import SqliteDeliveries, Task
from shared.adapters.sqlite.recheck_scheduler import NAME_RESERVED_FOR

NAME_RESERVED_SECONDS = NAME_RESERVED_FOR.total_seconds()

SERVICE = "google.cloud.tasks.v2.CloudTasks"
DEFAULT_DISPATCH_SECONDS = 600.0
FARTHEST_SECONDS = 30 * 86400
MAX_THREADS = 64
UNREACHABLE = 599


class TasksEmulator:
    def __init__(self, folder: Path, *, faults: Faults = NO_FAULTS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._database = Database(folder / "tasks.db")
        self._deliveries = SqliteDeliveries(self._database)
        self._queues = Queues()
        self._broker = Broker(
            self._deliveries,
            deliver_task=self._dispatch,
            queues=self._queues.running,
            rate_of=self._queues.rate_of,
            faults=faults,
        )
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="dispatch")
        self._signer = Signer(folder / "tasks.key")

    async def serve(self, host: str) -> None:
        """Until cancelled."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._handlers(),))
        server.add_insecure_port(host)
        await self._restore_queues()
        await server.start()
        print(f"ready on {host}", flush=True)
        try:
            await self._broker.serve(self._folder / "tasks.lock")
        finally:
            await server.stop(grace=None)
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._database.close()

    async def _restore_queues(self) -> None:
        """Makes the queues of an earlier process whose tasks are still there, with the limits of a new queue."""
        rows = await self._database.read(
            lambda connection: connection.execute("SELECT DISTINCT queue FROM tasks").fetchall()
        )
        for (name,) in rows:
            self._queues.create(Queue(name=name))

    def _handlers(self) -> Any:
        methods = {
            "CreateQueue": (self._create_queue, CreateQueueRequest, Queue),
            "GetQueue": (self._get_queue, GetQueueRequest, Queue),
            "PurgeQueue": (self._purge_queue, PurgeQueueRequest, Queue),
            "PauseQueue": (self._pause_queue, PauseQueueRequest, Queue),
            "ResumeQueue": (self._resume_queue, ResumeQueueRequest, Queue),
            "CreateTask": (self._create_task, CreateTaskRequest, CloudTask),
            "GetTask": (self._get_task, GetTaskRequest, CloudTask),
            "ListTasks": (self._list_tasks, ListTasksRequest, ListTasksResponse),
            "DeleteTask": (self._delete_task, DeleteTaskRequest, Empty),
        }
        return grpc.method_handlers_generic_handler(SERVICE, {name: _unary(*parts) for name, parts in methods.items()})

    async def _create_queue(self, request: CreateQueueRequest, context: Any) -> Queue:
        if request.queue.name in self._queues:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "Queue already exists")
        return self._queues.create(request.queue)

    async def _get_queue(self, request: GetQueueRequest, context: Any) -> Queue:
        if request.name not in self._queues:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Queue does not exist.")
        return self._queues[request.name]

    async def _purge_queue(self, request: PurgeQueueRequest, context: Any) -> Queue:
        await self._write("DELETE FROM tasks WHERE name LIKE ? || '/tasks/%'", request.name)
        return await self._get_queue(GetQueueRequest(name=request.name), context)

    async def _pause_queue(self, request: PauseQueueRequest, context: Any) -> Queue:
        await self._get_queue(GetQueueRequest(name=request.name), context)
        return self._queues.pause(request.name)

    async def _resume_queue(self, request: ResumeQueueRequest, context: Any) -> Queue:
        await self._get_queue(GetQueueRequest(name=request.name), context)
        resumed = self._queues.resume(request.name)
        self._broker.wake()
        return resumed

    async def _create_task(self, request: CreateTaskRequest, context: Any) -> CloudTask:
        if request.parent not in self._queues:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Queue does not exist.")
        task, now = CloudTask(request.task), time.time()
        if not task.http_request.url:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Task must have an HTTP request with a url.")
        at = task.schedule_time.timestamp() if task.schedule_time else now
        if at > now + FARTHEST_SECONDS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Task.scheduleTime is too far in the future.")
        task.name = task.name or f"{request.parent}/tasks/{uuid4().int}"
        deliver_at = max(at, now)
        row = (task.name, request.parent, CloudTask.to_json(task), deliver_at, deliver_at + NAME_RESERVED_SECONDS)
        made = await self._write(
            "INSERT INTO tasks (name, queue, body, deliver_at, forget_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            *row,
        )
        if made == 0:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "Requested entity already exists")
        self._broker.wake()
        return task

    async def _get_task(self, request: GetTaskRequest, context: Any) -> CloudTask:
        found = await self._rows("SELECT body FROM tasks WHERE name = ? AND deliver_at IS NOT NULL", request.name)
        if not found:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Task does not exist.")
        return found[0]

    async def _list_tasks(self, request: ListTasksRequest, context: Any) -> ListTasksResponse:
        query = "SELECT body FROM tasks WHERE name LIKE ? || '/tasks/%' AND deliver_at IS NOT NULL ORDER BY name"
        return ListTasksResponse(tasks=await self._rows(query, request.parent))

    async def _delete_task(self, request: DeleteTaskRequest, context: Any) -> Empty:
        query = "UPDATE tasks SET deliver_at = NULL WHERE name = ? AND deliver_at IS NOT NULL"
        if await self._write(query, request.name) == 0:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Task does not exist.")
        return Empty()

    async def _rows(self, query: str, *values: Any) -> list[CloudTask]:
        rows = await self._database.read(lambda connection: connection.execute(query, values).fetchall())
        return [CloudTask.from_json(body) for (body,) in rows]

    async def _write(self, statement: str, *values: Any) -> int:
        return await self._database.write(lambda connection: connection.execute(statement, values).rowcount)

    async def _dispatch(self, task: Task) -> int:
        cloud_task = CloudTask.from_json(task.body)
        headers = {**dict(cloud_task.http_request.headers), **task_headers(task, queue=task.name.split("/")[5])}
        token = cloud_task.http_request.oidc_token
        if token.service_account_email:
            audience = token.audience or cloud_task.http_request.url
            headers["Authorization"] = f"Bearer {self._signer.sign(token.service_account_email, audience)}"
        seconds = cloud_task.dispatch_deadline.total_seconds() or DEFAULT_DISPATCH_SECONDS
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _call, cloud_task.http_request, headers, seconds
        )


def _call(http_request: Any, headers: dict[str, str], seconds: float) -> int:
    """The status of the answer; 599 when there was none."""
    method = HttpMethod(http_request.http_method or HttpMethod.POST).name
    try:
        request = Request(http_request.url, data=http_request.body or b"", headers=headers, method=method)
        with urlopen(request, timeout=seconds) as response:
            return int(response.status)
    except HTTPError as error:
        error.close()
        return error.code
    except (URLError, OSError, ValueError):
        return UNREACHABLE


def _unary(work: Callable[[Any, Any], Awaitable[Any]], request: Any, response: Any) -> Any:
    def serialize(message: Any) -> bytes:
        return bytes(message.SerializeToString() if response is Empty else response.serialize(message))

    return grpc.unary_unary_rpc_method_handler(
        work, request_deserializer=request.deserialize, response_serializer=serialize
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Emulates Cloud Tasks.")
    parser.add_argument("--host", default="127.0.0.1:9123")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--drop-every", type=int, default=0)
    parser.add_argument("--duplicate-every", type=int, default=0)
    options = parser.parse_args()
    faults = Faults(drop_every=options.drop_every, duplicate_every=options.duplicate_every)
    run_until_signal(TasksEmulator(options.folder, faults=faults).serve(options.host))
    leave(0)


if __name__ == "__main__":
    main()
