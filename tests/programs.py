"""Starts the product's programs as forks of one process that has imported their code: a start is 0.5 CPU seconds less.

A fork differs from a process of its own in nothing that tests see: it is a child of the tests' process and the leader
of a session, with the environment, folder, input and outputs that it was given. But its output has no buffer, and `ps`
shows the command line of program_server.py, with the program's name in the column `comm`. On systems other than Linux,
where a test gives what Python or a package reads when it is imported, and outside of test runs (tests/bench measures
real processes), a program is a process of its own.
"""

import ctypes
import inspect
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, AnyStr

from infra.local.emulators.processes import ChildProcess, ChildProcesses
from tests.program_server import MODULES
from tests.workers import PR_SET_CHILD_SUBREAPER

ROOT = Path(__file__).parents[1]
FRAMEWORK = str(Path(sys.executable).with_name("functions-framework"))
READ_AT_IMPORT = (
    "FORWARDED_ALLOW_IPS", "GRPC_ENABLE_FORK_SUPPORT", "GRPC_TRACE", "GRPC_VERBOSITY", "OTEL_", "PROTOCOL_BUFFERS_",
    "PYTHON", "WEB_CONCURRENCY",
)  # fmt: skip
"""How the names of these variables begin."""
NOT_READ_AT_IMPORT = {"PYTHONUNBUFFERED", "PYTHON_DOTENV_DISABLED"}
KEPT = ("HOME", "PATH", "PYTHONDONTWRITEBYTECODE")


class ProgramServer:
    """A process of program_server.py, which starts when the first program does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_for_tests = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def fork(self, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Returns the process id of the new program, whose descriptors 0 to 2 are the given ones."""
        with self._lock:
            if self._process is None:
                self._start()
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            answer = self._socket.recv(100)
            assert answer, "program_server.py has ended; its error is in the standard error of the tests"
            return int(answer)

    def end(self) -> None:
        if self._process is not None:
            self._socket.close()
            self._process.wait()

    def _start(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.program_server", str(its.fileno())],
                cwd=ROOT,
                env={**kept, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )


SERVER = ProgramServer()


class ForkedPopen(subprocess.Popen[AnyStr]):
    """subprocess.Popen that forks the programs that program_server.py knows, if they are to have their own session."""

    def _execute_child(self, *given: Any) -> None:
        """Replaces the one method of Popen that starts the process; all others wait for it and read from it as ever."""
        execute: Any = super()._execute_child  # type: ignore[misc]
        asked = inspect.signature(execute).bind(*given).arguments
        environment = os.environ if asked["env"] is None else asked["env"]
        words = forkable([str(word) for word in asked["args"]], environment)
        if words is None or not asked["start_new_session"]:
            execute(*given)
            return
        request = {"words": words, "environment": dict(environment), "folder": str(asked["cwd"] or Path.cwd())}
        descriptors = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        inherited = [own if given == -1 else given for own, given in enumerate(descriptors)]
        self.pid = SERVER.fork(request, inherited)
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*[asked[name] for name in pipes])  # type: ignore[attr-defined]


def run(command: Sequence[str], *, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Returns what the program printed, as subprocess.run does that captures it."""
    pipe = subprocess.PIPE
    with ForkedPopen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        output, errors = process.communicate(stdin)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def forkable(command: list[str], environment: Mapping[str, str]) -> list[str] | None:
    """Returns what program_server.py needs of the command; None if it is to be a process of its own."""
    is_module = command[:2] == [sys.executable, "-m"] and command[2] in MODULES
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = {name for name, value in environment.items() if name.startswith(READ_AT_IMPORT) and own.get(name) != value}
    is_possible = SERVER.is_for_tests and sys.platform == "linux" and not given - NOT_READ_AT_IMPORT
    if not is_possible or not (is_module or command[0] == FRAMEWORK):
        return None
    return command[1:] if is_module else command


class ForkedProcesses(ChildProcesses):
    def start(
        self, name: str, *command: str, host: str = "", settings: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Starts the command as ChildProcesses does."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process: subprocess.Popen[bytes] = ForkedPopen(
                command,
                cwd=ROOT,
                env={**os.environ, **(settings or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.keep(ChildProcess(name, host, process, log))


def pytest_configure() -> None:
    SERVER.is_for_tests = True


def pytest_sessionfinish() -> None:
    SERVER.end()
