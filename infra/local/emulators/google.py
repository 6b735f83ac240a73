"""Starts Google's own Firestore and Pub/Sub emulators as child processes."""

import shutil
from pathlib import Path

from infra.local.emulators.processes import ChildProcess, start_process
from shared.errors import ConfigurationError

HOW_TO_INSTALL = (
    "Google's emulators are missing; install the Google Cloud CLI (cloud.google.com/sdk), Java 11 or newer, and run: "
    "gcloud components install beta cloud-firestore-emulator pubsub-emulator"
)

JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Java starts with half the CPU time when it has only its first compiler and the simplest garbage collector."""


def missing_software() -> str | None:
    """Returns None, or how to install the emulators when this machine lacks gcloud or Java."""
    return None if shutil.which("gcloud") and shutil.which("java") else HOW_TO_INSTALL


def start_firestore(folder: Path, *options: str, host: str) -> ChildProcess:
    """Starts it on `host` ("host:port"), with its log in `folder`. Raises ConfigurationError when it is missing.

    `options` are more words of the command.
    """
    return _start("firestore", ["gcloud", "emulators", "firestore", "start", *options], folder, host)


def start_pubsub(folder: Path, *, host: str, project: str) -> ChildProcess:
    """Starts it on `host` ("host:port"), with its log in `folder`. Raises ConfigurationError when it is missing."""
    command = ["gcloud", "beta", "emulators", "pubsub", "start", f"--project={project}"]
    return _start("pubsub", command, folder, host)


def _start(name: str, command: list[str], folder: Path, host: str) -> ChildProcess:
    problem = missing_software()
    if problem is not None:
        raise ConfigurationError(problem)
    log = folder / f"{name}-emulator.log"
    started = ["env", f"JDK_JAVA_OPTIONS={JAVA_OPTIONS}", *command, f"--host-port={host}"]
    return start_process(name, started, log=log, host=host)
