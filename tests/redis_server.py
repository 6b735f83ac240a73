"""A Redis of the tests' own, that may be killed, stopped, filled and started again."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from infra.local.emulators.ports import reserved_port
from tests.e2e.system import until
from tests.needs import need

HOW_TO_INSTALL = "The result cache's tests need redis-server; on Debian: apt-get install redis-server"


class RedisServer:
    """Keeps nothing on disk: another start is an empty one, on the same port, which must be reserved."""

    def __init__(self, folder: Path, port: int, *options: str, user_info: str = "") -> None:
        self._folder = folder
        self._options = options
        self._port = port
        self.url = f"redis://{user_info}127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        place = ("--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder))
        kept = ("--save", "", "--appendonly", "no")
        with (self._folder / "redis.log").open("ab") as log:
            command = ["redis-server", *place, *kept, *self._options]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers)

    def stop(self) -> None:
        """It keeps its port and its connections, and says nothing more."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)

    def fill(self) -> None:
        self.ask("config_set", "maxmemory", "1")

    def make_room(self) -> None:
        self.ask("config_set", "maxmemory", "0")

    def ask(self, command: str, *arguments: Any) -> Any:
        """What a client of its own is answered."""
        with closing(Redis.from_url(self.url, decode_responses=True, socket_timeout=10)) as client:
            return getattr(client, command)(*arguments)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "redis.log").read_text()
        try:
            return bool(self.ask("ping"))
        except NoConnection:
            return False


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    need(None if shutil.which("redis-server") else HOW_TO_INSTALL)
    with ExitStack() as stack:

        def start(*options: str, **more: str) -> RedisServer:
            server = RedisServer(tmp_path, stack.enter_context(reserved_port()), *options, **more)
            stack.callback(server.kill)
            return server

        yield start


@pytest.fixture
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    return start_redis()


def silent_port() -> socket.socket:
    """Takes connections and says nothing; close it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    return listening
