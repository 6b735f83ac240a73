"""Measures many open streams on one process: python -m tests.bench.streams [STREAMS | function STREAMS]

One process of this machine reads all streams with bare sockets, and another one asks for /health meanwhile.
"""

import resource
import select
import socket
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.bench.bench import cpu_seconds, memory, percentile, show
from tests.e2e.system import System
from tests.e2e.test_restarts import functions_over

SPARE_FILES = 200
OPENED_AT_ONCE = 100
SECONDS = 60.0
COUNTS = (1_000, 10_000)
STREAMS_OF_FUNCTION = 2_000


@dataclass(slots=True, kw_only=True)
class Reader:
    """Holds many streams open, each on a socket of its own, and notes when each one hears of the run's end."""

    host: tuple[str, int]
    request: bytes
    epoll: select.epoll = field(default_factory=select.epoll)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    tails: dict[int, bytes] = field(default_factory=dict)

    def open(self, count: int) -> None:
        """Opens so many streams and reads until each has brought its first event."""
        while len(self.sockets) < count:
            opened = [self._connect() for _ in range(min(OPENED_AT_ONCE, count - len(self.sockets)))]
            self.wait_for(b"\ndata: ", opened)

    def _connect(self) -> int:
        stream = socket.create_connection(self.host)
        stream.sendall(self.request)
        stream.setblocking(False)
        self.sockets[stream.fileno()] = stream
        self.tails[stream.fileno()] = b""
        self.epoll.register(stream, select.EPOLLIN)
        return stream.fileno()

    def wait_for(self, text: bytes, numbers: list[int]) -> list[float]:
        """Returns when each of these sockets has received the text. Raises ConnectionError when one ends before."""
        waiting, times = set(numbers), []
        while waiting:
            for number, _ in self.epoll.poll(SECONDS):
                received = self.sockets[number].recv(65536)
                if not received and number in waiting:
                    raise ConnectionError(self.tails[number])
                heard = self.tails[number] + received
                if text in heard and number in waiting:
                    waiting.discard(number)
                    times.append(time.perf_counter())
                self.tails[number] = heard[-len(text) :] if number in waiting else b""
                if not received:
                    self.epoll.unregister(number)
        return times


def read(connection: Connection, host: tuple[str, int], request: bytes, count: int) -> None:
    """Is the reader's process: opens the streams, reports it, and then reports when each heard of the cancel."""
    reader = Reader(host=host, request=request)
    reader.open(count)
    connection.send(None)
    connection.send(reader.wait_for(b"run.cancelled", list(reader.sockets)))


def ask_for_health(connection: Connection, host: tuple[str, int]) -> None:
    """Sends the seconds that each request for /health took, since the last time that they were asked for.

    It uses the plainest client: others take longer than the answer, and both share the machine's cores.
    """
    with closing(HTTPConnection(*host)) as client:
        delays: list[float] = []
        while True:
            began = time.perf_counter()
            client.request("GET", "/health")
            answer = client.getresponse()
            answer.read()
            assert answer.status == 200
            delays.append(time.perf_counter() - began)
            if connection.poll(0.005):
                connection.recv()
                connection.send(delays)
                delays = []


def allow_files(count: int) -> int:
    """Raises this process's limit of open files, which its children inherit; returns how many streams it allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(count + SPARE_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted - SPARE_FILES


def measure(system: System, count: int, *, served_by: Any = None) -> None:
    """Opens the streams of one run, cancels it, and prints memory and times.

    `served_by` has the `url` and the `process` that serve the streams, if the system itself does not.
    """
    serving = served_by or system
    with system.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[never]]"}).json()["run_uuid"]
        time.sleep(1)
        host, port = serving.url.removeprefix("http://").split(":")
        head = f"GET /llm_user_runs/{run_id}/stream HTTP/1.1\r\nHost: {host}\r\n"
        request = f"{head}Authorization: Bearer {system.token()}\r\n\r\n".encode()
        ours, theirs = Pipe()
        before, began = memory(serving), time.perf_counter()
        reader = Process(target=read, args=(theirs, (host, int(port)), request, count))
        reader.start()
        ours.recv()
        show(f"{count} streams: opened in", f"{time.perf_counter() - began:.1f} s")
        show("memory of each", f"{(memory(serving) - before) * 1024 / count:.1f} KiB")
        asked, asking = Pipe()
        health = Process(target=ask_for_health, args=(asking, (host, int(port))), daemon=True)
        health.start()
        time.sleep(5)
        asked.send(None)
        show_delays("/health beside open streams", asked.recv())
        spent, began = cpu_seconds(serving), time.perf_counter()
        client.post(f"/api/llm/jobs/{run_id}/cancel/")
        told = sorted(at - began for at in ours.recv())
        asked.send(None)
        show_delays("/health while all are told", asked.recv())
        show("CPU of telling all", f"{cpu_seconds(serving) - spent:.2f} s")
        show(
            "told of the cancel: first / p50 / last", f"{told[0]:.3f} / {percentile(told, 0.5):.3f} / {told[-1]:.3f} s"
        )
        health.terminate()
        reader.join()


def show_delays(name: str, seconds: list[float]) -> None:
    shown = " / ".join(f"{value * 1e3:.1f}" for value in (percentile(seconds, 0.5), percentile(seconds, 0.99)))
    show(f"{name}: p50 / p99 / max of {len(seconds)}", f"{shown} / {max(seconds) * 1e3:.1f} ms")


def function(count: int = STREAMS_OF_FUNCTION) -> None:
    """Measures one function in a process of functions-framework, which hears of changes that another process makes."""
    count = min(count, allow_files(count))
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        system = System(data_dir)
        with functions_over(data_dir) as functions:
            server = functions.start("read_runs").process.pid
            [worker] = Path(f"/proc/{server}/task/{server}/children").read_text().split()
            served_by = SimpleNamespace(url=functions.url("read_runs"), process=SimpleNamespace(pid=int(worker)))
            measure(system, count, served_by=served_by)
        system.stop()


def main(*counts: int) -> None:
    """Measures the local host, which serves all functions from one process, and without `counts` one function too."""
    with tempfile.TemporaryDirectory() as folder:
        for count in counts or COUNTS:
            possible = allow_files(count)
            system = System(Path(folder) / f"data{count}")
            measure(system, min(count, possible))
            system.stop()
    if not counts:
        show("one function of functions-framework", "")
        function(STREAMS_OF_FUNCTION)


if __name__ == "__main__":
    if sys.argv[1:2] == ["function"]:
        function(*map(int, sys.argv[2:]))
    else:
        main(*map(int, sys.argv[1:]))
