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
    is_ended: bool = False

    def kill(self) -> None:
        kill_all([self])

    def is_listening(self) -> bool:
        host, _, port = self.host.partition(":")
        try:
            socket.create_connection((host, int(port or 0)), timeout=1).close()
        except OSError:
            return False
        return True


def kill_all(started: Sequence[Emulator]) -> None:
    """Ends all of them within GRACE_SECONDS: SIGTERM to their groups first, then SIGKILL to what is left."""
    running = [emulator for emulator in started if not emulator.is_ended]
    for how in (signal.SIGTERM, signal.SIGKILL):
        for emulator in running:
            with suppress(ProcessLookupError, PermissionError):  # macOS refuses a group that has ended
                os.killpg(emulator.process.pid, how)
        ends = time.monotonic() + GRACE_SECONDS
        for emulator in running:
            with suppress(subprocess.TimeoutExpired):
                emulator.process.wait(timeout=max(ends - time.monotonic(), 0))
            while emulator.is_listening() and time.monotonic() < ends:
                time.sleep(0.01)
    for emulator in running:
        emulator.is_ended = True


def missing() -> str | None:
    """What to do when this machine has no emulators."""
    return None if shutil.which("gcloud") and shutil.which("java") else HOW_TO_INSTALL


def start_firestore(folder: Path, *, host: str) -> Emulator:
    return _start("firestore", ["gcloud", "emulators", "firestore", "start"], folder, host)


def start_pubsub(folder: Path, *, host: str, project: str) -> Emulator:
    command = ["gcloud", "beta", "emulators", "pubsub", "start", f"--project={project}"]
    return _start("pubsub", command, folder, host)


def wait_until_ready(emulator: Emulator) -> None:
    """Raises ConfigurationError with the end of its log when it does not come up."""
    ends = time.monotonic() + START_SECONDS
    while emulator.process.poll() is None and time.monotonic() < ends:
        if emulator.is_listening():
            return
        time.sleep(0.05)
    emulator.kill()
    tail = emulator.log.read_text(errors="replace")[-500:]
    raise ConfigurationError(f"The {emulator.name} emulator did not start. {HOW_TO_INSTALL}\n{tail}")


def _start(name: str, command: list[str], folder: Path, host: str) -> Emulator:
    problem = missing()
    if problem is not None:
        raise ConfigurationError(problem)
    log = folder / f"{name}-emulator.log"
    with log.open("wb") as output:
        process = _popen([*command, f"--host-port={host}"], output)
    return Emulator(name, host, process, log)


def _popen(command: list[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
