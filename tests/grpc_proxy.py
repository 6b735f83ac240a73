"""A proxy before one of Google's gRPC services: counts what passes, and misbehaves to order."""

import itertools
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, CommitRequest, Document
from google.cloud.tasks_v2.types import CreateTaskRequest, Task

MAX_CALLS = 200
COMMIT = "Commit"
STREAMS = ("Listen", "Write", "StreamingPull")
"""What takes more than one request; all others may be forwarded again."""
Requests = Iterable[bytes]
Forward = Callable[[], Iterable[bytes]]
Hook = Callable[[str, Requests, Forward], Iterable[bytes]]
"""(method, requests, what forwards the call and gives its answers) to the answers that the client gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A write of some fields of a document; `size` is in bytes, with the document's name."""

    fields: frozenset[str]
    size: int


class GrpcProxy:
    """`calls` counts by method; `hook`, when set, decides what becomes of a call."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._channel = grpc.insecure_channel(target)
        self._server = grpc.server(ThreadPoolExecutor(MAX_CALLS))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.deletes: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.saves: defaultdict[str, list[Save]] = defaultdict(list)
        """{document: its writes that name the fields that they change}"""
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        """{method: bytes of the requests}, {method: bytes of the answers}."""
        self.hook: Hook | None = None

    def close(self) -> None:
        self._server.stop(grace=None)
        self._channel.close()

    def answer(self, path: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """`path`: /package.Service/Method."""
        method = path.rpartition("/")[2]
        metadata = [(key, value) for key, value in context.invocation_metadata() if not key.startswith("grpc-")]
        seen: Iterable[bytes] = self._counted(method, requests)
        if method not in STREAMS:
            seen = list(seen)

        def forward() -> Iterable[bytes]:
            call = self._channel.stream_stream(path, None, None)(iter(seen), metadata=metadata)
            context.add_callback(call.cancel)
            return self._committed(seen, call) if method == COMMIT else call

        try:
            for answer in self.hook(method, seen, forward) if self.hook else forward():
                self.received[method] += len(answer)
                yield answer
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _counted(self, method: str, requests: Iterator[bytes]) -> Iterator[bytes]:
        with self._lock:
            self.calls[method] += 1
        for request in requests:
            with self._lock:
                self.sent[method] += len(request)
                if method == "BatchGetDocuments":
                    names = list(BatchGetDocumentsRequest.deserialize(request).documents)
                    self.reads.update(map(_path, names))
            yield request

    def _committed(self, requests: Iterable[bytes], answers: Iterable[bytes]) -> Iterator[bytes]:
        """Counts what a commit has written, once it is answered: a refused one writes nothing."""
        for answer in answers:
            with self._lock:
                for request in requests:
                    self._count_commit(request)
            yield answer

    def _count_commit(self, request: bytes) -> None:
        """Documents by their path below the database."""
        writes = CommitRequest.deserialize(request).writes
        self.writes.update(_path(write.update.name) for write in writes if write.update.name)
        self.deletes.update(_path(write.delete) for write in writes if write.delete)
        for write in writes:
            if write.update_mask.field_paths:
                size = len(Document.serialize(write.update))
                save = Save(fields=frozenset(write.update_mask.field_paths), size=size)
                self.saves[_path(write.update.name)].append(save)


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no annotations
    """Every method as a stream of bytes both ways: on the wire they all are."""

    def __init__(self, proxy: GrpcProxy) -> None:
        self._proxy = proxy

    def service(self, details: Any) -> Any:
        def answer(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            return self._proxy.answer(details.method, requests, context)

        return grpc.stream_stream_rpc_method_handler(answer)


class Refused(grpc.RpcError):  # type: ignore[misc]  # grpc has no annotations
    def __init__(self, status: grpc.StatusCode, details: str = "refused") -> None:
        self._status = status
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._details


class Unavailable(Refused):
    """What a client sees when the connection is lost."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def black_hole_for(seconds: float) -> Hook:
    """Takes calls and says nothing until the time is over."""
    ends = time.monotonic() + seconds

    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if (left := ends - time.monotonic()) > 0:
            time.sleep(left)
            raise Unavailable
        return forward()

    return hook


def lose_answers(method_to_lose: str, *, times: int) -> Hook:
    """The call is carried out, and its answer lost."""
    left = [times]

    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != method_to_lose or left[0] == 0:
            return forward()
        left[0] -= 1
        list(forward())
        raise Unavailable

    return hook


def lose_tasks(*, every: int) -> Hook:
    """Every n-th task is taken and never comes."""
    made = itertools.count(1)

    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        if method != "CreateTask" or next(made) % every:
            return forward()
        return [Task.serialize(CreateTaskRequest.deserialize(request).task) for request in requests]

    return hook


def repeat(method_to_repeat: str, times: int) -> Hook:
    """The call is carried out several times; the client is told of the first."""

    def hook(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
        answers = [list(forward()) for _ in range(times)] if method == method_to_repeat else [forward()]
        return answers[0]

    return hook


def down(method: str, requests: Requests, forward: Forward) -> Iterable[bytes]:
    raise Unavailable


def _path(name: str) -> str:
    """`llm_runs/…` of projects/…/databases/…/documents/llm_runs/…"""
    return name.partition("/documents/")[2]
