"""Measures many open streams on one process: python -m tests.bench.streams [STREAMS | function STREAMS]

One process of this machine reads all streams with bare sockets, and another one asks for /health meanwhile.
"""

import resource
import select
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from tests.bench.bench import cpu_seconds, memory, percentile, show
from tests.e2e.system import System
from tests.e2e.test_restarts import functions_over

SPARE_FILES = 200
OPENED_AT_ONCE = 100
SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Listeners:
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


def listen(connection: Connection, host: tuple[str, int], request: bytes, count: int) -> None:
    """Is the process of the clients: opens the streams, reports it, and then reports when each heard of the cancel."""
    listeners = Listeners(host=host, request=request)
    listeners.open(count)
    connection.send(None)
    connection.send(listeners.wait_for(b"run.cancelled", list(listeners.sockets)))


def ask_for_health(connection: Connection, url: str) -> None:
    """Sends the seconds that each request for /health took, since the last time that they were asked for."""
    with httpx.Client(base_url=url, trust_env=False) as client:
        delays: list[float] = []
        while True:
            began = time.perf_counter()
            assert client.get("/health").status_code == 200
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The process that serves the streams: its address and its id."""

    url: str
    pid: int


def measure(system: System, reader: Reader, count: int) -> None:
    """Opens the streams of one run, cancels it, and prints memory and times."""
    with system.client() as client:
        run_id = client.post("/llm_user_runs", json={"input_text": "[[never]]"}).json()["run_uuid"]
        time.sleep(1)
        host, port = reader.url.removeprefix("http://").split(":")
        head = f"GET /llm_user_runs/{run_id}/stream HTTP/1.1\r\nHost: {host}\r\n"
        request = f"{head}Authorization: Bearer {system.token()}\r\n\r\n".encode()
        ours, theirs = Pipe()
        before, began = memory(reader.pid), time.perf_counter()
        listening = Process(target=listen, args=(theirs, (host, int(port)), request, count))
        listening.start()
        ours.recv()
        show(f"{count} streams: opened in", f"{time.perf_counter() - began:.1f} s")
        show("memory of each", f"{(memory(reader.pid) - before) * 1024 / count:.1f} KiB")
        asked, asking = Pipe()
        health = Process(target=ask_for_health, args=(asking, reader.url), daemon=True)
        health.start()
        time.sleep(5)
        asked.send(None)
        show_delays("/health beside open streams", asked.recv())
        spent, began = cpu_seconds(reader.pid), time.perf_counter()
        client.post(f"/api/llm/jobs/{run_id}/cancel/")
        told = sorted(at - began for at in ours.recv())
        asked.send(None)
        show_delays("/health while all are told", asked.recv())
        show("CPU of telling all", f"{cpu_seconds(reader.pid) - spent:.2f} s")
        times = f"{told[0]:.3f} / {percentile(told, 0.5):.3f} / {told[-1]:.3f} s"
        show("told of the cancel: first / p50 / last", times)
        health.terminate()
        listening.join()


def show_delays(name: str, seconds: list[float]) -> None:
    shown = " / ".join(f"{value * 1e3:.1f}" for value in (percentile(seconds, 0.5), percentile(seconds, 0.99)))
    show(f"{name}: p50 / p99 / max of {len(seconds)}", f"{shown} / {max(seconds) * 1e3:.1f} ms")


def embedded(count: int) -> None:
    """Measures the local host, which serves all functions from one process."""
    count = allow_files(count)
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder) / "data")
        measure(system, Reader(url=system.url, pid=system.process.pid), count)
        system.stop()


def function(count: int) -> None:
    """Measures one function in a process of functions-framework, which hears of changes that another process makes."""
    count = allow_files(count)
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        system = System(data_dir)
        with functions_over(data_dir) as functions:
            server = functions.start("read_runs").process.pid
            [worker] = Path(f"/proc/{server}/task/{server}/children").read_text().split()
            show("one function of functions-framework", "")
            measure(system, Reader(url=functions.url("read_runs"), pid=int(worker)), count)
        system.stop()


def main() -> None:
    for count in (1000, 10_000):
        embedded(count)
    function(2000)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["function", count]:
            function(int(count))
        case [count]:
            embedded(int(count))
        case _:
            main()
