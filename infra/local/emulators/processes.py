"""Starts child processes, reserves ports for them, and ends them together with their own children."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from infra.local.emulators.ports import reserved_port
from infra.local.routing import ROOT
from shared.errors import ConfigurationError

START_SECONDS = 60.0
GRACE_SECONDS = 4.0
POLL_INTERVAL_SECONDS = 0.05


@dataclass(slots=True)
class ChildProcess:
    """A started program. Its own children, such as Java, are in its process group and end with it.

    `host` is "host:port", or empty when the program does not listen.
    """

    name: str
    host: str
    process: "subprocess.Popen[bytes]"
    log: Path
    is_ended: bool = False

    def kill(self) -> None:
        """Ends the program and its own children."""
        kill_all([self])

    def is_listening(self) -> bool:
        """Returns True when the program accepts connections."""
        host, _, port = self.host.partition(":")
        try:
            socket.create_connection((host, int(port or 0)), timeout=1).close()
        except OSError:
            return False
        return True


class ChildProcesses:
    """Starts programs, each with a log file in `folder`, and ends them all at the end of the `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._started: list[ChildProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill_all(self._started)
        self._stack.close()

    def start(
        self, name: str, *command: str, host: str = "", settings: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Starts the command in the project's folder, with `settings` added to its environment."""
        variables = [f"{key}={value}" for key, value in (settings or {}).items()]
        started = start_process(name, ["env", *variables, *command], log=self.folder / f"{name}.log", host=host)
        return self.keep(started)

    def keep(self, started: ChildProcess) -> ChildProcess:
        """Takes over a process that is already started, so that it ends with the others; returns it."""
        self._started.append(started)
        return started

    def reserve_port(self) -> int:
        """Returns a free port, reserved until the end of the `with` block."""
        return self._stack.enter_context(reserved_port())

    def reserve_host(self) -> str:
        """Returns "127.0.0.1:port" with such a port."""
        return f"127.0.0.1:{self.reserve_port()}"


def start_process(name: str, command: Sequence[str], *, log: Path, host: str) -> ChildProcess:
    """Starts the command in a new process group, with its output in the file `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return ChildProcess(name, host, process, log)


def wait_until_listening(started: ChildProcess) -> None:
    """Returns when the program listens. Raises ConfigurationError with the end of its log when it does not."""
    ends = time.monotonic() + START_SECONDS
    while started.process.poll() is None and time.monotonic() < ends:
        if started.is_listening():
            return
        time.sleep(POLL_INTERVAL_SECONDS)
    started.kill()
    tail = started.log.read_text(errors="replace")[-500:]
    raise ConfigurationError(f"{started.name} did not start; its log {started.log} ends with:\n{tail}")


def kill_all(started: Sequence[ChildProcess]) -> None:
    """Sends SIGTERM to the process groups, and SIGKILL GRACE_SECONDS later; returns when all have ended."""
    running = [child for child in started if not child.is_ended]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for child in running:
            with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group that has ended
                os.killpg(child.process.pid, number)
        ends = time.monotonic() + GRACE_SECONDS
        for child in running:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=max(ends - time.monotonic(), 0))
            while child.is_listening() and time.monotonic() < ends:
                time.sleep(POLL_INTERVAL_SECONDS)
    for child in running:
        child.is_ended = True
