"""Google's own Firestore and Pub/Sub emulators, as processes that leave nothing behind."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shared.errors import ConfigurationError

START_SECONDS = 60.0
GRACE_SECONDS = 4.0
HOW_TO_INSTALL = (
    "Google's emulators are missing; install the Google Cloud CLI (cloud.google.com/sdk), Java 11 or newer, and run: "
    "gcloud components install beta cloud-firestore-emulator pubsub-emulator"
)


@dataclass(slots=True)
class Emulator:
    """A started emulator; its Java child goes with it, for both are of one process group."""

    name: str
    host: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def kill(self) -> None:
        kill_all([self])


def kill_all(started: Sequence[Emulator]) -> None:
    """Ends all of them within GRACE_SECONDS: SIGTERM to their groups first, then SIGKILL to what is left."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for emulator in started:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses a group that has ended
                os.killpg(emulator.process.pid, how)
        ends = time.monotonic() + GRACE_SECONDS
        for emulator in started:
            with suppress(subprocess.TimeoutExpired):
                emulator.process.wait(timeout=max(ends - time.monotonic(), 0))


def missing() -> str | None:
    """What to do when this machine has no emulators."""
    return None if shutil.which("gcloud") and shutil.which("java") else HOW_TO_INSTALL


def start_firestore(folder: Path, *, host: str | None = None, rules: Path | None = None) -> Emulator:
    options = [f"--rules={rules}"] if rules else []
    return _start("firestore", ["gcloud", "emulators", "firestore", "start", *options], folder, host)


def start_pubsub(folder: Path, *, host: str | None = None, project: str) -> Emulator:
    command = ["gcloud", "beta", "emulators", "pubsub", "start", f"--project={project}"]
    return _start("pubsub", command, folder, host)


def wait_until_ready(emulator: Emulator) -> None:
    """Raises ConfigurationError with the end of its log when it does not come up."""
    host, _, port = emulator.host.partition(":")
    ends = time.monotonic() + START_SECONDS
    while emulator.process.poll() is None and time.monotonic() < ends:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    emulator.kill()
    tail = emulator.log.read_text(errors="replace")[-500:]
    raise ConfigurationError(f"The {emulator.name} emulator did not start. {HOW_TO_INSTALL}\n{tail}")


def free_host() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _start(name: str, command: list[str], folder: Path, host: str | None) -> Emulator:
    problem = missing()
    if problem is not None:
        raise ConfigurationError(problem)
    host = host or free_host()
    log = folder / f"{name}-emulator.log"
    with log.open("wb") as output:
        process = _popen([*command, f"--host-port={host}"], output)
    return Emulator(name, host, process, log)


def _popen(command: list[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
