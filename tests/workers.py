"""What the worker processes of one test run share: servers that one of them starts for all, and their end.

pytest-xdist runs the tests in several worker processes beside the one that was started. A server that is expensive to
start is started by the first worker that needs it; the process that was started ends it after the last test. There, on
Linux, a test run fails whose tests have left a process behind.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

PR_SET_CHILD_SUBREAPER = 36
END_SECONDS = 5.0
MEMORY = "/dev/shm"
MIN_MEMORY = 4 << 30
FOLDER = pytest.StashKey[Path]()
LEFT_RUNNING = pytest.StashKey[list[str]]()


@dataclass(frozen=True, kw_only=True)
class SharedServers:
    """`hosts` by name; each process is the leader of a group that is ended after the last test."""

    hosts: dict[str, str]
    processes: "Sequence[subprocess.Popen[bytes]]"


STARTED: list[SharedServers] = []
"""Those that this process has started: Python warns of a process object that is let go while its process runs."""


class SharedFolder:
    def __init__(self, folder: Path) -> None:
        self.path = folder

    def start_once(self, name: str, start: Callable[[], SharedServers]) -> dict[str, str]:
        """Calls `start` in the first process that asks for this name; all processes get the hosts that it gave."""
        record = self.path / f"{name}.json"
        with FileLock(f"{record}.lock"):
            if not record.exists():
                STARTED.append(started := start())
                groups = [process.pid for process in started.processes]
                record.write_text(json.dumps({"hosts": started.hosts, "groups": groups}))
            hosts: dict[str, str] = json.loads(record.read_text())["hosts"]
            return hosts

    def end_servers(self) -> None:
        for record in self.path.glob("*.json"):
            for group in json.loads(record.read_text())["groups"]:
                with suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
        for started in STARTED:
            for process in started.processes:
                process.wait()


@pytest.fixture(scope="session")
def shared_folder(request: pytest.FixtureRequest) -> SharedFolder:
    return SharedFolder(request.config.stash[FOLDER])


def pytest_configure(config: pytest.Config) -> None:
    if is_worker(config):
        config.stash[FOLDER] = Path(config.workerinput["shared_folder"])  # type: ignore[attr-defined]
        return
    config.stash[FOLDER] = Path(tempfile.mkdtemp(prefix="test-servers-", dir=memory_folder()))
    if config.option.basetemp is None:
        config.option.basetemp = str(config.stash[FOLDER] / "tests")
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def leave_servers_to_others() -> None:
    """Keeps Python from warning that this process ends before the servers that it has started."""
    for started in STARTED:
        for process in started.processes:
            process.returncode = 0


def memory_folder() -> str | None:
    """Returns a folder in memory, where the tests' many databases need not wait for a disk; None if it is small."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free > MIN_MEMORY and os.access(MEMORY, os.W_OK):
            return MEMORY
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a new worker where the folder is."""
    node.workerinput["shared_folder"] = str(node.config.stash[FOLDER])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The workers have ended: their orphans are this process's children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if is_worker(session.config):
        leave_servers_to_others()
        return
    folder = session.config.stash[FOLDER]
    SharedFolder(folder).end_servers()
    shutil.rmtree(folder)
    session.config.stash[LEFT_RUNNING] = left = end_children()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for command in config.stash.get(LEFT_RUNNING, []):
        terminalreporter.write_line(f"FAILED: a test has left a process running: {command}", red=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Tests of whole systems mostly wait: with two workers more than cores, hardly a core is idle meanwhile."""
    return (os.cpu_count() or 1) + (1 if config.getoption("--fast") else 2)


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def end_children() -> list[str]:
    """The command lines of those that do not end by themselves and had to be killed."""
    ends = time.monotonic() + END_SECONDS
    while (running := running_children()) and time.monotonic() < ends:
        time.sleep(0.05)
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(running.values())


def running_children() -> dict[int, str]:
    """{process id: command line, name} of this process's children; a zombie has no command line."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, numbers = stat.read_text().partition("(")[2].rpartition(")")
            parent = int(numbers.split()[1])
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if parent == os.getpid() and command:
                found[int(stat.parent.name)] = f"{command} ({name})"
    return found
